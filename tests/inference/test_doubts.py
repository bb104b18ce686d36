"""Images unlike anything learnt are named; images like the training images are not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import label

import wbcstudy
from tests.helpers.colour_run import COLOURS, add_red_cells, paint, round_cells, write_colour_run
from wbcstudy.inference.applying import Prediction
from wbcstudy.inference.doubts import find_doubts
from wbcstudy.inference.folder import segment_images
from wbcstudy.inference.network import load_network
from wbcstudy.inference.tiling import choose_tiling

FIELD = round_cells(64, 64, [(20, 22), (44, 42)], 12)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_network(write_colour_run(tmp_path_factory.mktemp("outputs"), size=64, cell_px=24.0))


@pytest.fixture(scope="module")
def ruled_network(tmp_path_factory):
    """Return a network with a known pixel size: red cells have a radius of 10 px in its training images."""
    folder = tmp_path_factory.mktemp("outputs")
    return load_network(write_colour_run(folder, size=64, cell_px=24.0, pixel_size_um=0.36))


def doubts(image, network):
    return "; ".join(wbcstudy.segment(image, network).doubts)


def test_an_image_like_the_training_images_is_not_doubted(network):
    assert doubts(paint(FIELD), network) == ""


def test_an_empty_field_is(network):
    assert "no cell was found" in doubts(np.full((64, 64, 3), 235, np.uint8), network)


def test_cells_without_nucleus_and_many_small_cells_are(network):
    shape = (64, 64)
    tiling = choose_tiling(shape, network.training)

    def judge(mask):
        probabilities = np.float32([0.05, 0.05, 0.05]) + np.eye(3, dtype=np.float32)[mask] * np.float32(0.85)
        return "; ".join(
            find_doubts(paint(mask), Prediction(probabilities), label(mask > 0)[0], tiling, network.training)
        )

    assert judge(FIELD) == ""
    assert judge(np.minimum(FIELD, 1)) == "2 of 2 cells have no nucleus"
    specks = round_cells(*shape, [(y, x) for y in range(5, 60, 8) for x in range(5, 60, 8)], 3)
    assert "49 cells, where training images" in judge(specks) and "24 px were learnt" in judge(specks)
    assert "almost all of the image" in judge(np.full(shape, 2, np.uint8))


def test_colours_between_the_labels_are_low_confidence(network):
    middle = (COLOURS[1].astype(int) + COLOURS[2]) // 2
    image = np.full((64, 64, 3), 235, np.uint8)
    image[20:44, 20:44] = middle
    assert "low confidence" in doubts(image, network)


def test_text_and_inverted_images_are(network):
    page = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(page).multiline_text((2, 2), "leukocytes\nneutrophil\nmonocytes", fill="black")
    assert doubts(np.asarray(page), network)
    assert doubts(255 - paint(FIELD), network)


def test_grey_images_and_bright_objects_on_a_dark_background_are(network):
    grey = np.repeat(paint(FIELD).mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert "nuclei are not violet" in doubts(grey, network)
    assert "dark background" in doubts(255 - paint(FIELD), network)


def test_white_cells_without_red_cells_are(ruled_network):
    """Leukocytes are rare in blood: tissue is full of nuclei, and has no red cells."""
    whites = [(row, column) for row in (30, 90) for column in (30, 100, 170)]
    image = paint(round_cells(200, 200, whites, 12))

    def judge(image):
        return "; ".join(wbcstudy.segment(image, ruled_network, scale=1).doubts)

    assert "6 white cells and 0 red cells" in judge(image)
    assert judge(paint(round_cells(200, 200, whites[:2], 12))) == ""
    reds = [(row, column) for row in (60, 130, 170) for column in (30, 80, 130, 170)]
    blood = add_red_cells(image.copy(), 10, reds)
    assert judge(blood) == ""
    bright = add_red_cells(image.copy(), 10, reds, (255, 253, 250))
    assert "round cells are brighter than their surroundings" in judge(bright)


def test_the_table_the_gallery_and_the_summary_name_them(network, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(paint(FIELD)).save(tmp_path / "images" / "good.png")
    Image.fromarray(np.full((64, 64, 3), 235, np.uint8)).save(tmp_path / "images" / "empty.png")
    summary = segment_images([tmp_path / "images"], network, tmp_path / "out")
    (note,) = [note for note in summary.notes if note.startswith("Check 1 image of 2")]
    assert "empty (no cell was found)" in note and "good" not in note
    rows = (tmp_path / "out" / "images.csv").read_text().splitlines()
    assert ["no cell was found" in row for row in rows] == [False, True, False]
    assert summary.gallery.read_text().count("Check: no cell was found.") == 1
