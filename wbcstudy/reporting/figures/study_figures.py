"""Images of a dataset with their masks and predictions, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import Dataset
from wbcstudy.reporting.figures.canvas import StudyFigure
from wbcstudy.reporting.figures.images import fig_predictions


def fig_cases(
    dataset: Dataset, image_size: int, predictions: Mapping[str, np.ndarray], titles: Sequence[str] | None = None
) -> StudyFigure:
    """`fig_predictions` of cases that are read here.

    Args:
        dataset: where the cases are from.
        image_size: side S to which they are resized, in px.
        predictions: case id -> uint8 (S, S) of labels.
        titles: one per case; the case ids if None.
    """
    shown = read_cases(dataset, list(predictions), image_size)
    return fig_predictions(shown.images, shown.masks, list(predictions.values()), titles or shown.case_ids)
