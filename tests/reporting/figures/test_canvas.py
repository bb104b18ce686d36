"""What all figures share: style and files."""

import io

import matplotlib as mpl
import numpy as np

from tests.helpers.fake_study import disc_mask, fake_history, fake_image
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.images import (
    fig_samples,
)
from wbcstudy.reporting.figures.training import fig_history


def some_cases(count=3):
    generator = np.random.default_rng(0)
    masks = [disc_mask(generator, 24 + 8 * index) for index in range(count)]
    return [fake_image(mask, generator) for mask in masks], masks, [f"case_{index} $x" for index in range(count)]


def test_files_are_the_same_bytes_and_matplotlib_keeps_its_settings(tmp_path):
    images, masks, titles = some_cases(2)
    before = dict(mpl.rcParams)
    for folder in ("a", "b"):
        paths = write_figure(fig_samples(images, masks, titles), tmp_path / folder, "figure1")
        assert [path.name for path in paths] == ["figure1.png", "figure1.svg"]
    for suffix in ("png", "svg"):
        assert (tmp_path / "a" / f"figure1.{suffix}").read_bytes() == (
            tmp_path / "b" / f"figure1.{suffix}"
        ).read_bytes()
    assert dict(mpl.rcParams) == before
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_figures_are_drawn_on_white():
    from PIL import Image

    figure = fig_history(fake_history(np.random.default_rng(0), 5), 3, "t")
    png, size = figure._repr_png_()
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGB" and image.getpixel((1, 1)) == (255, 255, 255)
        assert size["width"] < image.width
