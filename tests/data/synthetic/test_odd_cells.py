"""Damaged cells keep their labels; what is no white cell is background or has no label."""

import numpy as np

from tests.helpers.smears import fix_shares
from wbcstudy.data.synthetic import varied
from wbcstudy.data.synthetic.varied import make_varied_smear
from wbcstudy.labels import IGNORED


def test_a_basket_cell_has_no_label_and_other_oddities_are_background(monkeypatch):
    fix_shares(monkeypatch, basket=1.0, empty=1.0)
    assert (make_varied_smear(1).mask == IGNORED).mean() > 0.02
    for kind in varied._EXTRAS:
        fix_shares(monkeypatch, empty=1.0)
        plain = make_varied_smear(1)
        fix_shares(monkeypatch, empty=1.0, **{kind: 1.0})
        drawn = make_varied_smear(1)
        assert (drawn.image != plain.image).any(), kind
        assert not drawn.mask.any(), kind


def test_damaged_cells_keep_their_nucleus_and_the_border_cuts_cells(monkeypatch):
    fix_shares(monkeypatch)
    whole = make_varied_smear(2)
    fix_shares(monkeypatch, ruptured=1.0)
    torn = make_varied_smear(2)
    np.testing.assert_array_equal(whole.nuclei > 0, torn.nuclei > 0)
    assert (torn.instances > 0).sum() < (whole.instances > 0).sum()
    fix_shares(monkeypatch, border=1.0)
    assert sum(make_varied_smear(seed).cells[-1].touches_border for seed in range(6)) >= 5
