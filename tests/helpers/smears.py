"""Checks and measurements of synthetic smears."""

import numpy as np

from wbcstudy.data.synthetic import varied
from wbcstudy.data.synthetic.dataset import CELL_TYPES
from wbcstudy.data.synthetic.domains import RANGES
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


def fix_shares(monkeypatch, **shares):
    """Let varied fields have these shares of oddities, and none of the others."""
    odd = ("empty", "bare", "crowded", "border", "smudged", "ruptured", "basket", *varied._EXTRAS)
    fixed = {name: RANGES[name]._replace(low=shares.get(name, 0.0), high=shares.get(name, 0.0)) for name in odd}
    monkeypatch.setattr(varied, "RANGES", RANGES | fixed)


def check_laws(smear, height_px, width_px):
    """Check the facts that hold for every synthetic smear: shapes, types, and masks that fit each other."""
    shape = (height_px, width_px)
    assert smear.image.shape == (*shape, 3) and smear.image.dtype == np.uint8
    assert smear.mask.shape == shape and smear.mask.dtype == np.uint8
    assert smear.instances.shape == smear.nuclei.shape == shape
    assert smear.instances.dtype == smear.nuclei.dtype == np.uint16

    assert set(np.unique(smear.mask)) <= {BACKGROUND, CYTOPLASM, NUCLEUS}
    np.testing.assert_array_equal(smear.mask > 0, smear.instances > 0)
    np.testing.assert_array_equal(smear.mask == NUCLEUS, smear.nuclei > 0)
    in_nuclei = smear.nuclei > 0
    np.testing.assert_array_equal(smear.nuclei[in_nuclei], smear.instances[in_nuclei])

    assert [cell.instance for cell in smear.cells] == list(range(1, len(smear.cells) + 1))
    assert set(np.unique(smear.instances)) - {0} == {cell.instance for cell in smear.cells}
    frame = np.ones(shape, bool)
    frame[1:-1, 1:-1] = False
    for cell in smear.cells:
        mine = smear.instances == cell.instance
        assert cell.cell_type in CELL_TYPES
        assert cell.touches_border == mine[frame].any()
        row, column = cell.centre_px
        assert -0.5 <= row < height_px and -0.5 <= column < width_px
        assert set(np.unique(smear.mask[mine])) == {CYTOPLASM, NUCLEUS} or cell.touches_border


def median_colour(smear, where):
    """Return the median colour of the selected pixels."""
    return np.median(smear.image[where].astype(float), axis=0)


def plasma_colour(smear):
    """Plasma is the brightest part in green."""
    green = smear.image[..., 1]
    return median_colour(smear, (green >= np.percentile(green, 80)) & (smear.mask == BACKGROUND))
