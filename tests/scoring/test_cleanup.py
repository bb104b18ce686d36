"""Clean-up: examples, and properties on masks like those of pixel classifiers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import median_filter
from skimage.measure import label

from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.scoring.cleanup import clean_up


def cell(mask, row, column, radius, nucleus_radius):
    rows, columns = np.indices(mask.shape)
    distance = np.hypot(rows - row, columns - column)
    # The half pixel: a digital disk of whole radius has four tips of one pixel, which an opening takes away.
    mask[distance <= radius + 0.5] = CYTOPLASM
    mask[distance < nucleus_radius + 0.5] = NUCLEUS
    return mask


@pytest.fixture
def field():
    return cell(np.zeros((256, 256), np.uint8), 100, 90, 40, 20)


def test_a_clean_cell_is_unchanged(field):
    np.testing.assert_array_equal(clean_up(field), field)


def test_pieces_that_are_no_cells_are_removed_and_holes_are_filled(field):
    dirty = field.copy()
    dirty[200:220, 200:220] = CYTOPLASM  # no nucleus
    dirty[30:33, 30:33] = NUCLEUS  # too small for a nucleus
    dirty[5:20, 250:] = NUCLEUS  # its cell is too small
    dirty[99:103, 88:92] = CYTOPLASM  # a hole in the nucleus
    dirty[125:130, 90:95] = BACKGROUND  # a hole in the cytoplasm
    dirty[100, 125:200] = CYTOPLASM  # a thread
    cleaned = clean_up(dirty, min_cell_px=150)
    # The opening leaves the pixel where the thread meets the cell.
    assert np.argwhere(cleaned != field).tolist() == [[100, 131]]


def test_a_bridge_to_a_red_cell_is_cut(field):
    dirty = np.maximum(field, cell(np.zeros((256, 256), np.uint8), 100, 200, 30, -1))
    dirty[99:102, 125:175] = CYTOPLASM
    cleaned = clean_up(dirty)
    assert not cleaned[:, 135:].any()
    assert np.sum(cleaned != field) <= 10  # the ends of the bridge


def test_the_areas_of_lobes_are_added():
    mask = np.zeros((256, 256), np.uint8)
    mask[50:90, 50:90] = CYTOPLASM
    for top in (55, 66, 77):
        mask[top : top + 6, 60:66] = NUCLEUS
    assert (clean_up(mask, min_nucleus_px=100) == NUCLEUS).sum() > 60
    assert not clean_up(mask, min_nucleus_px=110).any()


def test_sizes_scale_with_the_image(field):
    twice = np.kron(field, np.ones((2, 2), np.uint8))
    area, nucleus_area = np.sum(field > 0), np.sum(field == NUCLEUS)
    for image in (field, twice):
        assert clean_up(image, min_cell_px=0.98 * area).any() and not clean_up(image, min_cell_px=1.02 * area).any()
        assert clean_up(image, min_nucleus_px=0.98 * nucleus_area).any()
        assert not clean_up(image, min_nucleus_px=1.02 * nucleus_area).any()


def test_keep_central_keeps_one_cell():
    mask = cell(np.zeros((256, 256), np.uint8), 60, 60, 50, 20)
    central = cell(np.zeros((256, 256), np.uint8), 150, 170, 30, 15)
    both = np.maximum(mask, central)
    np.testing.assert_array_equal(clean_up(both), both)
    np.testing.assert_array_equal(clean_up(both, keep_central=True), central)


def test_a_cell_at_the_border_keeps_its_edge():
    mask = cell(np.zeros((256, 256), np.uint8), 0, 0, 40, 20)
    np.testing.assert_array_equal(clean_up(mask), mask)


def test_references_of_whole_fields_are_nearly_unchanged():
    mask = make_smear(3, 768, 1024, white_cells=(6, 6)).mask
    cleaned = clean_up(mask)
    for value in (NUCLEUS, CYTOPLASM):
        before, after = mask == value, cleaned == value
        assert 2 * np.sum(before & after) / (np.sum(before) + np.sum(after)) > 0.98


@st.composite
def masks(draw):
    """Blobs and specks of all labels, as a pixel classifier leaves them."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = draw(st.integers(1, 48)), draw(st.integers(1, 48))
    share = draw(st.floats(0, 1))
    mask = rng.choice(3, shape, p=[1 - share, share / 2, share / 2]).astype(np.uint8)
    return median_filter(mask, draw(st.integers(1, 7)))


@given(
    masks(),
    st.sampled_from([0, 40, 400]),
    st.sampled_from([0, 120, 2000]),
    st.sampled_from([0, 3, 12, 25]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_properties(mask, min_nucleus_px, min_cell_px, opening_px, keep_central):
    sizes = {"min_nucleus_px": min_nucleus_px, "min_cell_px": min_cell_px, "opening_px": opening_px}
    before = mask.copy()
    cleaned = clean_up(mask, **sizes, keep_central=keep_central)
    np.testing.assert_array_equal(mask, before)
    assert cleaned.dtype == np.uint8 and cleaned.shape == mask.shape
    np.testing.assert_array_equal(clean_up(cleaned, **sizes, keep_central=keep_central), cleaned)
    pieces = label(cleaned != BACKGROUND, connectivity=2)
    scale = mask.size / 256**2
    for number in range(1, pieces.max() + 1):
        piece = pieces == number
        assert (cleaned[piece] == NUCLEUS).sum() >= max(min_nucleus_px * scale, 1)
        assert piece.sum() >= min_cell_px * scale
    nuclei = label(cleaned == NUCLEUS, connectivity=2)
    for number in range(1, nuclei.max() + 1):
        assert (mask[nuclei == number] == NUCLEUS).any(), "a nucleus without a nucleus pixel in the mask"
    if keep_central:
        assert pieces.max() <= 1
        assert (pieces.max() == 1) == clean_up(mask, **sizes).any()


@pytest.mark.parametrize("mask", [np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), np.float32)])
def test_invalid_masks_are_refused(mask):
    with pytest.raises(StudyError, match="Not a mask"):
        clean_up(mask)


def test_negative_sizes_are_refused(field):
    with pytest.raises(StudyError, match="sizes of 0 or more"):
        clean_up(field, min_cell_px=-1)


def test_an_empty_mask_stays_empty():
    assert clean_up(np.zeros((0, 7), np.uint8)).shape == (0, 7)
