"""Shared by all figures: style, colours, figures that need no display, and files."""

from __future__ import annotations

import contextlib
import functools
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from fontTools import subset
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from wbcstudy.files import atomic_write, escape_cells
from wbcstudy.labels import LABELS, REGION_COLOURS

# The regions that are one label each.
DRAWN = tuple(label for label in ("nucleus", "cytoplasm") if label in LABELS)
# Resolution that journals ask for.
_DPI = 300
# Notebooks show figures at half that resolution, which is sharp on a screen: papermill writes the notebook after every
# cell.
_PREVIEW = 2
# Widths of journals, 85 and 174 mm, in inches.
COLUMN_IN, PAGE_IN = 85 / 25.4, 174 / 25.4
# Smallest and largest side of an image in a figure, in inches.
_TILE_IN, _LARGEST_TILE_IN = 0.8, 1.7
# A dark rim keeps yellow and green lines visible on white.
RIM = [Stroke(linewidth=2.6, foreground="#222222"), Normal()]
# A viewer without the first font uses the second, of nearly the same widths.
_FONTS = ["DejaVu Sans", "Verdana", "Arial"]
# Changes to seaborn's theme "paper", "whitegrid".
_STYLE = {
    "font.sans-serif": _FONTS,
    "font.size": 8,
    "axes.edgecolor": "#999999",
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    # No figure has tick labels above its axes. Otherwise matplotlib measures all tick labels again to look for them.
    "axes.titley": 1.0,
    "grid.color": "#E4E4E8",
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}
# Photographs and plots alike take a quarter of the time of Pillow's default, and about as many bytes.
_PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
# Text stays text that other programs can edit.
_TEXT = {"svg.fonttype": "none", "pdf.fonttype": 42, "font.sans-serif": _FONTS}


class StudyFigure(Figure):
    """A matplotlib figure that notebooks show without `%matplotlib inline`, drawn once for file and notebook."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, dpi=_DPI, **kwargs)
        self._points: list[tuple[Axes, pd.DataFrame, np.ndarray]] = []
        self._preview: Image.Image | None = None

    @functools.cached_property
    def png(self) -> bytes:
        """The figure as a PNG file, RGB."""
        # Not by `savefig`, which draws twice.
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        self._preview = pixels.reduce(_PREVIEW)
        return _encode(pixels, dpi=(_DPI, _DPI))

    def add_points(self, axis, names: pd.DataFrame, x: Sequence[float], y: Sequence[float]) -> None:
        """Remember which points an axis shows, so that a page can open what they stand for.

        Args:
            axis: the axis.
            names: one row per point.
            x: horizontal positions, in the units of the axis.
            y: vertical positions.
        """
        self._points.append((axis, names, np.column_stack([x, y])))

    def locate_points(self) -> pd.DataFrame:
        """Return the rows given to `add_points` with x and y, from left and top, in shares of the figure's size."""
        # Axes have their positions after drawing.
        _ = self.png
        frames = []
        for axis, names, positions in self._points:
            x, y = (axis.transData.transform(positions) / self.bbox.size).T
            frames.append(names.assign(x=x.round(4), y=(1 - y).round(4)))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (round(90 * inches) for inches in self.get_size_inches())
        _ = self.png
        return _encode(self._preview), {"width": width, "height": height}


def _encode(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **_PNG, **options)
    return file.getvalue()


def styled(function: Callable) -> Callable:
    """Draw in the common style; matplotlib's own settings do not change."""

    @functools.wraps(function)
    def draw(*args, **kwargs) -> StudyFigure:
        # Importing seaborn takes a second, which a page without figures need not wait for.
        import seaborn as sns

        # A matplotlibrc of the user does not count.
        defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
        with mpl.rc_context(defaults):
            sns.set_theme("paper", "whitegrid", font="sans-serif", color_codes=False, rc=_STYLE)
            return function(*args, **kwargs)

    return draw


