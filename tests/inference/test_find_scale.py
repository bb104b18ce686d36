"""The scale of images is where red cells have their known size, and white cells the size of the training cells."""

import dataclasses

import numpy as np
import pytest

import wbcstudy
from tests.helpers.colour_run import add_red_cells, paint, round_cells, write_colour_run
from wbcstudy.inference.find_scale import FoundScale, find_scale, needs_scale, pick_evenly
from wbcstudy.inference.folder import Settings, segment_images
from wbcstudy.inference.network import load_network

# The training images: 64 px with cells of 24 px.
TRAINED = {"size": 64, "cell_px": 24.0}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return load_network(write_colour_run(tmp_path_factory.mktemp("outputs"), **TRAINED))


def field(radius, side=None):
    side, step = side or max(200, 8 * radius), 3 * radius
    return paint(
        round_cells(side, side, [(y, x) for y in range(step, side - radius, step) for x in (step, 2 * step)], radius)
    )


@pytest.fixture(scope="module")
def ruled_network(tmp_path_factory):
    """Return a network with a known pixel size: red cells have a radius of 10 px in its training images."""
    return load_network(write_colour_run(tmp_path_factory.mktemp("outputs"), **TRAINED, pixel_size_um=0.36))


@pytest.mark.parametrize("radius", [7, 18, 24, 48])
def test_cells_of_another_size_give_their_scale(network, radius):
    shared = find_scale([field(radius)], network)
    assert shared.scale == pytest.approx(radius / 12, rel=0.1)
    assert shared.images == 1 and f"{shared.cell_px:.0f} px" in shared.reason


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_red_cells_are_the_ruler(ruled_network, scale):
    """White cells of an unusual size do not change the scale, and none is needed."""
    side = round(240 * scale)
    image = np.full((side, side, 3), (235, 225, 215), np.uint8)
    centres = [(scale * row, scale * column) for row in (30, 80, 130) for column in (40, 90, 190)]
    image = add_red_cells(image, 10 * scale, centres)
    shared = find_scale([image], ruled_network)
    assert shared.scale == pytest.approx(scale, rel=0.1)
    # A part of the image is enough.
    assert 4 <= shared.red_cells <= 9
    assert f"{shared.red_cells} red cells of about {shared.red_px:.0f} px in 1 image" in shared.reason
    assert shared.red_px == pytest.approx(20 * scale, rel=0.1)
    white = paint(round_cells(side, side, [(scale * 105, scale * 65)], 1.35 * 12 * scale))
    assert find_scale([np.minimum(image, white)], ruled_network).scale == pytest.approx(scale, rel=0.1)


def test_white_cells_alone_are_enough(ruled_network):
    shared = find_scale([field(24)], ruled_network)
    assert shared.scale == pytest.approx(2, rel=0.1) and not shared.red_cells


def test_nearly_the_same_scale_is_the_same(network):
    assert find_scale([field(13)], network).scale == 1.0


def test_no_cell_gives_no_scale(network):
    assert find_scale([np.full((150, 150, 3), 235, np.uint8)], network) is None
    # Without nucleus, it is not a cell.
    assert find_scale([np.where(field(18) == [[[105, 60, 140]]], 190, field(18)).astype(np.uint8)], network) is None


def test_the_scale_is_searched_only_if_nothing_else_gives_it(network):
    training = network.training
    assert needs_scale(training, (200, 200), None, None)
    assert not needs_scale(training, (200, 200), 1.0, None)
    assert not needs_scale(training, (70, 60), None, None)  # as large as the training images
    assert needs_scale(training, (200, 200), None, 0.1)  # the pixel size of the training images is unknown


def test_segment_finds_and_states_the_scale_and_an_option_overrides_it(network):
    image = field(24)
    result = wbcstudy.segment(image, network)
    assert result.way.scale == pytest.approx(2, rel=0.1) and "found automatically" in result.way.reason
    assert wbcstudy.segment(image, network, scale=1.3).way.scale == 1.3


def test_a_folder_has_one_scale_which_later_commands_keep(network, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number, radius in enumerate((18, 20, 19)):
        Image.fromarray(field(radius)).save(tmp_path / "images" / f"{number}.png")
    summary = segment_images([tmp_path / "images"], network, tmp_path / "out", Settings())
    assert any("found automatically" in note for note in summary.notes)
    table = (tmp_path / "out" / "images.csv").read_text().splitlines()
    column = table[0].split(",").index("scale")
    (scale,) = {row.split(",")[column] for row in table[1:]}
    assert float(scale) == pytest.approx(19 / 12, rel=0.1)
    Image.fromarray(field(7)).save(tmp_path / "images" / "small.png")
    segment_images([tmp_path / "images"], network, tmp_path / "out", Settings())
    assert f",{scale}," in (tmp_path / "out" / "images.csv").read_text().splitlines()[-1]


def test_images_are_picked_evenly():
    assert pick_evenly(list(range(20)), 5) == [0, 4, 8, 12, 16]
    assert pick_evenly([1, 2], 5) == [1, 2]
    assert "3 images" in FoundScale(2.0, 48.0, 3).reason


def test_the_search_looks_at_one_position(network, monkeypatch):
    """The eight positions of `test_time_flips` are for the prediction: a search over 13 scales would take long."""
    flipping = dataclasses.replace(
        network,
        run=dataclasses.replace(network.run, config=network.run.config.model_copy(update={"test_time_flips": True})),
    )
    expected = find_scale([field(24)], network)
    monkeypatch.setattr(type(network), "predict", lambda self, images: pytest.fail("predicted in eight positions"))
    assert find_scale([field(24)], flipping) == expected
