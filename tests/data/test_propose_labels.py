"""Mask values are assigned to labels by name or by position."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter
from scipy.ndimage import binary_dilation

from tests.helpers.layouts import GREY, save, smear
from wbcstudy.data.propose_labels import propose_labels


def propose(tmp_path, masks):
    for k, mask in enumerate(masks):
        save(tmp_path / f"{k}.png", mask)
    return propose_labels([tmp_path / f"{k}.png" for k in range(len(masks))], tmp_path)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 2, 1), (255, 128, 0), (7, 200, 90)])
def test_the_nucleus_is_inside_and_the_background_at_the_border(tmp_path, values):
    masks = [np.array(values, np.uint8)[smear(k).mask] for k in range(4)]
    proposal = propose(tmp_path, masks)
    assert proposal.labels == {
        name: (v,) for name, v in zip(("background", "cytoplasm", "nucleus"), values, strict=True)
    }
    assert proposal.questions == () and proposal.tolerance == 0


def test_two_values_are_asked(tmp_path):
    proposal = propose(tmp_path, [(smear(k).mask == 2).astype(np.uint8) * 255 for k in range(3)])
    assert proposal.labels["background"] == (0,) and proposal.labels["nucleus"] == (255,)
    (question,) = proposal.questions
    assert "Which region the value 255 marks" in question


def test_smoothed_masks_get_a_tolerance_and_a_warning(tmp_path):
    masks = [Image.fromarray(GREY[smear(k).mask]).filter(ImageFilter.GaussianBlur(0.6)) for k in range(3)]
    proposal = propose(tmp_path, [np.asarray(mask) for mask in masks])
    assert proposal.labels == {"background": (0,), "cytoplasm": (128,), "nucleus": (255,)}
    assert proposal.tolerance == 64 and "false rim" in proposal.questions[0]


def test_masks_saved_as_jpeg_get_a_tolerance(tmp_path):
    for k in range(3):
        Image.fromarray(GREY[smear(k).mask]).save(tmp_path / f"{k}.jpg", quality=80)
    proposal = propose_labels([tmp_path / f"{k}.jpg" for k in range(3)], tmp_path)
    assert [[round(value / 127) for value in values] for values in proposal.labels.values()] == [[0], [1], [2]]
    assert 50 < proposal.tolerance < 80


@pytest.mark.parametrize(
    ("dtype", "values"), [(np.int64, (0, 1, 2)), (np.float32, (0, 1, 2)), (np.uint16, (0, 300, 65535))]
)
def test_masks_that_only_tifffile_reads(tmp_path, dtype, values):
    paths = [tmp_path / f"{k}.tif" for k in range(3)]
    for k, path in enumerate(paths):
        tifffile.imwrite(path, np.array(values, dtype)[smear(k).mask], photometric="minisblack")
    labels = propose_labels(paths, tmp_path).labels
    assert labels == {name: (v,) for name, v in zip(("background", "cytoplasm", "nucleus"), values, strict=True)}


def test_a_nucleus_whose_value_is_between_the_others(tmp_path):
    """Smoothing puts a rim of the nucleus' value around each cell."""
    masks = [Image.fromarray(np.array([0, 255, 128], np.uint8)[smear(k).mask]) for k in range(3)]
    proposal = propose(tmp_path, [np.asarray(mask.filter(ImageFilter.GaussianBlur(0.7))) for mask in masks])
    assert proposal.labels == {"background": (0,), "cytoplasm": (255,), "nucleus": (128,)}
    assert (proposal.ignore, proposal.tolerance) == (("1-127", "129-254"), 0)


def test_red_cells_are_background_and_asked(tmp_path):
    masks = [smear(k).mask.copy() for k in range(3)]
    for mask in masks:
        mask[:6, 10:20][mask[:6, 10:20] == 0] = 3
    proposal = propose(tmp_path, masks)
    assert proposal.labels == {"background": (0, 3), "cytoplasm": (1,), "nucleus": (2,)}
    assert "The meaning of 3" in proposal.questions[0]


@pytest.mark.parametrize("value", [255, 3])
def test_a_thin_border_is_ignored(tmp_path, value):
    masks = []
    for k in range(3):
        cell = smear(k).mask > 0
        mask = smear(k).mask.copy()
        mask[binary_dilation(cell, iterations=2) & ~cell] = value
        masks.append(mask)
    proposal = propose(tmp_path, masks)
    assert proposal.labels == {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)} and proposal.ignore == (value,)
    assert "a thin border" in proposal.questions[0]


def test_two_types_that_are_apart_are_asked(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[5:15, 5:15], mask[20:30, 30:45] = 1, 2
    proposal = propose(tmp_path, [mask, mask.T.copy()])
    assert any("neither is inside the other" in question for question in proposal.questions)
