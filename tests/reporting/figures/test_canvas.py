"""What all figures share: style and files."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from tests.helpers.fake_study import disc_mask, fake_history, fake_image
from tests.helpers.made_scores import noisy_dice, scores_from_array
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.images import (
    fig_samples,
)
from wbcstudy.reporting.figures.scores import fig_cost_quality
from wbcstudy.reporting.figures.significance import fig_ranks
from wbcstudy.reporting.figures.training import fig_history
from wbcstudy.scoring.ranks import friedman_nemenyi


def some_cases(count=3):
    generator = np.random.default_rng(0)
    masks = [disc_mask(generator, 24 + 8 * index) for index in range(count)]
    return [fake_image(mask, generator) for mask in masks], masks, [f"case_{index} $x" for index in range(count)]


def test_files_are_the_same_bytes_and_matplotlib_keeps_its_settings(tmp_path):
    images, masks, titles = some_cases(2)
    before = dict(mpl.rcParams)
    for folder in ("a", "b"):
        paths = write_figure(fig_samples(images, masks, titles), tmp_path / folder, "figure1")
        assert [path.name for path in paths] == ["figure1.png", "figure1.pdf", "figure1.svg"]
    for suffix in ("png", "pdf", "svg"):
        assert (tmp_path / "a" / f"figure1.{suffix}").read_bytes() == (
            tmp_path / "b" / f"figure1.{suffix}"
        ).read_bytes()
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


@pytest.mark.parametrize("number", [4, 18])
def test_figures_are_as_wide_as_a_page_with_300_dpi_and_text_that_stays_text(tmp_path, number):
    methods = [f"{encoder}__{loss}" for encoder in ENCODERS for loss in ("cross_entropy", "dice")][:number]
    figure = fig_cost_quality(methods, range(1, number + 1), np.linspace(0.8, 0.9, number), "cost", "Dice", methods[0])
    png, pdf, svg = (path.read_bytes() for path in write_figure(figure, tmp_path, "cost"))
    with Image.open(io.BytesIO(png)) as image:
        assert round(image.info["dpi"][0]) == 300 and round(image.width / 300 * 25.4) == 174
    # A font of type 42 (TrueType), whose text can be selected and edited; type 3 is drawn as shapes.
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    text = svg.decode()
    assert ">Dice</text>" in text and "'DejaVu Sans', 'Verdana', 'Arial', sans-serif" in text
    assert ">U-Net with cross-entropy</text>" in text


def test_no_text_of_a_figure_is_outside_of_it():
    figure = fig_ranks({"nucleus": friedman_nemenyi(scores_of(18), "nucleus")})
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent(canvas.get_renderer())
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height, text


def scores_of(number):
    methods = [f"{encoder}__{loss}" for encoder in ENCODERS for loss in ("cross_entropy", "dice")][:number]
    return scores_from_array(noisy_dice(30, [-0.01 * k for k in range(number)], 1), methods)


def test_figures_are_drawn_on_white():
    figure = fig_history(fake_history(np.random.default_rng(0), 5), 3, "t")
    png, size = figure._repr_png_()
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGB" and image.getpixel((1, 1)) == (255, 255, 255)
        # Sharp on a screen, and a quarter of the pixels of the file.
        assert 1.5 * size["width"] < image.width
        with Image.open(io.BytesIO(figure.png)) as printed:
            assert image.width == -(-printed.width // 2)
