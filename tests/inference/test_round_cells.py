"""Round cells of a known size are found by their edges, whatever covers or cuts them."""

import numpy as np
import pytest

from wbcstudy.inference.round_cells import find_round_cells


def field(discs, side=120, ground=230, pallor=0):
    rows, columns = np.mgrid[:side, :side]
    image = np.full((side, side, 3), ground, np.uint8)
    for row, column, radius in discs:
        distance = np.hypot(rows - row, columns - column)
        image[distance <= radius] = 170
        image[distance <= pallor * radius] = 225
    return image


def positions(image, **options):
    return sorted((cell.row, cell.column) for cell in find_round_cells(image, 10, **options))


def test_cells_are_found_with_their_radius():
    cells = find_round_cells(field([(30, 30, 9), (30, 80, 10), (80, 50, 12)]), 10)
    assert sorted((cell.row, cell.column) for cell in cells) == [(30, 30), (30, 80), (80, 50)]
    radii = {(cell.row, cell.column): cell.radius_px for cell in cells}
    assert radii == pytest.approx({(30, 30): 9, (30, 80): 10, (80, 50): 12}, abs=0.6)


def test_pale_cut_and_overlapping_cells_are_found():
    image = field([(30, 30, 10), (30, 45, 10), (80, 3, 10)], pallor=0.4)
    found = positions(image)
    assert len(found) == 3
    assert np.abs(np.array(found) - [(30, 30), (30, 45), (80, 3)]).max() <= 2


def test_cells_of_other_sizes_are_not_found():
    assert positions(field([(40, 40, 5), (80, 80, 20)])) == []


def test_bright_discs_are_another_kind():
    image = field([(30, 30, 10), (80, 80, 10)])
    assert positions(255 - image) == []
    assert positions(255 - image, brighter=True) == positions(image) == [(30, 30), (80, 80)]


def test_an_empty_and_a_noisy_field_have_none():
    assert positions(field([])) == []
    noisy = np.random.default_rng(0).normal(220, 4, (120, 120, 3))
    assert positions(np.clip(noisy, 0, 255).astype(np.uint8)) == []
