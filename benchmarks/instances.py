"""Scores of separated cells against the expert's cells: counts per image, and scores from sums of counts.

The package cellseg-metrics computes panoptic quality too, but not from counts of several images, and its AJI picks a
cell by intersection, not by IoU as Kumar et al. do. It serves as the oracle in the test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from skimage.metrics import contingency_table

SCORES = ("ap50", "pq", "sq", "rq", "aji", "aji_plus", "count_error")


class InstanceCounts(NamedTuple):
    """Counts of one image; the sum over images gives pooled scores.

    Args:
        tp: matched pairs of cells: IoU above 0.5, so that a cell has at most one match.
        fp: predicted cells without a match.
        fn: reference cells without a match.
        iou_sum: sum of the IoU of the matched pairs.
        aji_both: intersections of the AJI in px.
        aji_any: unions of the AJI in px.
        aji_plus_both: intersections of the AJI+ in px.
        aji_plus_any: unions of the AJI+ in px.
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float
    aji_both: int
    aji_any: int
    aji_plus_both: int
    aji_plus_any: int


def count_instances(reference: np.ndarray, prediction: np.ndarray) -> InstanceCounts:
    """Compare the cells of one image.

    Args:
        reference: the expert's cells, integer (H, W); 0 is background, any other number a cell.
        prediction: the predicted cells, of the same shape.
    """
    reference_ids, reference = np.unique(reference, return_inverse=True)
    prediction_ids, prediction = np.unique(prediction, return_inverse=True)
    table = contingency_table(reference.ravel(), prediction.ravel()).toarray().astype(np.int64)
    rows, columns = reference_ids != 0, prediction_ids != 0
    both = table[np.ix_(rows, columns)]
    reference_px, prediction_px = table.sum(axis=1)[rows], table.sum(axis=0)[columns]
    union = reference_px[:, None] + prediction_px - both
    iou = both / union
    matched = iou > 0.5
    tp = int(matched.sum())

    # AJI: every reference cell takes the prediction with the highest IoU, which may be taken several times.
    first = np.flatnonzero(both.any(axis=1))
    second = iou[first].argmax(axis=1) if len(first) else first
    # AJI+: one to one, with the largest sum of IoU.
    first_plus, second_plus = linear_sum_assignment(iou, maximize=True)
    overlapping = both[first_plus, second_plus] > 0
    first_plus, second_plus = first_plus[overlapping], second_plus[overlapping]

    def areas(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
        unmatched = np.delete(reference_px, first).sum() + np.delete(prediction_px, np.unique(second)).sum()
        return int(both[first, second].sum()), int(union[first, second].sum() + unmatched)

    return InstanceCounts(
        tp,
        len(prediction_px) - tp,
        len(reference_px) - tp,
        float(iou[matched].sum()),
        *areas(first, second),
        *areas(first_plus, second_plus),
    )


def sum_counts(counts: Iterable[InstanceCounts]) -> InstanceCounts:
    """Add the counts of several images."""
    return InstanceCounts(*map(sum, zip(InstanceCounts(*[0] * 8), *counts, strict=True)))


def score_instances(counts: InstanceCounts) -> dict[str, float]:
    """Compute all scores from the counts of one image, or from a sum of counts, where every cell has the same weight.

    Returns:
        ap50: TP / (TP + FP + FN) (Caicedo et al. 2019). pq, sq, rq: panoptic quality = segmentation quality (mean IoU
        of the matches) x recognition quality (Kirillov et al. 2019). aji: aggregated Jaccard index (Kumar et al. 2017).
        aji_plus: the same with one-to-one pairs (Graham et al. 2019). count_error: too many (positive) or too few
        cells, as a share of the reference cells. NaN where undefined.
    """
    tp, fp, fn = counts.tp, counts.fp, counts.fn
    cells = tp + fp / 2 + fn / 2
    parts = (
        (tp, tp + fp + fn),
        (counts.iou_sum, cells),
        (counts.iou_sum, tp),
        (tp, cells),
        (counts.aji_both, counts.aji_any),
        (counts.aji_plus_both, counts.aji_plus_any),
        (fp - fn, tp + fn),
    )
    return {name: part / whole if whole else float("nan") for name, (part, whole) in zip(SCORES, parts, strict=True)}
