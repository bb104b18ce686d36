"""`benchmarks/measure_starter.py`: which cases count, and that scores are those of `segment`."""

import argparse
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import measure_starter
from tests.helpers.colour_run import write_colour_run
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.inference.find_scale import FoundScale
from wbcstudy.inference.image import segment_image


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset(
        write_synthetic_dataset(tmp_path_factory.mktemp("cells") / "cells", cases=10, seed=3, size_px=64)
    )


def test_the_halves_share_no_case_and_have_every_cell_type(dataset):
    even, odd = (measure_starter.pick_cases(dataset, part, None) for part in ("even", "odd"))
    assert sorted(case.case_id for case in even + odd) == sorted(case.case_id for case in dataset.cases)
    for cell_type in {case.cell_type for case in dataset.cases}:
        counts = [sum(case.cell_type == cell_type for case in half) for half in (even, odd)]
        assert counts[0] - counts[1] in (0, 1)


def test_test_cases_of_a_split_are_left_out_or_counted_alone(dataset, tmp_path):
    ids = [case.case_id for case in dataset.cases]
    fold = {"train": ids[:6], "validation": ids[6:8], "test": ids[8:]}
    record = {"dataset": "cells", "settings": {}, "folds": [fold]}
    (tmp_path / "split.json").write_text(json.dumps(record))
    chosen = measure_starter.pick_cases(dataset, "all", tmp_path / "split.json")
    assert {case.case_id for case in chosen} == set(ids[:8])
    chosen = measure_starter.pick_cases(dataset, "test", tmp_path / "split.json")
    assert {case.case_id for case in chosen} == set(ids[8:])
    with pytest.raises(StudyError, match="--part test without --split"):
        measure_starter.pick_cases(dataset, "test", None)
    with pytest.raises(StudyError, match="--part odd with --split"):
        measure_starter.pick_cases(dataset, "odd", tmp_path / "split.json")


def test_scores_are_those_of_segment(dataset, tmp_path):
    run = write_colour_run(tmp_path / "outputs", size=64, cell_px=20.0)
    cases = dataset.cases[:2]
    frame, facts = measure_starter.score(str(run), dataset, cases, "none")
    for case in cases:
        image, mask = read_case(dataset, case)
        predicted = segment_image(image, run, stain="none", scale=facts["scale"]).mask
        row = frame[(frame["case_id"] == case.case_id) & (frame["region"] == "nucleus")].iloc[0]
        assert row["tp"] == np.count_nonzero((predicted == 2) & (mask == 2))
    assert facts["colours_changed"] == 0


def test_a_row_of_the_same_network_and_dataset_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(measure_starter, "TABLES", tmp_path)
    for dice in (0.5, 0.6):
        measure_starter.write_rows(
            "scores", [{"network": "a", "dice": dice}, {"network": "b", "dice": 0.1}], ["network"]
        )
    assert pd.read_csv(tmp_path / "scores.csv")["dice"].tolist() == [0.6, 0.1]


def test_images_of_another_domain_are_drawn_alike_each_time():
    first, second = measure_starter.odd_images(2, 64), measure_starter.odd_images(2, 64)
    assert first.keys() == {"text", "tissue", "empty", "inverted"}
    for kind, images in first.items():
        assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in images)
        np.testing.assert_array_equal(images, second[kind])


def test_found_scales_are_compared_with_the_best_given_one(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(measure_starter, "TABLES", tmp_path)
    monkeypatch.setattr(measure_starter, "GIVEN_SCALES", (0.5, 1.0, 2.0))
    dice = {0.5: 0.7, 1.0: 0.9, 2.0: 0.895, 1.1: 0.86, 1.3: 0.88}

    def mean_dice(network, read, scales, way="auto"):
        # Given scales have to count for images of the training images' size, too.
        assert (way == "tiles") == (scales == [scales[0]] * 3 and scales[0] in measure_starter.GIVEN_SCALES)
        return np.mean([dice[scale] for scale in scales])

    monkeypatch.setattr(measure_starter, "_mean_cell_dice", mean_dice)
    found = iter([FoundScale(1.1, 22, 1), FoundScale(2.0, 40, 1), None, FoundScale(1.3, 26, 3)])
    monkeypatch.setattr(measure_starter, "find_scale", lambda images, network: next(found))
    monkeypatch.setattr(measure_starter, "load_dataset", lambda source: dataset)
    run = write_colour_run(tmp_path / "outputs", size=64, cell_px=20.0)
    options = {"source": str(run), "datasets": ["cells"], "images": 3, "part": "all", "split": None, "name": "a"}
    measure_starter.measure_real_scales(argparse.Namespace(**options))
    (row,) = pd.read_csv(tmp_path / "real_scales.csv").to_dict("records")
    assert (row["best"], row["nearly_from"], row["nearly_to"], row["together"]) == (1.0, 1.0, 2.0, 1.3)
    assert (row["images"], row["close"], row["nearly"], row["not_found"]) == (3, 0.333, 0.667, 1)
    # The third image has no scale: 1.
    assert (row["dice_mean"], row["dice_together"], row["dice_single"]) == (0.9, 0.88, 0.885)
