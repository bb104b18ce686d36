"""Pixel counts per region: everything that is scored starts here.

Ratios are computed from these counts and never stored without them, so that results can be pooled over images, cell
types or runs without the model that made them.
"""

from typing import NamedTuple

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.regions import LABELS, NUM_LABELS, REGIONS


class Counts(NamedTuple):
    """Pixels of one mask, sorted by what reference and prediction say about one region.

    Args:
        tp: in the region in both.
        fp: in the region in the prediction only.
        fn: in the region in the reference only.
        tn: in the region in neither.
    """

    tp: int
    fp: int
    fn: int
    tn: int


def count_regions(reference: np.ndarray, prediction: np.ndarray) -> dict[str, Counts]:
    """Count the pixels of every region of one case.

    Args:
        reference: the expert's mask, integer labels 0..2, (H, W).
        prediction: the model's mask, integer labels 0..2, of the same shape.

    Returns:
        Region -> its counts, in the order of `REGIONS`; each adds up to H * W. An empty mask (H or W of 0) gives zeros.

    Raises:
        StudyError: the shapes differ, a mask is not (H, W), is not integer, or holds a number that is no label.
    """
    reference, prediction = _checked(reference, "reference"), _checked(prediction, "prediction")
    if reference.shape != prediction.shape:
        raise StudyError(
            f"The reference is {_size(reference)}, the prediction {_size(prediction)}.",
            expected="two masks of one size",
            fix="Resize the prediction to the reference by nearest neighbour, or predict at the reference's size.",
        )
    # One pass over the pixels: the label pairs as a 3 x 3 table, rows reference, columns prediction.
    pairs = reference.astype(np.intp).ravel() * NUM_LABELS + prediction.astype(np.intp).ravel()
    table = np.bincount(pairs, minlength=NUM_LABELS**2).reshape(NUM_LABELS, NUM_LABELS)
    counts = {}
    for region, labels in REGIONS.items():
        inside = np.isin(np.arange(NUM_LABELS), labels)
        counts[region] = Counts(
            tp=int(table[np.ix_(inside, inside)].sum()),
            fp=int(table[np.ix_(~inside, inside)].sum()),
            fn=int(table[np.ix_(inside, ~inside)].sum()),
            tn=int(table[np.ix_(~inside, ~inside)].sum()),
        )
    return counts


def count_region(reference: np.ndarray, prediction: np.ndarray, region: str) -> Counts:
    """Count the pixels of one region of one case; see `count_regions`.

    Raises:
        StudyError: as `count_regions`, or no such region.
    """
    if region not in REGIONS:
        raise StudyError(f"Unknown region {region!r}.", expected=", ".join(REGIONS), fix="Use one of these names.")
    return count_regions(reference, prediction)[region]


def _checked(mask: np.ndarray, what: str) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise StudyError(
            f"The {what} is {mask.dtype} of shape {mask.shape}.",
            expected="integer labels of shape (H, W)",
            fix="Take the most probable label of each pixel first: probabilities.argmax(axis=-1).",
        )
    # A mask still in its file's values (0, 128, 255) would otherwise count as background and score 0.
    if mask.size and (mask.min() < 0 or mask.max() >= NUM_LABELS):
        found = ", ".join(str(value) for value in np.unique(mask)[:8])
        raise StudyError(
            f"The {what} holds the values {found}.",
            expected=", ".join(f"{label} ({name})" for name, label in LABELS.items()),
            fix="Read masks through their dataset.yaml, which says which value is which label.",
        )
    return mask


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[0]} x {mask.shape[1]} px"
