"""The size of images and cells is that of the masks before any resizing."""

import numpy as np
import pytest
from PIL import Image

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.scale import describe_scale


def test_the_scale_of_drawn_cases(make_folder):
    dataset = load_dataset(make_folder(pixel_size_um=0.1))
    scale = describe_scale(dataset, ["000", "002"])
    # Each cell has 80 px.
    assert scale.pop("cell_px") == pytest.approx(2 * np.sqrt(80 / np.pi), abs=0.05)
    assert set(scale.pop("colours")) == {"mean", "spread"}
    assert scale == {"height_px": [12, 12, 12], "width_px": [16, 16, 16], "pixel_size_um": 0.1}


def test_cells_at_the_border_and_specks_are_not_measured(make_folder):
    path = make_folder(cases=3)
    mask = np.zeros((12, 16), np.uint8)
    mask[:6, :6], mask[8:11, 8:11] = 255, 128
    for k in range(3):
        Image.fromarray(mask).save(path.parent / "masks" / f"{k:03d}.png")
    assert describe_scale(load_dataset(path), ["000", "001", "002"])["cell_px"] is None
