"""The gallery: pages with charts of counts, a wall of single cells, and each image next to its overlay.

Everything is inside the pages.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.files import POLICY, atomic_write, page_template
from wbcstudy.inference.cell_images import MAX_CELLS, TILE_PX, tile_offset, tile_sides
from wbcstudy.inference.network import Network
from wbcstudy.inference.results import Results
from wbcstudy.labels import REGION_COLOURS
from wbcstudy.wording import count

# At most about 6 MB per page, which a browser opens at once and a mail can carry.
_IMAGES_PER_PAGE, _CELLS_PER_PAGE = 60, 400
_MAX_LISTED_FAILURES = 200
_BAR_UM = 10
# Link text -> folder.
_LINKS = {
    "full size": "fields",
    "overlay": "overlays",
    "labels": "labels",
    "instances": "instances",
    "table": "cells",
}
# Smallest number of cells of each class of images.
_COUNT_CLASSES = (0, 1, 2, 3, 6, 11, 21, 51, 101, 201)
_MAX_SIZE_CLASSES = 12


@dataclass(frozen=True)
class Chart:
    """A bar chart of counts.

    Args:
        title: title.
        note: what is counted or left out, '' for nothing to add.
        bars: name of a class -> count.
    """

    title: str
    note: str
    bars: dict[str, int]

    @property
    def highest(self) -> int:
        """Largest count, at least 1."""
        return max(1, *self.bars.values())


def write_gallery(
    results: Results,
    records: Sequence[Mapping[str, Any]],
    network: Network,
    notes: Sequence[str],
    failed: Mapping[str, str],
    pixel_um: float | None = None,
) -> None:
    """Write `gallery.html` and, for many images or cells, `gallery-2.html` and so on.

    Args:
        results: the output folder, with cells.csv.
        records: records of the segmented images.
        network: the network that segmented them.
        notes: sentences for the head of the first page.
        failed: name -> reason, of images that could not be segmented.
        pixel_um: side of a pixel in micrometres, None if unknown.
    """
    template = page_template("gallery.html")
    groups = _split_pages(records)
    pages = ["gallery.html", *(f"gallery-{number}.html" for number in range(2, len(groups) + 1))]
    for number, (page, group) in enumerate(zip(pages, groups, strict=True), start=1):
        text = template.render(
            policy=Markup(POLICY),
            version=__version__,
            count=count,
            colours=REGION_COLOURS,
            network=network,
            images=len(records),
            cells=sum(record["cells"] for record in records),
            charts=draw_charts(records, _read_sizes(results)) if number == 1 else [],
            notes=notes,
            failed=dict(itertools.islice(failed.items(), _MAX_LISTED_FAILURES)),
            num_failed=len(failed),
            page=number,
            links=pages,
            entries=[_entry(results, record, pixel_um) for record in group],
            tile_px=TILE_PX,
            bar_um=_BAR_UM if pixel_um else None,
        )
        with atomic_write(results.path / page) as part:
            part.write_text(text, encoding="utf-8")
    # Pages of an earlier command with more images.
    for old in results.path.glob("gallery-*.html"):
        if old.name not in pages:
            old.unlink()


def draw_charts(records: Sequence[Mapping[str, Any]], sizes: pd.DataFrame) -> list[Chart]:
    """Count images by their number of cells, and cells by their diameter.

    Args:
        records: records of the segmented images.
        sizes: columns `cell_diameter_um`, `cell_diameter_px` and `touches_border` of all cells.
    """
    if not records:
        return []
    numbers = np.array([record["cells"] for record in records])
    edges = [*_COUNT_CLASSES, np.inf]
    counts, _ = np.histogram(numbers, edges)
    names = [f"{low}-{high - 1}" if high - low > 1 else f"{low}" for low, high in itertools.pairwise(_COUNT_CLASSES)]
    names.append(f"{_COUNT_CLASSES[-1]} or more")
    charts = [Chart("Cells per image", "Number of images.", _trim(names, counts))]
    whole = sizes[~sizes["touches_border"].astype(bool)]
    unit, column = ("µm", "cell_diameter_um") if whole["cell_diameter_um"].notna().any() else ("px", "cell_diameter_px")
    diameters = whole[column].dropna().to_numpy(float)
    if len(diameters):
        edges = _size_classes(diameters)
        counts, _ = np.histogram(diameters, edges)
        names = [f"{low:g}-{high:g} {unit}" for low, high in itertools.pairwise(np.round(edges, 6))]
        left_out = len(sizes) - len(whole)
        note = "Number of cells, by the diameter of a disc of the same area."
        note += f" Left out: {count(left_out, 'cell')} cut by the border." if left_out else ""
        charts.append(Chart("Diameter of the cells", note, _trim(names, counts)))
    return charts


def _trim(names: Sequence[str], counts: np.ndarray) -> dict[str, int]:
    """Return the classes from the first to the last that is not empty."""
    used = np.flatnonzero(counts)
    return {names[index]: int(counts[index]) for index in range(used[0], used[-1] + 1)}


def _size_classes(values: np.ndarray) -> np.ndarray:
    """Return edges of classes of equal width, a round number, of which there are at most `_MAX_SIZE_CLASSES`."""
    low, high = values.min(), values.max()
    for step in (factor * 10.0**power for power in range(-3, 9) for factor in (1, 2, 5)):
        first, last = np.floor(low / step), np.floor(high / step) + 1
        if last - first <= _MAX_SIZE_CLASSES and step >= 0.02 * high:
            break
    return np.arange(first, last + 1) * step


def _read_sizes(results: Results) -> pd.DataFrame:
    columns = ["cell_diameter_um", "cell_diameter_px", "touches_border"]
    if not results.cells.stat().st_size:
        return pd.DataFrame(columns=columns)
    return pd.read_csv(results.cells, usecols=columns)


def _split_pages(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Divide images into pages of at most `_IMAGES_PER_PAGE` images and, if more than one, `_CELLS_PER_PAGE` cells."""
    pages: list[list[Mapping[str, Any]]] = [[]]
    cells = 0
    for record in records:
        shown = min(record["cells"], MAX_CELLS)
        if pages[-1] and (len(pages[-1]) == _IMAGES_PER_PAGE or cells + shown > _CELLS_PER_PAGE):
            pages.append([])
            cells = 0
        pages[-1].append(record)
        cells += shown
    return pages


