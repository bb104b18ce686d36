"""Duplicates are images with equal pixels."""

from PIL import Image

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import find_duplicates


def test_equal_images_are_recognised_in_any_format(make_folder):
    path = make_folder(images="images/{case}.*")
    Image.open(path.parent / "images/000.bmp").save(path.parent / "images/002.png")
    (path.parent / "images/002.bmp").unlink()
    assert find_duplicates(load_dataset(path)) == (("000", "002"),)
