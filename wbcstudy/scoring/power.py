"""How small a difference could these cases have shown?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.scoring.statistics import EXACT_CASES, MIN_CASES, hodges_lehmann

# Efficiency of the signed-rank test beside the t test for normal differences (Hodges, Lehmann 1956).
_EFFICIENCY = 3 / np.pi


def smallest_detectable_difference(
    differences: Sequence[float] | None = None,
    *,
    n: int | None = None,
    sd: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """The shift that Wilcoxon's two-sided signed-rank test on so many cases would find with the given probability.

    Either from the differences seen, whatever their distribution, or from a number of cases and a standard deviation
    (to plan a study), taking the differences as normal. The first uses the spread of the differences, not their
    size: half the width of Hodges and Lehmann's interval at 1 - alpha is z(alpha/2) standard errors, and the sought
    shift is z(alpha/2) + z(power) of them. The second is the t test's, on 3/pi as many cases. Assumes independent
    cases, and that a better method shifts all differences alike.

    Args:
        differences: one per case (or group), in the unit of the ratio; NaN is left out.
        n: cases, if no differences are given.
        sd: standard deviation of the differences of single cases, if none are given.
        alpha: level of the test; divide it by the number of pairs for the first step of Holm's procedure.
        power: probability of finding it, between alpha and 1.

    Returns:
        The difference, at least 0, in the unit of the ratio. Infinite where so few cases cannot be significant at this
        level at all (n < 6 for 0.05).

    Raises:
        StudyError: neither differences nor both n and sd, or alpha or power out of range.

    Source:
        Lehmann (1963), Annals of Mathematical Statistics 34, 1507-1512 (standard error from the interval's width);
        Lehmann (1998), Nonparametrics, appendix 5 (asymptotic power); t test: Cohen (1988), section 2.
    """
    from scipy.stats import norm

    if (differences is None) == (n is None or sd is None):
        raise StudyError(
            "smallest_detectable_difference got neither differences nor a number of cases with their sd, or both.",
            expected="differences, or n and sd",
            fix="Pass the differences of the cases, or n=100, sd=0.02 to plan a study.",
        )
    if not 0 < alpha < power < 1:
        raise StudyError(
            f"alpha = {alpha}, power = {power}.", expected="0 < alpha < power < 1", fix="Use alpha=0.05, power=0.8."
        )
    if differences is not None:
        values = np.asarray(differences, dtype=float)
        shift = hodges_lehmann(values[~np.isnan(values)], 1 - alpha)
        if np.isnan(shift.low):
            return np.inf
        return float((shift.high - shift.low) / 2 * (1 + norm.ppf(power) / norm.isf(alpha / 2)))
    if n < MIN_CASES or (n <= EXACT_CASES and 2.0 ** (1 - n) > alpha):
        return np.inf
    return float(_detectable_effect(n * _EFFICIENCY, alpha, power) * sd)


def _detectable_effect(n: float, alpha: float, power: float) -> float:
    """Shift in standard deviations at which the two-sided one-sample t test has the power."""
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    freedom = n - 1
    border = t.isf(alpha / 2, freedom)

    def lacking(effect: float) -> float:
        # The other tail's share is below alpha / 2 of a wrong sign: no discovery.
        return nct.sf(border, freedom, effect * np.sqrt(n)) - power

    return brentq(lacking, 0, 100 / np.sqrt(n) + 10)
