"""SETRED's cut-edge statistic, worked by hand and simulated, and its graph, compared with a slow loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from wbcstudy.baselines.cut_edges import cut_edge_statistic, neighbourhoods


def test_cut_edge_statistic_by_hand():
    # Neighbours at distances 0, 1 and 3: weights 1, 1/2 and 1/4; the second has another label; the prior is 1/2.
    statistic, mean, deviation, probability = cut_edge_statistic([0, 1, 3], [False, True, False], 0.5)
    assert statistic == 0.5
    assert mean == pytest.approx(0.5 * 1.75)
    assert deviation == pytest.approx(np.sqrt(0.25 * (1 + 1 / 4 + 1 / 16)))
    assert probability == pytest.approx(norm.cdf((0.5 - 0.875) / 0.5728219))


def test_cut_edge_moments_are_those_of_labels_drawn_at_random():
    distances, prior, rng = np.array([0.2, 0.9, 1.7, 4.0]), 0.3, np.random.default_rng(0)
    drawn = [cut_edge_statistic(distances, rng.random(4) > prior, prior)[0] for _ in range(20_000)]
    _, mean, deviation, _ = cut_edge_statistic(distances, [True] * 4, prior)
    assert np.mean(drawn) == pytest.approx(mean, rel=0.01) and np.std(drawn) == pytest.approx(deviation, rel=0.02)


def test_fewer_cut_edges_have_a_lower_probability_and_without_neighbours_it_is_1():
    probabilities = [cut_edge_statistic([1, 1, 1], [True] * k + [False] * (3 - k), 0.4)[-1] for k in range(4)]
    assert probabilities == sorted(probabilities)
    assert cut_edge_statistic([], [], 0.4)[-1] == 1
    assert cut_edge_statistic([1, 1], [False, False], 1.0)[-1] == 1
    # Agreement on a rare label is less likely by chance than agreement on a common one.
    assert cut_edge_statistic([1], [False], 0.1)[-1] < 0.1 < cut_edge_statistic([1], [False], 0.8)[-1]


@given(seed=st.integers(0, 2**16), number=st.integers(2, 14))
@settings(max_examples=40, deadline=None)
def test_neighbourhoods_are_the_relative_neighbourhood_graph(seed, number):
    x = np.random.default_rng(seed).random((number, 2))
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    result = list(neighbourhoods(x, number // 2, number))
    for example, (near, distance) in zip(range(number // 2, number), result, strict=True):
        joined = {
            j
            for j in range(number)
            if j != example
            and not any(max(d[example, k], d[j, k]) < d[example, j] for k in range(number) if k not in (example, j))
        }
        assert set(near.tolist()) == joined
        assert np.allclose(distance, d[example, near])


def test_fewer_neighbours_remove_the_longer_edges_only():
    x = np.random.default_rng(3).random((40, 4))
    for (all_near, far), (some, _) in zip(neighbourhoods(x, 0, 40), neighbourhoods(x, 0, 6), strict=True):
        reach = np.sort(np.linalg.norm(x - x[all_near[0]], axis=1))
        assert set(some) <= set(all_near) and len(reach) == 40
        assert set(all_near[: len(some)]) == set(some) and (np.diff(far) >= 0).all()
