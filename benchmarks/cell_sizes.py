"""How well could a scale be found from the size of the one white cell of an image?

    python benchmarks/cell_sizes.py segmentation_wbc_1 segmentation_wbc_2 bcisc/dataset.yaml

White cells of one slide differ in size. A rule that takes the white cell of an image for one of the usual size is
therefore wrong by as much as this cell differs, however well it is segmented. Measured in the expert's masks: for how
many images the rule is within 15 %, with the usual size that suits the dataset best, and with the one that suits each
cell type best. Both are chosen on these images, so they are upper bounds. They assume that all images of a dataset have
the same pixel size. Results: outputs/reference/starter/cell_sizes.csv; a row of the same dataset is replaced. For BCISC
see `measure_starter.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from measure_starter import CLOSE, write_rows
from scipy import ndimage

from wbcstudy.data.datasets import Dataset, load_dataset, read_case
from wbcstudy.errors import StudyError


def cell_diameter(mask: np.ndarray) -> float | None:
    """Return the diameter in px of a circle with the area of the largest cell, None if there is none inside the image.

    Args:
        mask: uint8 (height, width) labels; everything that is not background is cell.
    """
    cells, count = ndimage.label(mask > 0)
    border = np.unique(np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]]))
    areas = np.bincount(cells.ravel(), minlength=count + 1)
    areas[np.append(border, 0)] = 0
    return float(2 * np.sqrt(areas.max() / np.pi)) if areas.max() else None


def close_to_one_size(diameters: Sequence[float]) -> tuple[float, float]:
    """Return the size that most diameters are within 15 % of, and the share of these."""
    logs = np.sort(np.log(diameters))
    # The middle of the range that holds most of them.
    ends = np.searchsorted(logs, logs + 2 * np.log(1 + CLOSE) + 1e-12, side="right")
    counts = ends - np.arange(len(logs))
    first = int(counts.argmax())
    middle = (logs[first] + logs[ends[first] - 1]) / 2
    return float(np.exp(middle)), float(counts[first] / len(logs))


def summarise_sizes(dataset: Dataset) -> dict:
    """Return a row for a dataset.

    Raises:
        StudyError: no image has a cell that does not touch the border.
    """
    by_type: dict[str, list[float]] = {}
    for case in dataset.cases:
        diameter = cell_diameter(read_case(dataset, case)[1])
        if diameter is not None:
            by_type.setdefault(str(case.cell_type), []).append(diameter)
    diameters = [diameter for part in by_type.values() for diameter in part]
    if not diameters:
        raise StudyError(
            f"No mask of {dataset.name} has a whole cell.",
            expected="images that show a cell that does not touch the border",
            fix="Look at the masks: wbcstudy data check PATH --html check.html",
        )
    size, close = close_to_one_size(diameters)
    of_type = sum(close_to_one_size(part)[1] * len(part) for part in by_type.values()) / len(diameters)
    row = {"dataset": dataset.name, "images": len(diameters), "median_px": np.median(diameters), "size_px": size}
    return row | {"close": close, "close_with_type": of_type, "types": len(by_type)}


def main() -> None:
    """Measure and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", help="names or dataset.yaml files")
    rows = [summarise_sizes(load_dataset(given)) for given in parser.parse_args().datasets]
    for row in rows:
        print(row)
    write_rows("cell_sizes", rows, ["dataset"])


if __name__ == "__main__":
    main()
