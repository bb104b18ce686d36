"""Measure single cells: one row per cell of a segmented image."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.inference.cell_columns import MEASURED_COLUMNS
from wbcstudy.inference.split_cells import check_mask, count_parts
from wbcstudy.labels import CYTOPLASM, NUCLEUS, NUM_LABELS

_CHANNELS = ("red", "green", "blue")
# Lobes of a segmented nucleus are connected by a strand thinner than this share of the thinner lobe.
_LOBE_WAIST = 0.6
# Smallest area of a lobe, as a share of the nucleus.
_SMALLEST_LOBE = 0.05
_BLUR_PX, _MARGIN_PX = 1.0, 5
# Background pixels of this brightness are taken as empty plasma.
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

    A pixel is a square of side 1 px and area 1 px. The centre of the first pixel (top left) is (0, 0), x grows to the
    right and y downwards. A cell is the pixels with one number in `instances`; its nucleus and cytoplasm are those with
    that label in `mask`.

    - `cell_id`: the cell's number in `instances`. Rows are in this order.
    - `x_px`, `y_px`: centroid of the cell, the mean of its pixels' coordinates.
    - `left_px`, `top_px`, `width_px`, `height_px`: bounding box. It covers the columns left_px to
      left_px + width_px - 1, and rows likewise.
    - `cell_area_px`, `nucleus_area_px`, `cytoplasm_area_px`: numbers of pixels. `..._area_um2`: times pixel_um^2, NaN
      without `pixel_um`.
    - `cell_diameter_px`, `nucleus_diameter_px`: 2 sqrt(area / pi), the diameter of a disc of the same area.
      `..._diameter_um`: times pixel_um, NaN without `pixel_um`.
    - `nucleus_share`: nucleus_area_px / cell_area_px.
    - `nucleus_to_cytoplasm_ratio`: nucleus_area_px / cytoplasm_area_px, the N:C ratio by area. NaN without cytoplasm.
    - `nuclear_lobes`: number of parts of the nucleus that are separate or connected by a strand thinner than 0.6 of the
      thinner part (cut like cells in `split_cells`). Parts below 5 % of the nucleus do not count, and overlapping lobes
      count once. 0 without a nucleus.
    - `cell_circularity`, `nucleus_circularity`: 4 pi A / P^2 (Cox 1927): 1 for a disc, pi / 4 for a square, 1 / 2 for
      two separate discs. A and P are those of the subpixel outline, where the region blurred by a Gaussian of 1 px
      passes 1/2 (marching squares; Lorensen and Cline 1987), including edges of holes and along the image's border.
      NaN without an outline: for an empty region, or one of a few pixels.
    - `cell_eccentricity`, `nucleus_eccentricity`: sqrt(1 - b^2 / a^2), a and b being the half axes of the ellipse with
      the same second moments: 0 for a disc, towards 1 for a line. NaN below 3 px.
    - `nucleus_red`, ... `cytoplasm_blue`: mean of the pixels, 0-255. NaN for an empty region.
    - `nucleus_od_red`, ... `cytoplasm_od_blue`: optical density, the mean of -log10(I / I0) over the region's pixels, I
      being the pixel's value, at least 1 (Beer-Lambert law; Ruifrok and Johnston 2001). I0 is the light through
      an empty part of the slide: per channel the 95th percentile of the pixels outside of cells, or 255 if there are
      none. Negative where a region is brighter than that. NaN for an empty region.
    - `touches_border`: whether a pixel of the cell is in the image's first or last row or column. Areas and shapes are
      then those of the visible part.
    - `mean_confidence`: mean over the cell's pixels of the predicted probability of the pixel's label in the mask. NaN
      without `probabilities`.

    Args:
        image: RGB 0-255, uint8 (H, W, 3).
        mask: labels, integer (H, W).
        instances: cells, integer (H, W), 0 for background, as from `split_cells`.
        pixel_um: side of a pixel in micrometres.
        probabilities: of the labels, float32 (H, W, 3).

    Returns:
        One row per cell, with the columns above; no rows if there are no cells.

    Raises:
        StudyError: arrays that do not fit together, or a pixel size that is not a positive number.
    """
    image, instances = np.asarray(image), np.asarray(instances)
    mask = check_mask(mask)
    _check(image, mask, instances, pixel_um, probabilities)
    if not instances.any():
        return _to_frame([])
    from scipy.ndimage import find_objects

    # SciPy does not take booleans as numbers of objects.
    instances = instances.astype(int) if instances.dtype == bool else instances
    light = _light(image, instances)
    rows = []
    for number, box in enumerate(find_objects(instances), 1):
        if box is None:  # no cell has this number
            continue
        inside = instances[box] == number
        labels = mask[box]
        nucleus, cytoplasm = inside & (labels == NUCLEUS), inside & (labels == CYTOPLASM)
        row = {"cell_id": number} | _position(inside, box, instances.shape)
        row |= _shape(inside, nucleus, cytoplasm, pixel_um)
        row |= _colours(image[box], nucleus, light, "nucleus") | _colours(image[box], cytoplasm, light, "cytoplasm")
        row["mean_confidence"] = _confidence(probabilities, box, inside, labels)
        rows.append(row)
    return _to_frame(rows)


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
    side_um = math.nan if pixel_um is None else pixel_um
    diameters = {region: 2 * math.sqrt(areas[region] / math.pi) for region in ("cell", "nucleus")}
    return {
        **{f"{region}_area_px": area for region, area in areas.items()},
        **{f"{region}_area_um2": area * side_um**2 for region, area in areas.items()},
        **{f"{region}_diameter_px": diameter for region, diameter in diameters.items()},
        **{f"{region}_diameter_um": diameter * side_um for region, diameter in diameters.items()},
        "nucleus_share": areas["nucleus"] / areas["cell"],
        "nucleus_to_cytoplasm_ratio": areas["nucleus"] / areas["cytoplasm"] if areas["cytoplasm"] else math.nan,
        "nuclear_lobes": count_parts(nucleus, waist=_LOBE_WAIST, min_share=_SMALLEST_LOBE),
        "cell_circularity": _circularity(cell),
        "nucleus_circularity": _circularity(nucleus),
        "cell_eccentricity": _eccentricity(cell),
        "nucleus_eccentricity": _eccentricity(nucleus),
    }


