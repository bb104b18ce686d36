"""`benchmarks/annotation_order.py`: which images are trained on, and the comparison of the two choices."""

import argparse

import annotation_order
import pandas as pd
import pytest
import starter_curve
import write_results

from tests.helpers.made_scores import noisy_dice, scores_from_dice
from tests.helpers.untrained_run import write_network
from wbcstudy.config import RunConfig
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import read_json, write_json
from wbcstudy.inference.annotate_next import annotate_next
from wbcstudy.runs.folders import StudyFolder

IDS = [f"c{number:02}" for number in range(20)]


@pytest.fixture
def small(places, monkeypatch):
    """The options of trainings on two images, of tiny networks on drawn cells."""
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
    first, cells = (
        write_synthetic_dataset(places / name, cases=15, seed=seed, size_px=48, instances=False)
        for name, seed in (("first", 1), ("cells", 0))
    )
    settings = {"encoder": "unet", "image_size": 32, "batch_size": 4}
    network = write_network(places / "outputs" / "first", first, RunConfig(**settings, loss="dice", seed=7))
    monkeypatch.setattr(starter_curve, "SETTINGS", starter_curve.SETTINGS | settings)
    monkeypatch.setitem(starter_curve.STARTS, "starter", {"start_from": str(network)})
    monkeypatch.setattr(annotation_order, "IMAGES", 2)
    return argparse.Namespace(dataset=str(cells), seeds=[0, 1], steps=1)


def test_the_images_are_those_that_annotate_next_lists(small, tmp_path):
    annotation_order.train_all(small)
    folder = StudyFolder.of("annotation_order").path / "synthetic"
    facts = [read_json(path) for path in sorted(folder.glob("*seed*.json"))]
    assert [(row["start"], row["seed"]) for row in facts] == [
        *(("annotate-next", seed) for seed in small.seeds),
        *(("random", seed) for seed in small.seeds),
    ]
    train = set(read_json(folder / "split.json")["folds"][0]["train"])
    listed, again, random, other = (row["drawn"] for row in facts)
    assert listed == again and random != other and {*listed, *random, *other} <= train
    images = [tmp_path / "cells" / "images" / f"{case_id}.png" for case_id in sorted(train)]
    network = starter_curve.STARTS["starter"]["start_from"]
    suggestion = annotate_next(images, network, tmp_path / "drafts", wanted=2)
    assert [name.removesuffix(".png") for name in suggestion.images] == listed

    # A stopped command does not choose again, and other settings are refused.
    chosen = folder / "chosen.json"
    write_json(chosen, read_json(chosen) | {"chosen": random})
    (folder / "annotate-next-2-1__fold0__seed1.json").unlink()
    annotation_order.train_all(small)
    assert read_json(folder / "annotate-next-2-1__fold0__seed1.json")["drawn"] == random
    assert read_json(folder / "annotate-next-2-1__fold0__seed0.json")["drawn"] == listed


def test_random_images_differ_between_seeds_and_not_between_calls():
    draws = [annotation_order.draw_random(IDS, 10, seed) for seed in range(5)]
    assert len({frozenset(draw) for draw in draws}) == 5 and all(len(set(draw)) == 10 for draw in draws)
    assert annotation_order.draw_random(IDS[::-1], 10, 3) == draws[3]


def made_scores(offset):
    """Scores of three trainings for each choice on a made dataset: annotate-next differs by `offset`."""
    dice = noisy_dice(20, [0, 0, 0, offset, offset, offset])
    frames = []
    for column, (choice, seed) in enumerate((c, s) for c in ("random", "annotate-next") for s in range(3)):
        for region in ("nucleus", "cytoplasm", "cell"):
            values = dict(zip(IDS, dice[:, column], strict=True))
            frame = scores_from_dice({f"{choice}-10-120__fold0__seed{seed}": values}, region)
            frames.append(frame.assign(start=choice, seed=seed, group=float("nan"), dataset="segmentation_wbc_2"))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("offset", [-0.05, 0.05])
def test_a_positive_difference_is_in_favour_of_annotate_next(offset):
    table = annotation_order.compare_choices(made_scores(offset))
    assert list(table["region"]) == ["nucleus", "cytoplasm"]
    row = table.iloc[1]
    assert row["difference"] == pytest.approx(offset, abs=0.01) and row["low"] < row["difference"] < row["high"]
    assert (row["low"] > 0) if offset > 0 else (row["high"] < 0)


def test_the_page_states_the_finding(places, tmp_path, monkeypatch):
    monkeypatch.setattr(annotation_order, "TABLES", tmp_path / "reference" / "annotation_order")
    assert write_results.order_section(tmp_path / "reference") == ""
    folder = StudyFolder.of("annotation_order").path / "segmentation_wbc_2"
    folder.mkdir(parents=True)
    for run, scores in made_scores(-0.05).groupby("run"):
        choice, _, seed = run.partition("-10-120__fold0__seed")
        scores.drop(columns=["start", "seed", "dataset"]).to_csv(folder / f"{run}.csv", index=False)
        facts = {"start": choice, "images": 10, "steps": 120, "seed": int(seed), "dataset": "segmentation_wbc_2"}
        facts |= {"processor_seconds": 1.0, "processor": "Processor", "arithmetic": "float32", "commit": "abc"}
        write_json(folder / f"{run}.json", facts | {"drawn": IDS[:10], "settings": {"dataset": "cells"}})
    monkeypatch.setattr(annotation_order, "count_types", lambda folder: pd.DataFrame({"cell_types": [2]}))
    annotation_order.collect(None)
    section = write_results.order_section(tmp_path / "reference")
    assert "**worse for the nucleus and worse for the cytoplasm** (nucleus -0.0" in section
    assert "| Dataset 2 | random images (3 trainings) | 0.8" in section
    assert section.endswith("and `python benchmarks/annotation_order.py collect`.")


@pytest.mark.parametrize(
    ("ends", "finding"),
    [((0.01, 0.03), "better for the cytoplasm"), ((-0.03, 0.01), "the intervals include 0")],
)
def test_a_difference_counts_where_its_interval_excludes_0(ends, finding):
    regions = ["nucleus", "cytoplasm"]
    rows = {"region": regions, "difference": [0.0, 0.02], "low": [-0.1, ends[0]], "high": [0.1, ends[1]]}
    scores = pd.DataFrame({"choice": ["annotate-next"] * 2 + ["random"] * 2, "region": regions * 2})
    scores = scores.assign(low_seed=[0.8, 0.9, 0.7, 0.8], high_seed=[0.85, 0.95, 0.9, 0.85])
    sentence = write_results.order_sentence("segmentation_wbc_1", pd.DataFrame(rows), scores)
    assert f"Dataset 1, annotate-next minus random: **{finding}** (nucleus +0.000 [-0.100, +0.100]" in sentence
    assert sentence.endswith("Every training of annotate-next is above every random one for the cytoplasm.")
