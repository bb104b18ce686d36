"""Distances between the boundary of the predicted and of the expert's region.

Overlap depends on the size of a region; distances show how far its border is off. The boundary of a region is its
pixels with one of their four neighbours outside of the region or of the image. The distance of a boundary pixel is that
of its centre to the nearest centre of the other boundary (SciPy's k-d tree, exact). From the distances in both
directions:

- NSD, the normalised surface distance or surface Dice: share of the pixels of both boundaries within `TOLERANCE_PX` of
  the other (Nikolov et al. 2021, https://doi.org/10.2196/26151).
- HD95: 95th percentile of the distances, the larger of both directions.
- ASSD, the average symmetric surface distance: mean of the distances of all pixels of both boundaries.

Recommended together with overlap by Maier-Hein et al. (2024), Metrics Reloaded, Nature Methods 21,
https://doi.org/10.1038/s41592-023-02151-z.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.labels import IGNORED, REGIONS, region_mask
from wbcstudy.scoring.case_tables import Groups, case_table, group_names
from wbcstudy.scoring.intervals import Interval, mean_interval

# In px of the size at which masks are scored: the smallest whole number within which the two masks that Dataset 1 has
# of one image (112 and 139) agree: NSD 1.000 nucleus, .996 cytoplasm, .994 cell; with 1 px it is .874, .902 and .901
# (benchmarks/expert_agreement.py).
TOLERANCE_PX = 2
BOUNDARY_METRICS = ("nsd", "hd95_px", "assd_px")
_COLUMNS = ("run", "case_id", "region", "tolerance_px", *BOUNDARY_METRICS)


class BoundaryScore(NamedTuple):
    """Agreement of two boundaries.

    Args:
        nsd: share of the boundary pixels within the tolerance, 0-1. 0 if one region is empty, NaN if both are.
        hd95_px: 95th percentile of the distances in px. NaN if a region is empty.
        assd_px: mean distance in px. NaN if a region is empty.
    """

    nsd: float
    hd95_px: float
    assd_px: float


def score_boundary(
    reference: np.ndarray,
    prediction: np.ndarray,
    tolerance_px: float = TOLERANCE_PX,
    ignored: np.ndarray | None = None,
) -> BoundaryScore:
    """Compare the boundaries of two regions, bool (H, W).

    Where pixels are ignored, bool (H, W), the boundary is unknown: both regions end there, and boundary pixels next to
    ignored ones do not count. They are still what the other boundary is compared with. NaN if none counts.
    """
    if ignored is not None and ignored.any():
        return _score_known(reference & ~ignored, prediction & ~ignored, tolerance_px, ignored)
    boundaries = [np.argwhere(_boundary(mask)) for mask in (reference, prediction)]
    if not all(map(len, boundaries)):
        return BoundaryScore(0.0 if any(map(len, boundaries)) else np.nan, np.nan, np.nan)
    from scipy.spatial import KDTree

    first, second = (KDTree(boundary) for boundary in boundaries)
    directions = first.query(second.data)[0], second.query(first.data)[0]
    distances = np.concatenate(directions)
    return BoundaryScore(
        nsd=float(np.mean(distances <= tolerance_px)),
        hd95_px=float(max(np.percentile(direction, 95) for direction in directions)),
        assd_px=float(distances.mean()),
    )


def _score_known(
    reference: np.ndarray, prediction: np.ndarray, tolerance_px: float, ignored: np.ndarray
) -> BoundaryScore:
    """Compare boundaries where they are known; arguments as `score_boundary`, without ignored pixels in the regions."""
    from scipy.ndimage import binary_dilation
    from scipy.spatial import KDTree

    known = ~binary_dilation(ignored)
    boundaries = [_boundary(mask) for mask in (reference, prediction)]
    counted = [np.argwhere(boundary & known) for boundary in boundaries]
    if not any(map(len, counted)):
        return BoundaryScore(np.nan, np.nan, np.nan)
    if not all(boundary.any() for boundary in boundaries):
        return BoundaryScore(0.0, np.nan, np.nan)
    trees = [KDTree(np.argwhere(boundary)) for boundary in boundaries]
    pairs = ((trees[1], counted[0]), (trees[0], counted[1]))
    directions = [tree.query(points)[0] for tree, points in pairs if len(points)]
    distances = np.concatenate(directions)
    return BoundaryScore(
        nsd=float(np.mean(distances <= tolerance_px)),
        hd95_px=float(max(np.percentile(direction, 95) for direction in directions)),
        assd_px=float(distances.mean()),
    )


def score_boundaries(
    run: str, case_ids: Sequence[str], references: Iterable[np.ndarray], predictions: Iterable[np.ndarray]
) -> pd.DataFrame:
    """Compare the boundaries of all regions of predicted masks with the experts' masks, for `boundary.csv`.

    Args:
        run: name of the run that made the predictions.
        case_ids: N ids.
        references: the experts' masks, integer labels or `IGNORED`, (H, W); read one by one.
        predictions: the predicted masks in the same order and of the same sizes.

    Returns:
        One row per case and region: run, case_id, region, tolerance_px, then the fields of `BoundaryScore`.
    """
    rows = []
    for case_id, reference, prediction in zip(case_ids, references, predictions, strict=True):
        ignored = reference == IGNORED
        for region in REGIONS:
            regions = (region_mask(mask, region) for mask in (reference, prediction))
            score = score_boundary(*regions, ignored=ignored)
            rows.append((run, str(case_id), region, TOLERANCE_PX, *score))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    text = dict.fromkeys(("run", "case_id", "region"), "str")
    return frame.astype(text | dict.fromkeys(("tolerance_px", *BOUNDARY_METRICS), float))


def _boundary(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def distance_interval(values: Sequence[float], groups: Sequence | None = None) -> Interval:
    """Compute the 95 % interval of a mean distance: as `mean_interval`, with the few bad cases high instead of low.

    Args:
        values: one per case, 0 or more; NaN (undefined) is left out.
        groups: one per case, as in `mean_interval`.
    """
    values = np.asarray(values, dtype=float)
    # Turned around to ratios of 0.75 to 1, so that the imagined worst case is not cut off at 0.
    scale = 4 * np.nanmax(values, initial=0.0) or 1.0
    turned = mean_interval(1 - values / scale, groups)
    ends = scale * (1 - turned.estimate), scale * (1 - turned.high), scale * (1 - turned.low)
    return Interval(*ends, turned.cases, turned.units)


def average_boundaries(boundaries: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Average the boundary metrics of each method over the cases, with 95 % intervals.

    Args:
        boundaries: rows as `score_boundaries` returns them, of any number of runs. Trainings of one encoder with one
            loss are a method; their values are averaged for each case first.
        groups: case id -> group, whose cases are one unit of the intervals.

    Returns:
        One row per region and method: region, method, n (cases with a defined NSD), n_distances (cases with defined
        distances), then each metric with its ends `<metric>_low` and `<metric>_high`.
    """
    rows = []
    for region in boundaries["region"].unique():
        tables = {name: case_table(boundaries, region, name) for name in BOUNDARY_METRICS}
        for method in tables["nsd"]:
            row = {"region": region, "method": method}
            for name, table in tables.items():
                values = table.get(method, pd.Series(dtype=float))
                names = None if groups is None else group_names(values.index, groups)
                mean = (mean_interval if name == "nsd" else distance_interval)(values, names)
                row |= {"n" if name == "nsd" else "n_distances": mean.cases}
                row |= {name: mean.estimate, f"{name}_low": mean.low, f"{name}_high": mean.high}
            rows.append(row)
    ends = [f"{name}{end}" for name in BOUNDARY_METRICS for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["region", "method", "n", "n_distances", *ends])
