import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcstudy.errors import StudyError
from wbcstudy.inference.tiling import Tiling, TrainingScale, choose_tiling, pad_to_tile, tile_corners, tile_weights

CROPS = TrainingScale(96, (180, 192, 200), (192, 192, 192), pixel_size_um=0.16)


@pytest.mark.parametrize(
    ("shape", "options", "way", "tile", "reason"),
    [
        ((192, 192), {}, "whole", (192, 192), "192x192 px is about the size of a training image, 192x192 px"),
        ((150, 240), {}, "whole", (150, 240), "240x150 px is about"),
        ((768, 1024), {}, "tiles", (768, 1024), "differs from the size of a training image, 192x192 px"),
        ((3000, 400), {}, "tiles", (1024, 448), "differs from the size of a training image"),
        ((192, 250), {}, "tiles", (192, 256), "differs from the size of a training image"),
        ((1, 1), {}, "tiles", (192, 192), "differs from the size of a training image"),
        ((768, 1024), {"way": "whole"}, "whole", (768, 1024), "as requested"),
        ((192, 192), {"way": "tiles"}, "tiles", (192, 192), "as requested"),
        ((384, 384), {"scale": 2}, "whole", (384, 384), "384x384 px at scale 2"),
        ((192, 192), {"scale": 2}, "tiles", (384, 384), "384x384 px at scale 2"),
        ((384, 384), {"pixel_um": 0.08}, "whole", (384, 384), "384x384 px at 0.08 µm per pixel (training: 0.16 µm)"),
        ((768, 1024), {"pixel_um": 0.32}, "tiles", (512, 512), "96x96 px at 0.32 µm per pixel"),
        ((768, 1024), {"pixel_um": 0.32, "scale": 1}, "tiles", (768, 1024), "192x192 px at scale 1"),
    ],
)
def test_an_image_is_resized_whole_where_the_training_images_were_as_large(shape, options, way, tile, reason):
    tiling = choose_tiling(shape, CROPS, **options)
    assert (tiling.name, tiling.tile) == (way, tile)
    assert reason in tiling.reason


def test_sizes_that_a_run_does_not_record_are_assumed():
    assumed = TrainingScale(64, (64,) * 3, (64,) * 3, assumed=True)
    assert "(assumed, not recorded in this run)" in choose_tiling((300, 300), assumed).reason


@pytest.mark.parametrize("options", [{"way": "tile"}, {"scale": 0}, {"scale": -1}, {"pixel_um": 1e9}])
def test_unknown_ways_and_scales_out_of_range_are_refused(options):
    with pytest.raises(StudyError, match="To fix"):
        choose_tiling((10, 10), CROPS, **options)


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.sampled_from([32, 96, 256, 1024]),
    st.floats(0.2, 5),
    st.floats(0.5, 2),
)
def test_a_tile_shows_cells_at_the_scale_of_the_training_and_is_no_larger_than_it_must_be(shape, size, shrunk, scale):
    """Its side is the training's times a whole number of 32 px; it exceeds the image by less than one of these."""
    trained = max(1, round(size * shrunk))
    tiling = choose_tiling(shape, TrainingScale(size, (trained,) * 3, (trained,) * 3), way="tiles", scale=scale)
    training_px = max(1, round(trained * scale))
    for length, tile, input_px in zip(shape, tiling.tile, tiling.input_px, strict=True):
        assert input_px % 32 == 0 and size <= input_px <= max(size, 512)
        assert tile == pytest.approx(input_px * training_px / size, abs=0.5)
        assert tile <= max(training_px, length + 32 * training_px / size + 1)


@given(st.integers(1, 3000), st.integers(1, 400), st.floats(0, 0.9))
def test_tiles_cover_everything_stay_inside_and_overlap(length, tile, share):
    length, overlap = max(length, tile), round(tile * share)
    tiling = Tiling("tiles", (tile, 1), (32, 32), (overlap, 0), 1.0, "")
    starts, columns = zip(*tile_corners((length, 1), tiling), strict=True)
    assert starts[0] == 0 and starts[-1] + tile == length and set(columns) == {0}
    for before, after in itertools.pairwise(starts):
        # Rounding may take a pixel of the overlap.
        assert before < after <= before + max(1, tile - overlap) + 1


def test_every_pixel_of_a_tile_counts_and_its_middle_most():
    weights = tile_weights((8, 5))
    assert weights.shape == (8, 5) and weights.min() > 0
    assert weights.argmax() in (3 * 5 + 2, 4 * 5 + 2)


def test_a_small_image_is_mirrored_until_it_fills_a_tile():
    image = np.arange(6, dtype=np.uint8).reshape(2, 1, 3)
    larger = pad_to_tile(image, (5, 4))
    assert larger.shape == (5, 4, 3)
    assert (larger[:2, :1] == image).all() and set(np.unique(larger)) == set(range(6))
    assert pad_to_tile(image, (1, 1)) is image
