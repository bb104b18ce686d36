"""Trainings that start from all weights of another network: which one, what is recorded, and what is refused."""

import numpy as np
import pytest
import yaml

from tests.helpers.arrays_in_memory import make_arrays
from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.records import split_hash
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json
from wbcstudy.inference.starter_file import pack_starter
from wbcstudy.nets.training import train
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record
from wbcstudy.study.network_start import (
    check_encoder_weights,
    check_network_starts,
    record_network_starts,
    start_from_network,
)
from wbcstudy.study.plan import plan_repetition, prepare, read_plan
from wbcstudy.study.record import describe_dataset
from wbcstudy.study.run import repeat_run

COUNTS = {"tp": 9, "fp": 1, "fn": 1, "tn": 9, "dice": 0.9}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A plain U-Net of a few weights."""
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))


@pytest.fixture
def network(narrow):
    return build_unet(RunConfig(encoder="unet", image_size=32, seed=7))


@pytest.fixture
def cells(places):
    return write_synthetic_dataset(places / "cells", cases=12, seed=0, size_px=48, instances=False)


@pytest.fixture
def first(places, cells, network):
    """A function that writes a finished study with one run and returns the run's folder."""

    def write(name="first", dataset=cells, dataset_name="", **settings):
        study = StudyFolder(places / "outputs" / name)
        config = StudyConfig(
            name=name, dataset=str(dataset), encoders=("unet",), losses=("dice",), image_size=32, **settings
        )
        data = load_dataset(dataset)
        splits = load_or_make_splits(study.split, data, config)
        (run,) = config.runs()
        folder = study.run(run.name)
        folder.path.mkdir(parents=True)
        write_yaml(config, study.settings)
        write_yaml(run, folder.params)
        network.save(folder.model)
        write_record(
            folder,
            {
                "status": "complete",
                "study": name,
                "config": run.model_dump(mode="json"),
                "dataset": describe_dataset(data) | ({"name": dataset_name} if dataset_name else {}),
                "split": {"train": len(splits[0].train), "validation": len(splits[0].validation), "test": 1},
                "split_hash": split_hash(splits),
                "trained_on": {"height_px": [48] * 3, "width_px": [48] * 3, "cell_px": 30.0, "pixel_size_um": 0.2},
                "validation": dict.fromkeys(("nucleus", "cytoplasm", "cell"), COUNTS),
            },
        )
        return folder

    return write


@pytest.fixture
def other_cells(places):
    return write_synthetic_dataset(places / "others", cases=12, seed=9, size_px=48, instances=False)


@pytest.fixture
def own(places, other_cells):
    """A function that returns settings, folder, dataset and splits of a study of other images."""

    def make(start_from, dataset=other_cells, **settings):
        settings = {"encoder": "unet", "loss": "dice", "image_size": 32, "epochs": 1} | settings
        config = RunConfig(study="own", dataset=str(dataset), start_from=str(start_from), **settings)
        study, data = StudyFolder(places / "outputs" / "own"), load_dataset(dataset)
        return config, study, data, load_or_make_splits(study.split, data, config)

    return make


def values(model):
    return [weight.value.numpy() for weight in model.weights if "stain" not in weight.path]


def test_the_whole_network_starts_from_a_run_and_the_record_says_so(first, own, network):
    run = first()
    facts = own("first", image_size=64, stain_normalisation="reinhard")
    model = start_from_network(build_unet(facts[0]), *facts)
    for mine, theirs in zip(values(model), values(network), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    start = model.network_start
    assert start["network"] == f"first/{run.name}" and len(start["sha256"]) == 64 and start["layers"] == 14
    # Pixels of its input: images of 48 px at 0.2 µm, resized to 32.
    assert start["pixel_size_um"] == 0.3 and start["cell_px"] == 20 and start["image_size"] == 32
    assert start["trained_on"][0]["dataset"]["name"] and start["trained_on"][0]["split"]["train"] == 8
    assert start["validation_seen"] == [] and start["unknown"] == []


def test_a_training_continues_from_the_weights_and_equal_seeds_are_equal(first, own, tmp_path):
    first()
    config, *facts = own("first", weight_average=0.9)
    rng = np.random.default_rng(0)
    training, validation = (
        make_arrays(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), rng.integers(0, 3, (4, 32, 32), np.uint8))
        for _ in range(2)
    )
    histories = []
    for name in "ab":
        model = start_from_network(build_unet(config), config, *facts)
        folder = StudyFolder(tmp_path / name).run("r")
        histories.append(train(model, training, validation, config, folder).history.drop(columns="seconds"))
    assert histories[0].equals(histories[1])
    with pytest.raises(StudyError, match="has random weights"):
        train(build_unet(config), training, validation, config, StudyFolder(tmp_path / "c").run("r"))


