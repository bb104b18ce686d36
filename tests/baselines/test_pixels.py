"""Growing, points of interest, and classification of distinct colours."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from skimage.morphology import h_maxima, reconstruction
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tests.helpers.quick_methods import (
    PIXEL_METHODS,
    build_quick,
    dice,
    fit_again,
    fit_quick,
)
from wbcstudy.baselines.colour import colour_features
from wbcstudy.baselines.methods import build_method
from wbcstudy.baselines.pixels import (
    _classify_colours,
    _grow_cells,
    _open_region,
    _smooth,
    _ultimate_erosion,
    check_number,
    features_of,
)
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS

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


@pytest.fixture(scope="module")
def smears():
    return [make_smear(seed, 160, 160, slide=3) for seed in range(5)]


@pytest.mark.parametrize("name", PIXEL_METHODS)
def test_a_field_of_several_white_cells_is_segmented(name):
    field = make_smear(20, 768, 1024, white_cells=(4, 6), slide=3)
    prediction = fit_quick(name).predict(field.image)
    assert prediction.shape == (768, 1024) and prediction.dtype == np.uint8
    assert dice(field.mask, prediction, "nucleus") > 0.85
    assert dice(field.mask, prediction, "cytoplasm") > 0.75
    detected = [np.mean(prediction[field.nuclei == cell.instance] == NUCLEUS) > 0.5 for cell in field.cells]
    assert len(detected) >= 4 and np.mean(detected) > 0.7


@pytest.mark.parametrize("name", PIXEL_METHODS)
def test_the_same_seed_gives_the_same_mask_and_a_clone_has_the_parameters(smears, name):
    again = clone(fit_quick(name))
    assert again.get_params() == fit_quick(name).get_params()
    with pytest.raises(NotFittedError):
        again.predict(smears[4].image)
    fit_again(name, again)
    np.testing.assert_array_equal(again.predict(smears[4].image), fit_quick(name).predict(smears[4].image))


@pytest.mark.parametrize("name", PIXEL_METHODS)
def test_growing_only_removes_pixels(smears, name):
    method = clone(fit_quick(name)).set_params(growing=False)
    method.__dict__ |= {key: value for key, value in vars(fit_quick(name)).items() if key.endswith("_")}
    classes, grown = method.predict(smears[4].image), fit_quick(name).predict(smears[4].image)
    assert np.all((grown == classes) | (grown == BACKGROUND))
    assert 0 < np.count_nonzero(grown) < np.count_nonzero(classes)


@pytest.mark.parametrize("name", PIXEL_METHODS)
def test_images_without_cells_give_background_and_are_allowed_in_training(name, smears):
    method = build_quick(name, trees=5)
    blank = np.full((48, 64, 3), 235, np.uint8)
    nowhere = np.zeros((48, 64), np.uint8)
    # Images of two sizes, one of them without any cell.
    method.fit([smears[0].image, blank], [smears[0].mask, nowhere], np.random.default_rng(0))
    assert not method.predict(blank).any()
    with pytest.raises(StudyError, match="nucleus"):
        build_quick(name).fit([blank], [nowhere], np.random.default_rng(0))
    only = build_quick(name, trees=5).fit([blank], [np.full((48, 64), NUCLEUS, np.uint8)], np.random.default_rng(0))
    assert np.all(only.predict(blank) == NUCLEUS)


@pytest.mark.parametrize("name", PIXEL_METHODS)
def test_the_row_of_a_growing_method_has_its_search(name):
    row = METHODS[name]
    assert row.reference in ("9", "10", "11") and row.learns and row.quoted_as
    assert 1 < int(np.prod([len(values) for values in row.search.values()])) <= 12
    assert set(row.search) <= set(build_method(name).get_params())
