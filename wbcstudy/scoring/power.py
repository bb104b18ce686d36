"""Power: which difference a study can detect, and how many images a wished difference needs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.statistics import (
    combine_variances,
    detectable_factor,
    method_scores,
    paired_differences,
    pool_seeds,
    variance_limit,
)

_MOST_IMAGES = 1_000_000


class Spread(NamedTuple):
    """Sources of the variance of a difference between two methods, as standard deviations in the unit of the ratio.

    Args:
        cases: over images (or groups of images), of the difference between two methods.
        seeds: over seeds, of the mean of one method over endless images; NaN where every method has one seed.
        residual: over seeds, of the score of one image (or group), beyond `seeds`; 0 with one seed, where it is a part
            of `cases`.
        units: number of images (or groups) from which the spread was estimated; infinite if it is known.
    """

    cases: float
    seeds: float
    residual: float
    units: float = math.inf


def estimate_spread(frame: pd.DataFrame, region: str, column: str = "dice", groups: Groups | None = None) -> Spread:
    """Estimate the sources of variance from the scores of a study, averaged over all pairs of methods.

    Args:
        frame: rows as `score_masks` returns them, of several runs on one dataset.
        region: a key of `REGIONS`.
        column: a ratio.
        groups: case id -> group, if cases are not independent.

    Returns:
        The spread; NaN for `cases` with fewer than two methods or six units. Two or three seeds of two methods give a
        rough estimate of `seeds` only.
    """
    methods = method_scores(frame, region, column, groups)
    pairs = paired_differences(frame, region, column, groups).dropna(subset="se_cases")
    if pairs.empty:
        return Spread(np.nan, np.nan, 0.0)
    cases, units = float((pairs["n"] * pairs["se_cases"] ** 2).mean()), int(pairs["n"].min())
    several = [part for part in methods.values() if part.seeds > 1]
    if not several:
        return Spread(np.sqrt(cases), np.nan, 0.0, units)
    residual = float(np.mean([part.seed_variance[1] for part in several]))
    share = 2 * np.mean([1 / part.seeds for part in several])
    cases -= pairs["n"].mean() * residual * share
    seeds = pool_seeds(several)[0] - residual
    return Spread(*(float(np.sqrt(max(0.0, value))) for value in (cases, seeds, residual * pairs["n"].mean())), units)


def detectable_difference(
    spread: Spread, images: int, seeds: int, methods: int = 2, comparisons: int = 1, power: float = 0.8
) -> float:
    """Return the smallest difference that a study would detect with the given power.

    The variance over images is the upper 95 % confidence limit of the estimated one, see `statistics.variance_limit`.

    Args:
        spread: sources of the variance.
        images: number of test images (or groups of them), at least 2.
        seeds: number of seeds of each method. With one seed, or an unknown spread of seeds, the result is about the
            difference of these trained networks.
        methods: number of methods, whose seeds are pooled.
        comparisons: number of comparisons of the family: pairs times regions.
        power: probability that the difference is significant.

    Returns:
        The difference, in the unit of the ratio.
    """
    residual = 2 * spread.residual**2 / images / seeds
    cases = spread.cases**2 / images + residual
    if math.isfinite(spread.units):
        cases = variance_limit(cases, spread.units - 1)
    df, between = methods * (seeds - 1), 0.0
    if df and not np.isnan(spread.seeds):
        between = 2 * spread.seeds**2 / seeds + residual
    total, df = combine_variances(cases, images, between, df if between else 0, residual)
    return float(np.sqrt(total) * detectable_factor(df, comparisons, power))


def needed_images(
    spread: Spread, difference: float, seeds: int, methods: int = 2, comparisons: int = 1, power: float = 0.8
) -> int | None:
    """Return the smallest number of test images that detects a difference.

    Args:
        spread: sources of the variance.
        difference: the wished difference, in the unit of the ratio.
        seeds: number of seeds of each method.
        methods: number of methods.
        comparisons: number of comparisons of the family.
        power: probability that the difference is significant.

    Returns:
        The number; None if no number is enough, because the seeds alone vary too much: more seeds are needed.
    """
    # Not always less with more images: with few seeds, the degrees of freedom decrease as the seeds' share increases.
    low = 2
    for high in np.unique(np.geomspace(3, _MOST_IMAGES, 100).astype(int)).tolist():
        if detectable_difference(spread, high, seeds, methods, comparisons, power) <= difference:
            break
        low = high
    else:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = detectable_difference(spread, middle, seeds, methods, comparisons, power) <= difference
        low, high = (low, middle) if enough else (middle, high)
    return high
