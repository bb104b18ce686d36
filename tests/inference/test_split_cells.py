"""Touching cells are separated, and single cells stay whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.instances import count_instances, score_instances, sum_counts
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.inference.split_cells import connected_cells, count_parts, split_cells
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


def disc(shape, y, x, radius):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def smear(*cells, shape=(80, 160)):
    """A mask of discs (y, x, radius), each with a nucleus of half the radius."""
    mask = np.zeros(shape, np.uint8)
    for cell in cells:
        mask[disc(shape, *cell)] = CYTOPLASM
    for y, x, radius in cells:
        mask[disc(shape, y, x, radius / 2)] = NUCLEUS
    return mask


def test_touching_cells_are_separated_and_connected_components_join_them():
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    cells = split_cells(mask)
    assert cells.dtype == np.int32 and cells.shape == mask.shape
    assert [cells[30, 130], cells[40, 40], cells[40, 86]] == [1, 2, 3]  # in reading order of their first pixels
    np.testing.assert_array_equal(cells > 0, mask > 0)
    assert connected_cells(mask).max() == 1


def test_lobes_of_one_nucleus_stay_in_one_cell():
    mask = smear((40, 60, 30))
    mask[mask > 0] = CYTOPLASM
    for y, x in ((28, 45), (40, 76), (54, 48)):
        mask[disc(mask.shape, y, x, 8)] = NUCLEUS
    assert split_cells(mask).max() == 1


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_answer_does_not_depend_on_scale(scale):
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    large = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    counts = count_instances(split_cells(mask).repeat(scale, axis=0).repeat(scale, axis=1), split_cells(large))
    assert counts.fp == counts.fn == 0


def test_the_answer_turns_with_the_image():
    mask = smear((40, 40, 25), (40, 86, 24), (30, 130, 22))
    for turned in (np.rot90(mask), mask[::-1], mask[:, ::-1]):
        assert split_cells(turned).max() == 3


def test_a_ragged_edge_and_holes_do_not_cut_a_cell():
    rng = np.random.default_rng(0)
    mask = smear((40, 60, 30))
    edge = disc(mask.shape, 40, 60, 31) & ~disc(mask.shape, 40, 60, 28)
    mask[edge & (rng.random(mask.shape) < 0.5)] = BACKGROUND
    mask[disc(mask.shape, 30, 50, 3)] = BACKGROUND
    cells = split_cells(mask)
    assert cells.max() == 1
    assert (cells[mask == BACKGROUND] == 0).all()


def test_a_cell_at_the_border_is_not_cut():
    assert split_cells(smear((0, 60, 30))).max() == 1
    assert split_cells(smear((0, 0, 30))).max() == 1


def test_what_has_no_nucleus_joins_a_neighbour_or_is_left_out():
    mask = smear((40, 40, 25), (40, 86, 24))
    mask[disc(mask.shape, 40, 86, 12)] = CYTOPLASM  # the second nucleus is gone
    assert split_cells(mask).max() == 1
    assert split_cells(mask, need_nucleus=False).max() == 1
    alone = smear((40, 40, 25))
    alone[disc(mask.shape, 40, 120, 20)] = CYTOPLASM
    assert split_cells(alone).max() == 1
    assert split_cells(alone, need_nucleus=False).max() == 2


def test_masks_without_nuclei_are_split_all_the_same():
    mask = np.where(smear((40, 40, 25), (40, 86, 24)) > 0, CYTOPLASM, BACKGROUND)
    assert split_cells(mask).max() == 0
    assert split_cells(mask, need_nucleus=False).max() == 2


def test_specks_are_left_out():
    mask = smear((40, 40, 25), (40, 120, 25), (75, 80, 4))
    mask[2::6, 2::6] = np.maximum(mask[2::6, 2::6], NUCLEUS)
    assert split_cells(mask).max() == 2
    assert split_cells(mask, min_cell_px=30).max() == 3
    assert split_cells(mask, min_cell_px=0).max() > 30


def test_learnt_distances_replace_those_to_the_edge():
    # A bar, in which nothing but the learnt distance says that there are two cells.
    mask = np.zeros((20, 60), np.uint8)
    mask[4:16, 4:56] = CYTOPLASM
    mask[9:11, 10:50] = NUCLEUS
    assert split_cells(mask).max() == 1
    learnt = np.where(mask > 0, 0.2 + np.abs(np.arange(60) - 30.5)[None, :].clip(0, 13) / 15, 0)
    cells = split_cells(mask, distances=learnt)
    assert cells.max() == 2 and cells[10, 10] != cells[10, 50]


def test_synthetic_fields_with_touching_cells():
    counts, plain = [], []
    for seed in range(3):
        field = make_smear(seed, 384, 512, white_cells=(6, 9), touching=0.9)
        counts.append(count_instances(field.instances, split_cells(field.mask)))
        plain.append(count_instances(field.instances, connected_cells(field.mask)))
    assert score_instances(sum_counts(counts))["pq"] > 0.95
    assert score_instances(sum_counts(plain))["pq"] < 0.5


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 5)])
def test_images_without_cells(shape):
    assert split_cells(np.zeros(shape, np.uint8)).shape == shape
    assert split_cells(np.zeros(shape, np.uint8)).max(initial=0) == 0


def test_a_single_pixel_is_a_cell():
    assert split_cells(np.full((1, 1), NUCLEUS)).tolist() == [[1]]


def test_an_image_that_is_all_cell():
    assert (split_cells(np.full((6, 7), NUCLEUS)) == 1).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (12, 15), elements=st.integers(0, 2)))
def test_any_mask_gives_numbered_cells_within_it(mask):
    cells = split_cells(mask, min_cell_px=0, need_nucleus=False)
    np.testing.assert_array_equal(cells > 0, mask > 0)
    assert set(np.unique(cells)) - {0} == set(range(1, cells.max() + 1))
    for cell in range(1, cells.max() + 1):
        assert count_parts(cells == cell, waist=0) == 1, "a cell is one piece"


def test_parts_of_a_shape():
    two = disc((60, 90), 30, 25, 18) | disc((60, 90), 30, 62, 18)
    assert count_parts(two, waist=0.6) == 2
    assert count_parts(two, waist=0) == 1
    assert count_parts(disc((60, 90), 30, 25, 18), waist=0.6) == 1
    assert count_parts(np.zeros((5, 5), bool), waist=0.6) == 0
    two[0, 0] = True
    assert (count_parts(two, waist=0.6), count_parts(two, waist=0.6, min_share=0.05)) == (3, 2)


MASK = smear((40, 40, 25))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: split_cells(MASK * 1.0), "float64"),
        (lambda: split_cells(MASK[None]), "shape"),
        (lambda: split_cells(MASK * 100), "200"),
        (lambda: split_cells(MASK, distances=np.zeros((3, 3))), "Distances"),
        (lambda: split_cells(MASK, distances=-np.ones(MASK.shape)), "Distances"),
        (lambda: split_cells(MASK, distances=np.full(MASK.shape, np.nan)), "Distances"),
        (lambda: split_cells(MASK, waist=1.2), "waist"),
        (lambda: split_cells(MASK, min_cell_px=-1), "min_cell_px"),
        (lambda: split_cells(MASK, min_cell_px=float("nan")), "min_cell_px"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(StudyError) as error:
        call()
    assert named in str(error.value)
