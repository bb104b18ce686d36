"""Intervals of means and ratios: laws, other programs' results, and coverage for skewed values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_ind
from statsmodels.api import OLS

from wbcstudy.errors import StudyError
from wbcstudy.scoring.intervals import MIN_UNITS, Interval, mean_interval, ratio_interval, subtract_intervals

dices = st.lists(st.floats(0, 1, width=32), min_size=MIN_UNITS, max_size=30)


def skewed(n, seed=0):
    return np.random.default_rng(seed).beta(8, 1, size=n)


def test_the_upper_end_is_that_of_the_t_interval_and_the_lower_one_has_an_imagined_case():
    values = 0.5 + skewed(40) / 4
    interval = mean_interval(values)
    more = [*values, 2 * values.min() - np.median(values)]
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.high == pytest.approx(ttest_1samp(values, 0).confidence_interval().high)
    # With one more case than in the sample, the quantile is still that of the sample.
    assert interval.low == pytest.approx(ttest_1samp(more, 0).confidence_interval().low, abs=2e-4)


def test_the_error_of_a_ratio_of_sums_agrees_with_statsmodels():
    generator = np.random.default_rng(0)
    size = generator.uniform(1, 3, 50)
    part = size * np.clip(generator.normal(0.9, 0.02, 50), 0, 1)
    interval = ratio_interval(part, size)
    # Weighted least squares on a constant, with a sandwich estimate of the variance.
    fitted = OLS(part / np.sqrt(size), np.sqrt(size)).fit(cov_type="HC0")
    error = fitted.bse[0] * np.sqrt(50 / 49)
    assert interval.estimate == pytest.approx(part.sum() / size.sum())
    assert interval.high - interval.estimate == pytest.approx(2.0096 * error, rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(dices, st.booleans())
def test_the_interval_contains_the_mean_and_ignores_order_and_undefined_values(values, grouped):
    groups = [i % MIN_UNITS for i in range(len(values))] if grouped else None
    interval = mean_interval(values, groups)
    assert 0 <= interval.low <= interval.estimate + 1e-12 and interval.estimate <= interval.high + 1e-12
    assert interval.high <= 1 and interval.units == (MIN_UNITS if grouped else len(values))
    order = np.random.default_rng(0).permutation(len(values))
    again = mean_interval([values[i] for i in order], groups and [groups[i] for i in order])
    assert again == pytest.approx(interval)
    assert mean_interval([*values, np.nan], groups and [*groups, 0]) == pytest.approx(interval)


def test_cases_without_a_group_are_groups_by_themselves():
    values = skewed(25)
    assert mean_interval(values, [None] * 25) == pytest.approx(mean_interval(values))


def test_too_few_units_have_no_interval():
    assert tuple(mean_interval([]))[3:] == (0, 0) and np.isnan(mean_interval([np.nan]).estimate)
    few = mean_interval(skewed(MIN_UNITS - 1))
    assert np.isfinite(few.estimate) and np.isnan([few.low, few.high]).all() and few.units == MIN_UNITS - 1
    assert np.isnan(mean_interval(skewed(40), np.repeat(range(5), 8)).low)
    assert np.isnan(ratio_interval([0, 0], [0, 0]).estimate)
    assert np.isfinite(mean_interval(skewed(MIN_UNITS)).low)
    with pytest.raises(StudyError, match="2 values but 1 groups"):
        mean_interval([0.5, 0.7], ["slide"])


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.9] * 12) == pytest.approx(Interval(0.9, 0.9, 0.9, 12, 12))


def test_groups_cover_where_single_cases_do_not():
    generator, hits = np.random.default_rng(0), {"cases": 0, "slides": 0}
    for _ in range(200):
        values = np.clip(np.repeat(generator.normal(0.8, 0.05, 12), 5) + generator.normal(0, 0.01, 60), 0, 1)
        for name, groups in (("cases", None), ("slides", np.repeat(range(12), 5))):
            interval = mean_interval(values, groups)
            hits[name] += interval.low <= 0.8 <= interval.high
    assert hits["slides"] >= 0.9 * 200 > hits["cases"]


def test_the_interval_covers_means_of_skewed_values():
    # t intervals of 20 such cases contain the mean in 87 % of samples.
    generator, hits = np.random.default_rng(1), np.zeros(2)
    for _ in range(400):
        values, true = np.clip(1 - np.exp(generator.normal(-3.5, 1, 20)), 0, 1), 1 - np.exp(-3)
        student, ours = ttest_1samp(values, 0).confidence_interval(), mean_interval(values)
        hits += [student.low <= true <= student.high, ours.low <= true <= ours.high]
    assert hits[0] / 400 < 0.92 and hits[1] / 400 >= 0.93


def test_the_difference_of_unrelated_means_is_that_of_welch_for_symmetric_values():
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.8, 0.03, 400), generator.normal(0.7, 0.05, 300)
    interval = subtract_intervals(mean_interval(first), mean_interval(second))
    welch = ttest_ind(first, second, equal_var=False).confidence_interval()
    assert interval.estimate == pytest.approx(first.mean() - second.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(welch), abs=3e-3)
    few = subtract_intervals(mean_interval([0.9]), mean_interval(second))
    assert np.isfinite(few.estimate) and np.isnan([few.low, few.high]).all() and few.units == 1
