"""One more "method": the majority of a study's networks, pixel by pixel, from the masks that the runs keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import Dataset
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUM_LABELS
from wbcstudy.runs.results import SCORE_COLUMNS, Run, read_predictions
from wbcstudy.scoring.evaluation import score_masks
from wbcstudy.scoring.metrics import COUNTS, dice

ENSEMBLE = "ensemble__vote"
# Two voters that disagree are a tie, which the better one wins: the vote of two is the better of the two.
LEAST_VOTERS = 3


def vote(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """The label that most of the masks give each pixel; a tie goes to the first mask that has one of the tied labels.

    Args:
        predictions: masks of one case, labels (H, W) or any other shape, all of the same; the best network's first.

    Returns:
        uint8 labels of this shape.

    Raises:
        StudyError: no mask, or masks of different shapes.
    """
    masks = [np.asarray(mask) for mask in predictions]
    if not masks or len({mask.shape for mask in masks}) > 1:
        shapes = ", ".join(str(mask.shape) for mask in masks) or "none"
        raise StudyError(
            f"Masks to vote on: {shapes}.",
            expected="at least one, all of one shape",
            fix="Pass the predictions of one case by networks of one study.",
        )
    counts = np.stack([np.sum([mask == label for mask in masks], axis=0) for label in range(NUM_LABELS)])
    tied = counts == counts.max(axis=0)
    result, open_ = np.zeros(masks[0].shape, np.uint8), np.ones(masks[0].shape, bool)
    for mask in masks:
        taken = open_ & np.take_along_axis(tied, mask[None].astype(np.intp), axis=0)[0]
        result[taken] = mask[taken]
        open_ &= ~taken
    return result


def score_votes(runs: Sequence[Run], dataset: Dataset, image_size: int) -> tuple[pd.DataFrame, int]:
    """Score the majority of all encoders and losses, for each fold and seed by itself.

    Only those take part that are complete, with their masks, in every fold and seed, so that the vote is the same
    everywhere. The order for ties is that of the Dice on the validation images.

    Args:
        runs: of one study.
        dataset: that they were tested on; masks are read one by one.
        image_size: side S to which the networks' images were resized, in px.

    Returns:
        Rows as `score_masks` makes them, of runs `ensemble__vote__fold<k>__seed<s>`, and the number of voters. No rows
        where fewer than three could vote, since the vote of two is that of the better one.
    """
    parts: dict[tuple[int, int], dict[tuple[str, str], Run]] = {}
    for run in runs:
        if run.complete and run.folder.predictions.exists():
            config = run.config
            parts.setdefault((config.fold, config.seed), {})[config.encoder, config.loss] = run
    voters = set.intersection(*(set(part) for part in parts.values())) if parts else set()
    if len(voters) < LEAST_VOTERS:
        return pd.DataFrame(columns=list(SCORE_COLUMNS)), len(voters)
    frames = []
    for (fold, seed), part in sorted(parts.items()):
        order = sorted(voters, key=lambda pair, part=part: (-_validation_dice(part[pair]), pair))
        masks = [read_predictions(part[pair].folder) for pair in order]
        cases = [case for case in masks[0] if all(case in found for found in masks)]
        types = [dataset.case(case).cell_type for case in cases]
        references = (read_cases(dataset, [case], image_size).masks[0] for case in cases)
        votes = (vote([found[case] for found in masks]) for case in cases)
        frames.append(score_masks(f"{ENSEMBLE}__fold{fold}__seed{seed}", cases, types, references, votes))
    return pd.concat(frames, ignore_index=True), len(voters)


def _validation_dice(run: Run) -> float:
    """Mean over nucleus and cytoplasm; -1 where nothing is known, so that it is asked last."""
    counts = [(run.record.get("validation") or {}).get(region) for region in ("nucleus", "cytoplasm")]
    values = [dice(*(found[name] for name in COUNTS)) for found in counts if found]
    defined = [float(value) for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else -1.0
