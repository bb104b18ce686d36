"""The vote of a study's networks as one more method: the majority label of each pixel, from the saved masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wbcstudy.data.arrays import read_scored_case
from wbcstudy.data.datasets import Dataset
from wbcstudy.labels import NUM_LABELS
from wbcstudy.runs.results import SCORE_COLUMNS, Run, read_predictions
from wbcstudy.scoring.evaluation import score_masks
from wbcstudy.scoring.selection import validation_dice

# Two voters that disagree are tied, and the better one wins: the vote of two equals the better of the two.
_MIN_VOTERS = 3


def vote(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Return the most frequent label of each pixel; a tie goes to the first mask that has one of the tied labels.

    Args:
        predictions: at least one mask of one case, integer labels (H, W) or any other shape, equal for all; sorted
            from the best network to the worst.

    Returns:
        Labels of the same shape and dtype.
    """
    masks = np.stack(predictions)
    votes = np.stack([(masks == label).sum(axis=0) for label in range(NUM_LABELS)])
    # [network, ...]: whether the network's label has the most votes. argmax takes the first of them.
    leads = np.take_along_axis(votes == votes.max(axis=0), masks.astype(np.intp), axis=0)
    return np.take_along_axis(masks, leads.argmax(axis=0)[None], axis=0)[0]


def score_votes(runs: Sequence[Run], dataset: Dataset, score_px: int | None) -> tuple[pd.DataFrame, int]:
    """Score the vote of all encoders and losses, separately for each fold and seed.

    A network votes only if it is complete and has its masks in every fold and seed, so that the voters are the same
    everywhere. Ties are decided by the Dice on the validation images.

    Args:
        runs: runs of one study.
        dataset: the dataset that the runs were tested on; masks are read one by one.
        score_px: side in px of the square at which the networks were scored; None for each image's own size.

    Returns:
        Rows as `score_masks` returns them, of runs `ensemble__vote__fold<k>__seed<s>`, and the number of voters. No
        rows for fewer than three voters, since the vote of two equals the better of the two.
    """
    parts: dict[tuple[int, int], dict[str, Run]] = {}
    for run in runs:
        if run.complete and run.folder.predictions.exists():
            config = run.config
            parts.setdefault((config.fold, config.seed), {})[config.method] = run
    voters = set.intersection(*(set(part) for part in parts.values())) if parts else set()
    if len(voters) < _MIN_VOTERS:
        return pd.DataFrame(columns=list(SCORE_COLUMNS)), len(voters)
    frames = []
    for (fold, seed), part in sorted(parts.items()):
        # Networks without a validation Dice come last.
        dice = {name: np.nan_to_num(validation_dice([part[name]]), nan=-1) for name in voters}
        masks = [read_predictions(part[name].folder) for name in sorted(voters, key=lambda name: (-dice[name], name))]
        cases = [case for case in masks[0] if all(case in predictions for predictions in masks)]
        types = [dataset.case(case).cell_type for case in cases]
        references = (read_scored_case(dataset, case, score_px)[1] for case in cases)
        votes = (vote([predictions[case] for predictions in masks]) for case in cases)
        frames.append(score_masks(f"ensemble__vote__fold{fold}__seed{seed}", cases, types, references, votes))
    return pd.concat(frames, ignore_index=True), len(voters)
