"""Where cells are placed, and which pixels they get."""

import numpy as np
import pytest
from scipy import ndimage

from tests.helpers.smears import check_laws
from wbcstudy.data.synthetic.cells import Outline
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.data.synthetic.field import Field, PlacedCell, draw_field
from wbcstudy.data.synthetic.slide import make_slide

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def pieces(mask):
    return ndimage.label(mask, EIGHT_NEIGHBOURS)[1]


def test_no_room_means_fewer_cells_not_a_pile():
    smear = make_smear(0, 96, 96, white_cells=(50, 50))
    check_laws(smear, 96, 96)
    assert 1 <= len(smear.cells) < 50


def test_cells_keep_apart_unless_they_touch():
    for seed in range(12):
        apart = make_smear(seed, 256, 256, white_cells=(3, 4), touching=0.0)
        assert pieces(apart.instances > 0) == len(apart.cells)
        touching = make_smear(seed, 256, 256, white_cells=(3, 4), touching=1.0)
        assert len(touching.cells) > 1
        assert pieces(touching.instances > 0) == 1


def test_touching_cells_keep_most_of_themselves():
    smears = [
        make_smear(seed, 256, 256, white_cells=(2, 2), touching=1.0, cell_types=["monocyte"]) for seed in range(8)
    ]
    # The second cell covers only a sliver of the first.
    for smear in smears:
        below, above = (np.sum(smear.instances == k) for k in (1, 2))
        if not any(cell.touches_border for cell in smear.cells):
            assert below > 0.6 * above
    assert any(len(smear.cells) == 2 for smear in smears)


def test_the_cell_on_top_has_the_pixels():
    field, slide = Field(128, 128, 0.16), make_slide(0)
    below, above = (
        PlacedCell("lymphocyte", Outline(5.0, ()), np.array(centre)) for centre in ((9.0, 10.0), (13.0, 10.0))
    )
    (_, both, both_nuclei), (_, alone, alone_nuclei) = (
        draw_field(np.random.SeedSequence(0), field, slide, cells) for cells in ([below, above], [below])
    )
    # The lower cell's nucleus does not show through the upper one's cytoplasm.
    assert ((alone_nuclei == 1) & (both == 2) & (both_nuclei == 0)).any()
    np.testing.assert_array_equal(both_nuclei[both_nuclei > 0], both[both_nuclei > 0])
    np.testing.assert_array_equal((both == 1), (alone == 1) & (both != 2))


def test_the_mask_is_the_shape_at_pixel_centres():
    # Noise moves the outline by a fraction of a micrometre; a circle of 5 um has an area of 25 pi.
    field = Field(128, 128, 0.16)
    disc = PlacedCell("monocyte", Outline(5.0, ()), np.array([10.24, 10.24]))
    _, instances, _ = draw_field(np.random.SeedSequence(1), field, make_slide(0), [disc])
    y, x = np.mgrid[:128, :128]
    away = np.hypot(x - 63.5, y - 63.5) * 0.16
    inside = instances == 1
    assert inside[away < 4.4].all() and not inside[away > 5.6].any()
    assert inside.sum() * 0.16**2 == pytest.approx(25 * np.pi, rel=0.04)


def test_a_cell_can_be_cut_by_the_border():
    cut = [cell.touches_border for seed in range(20) for cell in make_smear(seed, white_cells=(2, 2)).cells]
    assert any(cut) and not all(cut)
