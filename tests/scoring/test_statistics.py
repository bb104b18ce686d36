"""Paired comparisons: other programs' results, laws, and false alarms under simulation."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.scoring import statistics
from wbcstudy.scoring.statistics import paired_differences, variance_components

METHODS = ("unet__dice", "vgg16__dice", "vgg19__dice", "mobilenet__dice")


def draw_study(generator, offsets=(0, 0), cases=20, seeds=3, sd_seeds=0.005, sd_cases=0.01, sd_residual=0.005):
    """Scores of several methods and seeds, with random cases, seeds and residuals; the offsets are the true means."""
    names = METHODS[: len(offsets)]
    by_case = 0.9 + np.asarray(offsets) + sd_cases * generator.standard_normal((cases, len(names)))
    by_case = by_case + 0.02 * generator.standard_normal((cases, 1))
    frames = []
    for seed in range(seeds):
        scores = by_case + sd_seeds * generator.standard_normal(len(names))
        frames.append(scores_from_array(scores + sd_residual * generator.standard_normal(by_case.shape), names, seed))
    return pd.concat(frames, ignore_index=True)


def usual_differences(frame, monkeypatch):
    """Comparisons without the imagined case, as other programs compute them."""
    with monkeypatch.context() as patch:
        patch.setattr(statistics, "IMAGINED_DISTANCE", 0.0)
        return paired_differences(frame, "nucleus")


def test_one_seed_is_the_paired_t_test_with_an_imagined_case_and_the_trainings_are_fixed(monkeypatch):
    array = noisy_dice(20, [0, 0.004, 0.008, 0.02])
    frame = scores_from_array(array, METHODS)
    usual = usual_differences(frame, monkeypatch)
    pairs = paired_differences(frame, "nucleus")
    for row, plain in zip(pairs.itertuples(), usual.itertuples(), strict=True):
        a, b = (array[:, METHODS.index(name)] for name in (row.method_a, row.method_b))
        test = ttest_rel(a, b)
        alone = test.confidence_interval(1 - 0.05 / len(pairs))
        assert plain.difference == row.difference == pytest.approx((a - b).mean(), abs=1e-6)
        assert (plain.p, plain.df) == (pytest.approx(test.pvalue, rel=1e-2), 19)
        assert (plain.ci_low, plain.ci_high) == pytest.approx(tuple(alone), abs=1e-6)
        assert row.sources == "cases" and plain.se == plain.se_cases == row.se_cases
        # The variance of 20 differences and one more, six standard deviations away.
        assert row.se == pytest.approx(row.se_cases * np.sqrt(1 + 36 / 20))
    np.testing.assert_allclose(pairs["p_adjusted"], multipletests(pairs["p"], method="bonferroni")[1])


def test_several_seeds_agree_with_a_mixed_model(monkeypatch):
    frame = draw_study(np.random.default_rng(1), cases=15, seeds=4)
    (row,) = usual_differences(frame, monkeypatch).itertuples()
    parts = frame["run"].str.extract(r"(?P<method>.+)__fold0__(?P<seed>.+)").join(frame[["case_id", "dice"]])
    # In thousandths: the optimiser fails with variances of 1e-5. All effects are crossed in one group.
    model = MixedLM.from_formula(
        "dice ~ C(method)",
        groups=np.ones(len(parts)),
        vc_formula={"case": "0 + C(case_id)", "mc": "0 + C(case_id):C(method)", "ms": "0 + C(method):C(seed)"},
        data=parts.assign(dice=1000 * parts["dice"]),
    ).fit()
    effect = "C(method)[T.vgg16__dice]"
    assert row.difference == pytest.approx(-model.params[effect] / 1000, abs=1e-6)
    # A balanced layout: restricted maximum likelihood gives the estimates of the analysis of variance.
    assert row.se == pytest.approx(model.bse[effect] / 1000, rel=0.02)
    assert row.sources == "cases and seeds" and 3 < row.df < 20


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
    assert first.difference == pytest.approx(-0.13) and first.better == "vgg16__dice"
    assert first.ci_low <= first.difference <= first.ci_high < 0
    # Only one pair could be tested, so it is a family of one.
    assert first.p == first.p_adjusted < 1e-3
    assert np.isnan(second.p_adjusted) and np.isnan(second.ci_low) and second.detectable == np.inf
    assert paired_differences(frame[frame["run"].str.startswith("unet")], "nucleus").empty
    assert paired_differences(frame, "cytoplasm").empty


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([0.001, 0.01, 0.03]))
def test_intervals_p_values_and_equivalence_agree(seed, seeds, margin):
    frame = draw_study(np.random.default_rng(seed), (0, 0.01, 0.02), seeds=seeds)
    both = pd.concat([frame, frame.assign(region="cytoplasm", dice=frame["dice"] ** 2)])
    pairs = paired_differences(both, ("nucleus", "cytoplasm"), margin=margin)
    assert len(pairs) == 6
    excludes = (pairs["ci_low"] > 0) | (pairs["ci_high"] < 0)
    assert (excludes == (pairs["p_adjusted"] < 0.05)).all()
    assert (pairs["equivalent"] == ((pairs["ci_low"] > -margin) & (pairs["ci_high"] < margin))).all()
    assert (pairs["p_adjusted"] >= pairs["p"]).all() and (pairs["se"] >= pairs["se_cases"]).all()
    alone = paired_differences(both, "nucleus")
    assert (alone["p_adjusted"] <= pairs["p_adjusted"][:3]).all()


def test_planned_pairs_are_the_family():
    frame = draw_study(np.random.default_rng(0), (0, 0.02, 0.04), seeds=1)
    everything = paired_differences(frame, "nucleus")
    planned = paired_differences(frame, "nucleus", planned=[(METHODS[2], METHODS[0])])
    assert planned["p_adjusted"].notna().tolist() == [False, True, False]
    assert planned["p_adjusted"][1] == everything["p"][1] and planned["difference"].equals(everything["difference"])
    assert planned["ci_low"][1] > everything["ci_low"][1]


def test_variants_of_the_same_trainings_share_the_effect_of_a_seed():
    frame = draw_study(np.random.default_rng(0), (0,), seeds=4, sd_seeds=0.02)
    better = frame.assign(
        run=frame["run"].str.replace("unet", "vgg16"),
        dice=frame["dice"] + 0.003 + 0.001 * np.random.default_rng(1).standard_normal(len(frame)),
    )
    both = pd.concat([frame, better])
    (apart,), (together,) = (
        paired_differences(both, "nucleus", same_trainings=same).itertuples() for same in (False, True)
    )
    assert together.p < 0.05 < apart.p and together.se < apart.se / 10
    assert together.difference == apart.difference


def test_overlapping_training_sets_of_folds_widen_the_interval():
    generator = np.random.default_rng(0)
    frame = draw_study(generator, cases=20)
    folds = frame["case_id"].str[1:].astype(int) % 5
    crossed = frame.assign(run=[run.replace("fold0", f"fold{k}") for run, k in zip(frame["run"], folds, strict=True)])
    (one,), (five,) = (paired_differences(part, "nucleus").itertuples() for part in (frame, crossed))
    assert five.difference == pytest.approx(one.difference) and five.se > 1.2 * one.se


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
        assert (other.p, other.p_adjusted) == pytest.approx((row.p, row.p_adjusted))


def test_groups_count_once():
    rng = np.random.default_rng(0)
    # Ten images of each of eight slides: many images, few slides.
    array = np.repeat(noisy_dice(8, [0, 0.0], 3, noise=0.02), 10, axis=0) + 0.0001 * rng.standard_normal((80, 2))
    frame = scores_from_array(array, METHODS[:2])
    slides = {case: int(case[1:]) // 10 for case in frame["case_id"]}
    (naive,), (grouped,) = (paired_differences(frame, "nucleus", groups=by).itertuples() for by in (None, slides))
    means = (array[:, 0] - array[:, 1]).reshape(8, 10).mean(axis=1)
    assert (naive.n, grouped.n) == (80, 8) and grouped.difference == naive.difference
    assert grouped.se_cases == pytest.approx(means.std(ddof=1) / np.sqrt(8), rel=1e-3) and grouped.se > 2.5 * naive.se


def test_images_of_one_slide_do_not_reduce_the_standard_error():
    # Twenty images of each of ten slides, which differ more than the images of one.
    array = np.repeat(noisy_dice(10, [0], 3, noise=0.0), 20, axis=0) + 0.001 * np.random.default_rng(1).random((200, 1))
    frame = scores_from_array(array, METHODS[:1])
    slides = {case: int(case[1:]) // 20 for case in frame["case_id"]}
    alone, together = (variance_components(frame, "nucleus", groups=groups).iloc[0] for groups in (None, slides))
    assert together["se_cases"] == pytest.approx(np.sqrt(20) * alone["se_cases"], rel=0.1)
    assert together["mean"] == alone["mean"]


@pytest.mark.parametrize(("methods", "seeds"), [(2, 1), (2, 2), (4, 3)])
def test_equal_methods_are_rarely_significantly_different(methods, seeds):
    generator, studies, nominal = np.random.default_rng(methods + seeds), 60, 0.05
    # With one seed, the trainings are fixed and have no effect of their own.
    drawn = [draw_study(generator, [0] * methods, 12, seeds, sd_seeds=0.01 * (seeds > 1)) for _ in range(studies)]
    alarms = [(paired_differences(frame, "nucleus")["p_adjusted"] < 0.05).any() for frame in drawn]
    assert np.mean(alarms) <= nominal + 3 * np.sqrt(nominal * (1 - nominal) / studies)


def test_only_the_simulated_difference_is_significant():
    pairs = paired_differences(scores_from_array(noisy_dice(40, [0, 0, 0, -0.03], 4), METHODS), "nucleus")
    significant = pairs[pairs["p_adjusted"] < 0.05]
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
