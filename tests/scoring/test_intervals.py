import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from wbcstudy.errors import StudyError
from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import bootstrap_difference, bootstrap_interval, bootstrap_pooled
from wbcstudy.scoring.metrics import add_ratios

dices = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20)


def skewed(n, seed=0):
    return np.random.default_rng(seed).beta(8, 1, size=n)


def counted(n, seed=0, run="unet__dice__fold0__seed0"):
    generator = np.random.default_rng(seed)
    rows = [(run, f"c{i:03}", None, "nucleus", *generator.integers(1, 500, size=4)) for i in range(n)]
    return add_ratios(pd.DataFrame(rows, columns=["run", "case_id", "cell_type", "region", "tp", "fp", "fn", "tn"]))


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_agrees_with_scipy(statistic):
    values = skewed(40)
    ours = bootstrap_interval(values, statistic=statistic, resamples=5000)
    theirs = bootstrap((values,), statistic, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert ours.estimate == statistic(values) and (ours.cases, ours.units) == (40, 40)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


@settings(max_examples=40, deadline=None)
@given(dices, st.randoms(), st.booleans())
def test_holds_the_estimate_whatever_the_order(values, random, grouped):
    # Groups of up to three cases.
    groups = [str(i // 3) for i in range(len(values))] if grouped else None
    found = bootstrap_interval(values, groups, resamples=300)
    if not np.isnan(found.low):
        assert found.low - 1e-9 <= found.estimate <= found.high + 1e-9
        assert min(values) - 1e-9 <= found.low and found.high <= max(values) + 1e-9
    order = list(range(len(values)))
    random.shuffle(order)
    again = bootstrap_interval([values[i] for i in order], groups and [groups[i] for i in order], resamples=300)
    assert again == pytest.approx(found, nan_ok=True)


def test_a_statistic_without_axis_is_called_per_resample():
    values = skewed(30)
    plain = bootstrap_interval(values, statistic=lambda sample: float(np.mean(sample)), resamples=200)
    assert plain == pytest.approx(bootstrap_interval(values, resamples=200))


def test_every_case_a_group_is_no_group():
    values = np.sort(skewed(25))
    alone = bootstrap_interval(values, [None] * 25, resamples=500)
    assert alone.units == 25
    assert (alone.low, alone.high) == pytest.approx(tuple(bootstrap_interval(values, resamples=500))[1:3], abs=0.01)


def test_few_or_no_values():
    assert tuple(bootstrap_interval([]))[3:] == (0, 0) and np.isnan(bootstrap_interval([np.nan]).estimate)
    one = bootstrap_interval([0.5])
    assert one.estimate == 0.5 and np.isnan(one.low)
    one_group = bootstrap_interval([0.5, 0.7], ["slide", "slide"])
    assert one_group.units == 1 and one_group.estimate == 0.6 and np.isnan(one_group.high)
    with pytest.raises(StudyError, match="2 values but 1 groups"):
        bootstrap_interval([0.5, 0.7], ["slide"])
    with pytest.raises(StudyError, match="confidence of 95"):
        bootstrap_interval([0.5, 0.7], confidence=95)


def test_with_images_of_few_slides_only_the_cluster_bootstrap_covers():
    generator = np.random.default_rng(0)
    slides = np.repeat(np.arange(25), 4)
    covered = []
    for _ in range(150):
        values = 0.9 + np.repeat(0.03 * generator.standard_normal(25), 4) + 0.01 * generator.standard_normal(100)
        naive = bootstrap_interval(values, resamples=200)
        clustered = bootstrap_interval(values, slides, resamples=200)
        covered.append([found.low <= 0.9 <= found.high for found in (naive, clustered)])
    naive, clustered = np.mean(covered, axis=0)
    assert naive < 0.8
    assert clustered > 0.95 - 0.03 - 3 * np.sqrt(0.95 * 0.05 / 150)


def test_pooled_interval_agrees_with_scipys_of_the_ratio_of_sums():
    frame = counted(40)
    found = bootstrap_pooled(frame, resamples=5000)
    assert found.estimate == pytest.approx(pool_scores(frame)["dice"].item())

    def pooled(tp, fp, fn, axis):
        return 2 * tp.sum(axis) / (2 * tp.sum(axis) + fp.sum(axis) + fn.sum(axis))

    columns = tuple(frame[name].to_numpy() for name in ("tp", "fp", "fn"))
    theirs = bootstrap(columns, pooled, paired=True, vectorized=True, method="percentile", n_resamples=5000, rng=1)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_pooled_interval_holds_the_estimate_whatever_the_order(seed):
    frame = counted(12, seed)
    found = bootstrap_pooled(frame, "iou", resamples=300)
    assert found.low <= found.estimate <= found.high
    assert bootstrap_pooled(frame.sample(frac=1, random_state=seed), "iou", resamples=300) == found


def test_pooled_over_folds_then_averaged_over_seeds():
    runs = [
        counted(6, seed, f"unet__dice__fold{fold}__seed{seed % 2}") for seed, fold in ((0, 0), (2, 1), (1, 0), (3, 1))
    ]
    for fold, frame in zip((0, 1, 0, 1), runs, strict=True):
        frame["case_id"] += f"_{fold}"
    found = bootstrap_pooled(pd.concat(runs))
    by_seed = [pool_scores(pd.concat(runs[i : i + 2]), ["region"])["dice"].item() for i in (0, 2)]
    assert found.estimate == pytest.approx(np.mean(by_seed)) and found.cases == 12
    slides = {case: case[:4] for frame in runs for case in frame["case_id"]}
    assert bootstrap_pooled(pd.concat(runs), groups=slides).units == 6


def test_pooling_what_does_not_belong_together_is_refused():
    frame = counted(3)
    with pytest.raises(StudyError, match="more than one method"):
        bootstrap_pooled(pd.concat([frame, counted(3, run="otsu")]))
    with pytest.raises(StudyError, match="more than one region"):
        bootstrap_pooled(pd.concat([frame, frame.assign(region="cell")]))
    with pytest.raises(StudyError, match="Unknown ratio 'f1'"):
        bootstrap_pooled(frame, "f1")
    assert np.isnan(bootstrap_pooled(frame.iloc[:0]).estimate)
    assert np.isnan(bootstrap_pooled(frame.iloc[:1]).low)
    nothing = frame.assign(tp=0, fp=0, fn=0)
    assert np.isnan(bootstrap_pooled(nothing).estimate) and np.isnan(bootstrap_pooled(nothing).high)


def test_the_interval_of_a_difference_is_scipys():
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.9, 0.05, 40), draw.normal(0.6, 0.15, 70)
    found = bootstrap_difference(first, second, resamples=9999)
    expected = bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), method="percentile", rng=1
    ).confidence_interval
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    assert found[1:3] == pytest.approx(expected, abs=0.003)
    assert (found.cases, found.units) == (40, 40)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    draw, inside = np.random.default_rng(7), 0
    for _ in range(200):
        found = bootstrap_difference(draw.normal(0.8, 0.05, 40), draw.normal(0.7, 0.1, 40), resamples=200)
        inside += found.low <= 0.1 <= found.high
    # 95 % nominal; a percentile interval of 40 cases is a little narrow. Monte-Carlo error: 1.5 points.
    assert 0.91 <= inside / 200 <= 0.98


def test_the_order_of_the_cases_does_not_matter_and_too_few_have_no_interval():
    first, second = np.array([0.9, 0.7, np.nan, 0.8]), np.array([0.2, 0.5, 0.4])
    assert bootstrap_difference(first, second) == bootstrap_difference(first[::-1], second[::-1])
    few = bootstrap_difference([0.9], second)
    assert few.estimate == pytest.approx(0.9 - second.mean()) and np.isnan(few.low)
    assert np.isnan(bootstrap_difference([], second).estimate)
