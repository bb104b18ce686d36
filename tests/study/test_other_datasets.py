"""Datasets under `also_score`: which are refused, what is stored of them, and how networks are scored on them."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

import wbcstudy
from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.config import RunConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import write_json
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import read_predictions, read_score_file, write_record
from wbcstudy.study.other_datasets import prepare_other_datasets, read_other_datasets, score_on_dataset


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for seed, name in enumerate(("home", "away")):
        write_synthetic_dataset(folder / name, cases=5, seed=seed, size_px=32, slides=5, name=name, instances=False)
    return folder


@pytest.fixture
def sets(drawn, tmp_path):
    for name in ("home", "away"):
        shutil.copytree(drawn / name, tmp_path / name)
    return tmp_path


def prepare(sets, *sources):
    paths = [str(sets / source) for source in sources]
    return prepare_other_datasets(StudyFolder(sets / "study"), load_dataset(sets / "home"), paths)


def describe(folder, **changed):
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changed))


def test_facts_for_the_report_are_stored(sets):
    (other,) = prepare(sets, "away")
    assert (other.name, other.cases, other.shared) == ("away", 5, ())
    assert set(other.groups) == {case.case_id for case in load_dataset(sets / "away").cases}
    assert read_other_datasets(StudyFolder(sets / "study")) == (other,)
    assert prepare(sets, "away") == (other,)
    assert prepare(sets) == () == read_other_datasets(StudyFolder(sets / "study"))


def test_a_study_without_other_datasets_has_no_file_of_them(sets):
    assert prepare(sets) == ()
    assert not (sets / "study").exists()


def test_images_of_one_patient_are_enough_where_nothing_is_split(sets):
    rows = [f"{case.case_id},p1\n" for case in load_dataset(sets / "away").cases]
    (sets / "away" / "cases.csv").write_text("case_id,group\n" + "".join(rows))
    (other,) = prepare(sets, "away")
    assert set(other.groups.values()) == {"p1"}


def test_images_in_both_datasets_are_listed_in_any_file_format(sets):
    ours, theirs = (load_dataset(sets / name).cases[0] for name in ("home", "away"))
    with Image.open(ours.image_path) as image:
        image.convert("RGB").save(theirs.image_path)
    (other,) = prepare(sets, "away")
    assert other.shared == (theirs.case_id,)


def test_near_duplicates_are_shared_or_one_group_unless_the_search_is_off(sets):
    ours, theirs = (load_dataset(sets / name).cases for name in ("home", "away"))
    with Image.open(ours[0].image_path) as image:
        image.convert("RGB").transpose(Image.Transpose.ROTATE_90).save(theirs[0].image_path)
    with Image.open(theirs[1].image_path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(theirs[2].image_path)
    (other,) = prepare(sets, "away")
    assert other.shared == (theirs[0].case_id,)
    assert other.groups[theirs[1].case_id] == other.groups[theirs[2].case_id]
    (other,) = prepare_other_datasets(
        StudyFolder(sets / "exact"), load_dataset(sets / "home"), [str(sets / "away")], False
    )
    assert other.shared == ()


@pytest.mark.parametrize(
    ("change", "sources", "message"),
    [
        (lambda sets: None, ["nowhere"], "no dataset at"),
        (lambda sets: None, ["home"], "is the training dataset"),
        (lambda sets: describe(sets / "away", name="home"), ["away"], "has the name 'home'"),
        (
            lambda sets: describe(sets / "away", labels={"background": 0, "nucleus": 2}),
            ["away"],
            "exactly these labels",
        ),
        (lambda sets: (sets / "away" / "images").rename(sets / "away" / "photos"), ["away"], "away"),
    ],
)
def test_a_dataset_that_cannot_be_scored_on_is_refused(sets, change, sources, message):
    change(sets)
    with pytest.raises(StudyError, match=message):
        prepare(sets, *sources)
    assert not (sets / "study").exists()


def test_a_renamed_copy_of_the_training_dataset_is_refused(sets):
    shutil.copytree(sets / "home", sets / "copy")
    describe(sets / "copy", name="copy")
    with pytest.raises(StudyError, match="is the training dataset"):
        prepare(sets, "copy")


def test_masks_without_one_of_the_labels_are_refused(sets):
    for path in (sets / "away" / "masks").iterdir():
        with Image.open(path) as mask:
            mask.point(lambda value: 0 if value == 128 else value).save(path)
    labels = load_dataset(sets / "away").spec.labels
    assert labels["cytoplasm"] == (128,)
    with pytest.raises(StudyError, match="no mask of away has a pixel of cytoplasm"):
        prepare(sets, "away")


def test_files_that_changed_after_they_were_scored_are_refused(sets):
    (other,) = prepare(sets, "away")
    folder = sets / "study" / "runs" / "a" / "transfer" / "away"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "complete", "dataset": {"fingerprint": other.fingerprint}}))
    assert prepare(sets, "away") == (other,)
    image = load_dataset(sets / "away").cases[0].image_path
    Image.new("RGB", (32, 32), "white").save(image)
    with pytest.raises(StudyError, match="have changed since networks were scored on them"):
        prepare(sets, "away")


@pytest.fixture
def study(places):
    for seed, name in enumerate(("home", "away")):
        write_synthetic_dataset(places / name, cases=5, seed=seed, size_px=40, slides=5, name=name, instances=False)
    study = StudyFolder(places / "outputs" / "small")
    prepare_other_datasets(study, load_dataset(places / "home"), [str(places / "away")])
    config = RunConfig(study="small", dataset=str(places / "home"), image_size=32)
    folder = study.run(config.name)
    folder.path.mkdir(parents=True)
    write_yaml(config, folder.params)
    write_record(folder, {"status": "complete"})
    return study, folder


def test_every_case_is_scored_like_a_test_case(study, places):
    from wbcstudy.nets.backend import load_keras

    keras = load_keras()
    image = keras.Input((None, None, 3), dtype="float32")
    _, run = study
    head = keras.layers.Conv2D(
        3, 1, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)
    )
    keras.Model(image, head(image)).save(run.model)
    record = score_on_dataset(run.path, "away")
    assert record["status"] == "complete" and record["dataset"]["name"] == "away"
    folder = run.transfer("away")
    scores, masks = read_score_file(folder.scores), read_predictions(folder)
    assert set(scores["case_id"]) == set(masks) == {case.case_id for case in load_dataset(places / "away").cases}
    assert set(scores["run"]) == {run.name}
    nucleus = scores[scores["region"] == "nucleus"].set_index("case_id")
    for case, mask in masks.items():
        # At the images' own size, although the network sees 32 px.
        assert mask.shape == (40, 40) and set(scores["height_px"]) == set(scores["width_px"]) == {40}
        assert np.count_nonzero(mask == 2) == nucleus.loc[case, "tp"] + nucleus.loc[case, "fp"]
    assert folder.read_status() == "complete"
    # The network may be deleted to save space: its scores stay, until it is trained again.
    run.model.unlink()
    assert score_on_dataset(run.path, "away")["status"] == "complete"
    write_json(run.record, {"status": "complete", "written": "later"})
    assert score_on_dataset(run.path, "away")["status"] == "failed"


@pytest.fixture
def colour_study(places):
    """A network trained on images of 32 px with cells of 12 px, and a dataset of larger images with larger cells."""
    away = places / "away"
    for name in ("images", "masks"):
        (away / name).mkdir(parents=True)
    for number, radius in enumerate((14, 15, 16)):
        mask = round_cells(96, 120, [(30, 40), (64, 90)], radius)
        Image.fromarray(paint(mask)).save(away / "images" / f"{number}.png")
        Image.fromarray(mask * np.uint8(100)).save(away / "masks" / f"{number}.png")
    fields = {"name": "away", "images": "images/{case}.png", "masks": "masks/{case}.png"}
    fields["labels"] = {"background": 0, "cytoplasm": 100, "nucleus": 200}
    (away / "dataset.yaml").write_text(yaml.safe_dump(fields))
    write_synthetic_dataset(places / "home", cases=5, seed=0, size_px=40, slides=5, name="home", instances=False)
    run = write_colour_run(places / "outputs", "small", size=32, cell_px=12.0, dataset=places / "home")
    study = StudyFolder(places / "outputs" / "small")
    prepare_other_datasets(study, load_dataset(places / "home"), [str(away)])
    return study.run(run.name), load_dataset(away)


def test_scores_are_those_of_segment_with_equal_numbers(colour_study):
    run, away = colour_study
    record = score_on_dataset(run.path, "away")
    assert record["status"] == "complete" and record["applied"]["scale"] == pytest.approx(2.5, rel=0.1)
    masks = read_predictions(run.transfer("away"))
    for case in away.cases:
        result = wbcstudy.segment(case.image_path, run.path, scale=record["applied"]["scale"], stain="none")
        np.testing.assert_array_equal(masks[case.case_id], result.mask)
        assert (masks[case.case_id] == read_case(away, case)[1]).mean() > 0.97


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: None, "has no model.keras"),
        (lambda run: run.model.write_bytes(b"no network"), "model"),
        (lambda run: write_record(run, {"status": "failed"}), "is not complete"),
    ],
)
def test_a_network_that_cannot_be_scored_leaves_the_reason_and_not_an_error(study, spoil, message):
    _, run = study
    spoil(run)
    record = score_on_dataset(run.path, "away")
    assert record["status"] == "failed" and message in record["error"]
    assert run.transfer("away").read_status() == "failed" and not run.transfer("away").scores.exists()


def test_too_little_memory_for_a_network_leaves_the_reason_too(study, monkeypatch):
    class ResourceExhaustedError(Exception):
        """Like TensorFlow's, which is not a MemoryError."""

    def fail(*_):
        raise ResourceExhaustedError("OOM when allocating tensor")

    monkeypatch.setattr("wbcstudy.study.other_datasets._score", fail)
    assert "OOM when allocating" in score_on_dataset(study[1].path, "away")["error"]


def test_a_dataset_that_the_study_does_not_name_is_refused(study):
    _, run = study
    record = score_on_dataset(run.path, "nowhere")
    assert "not one of the other datasets" in record["error"]
