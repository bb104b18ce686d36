"""Growing against a breadth-first search, written out."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcstudy.baselines.growing import grow

NEIGHBOURS = {1: [(-1, 0), (1, 0), (0, -1), (0, 1)]}
NEIGHBOURS[2] = NEIGHBOURS[1] + [(-1, -1), (-1, 1), (1, -1), (1, 1)]


def breadth_first(seeds, allowed, connectivity):
    reached = seeds.copy()
    queue = deque(zip(*np.nonzero(seeds), strict=True))
    while queue:
        row, column = queue.popleft()
        for down, right in NEIGHBOURS[connectivity]:
            r, c = row + down, column + right
            inside = 0 <= r < seeds.shape[0] and 0 <= c < seeds.shape[1]
            if inside and allowed[r, c] and not reached[r, c]:
                reached[r, c] = True
                queue.append((r, c))
    return reached


def picture(text):
    return np.array([list(line) for line in text.split()])


def test_growth_goes_round_a_wall_and_not_through_a_corner():
    toy = picture("S.#..\n..#..\n..#.#\n...#.")
    expected = picture("xx...\nxx...\nxx...\nxxx..") == "x"
    np.testing.assert_array_equal(grow(toy == "S", toy == "."), expected)
    assert grow(toy == "S", toy == ".", connectivity=2)[0, 4], "past the corner at the bottom"


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 0.2), st.sampled_from([1, 2]))
@settings(max_examples=100, deadline=None)
def test_growing_is_a_breadth_first_search(seed, share, seed_share, connectivity):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 15, 2)
    seeds, allowed = rng.random(shape) < seed_share, rng.random(shape) < share
    np.testing.assert_array_equal(grow(seeds, allowed, connectivity), breadth_first(seeds, allowed, connectivity))


@pytest.mark.parametrize("allowed", [True, False])
def test_nothing_grows_from_nothing(allowed):
    assert not grow(np.zeros((3, 4), bool), np.full((3, 4), allowed)).any()
