"""Measurements of single cells: one row per cell of a segmented image."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.inference.split_cells import count_parts
from wbcstudy.labels import CYTOPLASM, NUCLEUS, NUM_LABELS

__all__ = ["CELL_COLUMNS", "measure_cells"]

_COLOURS = ("red", "green", "blue")

CELL_COLUMNS = (
    "cell_id",
    "x_px",
    "y_px",
    "left_px",
    "top_px",
    "width_px",
    "height_px",
    "cell_area_px",
    "nucleus_area_px",
    "cytoplasm_area_px",
    "cell_area_um2",
    "nucleus_area_um2",
    "cytoplasm_area_um2",
    "nucleus_to_cytoplasm_ratio",
    "nuclear_lobes",
    "cell_circularity",
    "nucleus_circularity",
    "cell_eccentricity",
    "nucleus_eccentricity",
    *(f"{region}_{colour}" for region in ("nucleus", "cytoplasm") for colour in _COLOURS),
    *(f"{region}_od_{colour}" for region in ("nucleus", "cytoplasm") for colour in _COLOURS),
    "touches_border",
    "mean_confidence",
)
"""Columns of `measure_cells`, in order."""

# Lobes of a segmented nucleus are joined by a strand thinner than this share of the thinner lobe.
LOBE_WAIST = 0.6
# A crumb of a nucleus is no lobe.
_LEAST_LOBE = 0.05
_BLUR_PX, _FRAME_PX = 1.0, 5
# Which background pixels are empty plasma, in light that passes nothing but glass.
_BRIGHT_PERCENTILE = 95


def measure_cells(
    image: np.ndarray,
    mask: np.ndarray,
    instances: np.ndarray,
    *,
    pixel_um: float | None = None,
    probabilities: np.ndarray | None = None,
) -> pd.DataFrame:
    """Measure each cell of an image.

    A pixel is a square of side 1 px and area 1 px; the centre of the first pixel (top left) is (0, 0), x grows to the
    right and y downwards. A cell is the pixels of one number in `instances`; its nucleus and its cytoplasm are those of
    them that the mask calls so.

    - `cell_id`: its number in `instances`. Rows are in this order.
    - `x_px`, `y_px`: centroid of the cell, the mean of its pixels' coordinates.
    - `left_px`, `top_px`, `width_px`, `height_px`: bounding box; it covers the columns left_px to
      left_px + width_px - 1, and the rows likewise.
    - `cell_area_px`, `nucleus_area_px`, `cytoplasm_area_px`: numbers of pixels. `..._area_um2`: times pixel_um^2, NaN
      without `pixel_um`.
    - `nucleus_to_cytoplasm_ratio`: nucleus_area_px / cytoplasm_area_px, the N:C ratio by area. NaN without cytoplasm.
    - `nuclear_lobes`: the parts of the nucleus that are apart or joined by a strand that is thinner than 0.6 of the
      thinner one of the two (cut as `split_cells` cuts cells, at waists of the distance to the edge); parts below 5 %
      of the nucleus do not count. 0 without a nucleus. Lobes that lie on each other in the image count once.
    - `cell_circularity`, `nucleus_circularity`: 4 pi A / P^2 (Cox 1927), 1 for a disc, less for anything else: pi / 4
      for a square, 1 / 2 for two discs apart. A and P are those of the outline with subpixels, where the region blurred
      by a Gaussian of 1 px passes 1/2 (marching squares; Lorensen and Cline 1987); edges along holes and along the
      image's border count. NaN without such an outline: for an empty region, or one of a few pixels.
    - `cell_eccentricity`, `nucleus_eccentricity`: sqrt(1 - b^2 / a^2) of the ellipse of the same second moments, a and
      b its half axes: 0 for a disc, towards 1 for a line. NaN below 3 px.
    - `nucleus_red`, ... `cytoplasm_blue`: mean of the pixels, 0-255. NaN for an empty region.
    - `nucleus_od_red`, ... `cytoplasm_od_blue`: optical density, the mean of -log10(I / I0) over the region's pixels, I
      being the pixel's value, 1 at least (Beer-Lambert law; Ruifrok and Johnston 2001). I0 is the light that passes
      an empty place: the 95th percentile of the pixels outside of all cells, for each colour, and 255 where there are
      none. Negative where a region is brighter than that. NaN for an empty region.
    - `touches_border`: whether a pixel of the cell is in the image's first or last row or column: its areas and shape
      are then those of a part.
    - `mean_confidence`: mean over the cell's pixels of the probability that the network gives to the pixel's label in
      the mask. NaN without `probabilities`.

    Args:
        image: RGB 0-255, uint8 (H, W, 3).
        mask: labels of `wbcstudy.labels`, integer (H, W).
        instances: cells, integer (H, W), 0 for background, as `split_cells` makes them.
        pixel_um: side of a pixel in micrometres.
        probabilities: of the labels, float32 (H, W, 3).

    Returns:
        One row per cell, columns `CELL_COLUMNS`; no rows for no cells. Integer columns hold integers.

    Raises:
        StudyError: arrays that do not belong together, or a pixel size that is not a positive number.
    """
    image, mask, instances = (np.asarray(array) for array in (image, mask, instances))
    _check(image, mask, instances, pixel_um, probabilities)
    if not instances.any():
        return _frame([])
    from scipy.ndimage import find_objects

    # A truth value is no number of a cell to SciPy.
    instances = instances.astype(int) if instances.dtype == bool else instances
    light = _light(image, instances)
    rows = []
    for number, box in enumerate(find_objects(instances), 1):
        if box is None:  # a number that no cell has
            continue
        inside = instances[box] == number
        part = mask[box]
        row = {"cell_id": number} | _position(inside, box, instances.shape)
        row |= _shape(inside, inside & (part == NUCLEUS), inside & (part == CYTOPLASM), pixel_um)
        row |= _stain(image[box], inside & (part == NUCLEUS), inside & (part == CYTOPLASM), light)
        row["mean_confidence"] = _confidence(probabilities, box, inside, part)
        rows.append(row)
    return _frame(rows)


def _position(inside: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]) -> dict:
    rows, columns = box
    y, x = np.nonzero(inside)
    return {
        "x_px": x.mean() + columns.start,
        "y_px": y.mean() + rows.start,
        "left_px": columns.start,
        "top_px": rows.start,
        "width_px": columns.stop - columns.start,
        "height_px": rows.stop - rows.start,
        "touches_border": any(side.start == 0 or side.stop == length for side, length in zip(box, shape, strict=True)),
    }


def _shape(cell: np.ndarray, nucleus: np.ndarray, cytoplasm: np.ndarray, pixel_um: float | None) -> dict:
    areas = {"cell": int(cell.sum()), "nucleus": int(nucleus.sum()), "cytoplasm": int(cytoplasm.sum())}
    scale = math.nan if pixel_um is None else pixel_um**2
    return {
        **{f"{region}_area_px": area for region, area in areas.items()},
        **{f"{region}_area_um2": area * scale for region, area in areas.items()},
        "nucleus_to_cytoplasm_ratio": areas["nucleus"] / areas["cytoplasm"] if areas["cytoplasm"] else math.nan,
        "nuclear_lobes": count_parts(nucleus, waist=LOBE_WAIST, min_share=_LEAST_LOBE),
        "cell_circularity": _circularity(cell),
        "nucleus_circularity": _circularity(nucleus),
        "cell_eccentricity": _eccentricity(cell),
        "nucleus_eccentricity": _eccentricity(nucleus),
    }


def _circularity(region: np.ndarray) -> float:
    from scipy.ndimage import gaussian_filter
    from skimage.measure import find_contours

    # Counting a drawn edge's steps would make a disc's perimeter depend on its size, and a square's on its turn.
    blurred = gaussian_filter(np.pad(region, _FRAME_PX).astype(np.float32), _BLUR_PX)
    length = area = 0.0
    for outline in find_contours(blurred, 0.5):
        (y, x), steps = outline[:-1].T, np.diff(outline, axis=0)
        length += np.hypot(*steps.T).sum()
        # Signed, so that holes are taken off.
        area += (y * steps[:, 1] - x * steps[:, 0]).sum() / 2
    return 4 * math.pi * abs(area) / length**2 if length else math.nan


def _eccentricity(region: np.ndarray) -> float:
    y, x = np.nonzero(region)
    if len(x) < 3:
        return math.nan
    # Each pixel is a square, whose own second moment is 1/12: a single row of pixels has a width too.
    moments = np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(moments)
    return math.sqrt(max(0.0, 1 - small / large))


def _stain(image: np.ndarray, nucleus: np.ndarray, cytoplasm: np.ndarray, light: np.ndarray) -> dict:
    row = {}
    for name, region in (("nucleus", nucleus), ("cytoplasm", cytoplasm)):
        pixels = image[region].astype(float)
        empty = np.full(3, math.nan)
        colour = pixels.mean(axis=0) if len(pixels) else empty
        density = -np.log10(np.maximum(pixels, 1) / light).mean(axis=0) if len(pixels) else empty
        row |= {f"{name}_{key}": value for key, value in zip(_COLOURS, colour, strict=True)}
        row |= {f"{name}_od_{key}": value for key, value in zip(_COLOURS, density, strict=True)}
    return row


def _light(image: np.ndarray, instances: np.ndarray) -> np.ndarray:
    outside = image[instances == 0]
    if not len(outside):
        return np.full(3, 255.0)
    # From counts of the 256 values: np.percentile would sort the whole field.
    counts = (np.bincount(channel, minlength=256) for channel in outside.T)
    rank = _BRIGHT_PERCENTILE / 100 * len(outside)
    return np.array([max(np.searchsorted(np.cumsum(each), rank), 1) for each in counts], float)


def _confidence(probabilities, box, inside: np.ndarray, part: np.ndarray) -> float:
    if probabilities is None:
        return math.nan
    given = np.take_along_axis(np.asarray(probabilities)[box], part[..., None].astype(np.intp), axis=-1)[..., 0]
    return float(given[inside].mean(dtype=float))


def _frame(rows: list[dict]) -> pd.DataFrame:
    whole = {name for name in CELL_COLUMNS if name.endswith("_px") and name not in ("x_px", "y_px")}
    whole |= {"cell_id", "nuclear_lobes"}
    kinds = {name: "int64" if name in whole else "float64" for name in CELL_COLUMNS} | {"touches_border": "bool"}
    return pd.DataFrame(rows, columns=list(CELL_COLUMNS)).astype(kinds)


def _check(image, mask, instances, pixel_um, probabilities) -> None:
    def wrong(what: str, expected: str) -> StudyError:
        return StudyError(what, expected=expected, fix="Pass the arrays of one and the same image.")

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise wrong(f"The image is {image.dtype} of shape {image.shape}.", "uint8 RGB of shape (H, W, 3)")
    for array, what in ((mask, "mask"), (instances, "instance map")):
        if array.shape != image.shape[:2] or array.dtype.kind not in "iub":
            raise wrong(f"The {what} is {array.dtype} of shape {array.shape}.", f"integers of shape {image.shape[:2]}")
    if instances.size and instances.min() < 0:
        raise wrong(f"The instance map holds {instances.min()}.", "0 for background and positive numbers for cells")
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        raise wrong(f"The mask holds values from {mask.min()} to {mask.max()}.", f"labels from 0 to {NUM_LABELS - 1}")
    if probabilities is not None and np.shape(probabilities) != (*image.shape[:2], NUM_LABELS):
        raise wrong(f"The probabilities are of shape {np.shape(probabilities)}.", f"{(*image.shape[:2], NUM_LABELS)}")
    if pixel_um is not None and not (math.isfinite(pixel_um) and pixel_um > 0):
        raise StudyError(
            f"pixel_um = {pixel_um!r} cannot be used.",
            expected="the side of a pixel in micrometres, above 0",
            fix="Leave it out if it is not known: areas are then in px only.",
        )
