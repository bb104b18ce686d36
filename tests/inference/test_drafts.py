"""Drafts are a dataset, and come back unchanged from outlines."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.import_outlines import import_outlines
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.inference.drafts import write_drafts
from wbcstudy.inference.image import Segmentation
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.inference.tiling import Tiling

TILING = Tiling("whole", (1, 1), (32, 32), (0, 0), 1.0, "")


@pytest.fixture
def drafts(tmp_path):
    """Drafts of drawn smears in two folders of slides, one of them of a suffix that other programs do not know."""
    images, smears, specks = {}, {}, {}
    for seed, (slide, name) in enumerate([("slide1", "1.png"), ("slide2", "1.png"), ("slide3", "2.jfif")]):
        path = tmp_path / "photographs" / slide / name
        path.parent.mkdir(parents=True)
        smears[path] = make_smear(seed, 120, 140, white_cells=(2, 3), touching=0.5)
        # Cytoplasm without a nucleus, far from cells: it is no cell.
        distance = distance_transform_edt(smears[path].mask == 0)
        specks[path] = distance > distance.max() - 2
        Image.fromarray(smears[path].image).save(path, "PNG" if name.endswith("png") else "JPEG")
        images[f"{slide}/{path.stem}"] = path

    def segment(path):
        mask = smears[path].mask.copy()
        mask[specks[path]] = 1
        probabilities = np.eye(3, dtype=np.float32)[mask]
        return Segmentation(smears[path].image, mask, split_cells(mask), probabilities, None, TILING)

    masks, questions = write_drafts(tmp_path / "drafts", images, segment, "drafts", 0.1)
    assert questions == []
    assert masks["slide1/1"] == "masks/slide1/1.png"
    return tmp_path / "drafts"


def test_drafts_are_a_dataset_that_passes_the_check(drafts):
    checked = check_dataset(drafts)
    assert checked.ok, checked.text()
    dataset = load_dataset(drafts)
    assert len(dataset.cases) == 3 and set(dataset.groups.values()) == {"slide1", "slide2", "slide3"}
    assert dataset.spec.pixel_size_um == 0.1
    # Cells of `segment` only: no specks.
    for number, case in enumerate(dataset.cases):
        mask = read_case(dataset, case)[1]
        assert mask.any() and not mask[make_smear(number, 120, 140, white_cells=(2, 3), touching=0.5).mask == 0].any()


@pytest.mark.parametrize("form", ["qupath", "imagej"])
def test_outlines_of_drafts_come_back_as_the_same_masks(drafts, form, tmp_path):
    """Draft -> file of outlines -> `wbcstudy data import` -> mask, without a correction in between."""
    lines = import_outlines(form, drafts, tmp_path / "corrected")
    assert "3 images with a mask" in lines[0] and not any("Left out" in line for line in lines)
    before, after = load_dataset(drafts), load_dataset(tmp_path / "corrected")
    assert [case.case_id for case in after.cases] == [case.case_id for case in before.cases]
    for old, new in zip(before.cases, after.cases, strict=True):
        (image, mask), (image_after, mask_after) = read_case(before, old), read_case(after, new)
        assert mask.any() and np.array_equal(mask, mask_after) and np.array_equal(image, image_after)
