"""Choose a network: group runs, compare like with like, pick the best on the validation images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS, LOSSES, method_title
from wbcstudy.runs.results import Run
from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import bootstrap_interval
from wbcstudy.scoring.methods import Groups, group_names
from wbcstudy.scoring.metrics import COUNTS, RATIOS, dice

# The paper's tables hold these two; `cell` is in scores.csv for those who want it.
TABLE_REGIONS = ("nucleus", "cytoplasm")


@dataclass(frozen=True)
class Best:
    """The encoder and loss with the best validation Dice.

    Args:
        encoder: by name.
        loss: by name.
        dice: its pooled Dice on the validation cases, mean over the regions.
    """

    encoder: str
    loss: str
    dice: float

    @property
    def method(self) -> str:
        """Name in scores and tables: `resnet50__cross_entropy`."""
        return f"{self.encoder}__{self.loss}"

    @property
    def title(self) -> str:
        """Name for readers: "ResNet-50 with cross-entropy"."""
        return method_title(self.method)


def whole_runs(runs: Iterable[Run]) -> list[Run]:
    """The complete runs that can be held beside one another: of each seed that has all folds.

    All folds are those of which any run is complete. A seed of which a fold has failed or is not there yet was tested
    on other images than the rest. Of a single encoder and loss all are returned, since nothing is compared.
    """
    done = [run for run in runs if run.complete]
    if len(group_runs(done)) < 2:
        return done
    folds: dict[tuple, set[int]] = {}
    for run in done:
        folds.setdefault(_training(run), set()).add(run.config.fold)
    every = set().union(*folds.values())
    return [run for run in done if folds[_training(run)] == every]


def pick_best(runs: Iterable[Run], regions: Sequence[str] = TABLE_REGIONS) -> Best | None:
    """The encoder and loss with the highest pooled Dice on the *validation* cases, mean over the regions.

    Of the regions that these cases have. The test cases have no say, since a choice made on them would make their score
    too good. Of equals, the first in the paper's order wins. Only `whole_runs` compete.

    Returns:
        None when no such run has defined validation scores.
    """
    best = None
    for (encoder, loss), group in group_runs(whole_runs(runs)).items():
        value = validation_dice(group, regions)
        if not np.isnan(value) and (best is None or value > best.dice):
            best = Best(encoder, loss, value)
    return best


def group_runs(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    """Runs by (encoder, loss), in the paper's order of encoders and losses."""
    encoders, losses = list(ENCODERS), list(LOSSES)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (encoders.index(run.config.encoder), losses.index(run.config.loss))):
        groups.setdefault((run.config.encoder, run.config.loss), []).append(run)
    return groups


def read_scores(runs: Iterable[Run]) -> pd.DataFrame:
    """The scores of complete runs in one frame, with encoder, loss, fold and seed; empty for none.

    A region that no expert's mask of their test cases has is left out: of it a network can find nothing that is right.

    Raises:
        StudyError: a run that says it is complete has no scores.csv.
    """
    frames = []
    for run in runs:
        try:
            scores = run.scores
        except FileNotFoundError:
            raise StudyError(
                f"{run.folder.scores} is missing, though the run says it is complete.",
                expected="a run folder with all its files",
                fix=f"Delete {run.folder.path} and run the study again; only this run is repeated.",
            ) from None
        config = run.config
        frames.append(scores.assign(encoder=config.encoder, loss=config.loss, fold=config.fold, seed=config.seed))
    if not frames:
        return pd.DataFrame()
    scores = pd.concat(frames, ignore_index=True)
    drawn = (scores["tp"] + scores["fn"]).groupby(scores["region"]).sum() > 0
    return scores[scores["region"].map(drawn)].reset_index(drop=True)


def average_scores(scores: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """One row per region: counts pooled within each seed, ratios averaged over the seeds.

    Args:
        scores: rows as `read_scores` gives them for one encoder and loss; may be empty.
        groups: case id -> group; whole groups are drawn for the interval.

    Returns:
        Indexed by region: the ratios, dice_mean, dice_ci_low, dice_ci_high and n. The interval is over the images,
        each with its mean Dice over the seeds.
    """
    if scores.empty:
        return pd.DataFrame()
    ratios = pool_scores(scores, by=("seed", "region")).groupby("region", sort=False)[list(RATIOS)].mean()
    rows = {}
    for region, cases in scores.groupby(["region", "case_id"], sort=False)["dice"].mean().groupby("region", sort=False):
        cases = cases.droplevel("region")
        found = bootstrap_interval(cases, group_names(cases.index, groups) if groups else None)
        rows[region] = (found.cases, found.estimate, found.low, found.high)
    names = ["n", "dice_mean", "dice_ci_low", "dice_ci_high"]
    return ratios.join(pd.DataFrame.from_dict(rows, orient="index", columns=names))


def _training(run: Run) -> tuple:
    """What the folds of one network share."""
    return run.config.encoder, run.config.loss, run.config.seed


def validation_dice(runs: Iterable[Run], regions: Sequence[str] = TABLE_REGIONS) -> float:
    """Pooled over folds, mean over seeds and regions; NaN if any is undefined.

    A region that the expert's masks of the validation cases do not have is left out, for all runs alike: there a
    network that rightly finds none has no Dice, and one stray pixel has a Dice of 0.
    """
    values = []
    for region in regions:
        sums: dict[int, np.ndarray] = {}
        for run in runs:
            counts = (run.record.get("validation") or {}).get(region)
            if counts is None:
                return np.nan
            sums[run.config.seed] = sums.get(run.config.seed, 0) + np.array([counts[name] for name in COUNTS])
        values += [dice(tp, fp, fn, tn) for tp, fp, fn, tn in sums.values() if tp + fn > 0]
    return float(np.mean(values)) if values else np.nan
