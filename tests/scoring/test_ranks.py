"""Friedman's and Nemenyi's tests: Demšar's worked example, other programs' results, laws, false alarms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy.stats import f, friedmanchisquare

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.scoring.ranks import critical_difference, friedman_nemenyi
from wbcstudy.scoring.statistics import wilcoxon_p

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
    found = friedman_nemenyi(scores_from_array(DEMSAR, METHODS), "nucleus")
    assert found.test == "friedman" and found.n == 14
    assert found.mean_ranks.to_dict() == pytest.approx(
        {C45: 3.143, C45_M: 2.000, C45_CF: 2.893, C45_BOTH: 1.964}, abs=5e-4
    )
    assert list(found.mean_ranks.index) == [C45_BOTH, C45_M, C45_CF, C45]
    # His chi-square of 9.28 and F of 3.69 leave ties uncorrected.
    ranks, n, k = found.mean_ranks.to_numpy(), 14, 4
    uncorrected = 12 * n / (k * (k + 1)) * (np.sum(ranks**2) - k * (k + 1) ** 2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=0.02)
    assert (n - 1) * uncorrected / (n * (k - 1) - uncorrected) == pytest.approx(3.69, abs=0.01)
    # With the correction, SciPy's.
    expected = friedmanchisquare(*DEMSAR.T)
    assert (found.statistic, found.p_friedman) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.iman_davenport == pytest.approx(13 * expected.statistic / (42 - expected.statistic))
    assert found.p == pytest.approx(f.sf(found.iman_davenport, 3, 39)) and found.p < 0.05
    # "CD = 2.569 sqrt(4 5 / (6 14)) = 1.25": with Nemenyi's test all four stay together.
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.groups == ((C45_BOTH, C45_M, C45_CF, C45),)
    # At 0.10 it is 1.12, and C4.5 differs from the two that tune m.
    lenient = friedman_nemenyi(scores_from_array(DEMSAR, METHODS), "nucleus", alpha=0.1)
    assert lenient.critical_difference == pytest.approx(1.12, abs=0.005)
    assert lenient.groups == ((C45_BOTH, C45_M, C45_CF), (C45_CF, C45))


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (9, 3.102), (10, 3.164)])
def test_critical_values_of_demsars_table_5(k, q):
    assert critical_difference(k, 6) / np.sqrt(k * (k + 1) / 36) == pytest.approx(q, abs=1.5e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_methods_apart_are_those_of_scikit_posthocs_in_any_order(seed, order):
    array = noisy_dice(25, [0, 0.004, 0.008, 0.03], seed)
    found = friedman_nemenyi(scores_from_array(array[:, order], [METHODS[i] for i in order]), "nucleus")
    p = posthoc_nemenyi_friedman(array)
    together = {(METHODS[i], METHODS[j]) for i in range(4) for j in range(4) if i != j and p.to_numpy()[i, j] > 0.05}
    assert {(a, b) for group in found.groups for a in group for b in group if a != b} == together
    # None of the groups is a part of another.
    assert not any(set(a) < set(b) for a in found.groups for b in found.groups)


def test_methods_that_are_alike_are_seldom_told_apart():
    p = [
        friedman_nemenyi(scores_from_array(noisy_dice(15, [0] * 4, seed), METHODS), "nucleus").p for seed in range(120)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)


def test_a_planted_difference_is_found():
    found = friedman_nemenyi(scores_from_array(noisy_dice(40, [0, 0, 0, -0.03], 4), METHODS), "nucleus")
    assert found.p < 0.001 and found.mean_ranks.index[-1] == METHODS[3]
    assert found.groups == (tuple(found.mean_ranks.index[:3]),)


def test_no_overall_difference_leaves_one_group():
    found = friedman_nemenyi(scores_from_array(noisy_dice(10, [0] * 4, 0), METHODS), "nucleus")
    assert found.p >= 0.05 and len(found.groups) == 1 and "finds no difference" in found.note


def test_the_same_order_in_every_case_has_the_exact_p():
    found = friedman_nemenyi(scores_from_array(np.tile([0.5, 0.6, 0.7], (4, 1)), METHODS[:3]), "nucleus")
    assert found.iman_davenport == np.inf and found.p == pytest.approx(6.0**-3)
    tied = friedman_nemenyi(scores_from_array(np.tile([0.5, 0.7, 0.7], (4, 1)), METHODS[:3]), "nucleus")
    assert tied.p == pytest.approx(3.0**-3)


def test_scores_without_any_difference():
    found = friedman_nemenyi(scores_from_array(np.full((5, 3), 0.5), METHODS[:3]), "nucleus")
    assert found.p == 1 and found.groups == (METHODS[:3],) and (found.mean_ranks == 2).all()


def test_two_methods_one_method_none_and_too_few_cases():
    array = noisy_dice(30, [0, 0.02], 1)
    two = friedman_nemenyi(scores_from_array(array, METHODS[:2]), "nucleus")
    assert two.test == "wilcoxon" and "Wilcoxon" in two.note and two.groups == ()
    assert two.p == pytest.approx(wilcoxon_p(array[:, 0] - array[:, 1]))
    few = friedman_nemenyi(scores_from_array(array[:4], METHODS[:2]), "nucleus")
    assert np.isnan(few.p) and len(few.groups) == 1 and "not tested" in few.note
    one = friedman_nemenyi(scores_from_array(array[:, :1], METHODS[:1]), "nucleus")
    assert one.test == "none" and one.note == "One method: nothing to compare."
    assert friedman_nemenyi(scores_from_array(array, METHODS[:2]), "cytoplasm").note == "No scores."
    single = friedman_nemenyi(scores_from_array(noisy_dice(1, [0] * 3), METHODS[:3]), "nucleus")
    assert single.test == "none" and "two cases" in single.note


def test_cases_that_one_method_lacks_are_left_out_for_all_and_groups_count_once():
    frame = scores_from_dice(
        {
            ("unet", "dice", 0, 0): {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1},
            ("vgg16", "dice", 0, 0): {"a": 0.2, "b": 0.2, "c": None, "d": 0.2},
            ("vgg19", "dice", 0, 0): {"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3},
        }
    )
    assert friedman_nemenyi(frame, "nucleus").n == 3
    assert friedman_nemenyi(frame, "nucleus", groups={"a": "slide", "b": "slide"}).n == 2
