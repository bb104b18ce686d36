"""Small datasets for the tests of the data package."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

GREY = {"background": 0, "cytoplasm": 128, "nucleus": 255}


def draw_case(seed=0, height=12, width=16):
    """An image of noise and a mask (labels 0, 1, 2) that has all three labels."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 250, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[2:10, 2:12], mask[4:8, 5:9] = 1, 2
    return image, mask


@pytest.fixture
def make_folder(tmp_path):
    """A function that writes a dataset folder and returns the path of its dataset.yaml."""

    def make(cases=4, facts=None, place=None, **fields):
        folder = Path(place or tmp_path / "set")
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        for k in range(cases):
            image, mask = draw_case(k)
            Image.fromarray(image).save(folder / "images" / f"{k:03d}.bmp")
            Image.fromarray(np.array(list(GREY.values()), np.uint8)[mask]).save(folder / "masks" / f"{k:03d}.png")
        values = {"name": "small", "images": "images/{case}.bmp", "masks": "masks/{case}.png", "labels": GREY} | fields
        if facts is not None:
            (folder / "cases.csv").write_text(facts, encoding="utf-8")
            values["cases"] = "cases.csv"
        values = {name: value for name, value in values.items() if value is not None}
        (folder / "dataset.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return folder / "dataset.yaml"

    return make


@pytest.fixture(scope="session")
def archive():
    """The public images as their host packs them."""
    root = Path(__file__).parents[2]
    given = os.environ.get("WBCSTUDY_TEST_ARCHIVE")
    path = Path(given) if given else root.parent / "shared" / "data" / "segmentation_WBC-master.zip"
    if not path.is_file():
        pytest.skip(f"no archive of the public images at {path}; set WBCSTUDY_TEST_ARCHIVE")
    return path
