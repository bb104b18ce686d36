"""How well cells were told apart: `count_instances` and `score_instances` measure them against an expert's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from wbcstudy.errors import StudyError


class InstanceCounts(NamedTuple):
    """What the scores of one image are made of; sums over images give the pooled scores.

    Args:
        tp: matched pairs, IoU above the threshold.
        fp: predicted cells without a match.
        fn: the expert's cells without a match.
        iou_sum: sum of the IoU of the matched pairs.
        aji_both: AJI's intersections in px.
        aji_any: AJI's unions in px.
        aji_plus_both: AJI+'s intersections in px.
        aji_plus_any: AJI+'s unions in px.
    """

    tp: int
    fp: int
    fn: int
    iou_sum: float
    aji_both: int
    aji_any: int
    aji_plus_both: int
    aji_plus_any: int


class Matches(NamedTuple):
    """Pairs of cells that are the same.

    Args:
        reference: numbers of the expert's cells, int (n,).
        prediction: numbers of the predicted cells, int (n,), in the same order.
        iou: their intersection over union, float (n,).
        missed: numbers of the expert's cells without a match.
        added: numbers of the predicted cells without a match.
    """

    reference: np.ndarray
    prediction: np.ndarray
    iou: np.ndarray
    missed: np.ndarray
    added: np.ndarray


def match_instances(reference: np.ndarray, prediction: np.ndarray, threshold: float = 0.5) -> Matches:
    """Pair the cells of two instance maps whose IoU is above a threshold.

    Args:
        reference: the expert's cells, integer (H, W), 0 for background and any other number for a cell.
        prediction: the predicted cells, of the same shape.
        threshold: from 0.5 (which a cell can exceed with one other at most, so that the pairing is unique; Kirillov
            et al. 2019) to 1.

    Raises:
        StudyError: not two instance maps of one shape, or a threshold below 0.5.
    """
    return _match(_overlap(reference, prediction), threshold)


def count_instances(reference: np.ndarray, prediction: np.ndarray, threshold: float = 0.5) -> InstanceCounts:
    """Compare the cells of one image with the expert's; see `score_instances` for what follows from the counts.

    Args:
        reference: as in `match_instances`.
        prediction: as in `match_instances`.
        threshold: as in `match_instances`; the AJIs have none.

    Raises:
        StudyError: as `match_instances`.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = _overlap(reference, prediction)
    matches = _match(overlap, threshold)
    both, union, iou = overlap.both, overlap.union, overlap.iou

    # AJI: each of the expert's cells takes the predicted one that overlaps it best, which may be taken again.
    rows = np.arange(len(both))
    best = iou.argmax(axis=1) if both.size else np.zeros(len(both), int)
    hit = both[rows, best] > 0 if both.size else np.zeros(len(both), bool)
    taken = np.unique(best[hit])
    aji_both = both[rows[hit], best[hit]].sum()
    aji_any = union[rows[hit], best[hit]].sum() + overlap.reference_px[~hit].sum()
    aji_any += np.delete(overlap.prediction_px, taken).sum()

    # AJI+: one to one, so that the sum of IoU is largest.
    first, second = linear_sum_assignment(iou, maximize=True)
    hit = both[first, second] > 0
    first, second = first[hit], second[hit]
    plus_any = union[first, second].sum()
    plus_any += np.delete(overlap.reference_px, first).sum() + np.delete(overlap.prediction_px, second).sum()
    return InstanceCounts(
        tp=len(matches.iou),
        fp=len(matches.added),
        fn=len(matches.missed),
        iou_sum=float(matches.iou.sum()),
        aji_both=int(aji_both),
        aji_any=int(aji_any),
        aji_plus_both=int(both[first, second].sum()),
        aji_plus_any=int(plus_any),
    )


def average_precision(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, **_: ArrayLike):
    """AP at the threshold, TP / (TP + FP + FN), as in cell segmentation (Caicedo et al. 2019; not COCO's area)."""
    return _ratio(tp, np.asarray(tp) + fp + fn)


def segmentation_quality(tp: ArrayLike, iou_sum: ArrayLike, **_: ArrayLike):
    """SQ: mean IoU of the matched pairs (Kirillov et al. 2019). NaN where nothing matched."""
    return _ratio(iou_sum, tp)


def recognition_quality(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, **_: ArrayLike):
    """RQ: TP / (TP + FP/2 + FN/2), the F-score of finding cells (Kirillov et al. 2019)."""
    return _ratio(tp, np.asarray(tp) + np.asarray(fp) / 2 + np.asarray(fn) / 2)


def panoptic_quality(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, iou_sum: ArrayLike, **_: ArrayLike):
    """PQ: sum of IoU / (TP + FP/2 + FN/2) = SQ * RQ (Kirillov et al. 2019). 0 where cells are but none matched."""
    return _ratio(iou_sum, np.asarray(tp) + np.asarray(fp) / 2 + np.asarray(fn) / 2)


