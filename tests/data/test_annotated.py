"""A folder may be annotated in part."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers.colour_run import TWO_CELLS, paint
from wbcstudy.data.annotated import find_annotated
from wbcstudy.errors import StudyError


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 20, (3, *TWO_CELLS.shape, 3))
    for name, dots in zip("abc", noise, strict=True):
        for part in ("images", "masks"):
            (tmp_path / part).mkdir(exist_ok=True)
        Image.fromarray((paint(TWO_CELLS) - dots).astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
        if name != "c":
            Image.fromarray(TWO_CELLS).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def names(paths):
    return sorted(path.relative_to(path.parents[1]).as_posix() for path in paths)


@pytest.mark.parametrize("described", [True, False])
def test_images_with_a_mask_are_listed_with_or_without_dataset_yaml(folder, described):
    if described:
        labels = "{background: 0, cytoplasm: 1, nucleus: 2}"
        text = f"name: x\nimages: 'images/{{case}}.png'\nmasks: 'masks/{{case}}.png'\nlabels: {labels}\n"
        (folder / "dataset.yaml").write_text(text)
    annotated = find_annotated(folder)
    assert names(annotated.images) == ["images/a.png", "images/b.png"]
    assert names(annotated.masks) == ["masks/a.png", "masks/b.png"]


def test_a_folder_without_masks_is_an_error(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()
    with pytest.raises(StudyError, match="has a mask"):
        find_annotated(folder)
    with pytest.raises(StudyError, match="no dataset at"):
        find_annotated(folder / "elsewhere")
