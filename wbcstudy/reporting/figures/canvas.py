"""Shared by all figures: style, colours, figures that need no display, and files."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from wbcstudy.files import atomic_write
from wbcstudy.labels import LABELS, REGION_COLOURS

# The regions that are one label each.
DRAWN = tuple(label for label in ("nucleus", "cytoplasm") if label in LABELS)
PLAIN_COLOUR = "#E9E9EC"
INK = "#333333"
BLUE, ORANGE = "#0072B2", "#D55E00"
# Distinguishable with any common colour-vision deficiency (Okabe, Ito 2008, and shades of it).
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F", "#BCBD22", INK)
DPI = 150
# Side of one image, in inches.
TILE_IN = 2.1
# A dark rim keeps yellow and green lines visible on white.
RIM = [Stroke(linewidth=2.6, foreground="#222222"), Normal()]
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "figure.facecolor": "white",
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "grid.color": "#E4E4E8",
    "legend.fontsize": 9,
    "lines.solid_capstyle": "round",
    "xtick.bottom": False,
    "xtick.labelsize": 8,
    "ytick.left": False,
    "ytick.labelsize": 8,
}


class StudyFigure(Figure):
    """A matplotlib figure that notebooks show without `%matplotlib inline`, drawn once for file and notebook."""

    @functools.cached_property
    def png(self) -> bytes:
        """The figure as a PNG file, RGB."""
        raw, file = io.BytesIO(), io.BytesIO()
        self.savefig(raw, format="rgba", dpi=DPI, facecolor="white")
        size = tuple(int(inches * DPI) for inches in self.get_size_inches())
        Image.frombytes("RGBA", size, raw.getvalue()).convert("RGB").save(file, "PNG", dpi=(DPI, DPI))
        return file.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(90 * inches) for inches in self.get_size_inches())
        return self.png, {"width": width, "height": height}


def styled(function: Callable) -> Callable:
    """Draw in the common style; matplotlib's own settings do not change."""

    @functools.wraps(function)
    def draw(*args, **kwargs) -> StudyFigure:
        with mpl.rc_context(_STYLE):
            return function(*args, **kwargs)

    return draw


def write_figure(figure: StudyFigure, folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`; the same figure gives the same bytes.

    Returns:
        The two paths.
    """
    png, svg = (Path(folder) / f"{stem}.{suffix}" for suffix in ("png", "svg"))
    with atomic_write(png) as part:
        part.write_bytes(figure.png)
    # Without a fixed salt and without the date, so that an unchanged figure is an unchanged file.
    with mpl.rc_context({"svg.hashsalt": stem}), _as_drawn(figure), atomic_write(svg) as part:
        figure.savefig(part, format="svg", dpi=DPI, metadata={"Date": None}, facecolor="white")
    return [png, svg]


@contextlib.contextmanager
def _as_drawn(figure: Figure) -> Iterator[None]:
    """Keep the layout of the last drawing, and store images at their own resolution.

    Layout, enlarging and compressing take most of the time of a figure with many images; viewers of an SVG enlarge
    better.
    """
    layout = figure.get_layout_engine()
    interpolations = {image: image.get_interpolation() for image in figure.findobj(AxesImage)}
    figure.set_layout_engine("none")
    for image in interpolations:
        image.set_interpolation("none")
    try:
        yield
    finally:
        figure.set_layout_engine(layout)
        for image, interpolation in interpolations.items():
            image.set_interpolation(interpolation)


def make_axes(rows: int, columns: int, width_in: float, height_in: float, **options):
    """Return a figure of this size in inches, and its axes as `Figure.subplots` gives them."""
    figure = StudyFigure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def make_tiles(rows: int, columns: int, side_in: float = TILE_IN):
    """Return a figure and a grid of axes without ticks, for images of this side in inches."""
    figure = StudyFigure(figsize=(side_in * columns, side_in * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    return figure, axes


def make_blank(message: str) -> StudyFigure:
    """Return a figure that says why there is nothing to show."""
    figure = StudyFigure(figsize=(4, 1.2))
    figure.text(0.5, 0.5, message, ha="center", va="center")
    return figure


def region_patches() -> list[Patch]:
    """Return the legend entries of the regions."""
    return [Patch(facecolor=REGION_COLOURS[label], edgecolor="#222222", label=label) for label in DRAWN]


def add_legend(figure: Figure, handles: Iterable) -> None:
    """Add one legend in one line below all axes."""
    handles = list(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def plain(text: str) -> str:
    """Escape a name from the data, so that matplotlib does not read it as mathematics."""
    return str(text).strip().replace("$", r"\$")
