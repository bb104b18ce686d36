"""Datasets under `also_score`: what is refused before any training, and what is noted."""

import json
import shutil

import pytest
import yaml
from PIL import Image

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.other_datasets import prepare_others, read_others


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    place = tmp_path_factory.mktemp("drawn")
    for seed, name in enumerate(("home", "away")):
        write_synthetic_dataset(place / name, cases=5, seed=seed, size_px=32, slides=5, name=name, instances=False)
    return place


@pytest.fixture
def sets(drawn, tmp_path):
    for name in ("home", "away"):
        shutil.copytree(drawn / name, tmp_path / name)
    return tmp_path


def prepare(sets, *sources):
    return prepare_others(
        StudyFolder(sets / "study"), load_dataset(sets / "home"), [str(sets / one) for one in sources]
    )


def describe(folder, **changed):
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changed))


def test_what_a_report_needs_is_kept(sets):
    (other,) = prepare(sets, "away")
    assert (other.name, other.cases, other.shared) == ("away", 5, ())
    assert set(other.groups) == {case.case_id for case in load_dataset(sets / "away").cases}
    assert read_others(StudyFolder(sets / "study")) == (other,)
    assert prepare(sets, "away") == (other,)
    assert prepare(sets) == () == read_others(StudyFolder(sets / "study"))


def test_a_study_without_other_datasets_has_no_file_of_them(sets):
    assert prepare(sets) == ()
    assert not (sets / "study").exists()


def test_images_of_one_patient_are_enough_where_nothing_is_split(sets):
    rows = [f"{case.case_id},p1\n" for case in load_dataset(sets / "away").cases]
    (sets / "away" / "cases.csv").write_text("case_id,group\n" + "".join(rows))
    (other,) = prepare(sets, "away")
    assert set(other.groups.values()) == {"p1"}


def test_images_that_both_datasets_hold_are_named_whatever_their_format(sets):
    ours, theirs = (load_dataset(sets / name).cases[0] for name in ("home", "away"))
    with Image.open(ours.image_path) as image:
        image.convert("RGB").save(theirs.image_path)
    (other,) = prepare(sets, "away")
    assert other.shared == (theirs.case_id,)


@pytest.mark.parametrize(
    ("change", "sources", "words"),
    [
        (lambda sets: None, ["nowhere"], "no dataset at"),
        (lambda sets: None, ["home"], "is the dataset that is trained on"),
        (lambda sets: describe(sets / "away", name="home"), ["away"], "has the name 'home'"),
        (
            lambda sets: describe(sets / "away", labels={"background": 0, "nucleus": 2}),
            ["away"],
            "exactly these labels",
        ),
        (lambda sets: (sets / "away" / "images").rename(sets / "away" / "pictures"), ["away"], "away"),
    ],
)
def test_a_dataset_that_cannot_be_scored_on_is_refused(sets, change, sources, words):
    change(sets)
    with pytest.raises(StudyError, match=words):
        prepare(sets, *sources)
    assert not (sets / "study").exists()


def test_a_copy_of_the_trained_dataset_is_refused_though_its_name_differs(sets):
    shutil.copytree(sets / "home", sets / "copy")
    describe(sets / "copy", name="copy")
    with pytest.raises(StudyError, match="trained on"):
        prepare(sets, "copy")


def test_masks_without_a_label_that_the_networks_know_are_refused(sets):
    for path in (sets / "away" / "masks").iterdir():
        with Image.open(path) as mask:
            mask.point(lambda value: 0 if value == 128 else value).save(path)
    labels = load_dataset(sets / "away").spec.labels
    assert labels["cytoplasm"] == (128,)
    with pytest.raises(StudyError, match="no mask of away has a pixel of cytoplasm"):
        prepare(sets, "away")


def test_files_that_changed_after_they_were_scored_are_refused(sets):
    (other,) = prepare(sets, "away")
    place = sets / "study" / "runs" / "a" / "transfer" / "away"
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps({"status": "complete", "dataset": {"fingerprint": other.fingerprint}}))
    assert prepare(sets, "away") == (other,)
    image = load_dataset(sets / "away").cases[0].image_path
    Image.new("RGB", (32, 32), "white").save(image)
    with pytest.raises(StudyError, match="have changed since networks were scored on them"):
        prepare(sets, "away")