def _entry(results: Results, record: Mapping[str, Any], pixel_um: float | None) -> dict[str, Any]:
    name = record["image"]
    paths = {text: results.file(folder, name).relative_to(results.path) for text, folder in _LINKS.items()}
    # Records of earlier versions have no doubts.
    return (
        {"doubts": []}
        | dict(record)
        | {
            "src": _data_uri(results, "thumbnails", name),
            "cell_images": _data_uri(results, "cell_images", name),
            "tiles": _tiles(pd.read_csv(results.file("cells", name)), pixel_um),
            "files": {text: quote(path.as_posix()) for text, path in paths.items()},
        }
    )


def _tiles(cells: pd.DataFrame, pixel_um: float | None) -> list[dict[str, Any]]:
    """Describe the cells of one field on the wall: number, place in its file, length of the size bar, measures."""
    sides = tile_sides(cells, pixel_um)
    unit = "um" if pixel_um else "px"
    return [
        {
            "number": row["cell_id"],
            "offset": tile_offset(index),
            "bar_px": round(_BAR_UM / pixel_um / side * TILE_PX, 1) if pixel_um else None,
            "ratio": "-" if pd.isna(ratio := row["nucleus_to_cytoplasm_ratio"]) else f"{ratio:.2f}",
            "diameter": f"{row[f'cell_diameter_{unit}']:.1f} {'µm' if pixel_um else 'px'}",
            "cut": row["touches_border"],
        }
        for index, (row, side) in enumerate(zip(cells.head(MAX_CELLS).to_dict("records"), sides, strict=False))
    ]


def _data_uri(results: Results, folder: str, name: str) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(results.file(folder, name).read_bytes()).decode()}"
