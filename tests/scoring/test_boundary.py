"""Distances between boundaries: values by hand, empty regions, and an independent implementation."""

import math
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion, distance_transform_edt

from wbcstudy.labels import REGIONS, region_mask
from wbcstudy.scoring.boundary import (
    BOUNDARY_METRICS,
    TOLERANCE_PX,
    distance_interval,
    score_boundaries,
    score_boundary,
)
from wbcstudy.scoring.intervals import mean_interval


def square(top, left, side, size=20) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def by_distance_transform(reference, prediction, tolerance_px) -> tuple[float, float, float]:
    """Compute NSD, HD95 and ASSD as MONAI 1.5 and Metrics Reloaded do: by erosion and distance transforms."""
    edges = [mask ^ binary_erosion(mask) for mask in (reference, prediction)]
    to_prediction = distance_transform_edt(~edges[1])[edges[0]]
    to_reference = distance_transform_edt(~edges[0])[edges[1]]
    within = (to_prediction <= tolerance_px).sum() + (to_reference <= tolerance_px).sum()
    total = len(to_prediction) + len(to_reference)
    hd95 = max(np.percentile(to_prediction, 95), np.percentile(to_reference, 95))
    return within / total, hd95, (to_prediction.sum() + to_reference.sum()) / total


def drawn_shapes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of overlapping discs, crosses, rings, thin lines, single pixels and noise; some touch the frame."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:90, :70]
    pairs = []
    for _ in range(4):
        masks = []
        for _ in range(2):
            centre, radius = generator.uniform(20, 50, 2), generator.uniform(4, 30)
            distance = np.hypot(rows - centre[0], columns - centre[1])
            cross = (abs(rows - centre[0]) < 3) | (abs(columns - centre[1]) < radius / 4)
            line, pixel = rows == columns, np.zeros_like(distance, bool)
            pixel[tuple(generator.integers(70, size=2))] = True
            shapes = [distance < radius, cross, (distance < radius) & (distance > radius / 2), line, pixel]
            masks.append([*shapes, generator.random(distance.shape) < 0.2])
        pairs += [(a, b) for a in masks[0] for b in masks[1]]
    return pairs


def test_equal_regions_have_distance_0():
    assert score_boundary(square(5, 5, 6), square(5, 5, 6)) == (1.0, 0.0, 0.0)


def test_a_line_that_is_moved_by_3_px_is_3_px_away():
    a, b = np.zeros((2, 20, 20), bool)
    a[5, 2:18] = b[8, 2:18] = True
    assert score_boundary(a, b, tolerance_px=2) == (0.0, 3.0, 3.0)
    assert score_boundary(a, b, tolerance_px=3) == (1.0, 3.0, 3.0)


def test_a_square_in_a_larger_one():
    # 3x3 px (8 on its boundary) in the middle of 5x5 px (16 on its boundary); only the four corners are farther than 1.
    score = score_boundary(square(6, 6, 3), square(5, 5, 5), tolerance_px=1)
    assert score.nsd == pytest.approx(20 / 24)
    assert score.hd95_px == pytest.approx(math.sqrt(2))
    assert score.assd_px == pytest.approx((20 + 4 * math.sqrt(2)) / 24)


def test_the_frame_of_the_image_is_a_boundary():
    assert score_boundary(np.ones((8, 8), bool), square(2, 2, 4, size=8), tolerance_px=1).nsd < 1
    assert score_boundary(np.ones((8, 8), bool), np.ones((8, 8), bool)) == (1.0, 0.0, 0.0)


def test_an_empty_region_has_no_distances():
    empty, full = np.zeros((9, 9), bool), square(2, 2, 4, size=9)
    for pair in ((empty, full), (full, empty)):
        score = score_boundary(*pair)
        assert score.nsd == 0 and math.isnan(score.hd95_px) and math.isnan(score.assd_px)
    assert all(map(math.isnan, score_boundary(empty, empty)))


def test_drawn_shapes_agree_with_distance_transforms():
    for a, b in drawn_shapes():
        expected = by_distance_transform(a, b, TOLERANCE_PX)
        assert score_boundary(a, b) == pytest.approx(expected, abs=1e-6)
        assert score_boundary(b, a) == pytest.approx(expected, abs=1e-6)


def test_fifty_real_masks_agree_with_distance_transforms(archive):
    # Grey levels 0, 128 and 255.
    labels = np.arange(256)
    labels = np.where(labels > 191, 2, np.where(labels > 63, 1, 0)).astype(np.uint8)
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if "/Dataset 2/" in name and name.endswith(".png"))[:50]
        assert len(names) == 50
        masks = [labels[np.asarray(Image.open(file.open(name)).convert("L"))] for name in names]
    for index, mask in enumerate(masks):
        moved = np.roll(mask, (index % 5 - 2, index % 7 - 3), axis=(0, 1))
        for region in REGIONS:
            a, b = region_mask(mask, region), region_mask(moved, region)
            assert score_boundary(a, b) == pytest.approx(by_distance_transform(a, b, TOLERANCE_PX), abs=1e-6)


def test_scores_have_a_row_per_case_and_region():
    reference = np.where(square(8, 8, 4), 2, np.where(square(6, 6, 9), 1, 0))
    frame = score_boundaries("a", ["c0", "c1"], [reference] * 2, [reference, np.zeros_like(reference)])
    assert frame["region"].tolist() == [*REGIONS] * 2 and (frame["tolerance_px"] == TOLERANCE_PX).all()
    assert frame[frame["case_id"] == "c0"][list(BOUNDARY_METRICS)].to_numpy().tolist() == [[1, 0, 0]] * 3
    missed = frame[frame["case_id"] == "c1"]
    assert (missed["nsd"] == 0).all() and missed[["hd95_px", "assd_px"]].isna().all(axis=None)
    empty = score_boundaries("a", [], [], [])
    assert empty.empty and empty.dtypes.equals(frame.dtypes)
    assert pd.api.types.is_string_dtype(frame["case_id"])


def test_the_interval_of_a_distance_is_that_of_a_score_turned_around():
    values = np.random.default_rng(0).gamma(2, 1.5, 30)
    interval, turned = distance_interval(values), mean_interval(1 - values / 50)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(50 * (1 - turned.high)) and interval.high == pytest.approx(
        50 * (1 - turned.low)
    )
    assert interval.high - interval.estimate > interval.estimate - interval.low
    assert distance_interval([0.0] * 12)[:3] == (0, 0, 0)
    assert math.isnan(distance_interval([])[0])
