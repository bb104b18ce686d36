"""Growing, points of interest, and classification of distinct colours."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage.morphology import h_maxima, reconstruction

from wbcstudy.baselines.colour import colour_features
from wbcstudy.baselines.pixels import (
    _classify_colours,
    _grow_cells,
    _open_region,
    _smooth,
    _ultimate_erosion,
    check_number,
    features_of,
)
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

MARKS = {".": BACKGROUND, "c": CYTOPLASM, "N": NUCLEUS}
SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def drawn(text):
    return np.array([[MARKS[mark] for mark in line] for line in text.split()], np.uint8)


def walk(allowed, starts):
    """Breadth-first search, one neighbour at a time."""
    reached = np.zeros(allowed.shape, bool)
    queue = deque((row, column) for row, column in np.argwhere(starts) if allowed[row, column])
    while queue:
        row, column = queue.popleft()
        if reached[row, column]:
            continue
        reached[row, column] = True
        for down, right in SIDES:
            r, c = row + down, column + right
            if 0 <= r < allowed.shape[0] and 0 <= c < allowed.shape[1] and allowed[r, c] and not reached[r, c]:
                queue.append((r, c))
    return reached


def walked(classes, seeds):
    nucleus = walk(classes == NUCLEUS, seeds)
    cell = walk(nucleus | (classes == CYTOPLASM), nucleus)
    return np.where(nucleus, NUCLEUS, np.where(cell, CYTOPLASM, BACKGROUND))


SMEAR = drawn(
    """
    ..cccc.....N
    .ccNNcc...NN
    .cNNNNc.c...
    .ccNNcc.cc..
    ..ccNc.....c
    ....c....ccc
    """
)


def test_a_cell_grows_from_its_nucleus_and_the_rest_is_background():
    seeds = np.zeros(SMEAR.shape, bool)
    seeds[2, 3] = True
    expected = drawn(
        """
        ..cccc......
        .ccNNcc.....
        .cNNNNc.....
        .ccNNcc.....
        ..ccNc......
        ....c.......
        """
    )
    np.testing.assert_array_equal(_grow_cells(SMEAR, seeds), expected)


def test_a_seed_on_cytoplasm_or_background_grows_nothing():
    seeds = np.zeros(SMEAR.shape, bool)
    seeds[0, 2] = seeds[0, 0] = True
    assert not _grow_cells(SMEAR, seeds).any()
    assert not _grow_cells(SMEAR, np.zeros_like(seeds)).any()


def test_cells_do_not_join_by_a_corner():
    classes = drawn("Nc. cc. ..N")
    seeds = np.zeros((3, 3), bool)
    seeds[0, 0] = True
    assert _grow_cells(classes, seeds)[2, 2] == BACKGROUND


masks = npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 2))


@given(classes=masks, draw=st.data())
@settings(max_examples=150, deadline=None)
def test_growing_is_breadth_first_search_and_reconstruction(classes, draw):
    seeds = draw.draw(npst.arrays(bool, classes.shape))
    grown = _grow_cells(classes, seeds)
    np.testing.assert_array_equal(grown, walked(classes, seeds))
    marker = seeds & (classes == NUCLEUS)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    rebuilt = reconstruction(marker.astype(float), (classes == NUCLEUS).astype(float), footprint=cross) > 0
    np.testing.assert_array_equal(grown == NUCLEUS, rebuilt)
    assert np.all((grown == classes) | (grown == BACKGROUND)), "growing changed a class"


def test_two_touching_discs_have_two_points_and_a_speck_has_none():
    rows, columns = np.indices((40, 60))
    region = (rows - 20) ** 2 + (columns - 18) ** 2 <= 100
    region |= (rows - 20) ** 2 + (columns - 36) ** 2 <= 100
    region[3:5, 3:5] = True
    seeds = _ultimate_erosion(region, 2)
    assert seeds[20, 18] and seeds[20, 36]
    assert not seeds[:, 26:29].any() and not seeds[:10, :10].any()


@given(region=npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=30)))
@settings(max_examples=60, deadline=None)
def test_points_are_inside_the_region(region):
    for height in (0, 1.5):
        seeds = _ultimate_erosion(region, height)
        assert not (seeds & ~region).any()
    if region.any():
        assert _ultimate_erosion(region, 0).any()


def test_points_per_piece_equal_those_of_the_whole_image():
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    noise = gaussian_filter(np.random.default_rng(3).normal(size=(90, 120)), 4)
    region = noise > 0
    whole = h_maxima(distance_transform_edt(region), 2).astype(bool)
    np.testing.assert_array_equal(_ultimate_erosion(region, 2), whole & region)


def test_an_image_that_is_all_nucleus_has_its_point_in_the_middle():
    seeds = _ultimate_erosion(np.ones((21, 31), bool), 2)
    assert seeds[10, 15] and not seeds[:5].any()


def test_opening_removes_threads_and_keeps_cells_at_the_border():
    region = np.zeros((30, 30), bool)
    region[:12, :12] = region[20, 5:25] = True
    opened = _open_region(region, 3)
    assert not opened[20].any()
    assert opened[0, 0] and opened[:12, :12].mean() > 0.95
    np.testing.assert_array_equal(_open_region(region, 0), region)


def test_each_colour_is_classified_once():
    image = np.random.default_rng(0).integers(0, 3, (20, 30, 3), dtype=np.uint8) * 90
    calls = []

    def classify(colours):
        calls.append(len(colours))
        return (colours[:, 0].astype(int) + 2 * colours[:, 2] > 200).astype(np.uint8)

    mask = _classify_colours(image, classify)
    assert calls == [27]
    np.testing.assert_array_equal(mask, classify(image.reshape(-1, 3)).reshape(20, 30))


def test_features_of_colours_equal_those_of_the_image():
    image = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        features_of(image.reshape(-1, 3), ("rgb", "luv", "hed")),
        colour_features(image, ("rgb", "luv", "hed")).reshape(35, -1),
        rtol=1e-4,
        atol=1e-3,
    )


def test_smoothing_with_sigma_0_changes_nothing_and_a_flat_image_stays_flat():
    image = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert _smooth(image, 0) is image
    assert _smooth(image, 2.0).std() < image.std()
    flat = np.full((9, 9, 3), 200, np.uint8)
    np.testing.assert_array_equal(_smooth(flat, 2.0), flat)


@pytest.mark.parametrize("value", [-1, float("nan"), "2", None])
def test_the_error_about_an_invalid_number_names_the_parameter(value):
    with pytest.raises(StudyError, match="opening_px"):
        check_number("opening_px", value, 0)
