"""Small datasets for the tests of the data package."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.helpers.drawn_cases import GREY, draw_case
from wbcstudy.data.datasets import load_dataset


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


@pytest.fixture
def make_dataset(make_folder):
    """A function that writes a dataset and changes its masks; returns the dataset."""

    def make(masks, **fields):
        file = make_folder(cases=len(masks), **fields)
        for number, values in enumerate(masks):
            path = file.parent / "masks" / f"{number:03d}.png"
            mask = np.array(Image.open(path))
            mask[0, : len(values)] = values
            Image.fromarray(mask).save(path)
        return load_dataset(file)

    return make
