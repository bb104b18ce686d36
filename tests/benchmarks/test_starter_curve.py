"""`benchmarks/starter_curve.py`: the images of a training, which trainings are kept, and the answer of the curve."""

import argparse
import json
import re
import runpy
import zipfile

import numpy as np
import pandas as pd
import pytest

from benchmarks import starter_curve
from tests.helpers.checkout import ROOT
from tests.helpers.made_scores import scores_from_dice
from tests.helpers.untrained_run import write_network
from wbcstudy.config import RunConfig
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json, write_json
from wbcstudy.inference.starter_file import SHIPPED
from wbcstudy.runs.folders import StudyFolder


@pytest.fixture(scope="module")
def write_results():
    """The functions of scripts/write_results.py."""
    return runpy.run_path(str(ROOT / "scripts" / "write_results.py"))


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Write tables and figure into folders of the test's own."""
    monkeypatch.setattr(starter_curve, "TABLES", tmp_path / "reference")
    monkeypatch.setattr(starter_curve, "IMAGES", tmp_path / "images")
    (tmp_path / "images").mkdir()
    return starter_curve.TABLES / "starter_curve"


@pytest.fixture
def small(places, monkeypatch):
    """The options of a curve of tiny networks on drawn cells, which start from another one."""
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
    first, cells = (
        write_synthetic_dataset(places / name, cases=15, seed=seed, size_px=48, instances=False)
        for name, seed in (("first", 1), ("cells", 0))
    )
    settings = {"encoder": "unet", "image_size": 32, "batch_size": 4}
    network = write_network(places / "outputs" / "first", first, RunConfig(**settings, loss="dice", seed=7))
    monkeypatch.setattr(starter_curve, "SETTINGS", starter_curve.SETTINGS | settings)
    monkeypatch.setitem(starter_curve.STARTS, "starter", {"start_from": str(network)})
    return argparse.Namespace(dataset=str(cells), starts=["starter"], images=[2, 4], seeds=[0], steps=2, encoder="unet")


def write_points(folder, dataset, start, images, steps, dice, seeds=(0, 1, 2)):
    """Write finished trainings: Dice of the cytoplasm about `dice`, of the nucleus 0.9."""
    rng = np.random.default_rng(images)
    for seed in seeds:
        point = starter_curve.Point(start, images, steps, seed)
        frames = []
        for region, mean in (("nucleus", 0.9), ("cytoplasm", dice), ("cell", 0.95)):
            values = {f"c{case:02}": mean + 0.001 * rng.standard_normal() for case in range(20)}
            frames.append(scores_from_dice({point.name: values}, region))
        (folder / dataset).mkdir(parents=True, exist_ok=True)
        scores = pd.concat(frames).assign(group=np.nan)
        scores.to_csv(folder / dataset / f"{point.name}.csv", index=False)
        facts = point._asdict() | {"dataset": dataset, "processor_seconds": 80.0, "processor": "Processor"}
        write_json(folder / dataset / f"{point.name}.json", facts | {"arithmetic": "float32", "commit": "abc"})


def test_every_number_of_images_has_the_same_steps_and_one_epoch():
    points = list(starter_curve.list_points(["random", "starter"], starter_curve.NUMBERS, (0, 1), starter_curve.STEPS))
    assert points[0] == ("starter", 0, 0, 0) and len(points) == 1 + 2 * 2 * 5
    # All of one seed come before the next one.
    assert [point.seed for point in points] == sorted(point.seed for point in points)
    for point in points[1:]:
        config = starter_curve.make_settings(point, "synthetic")
        steps = point.images * config.augmented_copies / config.batch_size
        assert steps == starter_curve.STEPS and config.epochs == 1 and config.seed == point.seed
    with pytest.raises(StudyError, match="do not fill in whole passes"):
        starter_curve.make_settings(starter_curve.Point("random", 7, 120, 0), "synthetic")


def test_the_learning_rate_from_the_starter_is_that_of_the_guide():
    guide = (ROOT / "docs" / "guides" / "without_annotations.md").read_text(encoding="utf-8")
    config = starter_curve.make_settings(starter_curve.Point("starter", 5, 120, 0), "synthetic")
    assert config.start_from == "starter"
    assert config.learning_rate == float(re.search(r"^learning_rate: (\S+)", guide, re.MULTILINE)[1])


def test_the_networks_are_built_as_the_starter():
    with zipfile.ZipFile(SHIPPED) as archive:
        starter = json.loads(archive.read("starter.json"))["record"]["config"]
    shared = ("encoder", "loss", "image_size", "batch_size", "weight_average", "batch_norm_momentum")
    assert {name: starter[name] for name in shared} == {name: starter_curve.SETTINGS[name] for name in shared}