def write_figure(figure: StudyFigure, folder: Path, stem: str) -> list[Path]:
    """Write `<stem>.png` (300 dpi), `<stem>.pdf` and `<stem>.svg`; the same figure gives the same bytes.

    Where points stand for images, `<stem>_points.csv` has their positions.

    Returns:
        The paths of the three images.
    """
    png, pdf, svg = paths = [Path(folder) / f"{stem}.{suffix}" for suffix in ("png", "pdf", "svg")]
    with atomic_write(png) as part:
        part.write_bytes(figure.png)
    # Without a fixed salt and without the date, so that an unchanged figure is an unchanged file.
    with mpl.rc_context(_TEXT | {"svg.hashsalt": stem}), _as_drawn(figure), _compressed_quickly(), _plain_fonts():
        with atomic_write(pdf) as part:
            FigureCanvasPdf(figure).print_pdf(part, metadata={"CreationDate": None})
        with atomic_write(svg) as part:
            FigureCanvasSVG(figure).print_svg(part, metadata={"Date": None})
    if len(points := figure.locate_points()):
        with atomic_write(Path(folder) / f"{stem}_points.csv") as part:
            escape_cells(points).to_csv(part, index=False, lineterminator="\n")
    return paths


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


@contextlib.contextmanager
def _compressed_quickly() -> Iterator[None]:
    """Compress the images inside PDF and SVG files as those of PNG files; matplotlib has no setting for it."""
    Image.preinit()
    save = Image.SAVE["PNG"]

    def save_quickly(image, *args, **kwargs) -> None:
        image.encoderinfo = _PNG | image.encoderinfo
        save(image, *args, **kwargs)

    Image.register_save("PNG", save_quickly)
    try:
        yield
    finally:
        Image.register_save("PNG", save)


class _PlainFont(subset.Options):
    """Options for a font of a PDF file: the tables that only programs for setting text read are dropped."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.drop_tables += ["GDEF", "GPOS", "GSUB", "kern", "MATH"]


@contextlib.contextmanager
def _plain_fonts() -> Iterator[None]:
    """Embed fonts in PDF files without ligatures, kerning and the like, to save time.

    A PDF file has the positions of all letters. matplotlib has no setting for it.
    """
    options = subset.Options
    subset.Options = _PlainFont
    try:
        yield
    finally:
        subset.Options = options


def make_axes(rows: int, columns: int, width_in: float, height_in: float, **options):
    """Return a figure of this size in inches, and its axes as `Figure.subplots` gives them."""
    figure = StudyFigure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def draw_tiles(
    tiles: Sequence[Sequence[np.ndarray]],
    heads: Sequence[str] = (),
    labels: Sequence[str] = (),
    titles: Sequence[Sequence[str]] = (),
    handles: Iterable = (),
) -> StudyFigure:
    """Draw images in a grid as wide as a page, in one axes: with many images, one axes each takes most of the time.

    A grid of more than eight columns is wider.

    Args:
        tiles: rows of images, (H, W, 3) uint8; sizes may differ.
        heads: titles of the columns.
        labels: titles of the rows, on their left.
        titles: rows of titles above single images; "" for none.
        handles: legend entries.
    """
    rows, columns = len(tiles), max(map(len, tiles))
    line = 0.15
    left, top, bottom = (2 * line if labels else 0.05), 0.08 + line * _lines(heads), 0.3
    side_in = max(_TILE_IN, min((PAGE_IN - left) / columns, _LARGEST_TILE_IN))
    row_in = side_in + line * max((_lines(row) for row in titles), default=0)
    width, height = max(PAGE_IN, left + columns * side_in), top + rows * row_in + bottom
    figure = StudyFigure(figsize=(width, height))
    axis = figure.add_axes((left / width, bottom / height, columns * side_in / width, rows * row_in / height))
    for row, images in enumerate(tiles):
        for column, pixels in enumerate(images):
            # The longer side fills the tile, but for a gap.
            half_height, half_width = 0.485 * side_in * np.array(pixels.shape[:2]) / max(pixels.shape[:2])
            x, y = (column + 0.5) * side_in, (row + 1) * row_in - side_in / 2
            axis.imshow(pixels, extent=(x - half_width, x + half_width, y + half_height, y - half_height))
            if titles and titles[row][column]:
                axis.text(x, y - half_height - 0.03, plain(titles[row][column]), ha="center", va="bottom")
    for column, head in enumerate(heads):
        axis.text((column + 0.5) * side_in, 0, plain(head), ha="center", va="bottom", fontweight="bold")
    for row, label in enumerate(labels):
        y = (row + 1) * row_in - side_in / 2
        axis.text(-0.03, y, plain(label), ha="right", va="center", rotation="vertical", multialignment="center")
    axis.set_axis_off()
    axis.set(xlim=(0, columns * side_in), ylim=(rows * row_in, 0))
    handles = list(handles)
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, borderaxespad=0.2)
    return figure


def _lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


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
