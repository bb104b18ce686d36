"""What all figures share: one style, a figure that needs no display, labels' colours, and files."""

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

from wbcstudy.files import atomic_write
from wbcstudy.labels import LABELS, REGION_COLOURS

# The regions that are one label each: what a mask shows.
DRAWN = tuple(label for label in ("nucleus", "cytoplasm") if label in LABELS)
PLAIN_COLOUR = "#E9E9EC"
INK = "#333333"
# Sides of one image, in inches.
TILE_IN = 2.1
# A dark rim keeps yellow and green lines visible on white plasma and in violet nuclei alike.
RIM = [Stroke(linewidth=2.6, foreground="#222222"), Normal()]


class StudyFigure(Figure):
    """A matplotlib figure that shows itself in a notebook without `%matplotlib inline`."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=90, metadata={"Software": None})
        return file.getvalue()


def styled(function: Callable) -> Callable:
    """Draw in one style, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def draw(*args, **kwargs) -> StudyFigure:
        import seaborn as sns

        quiet = {"font.family": ["DejaVu Sans"], "figure.facecolor": "white", "axes.edgecolor": "#999999"}
        small = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}
        with mpl.rc_context(
            sns.axes_style("whitegrid") | quiet | small | {"legend.fontsize": 9, "grid.color": "#E4E4E8"}
        ):
            return function(*args, **kwargs)

    return draw


def write_figure(figure: Figure, folder: Path, stem: str, dpi: int = 150) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`, the same bytes for the same figure.

    Returns:
        The two paths.
    """
    png, svg = (Path(folder) / f"{stem}.{kind}" for kind in ("png", "svg"))
    with atomic_write(png) as part:
        figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    # Without a fixed salt and a removed date, an unchanged figure is a changed file.
    with mpl.rc_context({"svg.hashsalt": stem}), _as_drawn(figure), atomic_write(svg) as part:
        figure.savefig(part, format="svg", dpi=dpi, metadata={"Date": None}, facecolor="white")
    return [png, svg]


@contextlib.contextmanager
def _as_drawn(figure: Figure) -> Iterator[None]:
    """Everything stays where it was drawn, and pictures are put into the file as they are.

    With many images, finding places, and enlarging and compressing pictures, take most of the time; a viewer of the
    SVG enlarges better.
    """
    layout = figure.get_layout_engine()
    pictures = {picture: picture.get_interpolation() for picture in figure.findobj(AxesImage)}
    figure.set_layout_engine("none")
    for picture in pictures:
        picture.set_interpolation("none")
    try:
        yield
    finally:
        figure.set_layout_engine(layout)
        for picture, interpolation in pictures.items():
            picture.set_interpolation(interpolation)


def make_axes(rows: int, columns: int, width: float, height: float, **options):
    """A figure of width x height inches, and its axes as `Figure.subplots` gives them."""
    figure = StudyFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def make_tiles(rows: int, columns: int, side: float = TILE_IN):
    """A grid of axes for images, without ticks."""
    figure = StudyFigure(figsize=(side * columns, side * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    return figure, axes


def make_blank(words: str) -> StudyFigure:
    """A figure that says why there is nothing to see."""
    figure = StudyFigure(figsize=(4, 1.2))
    figure.text(0.5, 0.5, words, ha="center", va="center")
    return figure


def region_patches() -> list[Patch]:
    """Legend entries of the regions."""
    return [Patch(facecolor=REGION_COLOURS[label], edgecolor="#222222", label=label) for label in DRAWN]


def add_legend(figure: Figure, handles: Iterable) -> None:
    """One legend below everything, in one line."""
    handles = list(handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


def plain(text: str) -> str:
    """A name from the data, safe from matplotlib's mathematics."""
    return str(text).strip().replace("$", r"\$")
