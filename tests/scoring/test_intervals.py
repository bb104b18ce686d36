import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from wbcstudy.errors import StudyError
from wbcstudy.scoring.intervals import bootstrap_difference, bootstrap_interval

dices = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20)


def skewed(n, seed=0):
    return np.random.default_rng(seed).beta(8, 1, size=n)


def test_agrees_with_scipy():
    values = skewed(40)
    ours = bootstrap_interval(values, resamples=5000)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert ours.estimate == values.mean() and (ours.cases, ours.units) == (40, 40)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


@settings(max_examples=40, deadline=None)
@given(dices, st.randoms(), st.booleans())
def test_contains_the_estimate_in_any_order(values, random, grouped):
    # Groups of up to three cases.
    groups = [str(i // 3) for i in range(len(values))] if grouped else None
    interval = bootstrap_interval(values, groups, resamples=300)
    if not np.isnan(interval.low):
        assert interval.low - 1e-9 <= interval.estimate <= interval.high + 1e-9
        assert min(values) - 1e-9 <= interval.low and interval.high <= max(values) + 1e-9
    order = list(range(len(values)))
    random.shuffle(order)
    again = bootstrap_interval([values[i] for i in order], groups and [groups[i] for i in order], resamples=300)
    assert again == pytest.approx(interval, nan_ok=True)


def test_groups_of_one_case_are_no_groups():
    values = np.sort(skewed(25))
    alone = bootstrap_interval(values, [None] * 25, resamples=500)
    assert alone.units == 25
    assert (alone.low, alone.high) == pytest.approx(tuple(bootstrap_interval(values, resamples=500))[1:3], abs=0.01)


def test_few_or_no_values():
    assert tuple(bootstrap_interval([]))[3:] == (0, 0) and np.isnan(bootstrap_interval([np.nan]).estimate)
    single = bootstrap_interval([0.5])
    assert single.estimate == 0.5 and np.isnan(single.low)
    one_group = bootstrap_interval([0.5, 0.7], ["slide", "slide"])
    assert one_group.units == 1 and one_group.estimate == 0.6 and np.isnan(one_group.high)
    with pytest.raises(StudyError, match="2 values but 1 groups"):
        bootstrap_interval([0.5, 0.7], ["slide"])


def test_with_images_of_few_slides_only_the_cluster_bootstrap_has_its_coverage():
    generator = np.random.default_rng(0)
    slides = np.repeat(np.arange(25), 4)
    covered = []
    for _ in range(150):
        values = 0.9 + np.repeat(0.03 * generator.standard_normal(25), 4) + 0.01 * generator.standard_normal(100)
        naive = bootstrap_interval(values, resamples=200)
        clustered = bootstrap_interval(values, slides, resamples=200)
        covered.append([interval.low <= 0.9 <= interval.high for interval in (naive, clustered)])
    naive, clustered = np.mean(covered, axis=0)
    assert naive < 0.8
    assert clustered > 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 150)


def test_the_interval_of_a_difference_agrees_with_scipy():
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.9, 0.05, 40), draw.normal(0.6, 0.15, 70)
    interval = bootstrap_difference(first, second, resamples=9999)
    expected = bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), method="percentile", rng=1
    ).confidence_interval
    assert interval.estimate == pytest.approx(first.mean() - second.mean())
    assert interval[1:3] == pytest.approx(expected, abs=0.003)
    assert (interval.cases, interval.units) == (40, 40)


def test_the_interval_of_a_difference_has_its_coverage():
    draw, inside = np.random.default_rng(7), 0
    for _ in range(200):
        interval = bootstrap_difference(draw.normal(0.8, 0.05, 40), draw.normal(0.7, 0.1, 40), resamples=200)
        inside += interval.low <= 0.1 <= interval.high
    # 95 % nominal; a percentile interval of 40 cases is a little narrow. Monte-Carlo error: 1.5 points.
    assert 0.91 <= inside / 200 <= 0.98


def test_the_order_of_the_cases_does_not_matter_and_too_few_have_no_interval():
    first, second = np.array([0.9, 0.7, np.nan, 0.8]), np.array([0.2, 0.5, 0.4])
    assert bootstrap_difference(first, second) == bootstrap_difference(first[::-1], second[::-1])
    few = bootstrap_difference([0.9], second)
    assert few.estimate == pytest.approx(0.9 - second.mean()) and np.isnan(few.low)
    assert np.isnan(bootstrap_difference([], second).estimate)
