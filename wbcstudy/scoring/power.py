"""Power: the smallest difference that a paired comparison of these cases could detect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.scoring.statistics import hodges_lehmann


def smallest_detectable_difference(differences: Sequence[float], alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the shift that Wilcoxon's two-sided signed-rank test on these cases would detect with the given power.

    The result depends on the spread of the differences, not on their size: half the width of the Hodges-Lehmann
    interval at 1 - alpha is z(alpha/2) standard errors, and the detectable shift is z(alpha/2) + z(power) of them.
    Assumes independent cases, and that a better method shifts all differences by the same amount.

    Args:
        differences: one per case (or group), in the unit of the ratio; NaN is left out.
        alpha: level of the test; divide it by the number of pairs for the first step of Holm's procedure.
        power: probability of detecting the shift, between alpha and 1.

    Returns:
        The difference, at least 0, in the unit of the ratio. Infinite if there are too few cases for a significant
        result at this level (fewer than 6 for 0.05).

    Raises:
        StudyError: alpha or power out of range.

    Source:
        Lehmann (1963), Annals of Mathematical Statistics 34, 1507-1512 (standard error from the interval's width);
        Lehmann (1998), Nonparametrics, appendix 5 (asymptotic power).
    """
    from scipy.stats import norm

    if not 0 < alpha < power < 1:
        raise StudyError(
            f"alpha = {alpha}, power = {power}.", expected="0 < alpha < power < 1", fix="Use alpha=0.05, power=0.8."
        )
    shift = hodges_lehmann(differences, 1 - alpha)
    if np.isnan(shift.low):
        return np.inf
    return float((shift.high - shift.low) / 2 * (1 + norm.ppf(power) / norm.isf(alpha / 2)))
