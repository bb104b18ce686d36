"""`benchmarks/compare_seeds.py`: which groups of seeds are compared, and what the two rules say about them."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import compare_seeds


def make_scores(sd_seeds, gain=0.0, seeds=8, cases=40):
    """Scores of one encoder: cases and seeds vary, and averaged weights are better by `gain`."""
    rng = np.random.default_rng(0)
    case_effect, seed_effect = rng.normal(0.9, 0.03, cases), rng.normal(0, sd_seeds, seeds)
    return pd.DataFrame(
        {"encoder": "mobilenet", "seed": seed, "weights": weights, "part": part, "case_id": str(case), "region": region}
        | {"dice": case_effect[case] + seed_effect[seed] + rng.normal(0, 0.01) + gain * (weights == "averaged")}
        for weights in ("averaged", "plain")
        for part in ("validation", "test")
        for region in compare_seeds.REGIONS
        for seed in range(seeds)
        for case in range(cases)
    )


@pytest.mark.parametrize(("size", "number"), [(1, 28), (2, 210), (3, 280), (4, 35)])
def test_every_pair_of_disjoint_groups_occurs_once(size, number):
    pairs = list(compare_seeds.split_seeds([*range(8)], size))
    assert len(pairs) == len(set(map(frozenset, pairs))) == number
    assert all(not set(first) & set(second) for first, second in pairs)


def test_the_earlier_rule_takes_seeds_for_networks():
    scores = make_scores(sd_seeds=0.02, seeds=4)
    table = compare_seeds.false_differences(scores, groups={}).set_index(["weights", "seeds"])
    assert table.loc[("plain", 1), ["comparisons", "disjoint"]].tolist() == [6, 2]
    assert table.loc[("plain", 1), "old"] >= 4
    assert table.loc[("plain", 2), "old"] == 3 > table.loc[("plain", 2), "new"]


def test_the_gain_of_the_average_and_its_spread():
    scores = make_scores(sd_seeds=0.01, gain=0.005)
    epochs = pd.DataFrame(
        {"encoder": "mobilenet", "seed": seed, "weights": weights, "epoch": epoch}
        | {
            f"val_dice_{region}": 0.9 + (epoch % 2) * (0.02 if weights == "plain" else 0)
            for region in ("nucleus", "cytoplasm")
        }
        for weights in ("averaged", "plain")
        for seed in range(8)
        for epoch in range(1, 9)
    )
    row = compare_seeds.average_effect(scores, epochs).set_index("region").loc["nucleus"]
    assert row["gain_low"] < 0.005 < row["gain_high"] and row["seeds"] == 8
    assert (row["last_averaged"], row["last_plain"]) == (0, pytest.approx(0.011, abs=0.001))


def test_the_interval_of_a_share():
    # scipy.stats.binomtest(2, 20).proportion_ci() gives the same.
    assert compare_seeds.share_interval(0.1, 20) == (pytest.approx(0.0123, abs=1e-4), pytest.approx(0.3170, abs=1e-4))
    assert compare_seeds.share_interval(0.0, 4) == (0.0, pytest.approx(0.6024, abs=1e-4))
