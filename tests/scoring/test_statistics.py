"""Paired tests: published examples, other programs' results, laws, and false alarms under simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.scoring.statistics import hodges_lehmann, paired_differences, variance_components, wilcoxon_p

# Hollander and Wolfe, example 3.1: depression factor IV of nine patients, before and after.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
METHODS = ("unet__dice", "vgg16__dice", "vgg19__dice", "mobilenet__dice")

# Multiples of 1/64: sums and differences are exact, and ties and zeros do occur.
differences = st.lists(st.integers(-32, 32).map(lambda value: value / 64), min_size=1, max_size=30)


def test_hollander_and_wolfe_example():
    shift = hodges_lehmann(BEFORE - AFTER, 0.95)
    assert shift.estimate == pytest.approx(0.46)
    # R's wilcox.test(conf.int = TRUE) prints the same ends.
    assert (shift.low, shift.high) == (pytest.approx(0.010), pytest.approx(0.786))
    assert wilcoxon_p(BEFORE - AFTER) == pytest.approx(20 / 512)


def test_wilcoxon_agrees_with_scipy_and_handles_what_scipy_does_not():
    values = np.random.default_rng(0).normal(0.3, 1, 60)
    assert wilcoxon_p(values) == pytest.approx(wilcoxon(values).pvalue, rel=1e-9)
    assert wilcoxon_p(values[:50]) == pytest.approx(wilcoxon(values[:50]).pvalue, rel=1e-9)
    assert wilcoxon_p([*values[:20], np.nan]) == pytest.approx(wilcoxon(values[:20]).pvalue, rel=1e-9)
    # With ties and zeros SciPy goes through all signs, which takes seconds beyond a few cases.
    tied = np.array([0.5, 0.5, -0.25, 1, 0, 0.75, -0.25, 0])
    assert wilcoxon_p(tied) == pytest.approx(wilcoxon(tied, zero_method="pratt").pvalue)
    assert np.isnan(wilcoxon_p([0.1] * 5)) and wilcoxon_p([0.1] * 6) == pytest.approx(2 / 64)
    assert wilcoxon_p([0.0] * 8) == 1


def test_cases_without_a_difference_are_evidence_against_one():
    few, many = [0.01] * 7, [0.01] * 7 + [0.0] * 6
    assert wilcoxon_p(few) <= wilcoxon_p(many)


@settings(max_examples=50, deadline=None)
@given(differences, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_typical_difference_is_in_its_interval_and_is_negated_with_the_pair(values, confidence):
    values = np.array(values)
    shift, negated = hodges_lehmann(values, confidence), hodges_lehmann(-values[::-1], confidence)
    assert (negated.estimate, negated.low, negated.high) == pytest.approx(
        (-shift.estimate, -shift.high, -shift.low), nan_ok=True
    )
    assert np.isnan(shift.low) or shift.low <= shift.estimate <= shift.high
    assert hodges_lehmann(values + 0.5, confidence).estimate == pytest.approx(shift.estimate + 0.5)
    if len(values) >= 6:
        assert wilcoxon_p(values) == pytest.approx(wilcoxon_p(-values))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=25, unique_by=lambda value: round(abs(value), 9)))
def test_the_interval_excludes_zero_if_the_test_is_significant(values):
    values = np.array([value for value in values if abs(value) > 1e-6])
    if len(values) < 6:
        return
    shift = hodges_lehmann(values, 0.95)
    assert (shift.low > 0 or shift.high < 0) == (wilcoxon_p(values) <= 0.05)


def test_thousands_of_cases_give_the_result_of_all_pairs():
    values = np.random.default_rng(0).normal(0.01, 0.05, 1001).round(3)
    first, second = np.triu_indices(1001)
    means = np.sort(values[first] + values[second]) / 2
    shift = hodges_lehmann(values)
    assert shift.estimate == pytest.approx(np.median(means), abs=1e-12)
    # The normal approximation of Hollander and Wolfe (3.29).
    cut = int(1001 * 1002 / 4 - 1.959964 * np.sqrt(1001 * 1002 * 2003 / 24))
    assert (shift.low, shift.high) == pytest.approx((means[cut], means[-cut - 1]), abs=1e-12)
    assert np.isfinite(hodges_lehmann(np.full(600, 0.1)).low)


def test_the_interval_has_its_coverage():
    generator = np.random.default_rng(1)
    shifts = [hodges_lehmann(generator.laplace(0.3, 1, size=15)) for _ in range(300)]
    assert np.mean([shift.low <= 0.3 <= shift.high for shift in shifts]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_a_table_of_pairs():
    frame = scores_from_dice(
        {
            ("unet", "dice", 0, 0): {f"c{i}": 0.5 for i in range(8)},
            ("vgg16", "dice", 0, 0): {f"c{i}": 0.6 + i / 100 for i in range(7)} | {"c7": None},
            ("vgg19", "dice", 0, 0): {f"c{i}": 0.9 for i in range(4)},
        }
    )
    pairs = paired_differences(frame, "nucleus")
    assert pairs[["method_a", "method_b", "n"]].to_numpy().tolist() == [
        ["unet__dice", "vgg16__dice", 7],
        ["unet__dice", "vgg19__dice", 4],
        ["vgg16__dice", "vgg19__dice", 4],
    ]
    first, second, _ = pairs.itertuples()
    assert first.difference == pytest.approx(-0.13)
    assert first.ci_low <= first.difference <= first.ci_high < 0
    # Only one pair could be tested, so it is a family of one.
    assert first.p == first.p_holm == pytest.approx(2 / 2**7)
    assert np.isnan(second.p) and np.isnan(second.p_holm)
    assert paired_differences(frame[frame["run"].str.startswith("unet")], "nucleus").empty
    assert paired_differences(frame, "cytoplasm").empty


def test_holms_correction_agrees_with_statsmodels():
    pairs = paired_differences(scores_from_array(noisy_dice(20, [0, 0.004, 0.008, 0.02]), METHODS), "nucleus")
    np.testing.assert_allclose(pairs["p_holm"], multipletests(pairs["p"], method="holm")[1])
    assert pairs["p"].nunique() > 3 and (pairs["p_holm"] < 0.05).any() and (pairs["p_holm"] > 0.05).any()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_pairs_do_not_depend_on_the_order_of_rows(seed):
    frame = scores_from_array(noisy_dice(12, [0, 0.01, 0.02], seed), METHODS[:3])
    shuffled = frame.sample(frac=1, random_state=seed)
    by_pair = {
        (row.method_a, row.method_b): row for row in paired_differences(shuffled, "nucleus").itertuples(index=False)
    }
    for row in paired_differences(frame, "nucleus").itertuples(index=False):
        same = by_pair.get((row.method_a, row.method_b))
        other = same or by_pair[row.method_b, row.method_a]
        sign = 1 if same else -1
        assert other.difference == pytest.approx(sign * row.difference, abs=1e-12)
        assert (other.p, other.p_holm) == pytest.approx((row.p, row.p_holm))


def test_groups_count_once():
    rng = np.random.default_rng(0)
    # Ten images of each of five slides: many images, few slides.
    array = np.repeat(noisy_dice(5, [0, 0.0], 3, noise=0.02), 10, axis=0) + 0.0001 * rng.standard_normal((50, 2))
    frame = scores_from_array(array, METHODS[:2])
    slides = {case: int(case[1:]) // 10 for case in frame["case_id"]}
    naive, grouped = paired_differences(frame, "nucleus"), paired_differences(frame, "nucleus", groups=slides)
    assert naive["n"].item() == 50 and naive["p"].item() < 0.05
    assert grouped["n"].item() == 5 and np.isnan(grouped["p"].item())
    assert grouped["difference"].item() == pytest.approx(
        hodges_lehmann((array[:, 0] - array[:, 1]).reshape(5, 10).mean(axis=1)).estimate, abs=1e-6
    )


def test_images_of_one_slide_do_not_reduce_the_standard_error():
    # Twenty images of each of ten slides, which differ more than the images of one.
    array = np.repeat(noisy_dice(10, [0], 3, noise=0.0), 20, axis=0) + 0.001 * np.random.default_rng(1).random((200, 1))
    frame = scores_from_array(array, METHODS[:1])
    slides = {case: int(case[1:]) // 20 for case in frame["case_id"]}
    alone, together = (variance_components(frame, "nucleus", groups=groups).iloc[0] for groups in (None, slides))
    assert together["se_cases"] == pytest.approx(np.sqrt(20) * alone["se_cases"], rel=0.1)
    assert together["mean"] == alone["mean"]


def false_alarms(offsets, studies, n, seed):
    """Share of simulated studies in which any pair is significantly different."""
    significant = []
    for study in range(studies):
        pairs = paired_differences(
            scores_from_array(noisy_dice(n, offsets, seed + study), METHODS[: len(offsets)]), "nucleus"
        )
        significant.append((pairs["p_holm"] < 0.05).any())
    return np.mean(significant)


@pytest.mark.parametrize(("methods", "studies", "seed"), [(2, 150, 1000), (4, 80, 5000)])
def test_equal_methods_are_rarely_significantly_different(methods, studies, seed):
    nominal = 0.05
    assert false_alarms([0] * methods, studies, 20, seed) <= nominal + 3 * np.sqrt(nominal * (1 - nominal) / studies)


def test_only_the_simulated_difference_is_significant():
    pairs = paired_differences(scores_from_array(noisy_dice(40, [0, 0, 0, -0.03], 4), METHODS), "nucleus")
    significant = pairs[pairs["p_holm"] < 0.05]
    assert set(significant["method_b"]) == {METHODS[3]} and len(significant) == 3
    assert significant["difference"].between(0.02, 0.04).all()
    assert (significant["ci_low"] > 0).all()


def test_spread_over_seeds_and_over_cases():
    generator = np.random.default_rng(0)
    cases, seeds = 0.04 * generator.standard_normal(200), 0.01 * generator.standard_normal(20)
    frame = scores_from_dice(
        {
            ("unet", "dice", 0, seed): {f"c{i}": 0.8 + case + seeds[seed] for i, case in enumerate(cases)}
            for seed in range(20)
        }
        | {("vgg16", "dice", 0, 0): {"c0": 0.5, "c1": 0.7, "c2": None}}
    )
    unet, vgg = variance_components(frame, "nucleus").itertuples(index=False)
    assert (unet.n, unet.seeds) == (200, 20)
    assert unet.sd_seeds == pytest.approx(seeds.std(ddof=1), rel=1e-3)
    assert unet.sd_cases == pytest.approx(cases.std(ddof=1), rel=1e-3)
    assert unet.se_cases == pytest.approx(unet.sd_cases / np.sqrt(200))
    assert (vgg.n, vgg.seeds, vgg.mean) == (2, 1, pytest.approx(0.6)) and np.isnan(vgg.sd_seeds)
    assert variance_components(frame, "cytoplasm").empty


def test_seeds_are_compared_on_the_same_cases_though_a_fold_failed():
    hard = {"c2": 0.1, "c3": 0.1}
    runs = {("unet", "dice", fold, seed): {} for fold, seed in itertools.product((0, 1), (0, 1))}
    runs[("unet", "dice", 0, 0)] = runs[("unet", "dice", 0, 1)] = {"c0": 0.9, "c1": 0.9}
    runs[("unet", "dice", 1, 0)] = hard
    (row,) = variance_components(scores_from_dice(runs), "nucleus").itertuples()
    assert (row.n, row.mean, row.sd_seeds) == (2, pytest.approx(0.9), 0)