def aggregated_jaccard(aji_both: ArrayLike, aji_any: ArrayLike, **_: ArrayLike):
    """AJI (Kumar et al. 2017): intersections over unions in px, each expert's cell with its best."""
    return _ratio(aji_both, aji_any)


def aggregated_jaccard_plus(aji_plus_both: ArrayLike, aji_plus_any: ArrayLike, **_: ArrayLike):
    """AJI+ (Graham et al. 2019): as AJI, but pairs are one to one, so that one predicted cell counts once."""
    return _ratio(aji_plus_both, aji_plus_any)


def count_error(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, **_: ArrayLike):
    """Cells predicted too many (positive) or too few (negative), as a share of the expert's: (FP - FN) / (TP + FN)."""
    return _ratio(np.asarray(fp, float) - fn, np.asarray(tp) + fn)


INSTANCE_SCORES: Mapping[str, Callable] = MappingProxyType(
    {
        "ap50": average_precision,
        "pq": panoptic_quality,
        "sq": segmentation_quality,
        "rq": recognition_quality,
        "aji": aggregated_jaccard,
        "aji_plus": aggregated_jaccard_plus,
        "count_error": count_error,
    }
)


def score_instances(counts: InstanceCounts) -> dict[str, float]:
    """All scores from the counts of one image, or from sums of them.

    Args:
        counts: of `count_instances`, or sums over images: then each cell weighs the same, whichever image it is on.

    Returns:
        Name in `INSTANCE_SCORES` -> value; NaN where undefined: all of them where neither expert nor prediction has a
        cell.
    """
    return {name: float(function(**counts._asdict())) for name, function in INSTANCE_SCORES.items()}


def sum_counts(counts: list[InstanceCounts]) -> InstanceCounts:
    """Counts of several images together; zeros for none."""
    return (
        InstanceCounts(*(sum(values) for values in zip(*counts, strict=True))) if counts else InstanceCounts(*[0] * 8)
    )


# --------------------------------------------------------------------------------------------------------- splitting


class _Overlap(NamedTuple):
    reference_ids: np.ndarray
    prediction_ids: np.ndarray
    reference_px: np.ndarray
    prediction_px: np.ndarray
    both: np.ndarray

    @property
    def union(self) -> np.ndarray:
        return self.reference_px[:, None] + self.prediction_px[None, :] - self.both

    @property
    def iou(self) -> np.ndarray:
        return self.both / self.union


def _overlap(reference, prediction) -> _Overlap:
    reference, prediction = _check_instances(reference, "reference"), _check_instances(prediction, "prediction")
    if reference.shape != prediction.shape:
        raise StudyError(
            f"The reference is of shape {reference.shape}, the prediction of {prediction.shape}.",
            expected="two instance maps of one size",
            fix="Bring the prediction to the reference's size by nearest neighbour.",
        )
    ids, places = zip(*(np.unique(one, return_inverse=True) for one in (reference, prediction)), strict=True)
    table = np.zeros((len(ids[0]), len(ids[1])), np.int64)
    np.add.at(table, (places[0].ravel(), places[1].ravel()), 1)
    rows, columns = ids[0] != 0, ids[1] != 0
    return _Overlap(
        ids[0][rows],
        ids[1][columns],
        table.sum(axis=1)[rows],
        table.sum(axis=0)[columns],
        table[np.ix_(rows, columns)],
    )


def _match(overlap: _Overlap, threshold: float) -> Matches:
    if not 0.5 <= threshold <= 1:
        raise StudyError(
            f"A matching threshold of {threshold!r} cannot be used.",
            expected="a number from 0.5 to 1: below, a cell could match two others",
            fix="Use 0.5, which is the usual one.",
        )
    iou = overlap.iou
    rows, columns = np.nonzero(iou > threshold)
    return Matches(
        overlap.reference_ids[rows],
        overlap.prediction_ids[columns],
        iou[rows, columns],
        np.delete(overlap.reference_ids, rows),
        np.delete(overlap.prediction_ids, columns),
    )


def _ratio(part: ArrayLike, whole: ArrayLike):
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    undefined = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.divide(part, whole, out=undefined, where=whole != 0)[()]


# ------------------------------------------------------------------------------------------------------------- checks


def _check_instances(instances, what: str) -> np.ndarray:
    instances = np.asarray(instances)
    if instances.ndim != 2 or instances.dtype.kind not in "iub":
        raise StudyError(
            f"The {what} is {instances.dtype} of shape {instances.shape}.",
            expected="an instance map: integers of shape (H, W), 0 for background",
            fix="Make one with split_cells(mask).",
        )
    return instances
