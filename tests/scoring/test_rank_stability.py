"""Bootstrap of ranks."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.made_scores import noisy_dice, scores_from_array
from wbcstudy.scoring.rank_stability import resample_ranks

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice")


def made(offsets, n=40, seed=0, noise=0.01, training=0):
    return scores_from_array(noisy_dice(n, offsets, seed, noise), METHODS[: len(offsets)], training)


def test_clear_ranks_have_narrow_intervals():
    stability = resample_ranks(made([0.0, 0.05, -0.05]), ["nucleus"])
    ranks = stability.rank_intervals("nucleus")
    assert ranks["rank_low"].tolist() == ranks["rank_high"].tolist() == [2, 1, 3]
    assert [stability.probability_not_best(name) for name in METHODS] == [1, 0, 1]


def test_equal_methods_are_a_coin_flip():
    not_best = [resample_ranks(made([0, 0], 20, seed), ["nucleus"], seed=seed) for seed in range(60)]
    assert np.mean([part.probability_not_best(METHODS[0]) for part in not_best]) == pytest.approx(0.5, abs=0.12)


def test_the_share_of_resamples_is_that_of_a_bootstrap_of_the_difference():
    frame = made([0.002, 0], 30)
    table = frame.pivot_table(index="case_id", columns="run", values="dice")
    difference = (table.iloc[:, 1] - table.iloc[:, 0]).to_numpy()
    drawn = np.random.default_rng(1).integers(30, size=(20_000, 30))
    # Wider than a bootstrap, by one imagined case six standard deviations from the mean.
    widen = np.sqrt((1 + 36 / 30) * 30 / 29)
    mean = difference.mean()
    expected = (mean + widen * (difference[drawn].mean(axis=1) - mean) < 0).mean()
    assert resample_ranks(frame, ["nucleus"], resamples=20_000).probability_not_best(METHODS[0]) == pytest.approx(
        expected, abs=0.02
    )


def test_seeds_and_groups_make_ranks_less_certain():
    frame = made([0.006, 0], 40)
    certain = resample_ranks(frame, ["nucleus"]).probability_not_best(METHODS[0])
    groups = {case: index % 10 for index, case in enumerate(sorted(frame["case_id"].unique()))}
    shifted = frame.assign(dice=frame["dice"] + frame["case_id"].map(groups) * 0.004 * (frame["run"].str[0] == "m"))
    alone = resample_ranks(shifted, ["nucleus"]).probability_not_best(METHODS[1])
    assert resample_ranks(shifted, ["nucleus"], groups=groups).probability_not_best(METHODS[1]) != alone
    other = made([-0.01, 0], 40, training=1)
    both = pd.concat([made([0.02, 0], 40), other], ignore_index=True)
    assert certain < 0.1 < resample_ranks(both, ["nucleus"]).probability_not_best(METHODS[0])


def test_nothing_to_rank():
    assert resample_ranks(made([0]), ["nucleus"]) is None
    assert resample_ranks(made([0, 0], n=1), ["nucleus"]) is None


def test_few_images_or_groups_are_not_resampled():
    frame = made([0.01, 0], n=30)
    assert resample_ranks(made([0.01, 0], n=9), ["nucleus"]) is None
    assert resample_ranks(frame, ["nucleus"]) is not None
    slides = {case: index % 8 for index, case in enumerate(sorted(frame["case_id"].unique()))}
    assert resample_ranks(frame, ["nucleus"], groups=slides) is None
