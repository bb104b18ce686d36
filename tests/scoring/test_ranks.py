"""Friedman's and Nemenyi's tests: Demšar's worked example, other programs' results, laws, false alarms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy.stats import f, friedmanchisquare, wilcoxon

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.scoring.ranks import friedman_nemenyi, wilcoxon_p

# Demšar (2006), table 6: AUC of four variants of C4.5 on 14 datasets. He ranks "voting" (last but one) before rounding:
# 4, 1, 2, 3, hence the fourth digit there.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
METHODS = ("unet__dice", "vgg16__dice", "vgg19__dice", "mobilenet__dice")
C45, C45_M, C45_CF, C45_BOTH = METHODS


def test_demsar_example():
    result = friedman_nemenyi(scores_from_array(DEMSAR, METHODS), "nucleus")
    assert result.test == "friedman" and result.n == 14
    assert result.mean_ranks.to_dict() == pytest.approx(
        {C45: 3.143, C45_M: 2.000, C45_CF: 2.893, C45_BOTH: 1.964}, abs=5e-4
    )
    assert list(result.mean_ranks.index) == [C45_BOTH, C45_M, C45_CF, C45]
    # His chi-square of 9.28 and F of 3.69 leave ties uncorrected.
    ranks, n, k = result.mean_ranks.to_numpy(), 14, 4
    uncorrected = 12 * n / (k * (k + 1)) * (np.sum(ranks**2) - k * (k + 1) ** 2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.02)
    assert (n - 1) * uncorrected / (n * (k - 1) - uncorrected) == pytest.approx(3.69, abs=0.01)
    # With the correction, SciPy's.
    expected = friedmanchisquare(*DEMSAR.T)
    assert result.statistic == pytest.approx(13 * expected.statistic / (42 - expected.statistic))
    assert result.p == pytest.approx(f.sf(result.statistic, 3, 39)) and result.p < 0.05
    # "CD = 2.569 sqrt(4 5 / (6 14)) = 1.25": Nemenyi's test finds no difference.
    assert result.critical_difference == pytest.approx(1.25, abs=0.005)
    assert result.groups == ((C45_BOTH, C45_M, C45_CF, C45),)
    # At 0.10 it is 1.12, and C4.5 differs from the two that tune m.
    lenient = friedman_nemenyi(scores_from_array(DEMSAR, METHODS), "nucleus", alpha=0.1)
    assert lenient.critical_difference == pytest.approx(1.12, abs=0.005)
    assert lenient.groups == ((C45_BOTH, C45_M, C45_CF), (C45_CF, C45))


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (9, 3.102), (10, 3.164)])
def test_critical_values_of_demsars_table_5(k, q):
    scores = scores_from_array(noisy_dice(6, [0] * k), [f"encoder{i}__dice" for i in range(k)])
    distance = friedman_nemenyi(scores, "nucleus").critical_difference
    assert distance / np.sqrt(k * (k + 1) / 36) == pytest.approx(q, abs=1.5e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_groups_agree_with_scikit_posthocs_in_any_order(seed, order):
    array = noisy_dice(25, [0, 0.004, 0.008, 0.03], seed)
    result = friedman_nemenyi(scores_from_array(array[:, order], [METHODS[i] for i in order]), "nucleus")
    p = posthoc_nemenyi_friedman(array)
    together = {(METHODS[i], METHODS[j]) for i in range(4) for j in range(4) if i != j and p.to_numpy()[i, j] > 0.05}
    assert {(a, b) for group in result.groups for a in group for b in group if a != b} == together
    # None of the groups is a part of another.
    assert not any(set(a) < set(b) for a in result.groups for b in result.groups)


def test_equal_methods_are_rarely_significantly_different():
    p = [
        friedman_nemenyi(scores_from_array(noisy_dice(15, [0] * 4, seed), METHODS), "nucleus").p for seed in range(120)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)


def test_a_simulated_difference_is_significant():
    result = friedman_nemenyi(scores_from_array(noisy_dice(40, [0, 0, 0, -0.03], 4), METHODS), "nucleus")
    assert result.p < 0.001 and result.mean_ranks.index[-1] == METHODS[3]
    assert result.groups == (tuple(result.mean_ranks.index[:3]),)


def test_no_overall_difference_leaves_one_group():
    result = friedman_nemenyi(scores_from_array(noisy_dice(10, [0] * 4, 0), METHODS), "nucleus")
    assert result.p >= 0.05 and len(result.groups) == 1


def test_equal_ranks_in_every_case_have_the_exact_p():
    result = friedman_nemenyi(scores_from_array(np.tile([0.5, 0.6, 0.7], (4, 1)), METHODS[:3]), "nucleus")
    assert result.statistic == np.inf and result.p == pytest.approx(6.0**-3)
    tied = friedman_nemenyi(scores_from_array(np.tile([0.5, 0.7, 0.7], (4, 1)), METHODS[:3]), "nucleus")
    assert tied.p == pytest.approx(3.0**-3)


def test_scores_without_any_difference():
    result = friedman_nemenyi(scores_from_array(np.full((5, 3), 0.5), METHODS[:3]), "nucleus")
    assert result.p == 1 and result.groups == (METHODS[:3],) and (result.mean_ranks == 2).all()


def test_two_methods_one_method_none_and_too_few_cases():
    array = noisy_dice(30, [0, 0.02], 1)
    two = friedman_nemenyi(scores_from_array(array, METHODS[:2]), "nucleus")
    assert two.test == "wilcoxon" and two.groups == ()
    assert two.p == pytest.approx(wilcoxon_p(array[:, 0] - array[:, 1]))
    few = friedman_nemenyi(scores_from_array(array[:4], METHODS[:2]), "nucleus")
    assert np.isnan(few.p) and len(few.groups) == 1
    single_method = friedman_nemenyi(scores_from_array(array[:, :1], METHODS[:1]), "nucleus")
    assert single_method.test == "none" and np.isnan(single_method.p)
    assert friedman_nemenyi(scores_from_array(array, METHODS[:2]), "cytoplasm").mean_ranks.empty
    single = friedman_nemenyi(scores_from_array(noisy_dice(1, [0] * 3), METHODS[:3]), "nucleus")
    assert single.test == "none" and np.isnan(single.p)


def test_cases_missing_for_one_method_are_left_out_for_all_and_groups_count_once():
    frame = scores_from_dice(
        {
            ("unet", "dice", 0, 0): {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1},
            ("vgg16", "dice", 0, 0): {"a": 0.2, "b": 0.2, "c": None, "d": 0.2},
            ("vgg19", "dice", 0, 0): {"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3},
        }
    )
    assert friedman_nemenyi(frame, "nucleus").n == 3
    assert friedman_nemenyi(frame, "nucleus", groups={"a": "slide", "b": "slide"}).n == 2


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
