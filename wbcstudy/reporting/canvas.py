"""What all figures share: one style, a figure that needs no display, labels' colours, and files."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from wbcstudy.regions import LABELS, REGION_COLOURS
from wbcstudy.runs import atomic_write

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
    paths = []
    # Without a fixed salt and a removed date, an unchanged figure is a changed file.
    with mpl.rc_context({"svg.hashsalt": stem}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            paths.append(Path(folder) / f"{stem}.{kind}")
            with atomic_write(paths[-1]) as part:
                figure.savefig(part, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return paths


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
