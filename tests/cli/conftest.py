"""A small study."""

import pytest

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset


@pytest.fixture
def cells(places):
    """A small folder of images with a dataset.yaml, and a study on it."""
    folder = write_synthetic_dataset(places / "cells", cases=10, seed=3, size_px=32, slides=5, instances=False)
    study = places / "small.yaml"
    study.write_text(f"dataset: {folder}\nencoders: [mobilenet]\nlosses: [dice]\nimage_size: 32\nepochs: 1\n")
    return study