def test_a_stopped_curve_goes_on_and_ends_alike(small, monkeypatch, capsys):
    folder = StudyFolder.of("starter_curve").path / "synthetic"
    starter_curve.train_all(small)
    facts = {path.stem: read_json(path) for path in folder.glob("*seed*.json")}
    names = ["starter-0-0", "starter-2-2", "starter-4-2"]
    assert sorted(facts) == [f"{name}__fold0__seed0" for name in names]
    few, more = (facts[f"starter-{images}-2__fold0__seed0"]["drawn"] for images in (2, 4))
    assert len(few) == 2 and len(more) == 4 and set(few) < set(more)
    split = read_json(folder / "split.json")["folds"][0]
    assert set(more) <= set(split["train"])
    before = {path.name: path.read_bytes() for path in folder.glob("*seed*.csv")}
    for content in before.values():
        assert all(f",{case_id},".encode() in content for case_id in split["test"])
    assert before["starter-0-0__fold0__seed0.csv"] != before["starter-2-2__fold0__seed0.csv"]

    lost = folder / "starter-2-2__fold0__seed0.json"
    lost.unlink()
    capsys.readouterr()
    starter_curve.train_all(small)
    trained = [line for line in capsys.readouterr().out.splitlines() if " of 3: " in line]
    assert len(trained) == 1 and "starter-2-2__fold0__seed0" in trained[0]
    assert {path.name: path.read_bytes() for path in folder.glob("*seed*.csv")} == before

    # Of five test images there are scores, but no intervals.
    _, scores = measured = starter_curve.read_points(folder.parent)
    curve = starter_curve.summarise_curve(starter_curve.summarise_points(*measured), scores)
    assert len(curve) == 3 * 3 and curve["low"].isna().all() and curve["dice_mean"].notna().all()
    monkeypatch.setitem(starter_curve.SETTINGS, "dropout", 0.5)
    with pytest.raises(StudyError, match="other settings"):
        starter_curve.train_all(small)


def test_more_images_than_there_are_is_an_error(small):
    small.images, small.steps, small.starts = [16], 4, ["random"]
    with pytest.raises(StudyError, match="training images, not 16"):
        starter_curve.train_all(small)


def test_the_answer_is_computed_from_the_trainings(places, tables, write_results):
    folder = StudyFolder.of("starter_curve").path
    with pytest.raises(StudyError, match="no finished training"):
        starter_curve.collect(argparse.Namespace(encoder="resnet18"))
    assert write_results["curve_section"](tables.parent) == ""
    name = "segmentation_wbc_2"
    for images, random, starter in ((10, 0.5, 0.7), (20, 0.6, 0.84), (64, 0.8, 0.88)):
        write_points(folder, name, "random", images, 120, random)
        write_points(folder, name, "starter", images, 120, starter)
    write_points(folder, name, "starter", 0, 0, 0.6, seeds=(0,))
    # A longer training is another goal.
    write_points(folder, name, "random", 64, 480, 0.9)
    write_points(folder, name, "starter", 10, 480, 0.91)
    starter_curve.collect(argparse.Namespace(encoder="resnet18"))
    points, curve, differences = (pd.read_csv(tables / f"{table}.csv") for table in ("points", "curve", "differences"))
    assert len(points) == 3 * (8 * 3 + 1) and {"processor", "commit"} <= set(points)
    goal = curve.query("start == 'random' and images == 64 and steps == 120 and region == 'cytoplasm'").iloc[0]
    assert goal["low"] < goal["dice_mean"] < goal["high"] and goal["dice_mean"] == pytest.approx(0.8, abs=0.002)
    assert goal["dice"] == pytest.approx(goal["dice_mean"], abs=1e-4) and goal["seeds"] == 3
    row = differences.query("region == 'cytoplasm' and images == 20 and goal_steps == 120").iloc[0]
    assert row["difference"] == pytest.approx(0.04, abs=0.002) and 0 < row["low"] < row["difference"] < row["high"]
    assert sorted(differences["images"].unique()) == [0, 10, 20, 64]
    longer = differences.query("steps == 480")
    assert set(longer["images"]) == {10} and set(longer["goal_steps"]) == {480}
    assert longer.query("region == 'cytoplasm'")["difference"].item() == pytest.approx(0.01, abs=0.002)
    assert "<svg" in (starter_curve.IMAGES / "starter_curve.svg").read_text(encoding="utf-8")

    section = write_results["curve_section"](tables.parent)
    cytoplasm = next(line for line in section.splitlines() if line.startswith("- Dataset 2, cytoplasm: with 64"))
    assert "and 120 steps" in cytoplasm and "reaches this with **20 annotated images**" in cytoplasm
    assert "from random weights: missed**, difference -0.1" in cytoplasm
    assert "with 64 annotated images and 480 steps" in section and "from the starter, the mean is lower" in section
    assert "After 480 steps from the starter too, 10 annotated images: difference +0.01" in section
    assert "](images/starter_curve.svg)" in section and "[Markdown" not in section
    assert (
        "`python benchmarks/starter_curve.py train segmentation_wbc_2 --starts random --images 64 --steps 480`"
        in section
    )
    assert "| Dataset 2 | the starter | cytoplasm | 0.6" in section
    assert "`python benchmarks/starter_curve.py train segmentation_wbc_2 --starts random starter`" in section

    for low, result in ((0.01, "met"), (-0.01, "met by the mean only")):
        sentences = write_results["curve_sentences"](curve, differences.assign(difference=0.02, low=low, high=0.05))
        assert any(f"from random weights: {result}**, difference +0.020 [{low:+.3f}, +0.050]" in s for s in sentences)


def test_the_page_and_the_figure_name_the_starts_alike(write_results):
    assert write_results["CURVE_STARTS"] == starter_curve.TITLES and set(starter_curve.TITLES) == set(
        starter_curve.STARTS
    )
