import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbcstudy.errors import StudyError
from wbcstudy.inference.tiling import LARGEST_TILE, TrainingScale, choose_way, enlarge, place_tiles, tile_weights

CROPS = TrainingScale(96, (180, 192, 200), (192, 192, 192), pixel_size_um=0.16)


@pytest.mark.parametrize(
    ("shape", "options", "way", "tile", "words"),
    [
        ((192, 192), {}, "whole", (192, 192), "about the size of the training images, 192x192 px"),
        ((150, 240), {}, "whole", (150, 240), "240x150 px is about"),
        ((768, 1024), {}, "tiles", (768, 1024), "192x192 px here are as much as a training image"),
        ((3000, 400), {}, "tiles", (1024, 448), "another size"),
        ((192, 250), {}, "tiles", (192, 256), "another size"),
        ((1, 1), {}, "tiles", (192, 192), "another size"),
        ((768, 1024), {"way": "whole"}, "whole", (768, 1024), "as asked"),
        ((192, 192), {"way": "tiles"}, "tiles", (192, 192), "as asked"),
        ((384, 384), {"scale": 2}, "whole", (384, 384), "times 2 as asked"),
        ((192, 192), {"scale": 2}, "tiles", (384, 384), "times 2 as asked"),
        ((384, 384), {"pixel_um": 0.08}, "whole", (384, 384), "of 0.16 µm, here 0.08 µm"),
        ((768, 1024), {"pixel_um": 0.32}, "tiles", (512, 512), "here 0.32 µm"),
        ((768, 1024), {"pixel_um": 0.32, "scale": 1}, "tiles", (768, 1024), "times 1 as asked"),
    ],
)
def test_an_image_is_resized_whole_where_the_training_images_were_as_large(shape, options, way, tile, words):
    found = choose_way(shape, CROPS, **options)
    assert (found.name, found.tile) == (way, tile)
    assert words in found.why


def test_a_run_that_does_not_say_what_it_was_trained_on_is_taken_at_its_word():
    assumed = TrainingScale(64, (64,) * 3, (64,) * 3, assumed=True)
    assert "assumed: this run does not say" in choose_way((300, 300), assumed).why


@pytest.mark.parametrize("options", [{"way": "tile"}, {"scale": 0}, {"scale": -1}, {"pixel_um": 1e9}])
def test_what_cannot_be_a_way_or_a_scale_is_refused(options):
    with pytest.raises(StudyError, match="To fix"):
        choose_way((10, 10), CROPS, **options)


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.sampled_from([32, 96, 256, 1024]),
    st.floats(0.2, 5),
    st.floats(0.5, 2),
)
def test_a_tile_shows_cells_at_the_scale_of_the_training_and_is_no_larger_than_it_must_be(shape, size, shrunk, scale):
    """Its side is the training's times a whole number of 32 px; what is beyond the image is less than one such."""
    trained = max(1, round(size * shrunk))
    way = choose_way(shape, TrainingScale(size, (trained,) * 3, (trained,) * 3), way="tiles", scale=scale)
    training_px = max(1, round(trained * scale))
    for length, tile, seen in zip(shape, way.tile, way.seen, strict=True):
        assert seen % 32 == 0 and size <= seen <= max(size, LARGEST_TILE)
        assert tile == pytest.approx(seen * training_px / size, abs=0.5)
        assert tile <= max(training_px, length + 32 * training_px / size + 1)


@given(st.integers(1, 3000), st.integers(1, 400), st.floats(0, 0.9))
def test_tiles_cover_everything_stay_inside_and_overlap(length, tile, share):
    length, overlap = max(length, tile), round(tile * share)
    places = place_tiles(length, tile, overlap)
    assert places[0] == 0 and places[-1] + tile == length
    for before, after in itertools.pairwise(places):
        # Rounding may take a pixel of the overlap.
        assert before < after <= before + max(1, tile - overlap) + 1


def test_every_pixel_of_a_tile_counts_and_its_middle_most():
    weights = tile_weights((8, 5))
    assert weights.shape == (8, 5) and weights.min() > 0
    assert weights.argmax() in (3 * 5 + 2, 4 * 5 + 2)


def test_a_small_image_is_mirrored_until_it_fills_a_tile():
    image = np.arange(6, dtype=np.uint8).reshape(2, 1, 3)
    larger = enlarge(image, (5, 4))
    assert larger.shape == (5, 4, 3)
    assert (larger[:2, :1] == image).all() and set(np.unique(larger)) == set(range(6))
    assert enlarge(image, (1, 1)) is image
