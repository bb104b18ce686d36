"""Scores frames made from Dice values, for the tests of the statistics."""

import numpy as np
import pandas as pd

from wbcstudy.config import StudyConfig
from wbcstudy.reporting.results import StudyResults
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.scoring.metrics import add_ratios

PIXELS = 10_000_000

FOUR_METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")


def scores_from_dice(table, region="nucleus", cell_types=None):
    """Scores whose Dice are given: {run or (encoder, loss, fold, seed): {case: dice or None}}."""
    rows = []
    for run, scores in table.items():
        name = run if isinstance(run, str) else "{}__{}__fold{}__seed{}".format(*run)
        for case, dice in scores.items():
            cell_type = (cell_types or {}).get(case)
            # Reference and prediction of PIXELS / 2 each: dice = 2 tp / PIXELS.
            tp = 0 if dice is None else round(dice * PIXELS / 2)
            missed = 0 if dice is None else PIXELS // 2 - tp
            rows.append((name, case, cell_type, region, tp, missed, missed, PIXELS))
    columns = ["run", "case_id", "cell_type", "region", "tp", "fp", "fn", "tn"]
    return add_ratios(pd.DataFrame(rows, columns=columns))


def scores_from_array(array, methods, seed=0):
    """Scores of one training per method: array (cases, methods) of Dice."""
    return scores_from_dice(
        {
            (*method.split("__"), 0, seed): {f"c{row:03}": value for row, value in enumerate(array[:, index])}
            for index, method in enumerate(methods)
        }
    )


def noisy_dice(n, offsets, seed=0, noise=0.01):
    """Cases of differing difficulty, methods that differ by the offsets: array (n, methods)."""
    generator = np.random.default_rng(seed)
    difficulty = 0.9 + 0.03 * generator.standard_normal((n, 1))
    return np.clip(difficulty + np.asarray(offsets) + noise * generator.standard_normal((n, len(offsets))), 0, 1)


def make_ranks(scores):
    """Return Table 4 of a study with these scores."""
    results = StudyResults(StudyFolder.of("s"), StudyConfig(name="s"), [], {})
    results.comparable_scores = scores
    return results.ranks
