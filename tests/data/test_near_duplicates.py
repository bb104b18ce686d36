"""Near duplicates show the same cell: resized, cropped, shifted, turned, brighter, or saved as JPEG."""

import io

import numpy as np
import pytest
from PIL import Image

from wbcstudy.data.datasets import DATASETS, load_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.fetch import fetch_segmentation_wbc
from wbcstudy.data.images import read_image
from wbcstudy.data.near_duplicates import find_pairs, make_thumbnail


@pytest.fixture(scope="module")
def drawn():
    """Twelve images of drawn cells."""
    return [read_image(case.image_path) for case in load_dataset("synthetic").cases[::7]]


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


COPIES = {
    "resized": lambda image: np.asarray(Image.fromarray(image).resize((130, 130))),
    "cropped": lambda image: image[10:180, 22:185],
    "shifted": lambda image: np.pad(image, ((0, 9), (7, 0), (0, 0)), mode="reflect")[9:, :-7],
    "turned": lambda image: np.ascontiguousarray(np.rot90(image)),
    "mirrored and turned": lambda image: np.ascontiguousarray(np.rot90(image[:, ::-1], 3)),
    "brighter": lambda image: np.minimum(image * 1.1 + 15, 255).astype(np.uint8),
    "JPEG": jpeg,
    "all": lambda image: jpeg(np.minimum(np.rot90(image[12:186, 8:170], 2) * 0.8 + 10, 255).astype(np.uint8)),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_found_and_nothing_else(drawn, change):
    for source in (1, 6):
        thumbnails = np.stack([make_thumbnail(image) for image in [*drawn, change(drawn[source])]])
        assert [pair[:2] for pair in find_pairs(thumbnails)] == [(source, len(drawn))]


def test_each_of_many_copies_is_in_a_pair(drawn):
    copies = [np.ascontiguousarray(np.rot90(drawn[0], k)) for k in range(1, 4)] + [drawn[0][k:-9] for k in (0, 4, 9)]
    pairs = find_pairs(np.stack([make_thumbnail(image) for image in [*drawn, *copies]]))
    assert {index for pair in pairs for index in pair[:2]} == {0, *range(len(drawn), len(drawn) + len(copies))}


@pytest.mark.parametrize("grey", [0, 255])
def test_images_of_one_colour_are_not_duplicates_of_others(drawn, grey):
    empty = np.full((64, 64, 3), grey, np.uint8)
    dusty = empty.copy()
    dusty[30, 40] = 128
    assert find_pairs(np.stack([make_thumbnail(image) for image in [*drawn, empty, dusty]])) == []


def test_the_public_images_have_the_14_known_pairs(archive, tmp_path):
    fetch_segmentation_wbc(archive, tmp_path)
    found = find_duplicates(load_dataset("segmentation_wbc_1", tmp_path))
    assert tuple(pair.case_ids for pair in found) == DATASETS["segmentation_wbc_1"].duplicates
    # A known pair that the search misses has no correlation.
    assert all(pair.correlation for pair in found)
    assert find_duplicates(load_dataset("segmentation_wbc_2", tmp_path)) == ()