def test_the_starter_is_a_start_and_stays_the_same_within_a_study(first, own, monkeypatch, places, network):
    path = places / "cache" / "starter.zip"
    monkeypatch.setenv("WBCSTUDY_STARTER", str(path))
    facts = own("starter")
    with pytest.raises(StudyError, match="no starter network"):
        check_network_starts([facts[0]], facts[1])
    # As `wbcstudy starter build` calls its dataset.
    run = first(dataset_name="starter").path
    pack_starter(run, path, 1.0, "# Card")
    model = start_from_network(build_unet(facts[0]), *facts)
    for mine, theirs in zip(values(model), values(network), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-6)
    assert model.network_start["trained_on"][0]["drawn"] and model.network_start["unknown"] == []
    # A newer starter: the study keeps the old one as long as it is there, and refuses the new one.
    pack_starter(run, path, 2.0, "# Card")
    assert record_network_starts([facts[0]], *facts[1:])["starter"]["sha256"] == model.network_start["sha256"]
    assert start_from_network(build_unet(facts[0]), *facts).network_start == model.network_start
    for old in path.parent.glob("starter-*/runs/*/model.keras"):
        old.unlink()
    with pytest.raises(StudyError, match="now another network"):
        start_from_network(build_unet(facts[0]), *facts)


def test_an_interrupted_training_from_the_starter_ends_like_an_uninterrupted_one(first, own, monkeypatch, places):
    path = places / "cache" / "starter.zip"
    monkeypatch.setenv("WBCSTUDY_STARTER", str(path))
    pack_starter(first(dataset_name="starter").path, path, 1.0, "# Card")
    config, *facts = own("starter", epochs=3, weight_average=0.9, batch_size=2, augmented_copies=1)
    rng = np.random.default_rng(0)
    training, validation = (
        make_arrays(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), rng.integers(0, 3, (4, 32, 32), np.uint8))
        for _ in range(2)
    )

    def fit(name, report=print):
        model = start_from_network(build_unet(config), config, *facts)
        folder = StudyFolder(places / name).run("r")
        history = train(model, training, validation, config, folder, report).history
        return history.drop(columns="seconds"), model.get_weights()

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("interrupted", stop)
    lines = []
    (history, weights), (whole, expected) = fit("interrupted", lines.append), fit("whole")
    assert lines[0].startswith("resuming after epoch 1") and history.equals(whole)
    for mine, theirs in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_repetition_starts_from_the_network_of_the_run(first, own, monkeypatch, places):
    path = places / "cache" / "starter.zip"
    monkeypatch.setenv("WBCSTUDY_STARTER", str(path))
    run = first(dataset_name="starter").path
    pack_starter(run, path, 1.0, "# Card")
    config, study, data, splits = own("starter")
    done = study.run(config.name)
    done.path.mkdir(parents=True)
    write_yaml(config, done.params)
    started = start_from_network(build_unet(config), config, study, data, splits).network_start
    write_record(done, {"status": "complete", "study": "own", "network_start": started})
    # A newer starter.
    pack_starter(run, path, 2.0, "# Card")
    plans = []
    monkeypatch.setattr("wbcstudy.study.run.check_package", lambda: None)
    monkeypatch.setattr("wbcstudy.study.run._run_plan", lambda plan, *_: plans.append(plan) or 0)
    assert repeat_run("own/" + config.name, "again") == 0
    prepare(plans[0])
    repeated = read_json(StudyFolder.of("again").network_starts)["sources"]["starter"]
    assert repeated["sha256"] == started["sha256"] and repeated["validation_seen"] == []
    # The network is gone: nothing else is taken instead.
    for old in path.parent.glob("starter-*/runs/*/model.keras"):
        old.unlink()
    assert repeat_run("own/" + config.name, "once_more") == 0
    with pytest.raises(StudyError, match="now another network than the recorded one"):
        prepare(plans[1])


