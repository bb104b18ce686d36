"""The smallest detectable difference, and the number of images that a difference needs."""

import numpy as np
import pytest
from scipy.stats import t

from tests.scoring.test_statistics import draw_study
from wbcstudy.scoring.power import Spread, detectable_difference, estimate_spread, needed_images
from wbcstudy.scoring.statistics import paired_differences

SPREAD = Spread(cases=0.015, seeds=0.004, residual=0.006)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_difference_is_detected_in_four_of_five_studies(seeds):
    # One seed: trainings have no effect of their own, and their noise is a part of the cases.
    spread = SPREAD if seeds > 1 else Spread(0.015, np.nan, 0)
    difference, found, studies = detectable_difference(spread, 30, seeds), 0, 150
    generator = np.random.default_rng(seeds)
    for _ in range(studies):
        frame = draw_study(
            generator, (0, difference), 30, seeds, SPREAD.seeds * (seeds > 1), 0.015 / np.sqrt(2), spread.residual
        )
        found += paired_differences(frame, "nucleus")["p"].item() < 0.05
    assert found / studies >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / studies)


def test_the_spread_of_a_study_is_estimated():
    generator = np.random.default_rng(0)
    frames = [draw_study(generator, (0, 0, 0, 0), 60, 6, 0.004, 0.015 / np.sqrt(2), 0.006) for _ in range(5)]
    spreads = np.array([estimate_spread(frame, "nucleus") for frame in frames])
    np.testing.assert_allclose(spreads.mean(axis=0)[:3], SPREAD[:3], rtol=0.15)
    assert (spreads[:, 3] == 60).all()
    pairs = paired_differences(frames[0], "nucleus")
    stated = detectable_difference(estimate_spread(frames[0], "nucleus"), 60, 6, methods=4, comparisons=6)
    assert pairs["detectable"].mean() == pytest.approx(stated, rel=0.1)


def test_one_seed_has_no_spread_of_seeds():
    frame = draw_study(np.random.default_rng(0), seeds=1)
    spread = estimate_spread(frame, "nucleus")
    assert np.isnan(spread.seeds) and spread.residual == 0
    (row,) = paired_differences(frame, "nucleus").itertuples()
    assert detectable_difference(spread, 20, 1) == pytest.approx(row.detectable)
    assert np.isnan(estimate_spread(frame, "cytoplasm").cases)


def test_more_images_more_seeds_and_fewer_comparisons_detect_less():
    few = detectable_difference(SPREAD, 20, 4)
    assert detectable_difference(SPREAD, 80, 4) < few and detectable_difference(SPREAD, 20, 8) < few
    assert detectable_difference(SPREAD, 20, 4, comparisons=6) > few
    assert detectable_difference(SPREAD, 20, 4, methods=8) < few
    assert detectable_difference(SPREAD, 20, 4, power=0.9) > few


def test_the_needed_number_of_images_is_the_smallest_that_is_enough():
    number = needed_images(SPREAD, 0.01, seeds=5)
    assert detectable_difference(SPREAD, number, 5) <= 0.01 < detectable_difference(SPREAD, number - 1, 5)
    assert needed_images(SPREAD, 0.5, seeds=5) >= 2
    # Two seeds vary more than the wished difference, however many images there are.
    assert needed_images(SPREAD, 0.005, seeds=2) is None and needed_images(SPREAD, 0.005, seeds=15) > 100


def test_a_spread_from_few_images_is_used_with_caution():
    known = detectable_difference(SPREAD, 40, 4)
    many, few = (detectable_difference(SPREAD._replace(units=units), 40, 4) for units in (400, 10))
    assert known < many < 1.1 * known and few > 1.3 * known
    (row,) = paired_differences(draw_study(np.random.default_rng(0), seeds=1), "nucleus").itertuples()
    # 10.117 is the 5 % quantile of chi-square with 19 degrees of freedom.
    limit = row.se * np.sqrt(19 / 10.117)
    assert row.detectable == pytest.approx(limit * (t.isf(0.025, 19) + t.ppf(0.8, 19)), rel=1e-4)