def _circularity(region: np.ndarray) -> float:
    from scipy.ndimage import gaussian_filter
    from skimage.measure import find_contours

    # Steps of a pixel edge would make perimeters depend on the size of a disc and the rotation of a square.
    blurred = gaussian_filter(np.pad(region, _MARGIN_PX).astype(np.float32), _BLUR_PX)
    length = area = 0.0
    for outline in find_contours(blurred, 0.5):
        (y, x), steps = outline[:-1].T, np.diff(outline, axis=0)
        length += np.hypot(*steps.T).sum()
        # Signed, so that holes are subtracted.
        area += (y * steps[:, 1] - x * steps[:, 0]).sum() / 2
    return 4 * math.pi * abs(area) / length**2 if length else math.nan


def _eccentricity(region: np.ndarray) -> float:
    y, x = np.nonzero(region)
    if len(x) < 3:
        return math.nan
    # A pixel is a square with a second moment of 1/12, so that a single row of pixels has a width.
    moments = np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
    small, large = np.linalg.eigvalsh(moments)
    return math.sqrt(max(0.0, 1 - small / large))


def _colours(image: np.ndarray, region: np.ndarray, light: np.ndarray, name: str) -> dict:
    pixels = image[region].astype(float)
    undefined = np.full(3, math.nan)
    means = pixels.mean(axis=0) if len(pixels) else undefined
    densities = -np.log10(np.maximum(pixels, 1) / light).mean(axis=0) if len(pixels) else undefined
    return {f"{name}_{channel}": value for channel, value in zip(_CHANNELS, means, strict=True)} | {
        f"{name}_od_{channel}": value for channel, value in zip(_CHANNELS, densities, strict=True)
    }


def _light(image: np.ndarray, instances: np.ndarray) -> np.ndarray:
    outside = image[instances == 0]
    if not len(outside):
        return np.full(3, 255.0)
    # From the histogram: np.percentile would sort all pixels.
    histograms = (np.bincount(channel, minlength=256) for channel in outside.T)
    rank = _BRIGHT_PERCENTILE / 100 * len(outside)
    return np.array([max(np.searchsorted(np.cumsum(histogram), rank), 1) for histogram in histograms], float)


def _confidence(probabilities, box, inside: np.ndarray, labels: np.ndarray) -> float:
    if probabilities is None:
        return math.nan
    predicted = np.asarray(probabilities)[box]
    confidence = np.take_along_axis(predicted, labels[..., None].astype(np.intp), axis=-1)[..., 0]
    return float(confidence[inside].mean(dtype=float))


def _to_frame(rows: list[dict]) -> pd.DataFrame:
    integers = {name for name in MEASURED_COLUMNS if name.endswith(("_area_px", "left_px", "top_px"))}
    integers |= {"width_px", "height_px", "cell_id", "nuclear_lobes"}
    dtypes = {name: "int64" if name in integers else "float64" for name in MEASURED_COLUMNS}
    return pd.DataFrame(rows, columns=list(MEASURED_COLUMNS)).astype(dtypes | {"touches_border": "bool"})


def _check(image, mask, instances, pixel_um, probabilities) -> None:
    def misfit(message: str, expected: str) -> StudyError:
        return StudyError(message, expected=expected, fix="Pass the arrays of the same image.")

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise misfit(f"The image is {image.dtype} of shape {image.shape}.", "uint8 RGB of shape (H, W, 3)")
    for array, name in ((mask, "mask"), (instances, "instance map")):
        if array.shape != image.shape[:2] or array.dtype.kind not in "iub":
            raise misfit(f"The {name} is {array.dtype} of shape {array.shape}.", f"integers of shape {image.shape[:2]}")
    if instances.size and instances.min() < 0:
        raise misfit(f"The instance map holds {instances.min()}.", "0 for background and positive numbers for cells")
    if probabilities is not None and np.shape(probabilities) != (*image.shape[:2], NUM_LABELS):
        raise misfit(f"The probabilities are of shape {np.shape(probabilities)}.", f"{(*image.shape[:2], NUM_LABELS)}")
    if pixel_um is not None and not (math.isfinite(pixel_um) and pixel_um > 0):
        raise StudyError(
            f"pixel_um = {pixel_um!r} cannot be used.",
            expected="the side of a pixel in micrometres, above 0",
            fix="Omit it if the pixel size is unknown: areas are then in px only.",
        )
