import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import wbcstudy
from tests.helpers.colour_run import COLOURS, paint, round_cells, write_colour_run
from wbcstudy.data.arrays import resize_probabilities
from wbcstudy.data.overlays import draw_overlay
from wbcstudy.errors import StudyError
from wbcstudy.inference.applying import predict_image
from wbcstudy.inference.network import load_network
from wbcstudy.inference.tiling import choose_tiling

CENTRES = [(20, 25), (50, 90), (100, 40), (115, 140)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_colour_run(tmp_path_factory.mktemp("outputs"), size=32)


def test_a_field_of_any_size_is_segmented_at_its_own_size(run):
    mask = round_cells(133, 171, CENTRES)
    result = wbcstudy.segment(paint(mask), run)
    assert result.way.name == "tiles"
    assert (result.mask == mask).all()
    assert len(result.cells) == result.instances.max() == len(CENTRES)
    assert result.probabilities.dtype == np.float32 and np.allclose(result.probabilities.sum(axis=2), 1, atol=1e-4)
    assert (result.cells["mean_confidence"] > 0.9).all()


@pytest.mark.parametrize("shape", [(70, 101), (40, 1300)])
def test_tiles_leave_no_seams(run, shape):
    """What a network makes of a pixel from that pixel alone cannot depend on the tiles."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    network = load_network(run)
    tiled = predict_image(image, network, choose_tiling(image.shape[:2], network.training))
    exact = np.asarray(network.model(image[None].astype(np.float32)))[0]
    assert np.allclose(tiled, exact, atol=1e-4)


def test_a_field_that_is_no_square_is_seen_in_all_its_positions(run):
    """With `test_time_flips` the network also sees it lying on its side."""
    network = load_network(run)
    flipping = dataclasses.replace(
        network,
        run=dataclasses.replace(network.run, config=network.run.config.model_copy(update={"test_time_flips": True})),
    )
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    tiling = choose_tiling(image.shape[:2], network.training)
    assert tiling.input_px == (64, 96)
    # From each pixel alone, so that all eight positions agree with the one.
    assert np.allclose(predict_image(image, flipping, tiling), predict_image(image, network, tiling), atol=1e-4)


@given(st.integers(1, 60), st.integers(1, 60))
def test_resizing_keeps_sums_and_slopes(wanted, have):
    slope = np.arange(have, dtype=np.float32)[:, None].repeat(2, axis=1) / 100
    probabilities = np.stack([slope, slope / 2, 1 - 1.5 * slope], axis=-1)
    result = resize_probabilities(probabilities, (wanted, 2))
    assert result.shape == (wanted, 2, 3) and result.dtype == np.float32
    assert np.allclose(result.sum(axis=2), 1, atol=1e-5)
    assert (np.diff(result[:, 0, 0]) >= -1e-6).all()
    assert abs(result[:, 0, 0].mean() - (have - 1) / 200) < 1e-3
    if wanted == have:
        assert np.allclose(result, probabilities, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (31, 33), (32, 32), (40, 28)])
def test_small_and_odd_images_come_back_as_large_as_they_were(run, shape):
    result = wbcstudy.segment(np.full((*shape, 3), COLOURS[0]), run)
    assert result.mask.shape == result.instances.shape == shape
    assert not result.mask.any() and len(result.cells) == 0


def test_an_image_of_another_magnification_is_brought_to_the_scale_of_the_training(run):
    mask = round_cells(96, 96, [(48, 48)], radius=20)
    result = wbcstudy.segment(paint(mask), run, scale=2)
    assert (result.way.tile, result.way.input_px) == ((128, 128), (64, 64))
    assert (result.mask != mask).mean() < 0.02


def test_pixel_size_gives_areas_and_the_scale(tmp_path):
    run = write_colour_run(tmp_path, size=32, pixel_size_um=0.2)
    mask = round_cells(64, 64, [(30, 30)])
    result = wbcstudy.segment(paint(mask), run, pixel_um=0.1)
    assert result.way.scale == 2
    (cell,) = result.cells.to_dict("records")
    assert cell["cell_area_um2"] == pytest.approx(0.01 * cell["cell_area_px"])


def test_a_grey_array_is_taken_and_anything_else_refused(run):
    assert wbcstudy.segment(np.full((32, 32), 230, np.uint8), run).image.shape == (32, 32, 3)
    for wrong in (np.zeros((32, 32, 3)), np.zeros((3, 32, 32), np.uint8), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(StudyError, match="is not an image"):
            wbcstudy.segment(wrong, run)


def test_a_segmentation_draws_itself(run):
    mask = round_cells(32, 32, [(16, 16)])
    result = wbcstudy.segment(paint(mask), run)
    assert (result.overlay(1) == draw_overlay(paint(mask), mask, mask > 0, 1)).all()
    assert result._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["16-bit grey", "CMYK", "grey", "alpha", "palette", "1-bit", "turned by EXIF"])
def test_files_of_every_kind_are_read(run, tmp_path, kind):
    mask = round_cells(32, 48, [(16, 20)])
    original, path = Image.fromarray(paint(mask)), tmp_path / "image.png"
    if kind == "16-bit grey":
        Image.fromarray(np.asarray(original.convert("L")).astype(np.uint16) * 257).save(path)
    elif kind == "CMYK":
        original.convert("CMYK").save(path := tmp_path / "image.tif")
    elif kind == "turned by EXIF":
        exif = Image.Exif()
        exif[0x0112] = 6
        original.save(path := tmp_path / "image.tif", exif=exif)
    else:
        modes = {"grey": "L", "alpha": "RGBA", "palette": "P", "1-bit": "1"}
        original.convert(modes[kind]).save(path)
    result = wbcstudy.segment(path, run)
    assert result.mask.shape == ((48, 32) if kind == "turned by EXIF" else (32, 48))
    if kind in ("alpha", "palette", "CMYK"):
        assert (result.mask != mask).mean() < 0.02
