"""The look of the cell types."""

import numpy as np
from scipy import ndimage

from tests.helpers.smears import median_colour, plasma_colour
from wbcstudy.data.synthetic.dataset import CELL_TYPES, _make_case, make_smear
from wbcstudy.labels import CYTOPLASM, NUCLEUS


def test_nucleus_is_darker_than_cytoplasm_and_cytoplasm_than_plasma():
    for index in range(20):
        smear = _make_case(index, seed=11)
        nucleus, cytoplasm = (median_colour(smear, smear.mask == label)[1] for label in (NUCLEUS, CYTOPLASM))
        assert nucleus + 20 < cytoplasm, index
        assert cytoplasm + 8 < plasma_colour(smear)[1], index


def test_cell_types_look_as_named():
    def look(cell_type):
        share, lobes, red = [], [], []
        for seed in range(10):
            smear = make_smear(seed, white_cells=(1, 1), main_type=cell_type, slide=seed)
            share.append((smear.nuclei > 0).sum() / (smear.instances > 0).sum())
            hull = ndimage.binary_closing(smear.nuclei > 0, iterations=12)
            lobes.append((smear.nuclei > 0).sum() / hull.sum())
            colour = median_colour(smear, smear.mask == CYTOPLASM)
            red.append(colour[0] - colour[2])
        return np.mean(share), np.mean(lobes), np.mean(red), np.mean((smear.instances > 0).sum())

    share, lobes, red, area = (
        dict(zip(CELL_TYPES, row, strict=True)) for row in zip(*map(look, CELL_TYPES), strict=True)
    )
    assert max(share, key=share.get) == "lymphocyte"  # a thin rim of cytoplasm
    assert min(lobes, key=lobes.get) == "neutrophil"  # lobes with room between
    assert max(lobes, key=lobes.get) == "lymphocyte"  # a ball
    assert max(red, key=red.get) == "eosinophil"
    assert min(red, key=red.get) in ("lymphocyte", "monocyte", "basophil")  # blue
    assert max(area, key=area.get) == "monocyte"
