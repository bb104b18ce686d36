"""`benchmarks/cell_sizes.py`: how far the size of one white cell shows the scale."""

import cell_sizes
import numpy as np
import pytest

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError


def test_the_diameter_is_that_of_a_circle_as_large_as_the_largest_whole_cell():
    mask = np.zeros((60, 80), np.uint8)
    assert cell_sizes.cell_diameter(mask) is None
    mask[:30, :40] = 1  # at the border
    assert cell_sizes.cell_diameter(mask) is None
    mask[40:50, 50:60], mask[45:48, 52:55] = 1, 2
    mask[40:43, 70:73] = 2
    assert cell_sizes.cell_diameter(mask) == pytest.approx(2 * np.sqrt(100 / np.pi))


def test_the_size_within_15_percent_of_most_diameters_is_found():
    # From 1 to 1.15 ** 2 all are within 15 % of 1.15; 1.4 is within 15 % of 1.3 only.
    size, share = cell_sizes.close_to_one_size([1.4, 1.3, 1.0, 1.15, 1.05])
    assert (share, size) == (0.8, pytest.approx(np.sqrt(1.3)))
    assert cell_sizes.close_to_one_size([20.0]) == (pytest.approx(20.0), 1.0)


def test_types_have_their_own_size(tmp_path, monkeypatch):
    dataset = load_dataset(write_synthetic_dataset(tmp_path / "cells", cases=6, seed=3, size_px=64))
    kinds = dict(zip(sorted({case.cell_type for case in dataset.cases}), (10.0, 20.0, 40.0, 80.0, 160.0), strict=False))
    wanted = iter([kinds[case.cell_type] for case in dataset.cases])
    monkeypatch.setattr(cell_sizes, "cell_diameter", lambda mask: next(wanted))
    row = cell_sizes.summarise_sizes(dataset)
    assert (row["dataset"], row["images"], row["types"]) == (dataset.name, 6, len(kinds))
    most = max(sum(case.cell_type == kind for case in dataset.cases) for kind in kinds)
    assert (row["close"], row["close_with_type"]) == (pytest.approx(most / 6), 1.0)
    monkeypatch.setattr(cell_sizes, "cell_diameter", lambda mask: None)
    with pytest.raises(StudyError, match="has a whole cell"):
        cell_sizes.summarise_sizes(dataset)