def test_a_network_that_saw_the_test_images_is_refused(first, own, cells, places):
    first("same")
    first("other", split_seed=1)
    config, *facts = own("same", dataset=cells)
    start = record_network_starts([config], *facts)["same"]
    # The same split: it was trained on other images than those that are tested and validated here.
    assert start["validation_seen"] == [] and start["unknown"] == []
    config = own("other", dataset=cells)[0]
    with pytest.raises(StudyError, match=r"was trained on images of .* test case"):
        record_network_starts([config], *facts)
    assert "other" not in read_json(facts[0].network_starts)["sources"]


def test_encoder_weights_of_a_run_that_saw_the_test_images_are_refused(first, own, cells):
    same, other = first("same"), first("other", split_seed=1)
    config, *facts = own("none", dataset=cells, encoder="mobilenet", encoder_weights=str(same.model))
    check_encoder_weights([config], *facts)
    config = own("none", dataset=cells, encoder="mobilenet", encoder_weights=str(other.model))[0]
    with pytest.raises(StudyError, match=r"encoder_weights: other/.* was trained on images of .* test case"):
        check_encoder_weights([config], *facts)
    with pytest.raises(StudyError, match="encoder_weights: other/"):
        start_from_network(None, config, *facts)
    # A file of weights with another name says nothing about images.
    moved = other.model.rename(other.model.with_name("weights.keras"))
    check_encoder_weights([own("none", dataset=cells, encoder="mobilenet", encoder_weights=str(moved))[0]], *facts)


def test_copies_of_the_images_under_other_names_are_found(first, own, cells, places):
    copied = places / "copied"
    for part in ("images", "masks"):
        (copied / part).mkdir(parents=True)
        for file in sorted((cells / part).iterdir()):
            (copied / part / f"x{file.name}").write_bytes(file.read_bytes())
    spec = yaml.safe_load((cells / "dataset.yaml").read_text())
    for line in ("cases", "groups", "instances"):
        spec.pop(line, None)
    (copied / "dataset.yaml").write_text(yaml.safe_dump(spec | {"name": "copied"}))
    first()
    config, *facts = own("first", dataset=copied)
    with pytest.raises(StudyError, match="was trained on images of"):
        record_network_starts([config], *facts)


# A user's study named starter is no starter: its images may be those of this study.
@pytest.mark.parametrize("name", ["first", "starter"])
def test_images_that_are_gone_are_a_caution(first, own, name):
    run = first(name, dataset_name="starter")
    run.study.split.unlink()
    config, *facts = own(name)
    assert record_network_starts([config], *facts)[name]["unknown"] == [f"{name}/{run.name}"]


def test_a_study_of_another_encoder_stops_before_the_first_training(first, places, other_cells):
    first()
    settings = {"dataset": str(other_cells), "losses": ["dice"], "image_size": 32, "near_duplicates": False}
    file = places / "own.yaml"

    def plan(**changed):
        file.write_text(yaml.safe_dump(settings | changed))
        return read_plan(file)

    with pytest.raises(StudyError, match=r"encoder unet .* trains mobilenet") as caught:
        prepare(plan(encoders=["unet", "mobilenet"], start_from="first"))
    assert "encoders: [unet]" in caught.value.fix
    with pytest.raises(StudyError, match="no run or study 'nothing'"):
        prepare(plan(encoders=["unet"], start_from="nothing"))
    starts = {"random": {}, "ours": {"start_from": "outputs/first"}}
    ready = plan(encoders=["unet"], starts=starts)
    prepare(ready)
    assert [run.name.split("__")[2] for run in ready.runs] == ["random", "ours"]
    recorded = read_json(ready.folder.network_starts)["sources"]
    assert [*recorded] == [ready.runs[1].start_from] and recorded[ready.runs[1].start_from]["encoder"] == "unet"
    repeated = plan_repetition(ready.folder.run(ready.runs[1].name).path, "again")
    assert repeated.runs[0].start_from == ready.runs[1].start_from and repeated.runs[0].start == "ours"
    with pytest.raises(StudyError, match="network of this study itself"):
        check_network_starts([ready.runs[1]], StudyFolder(places / "outputs" / "first"))
