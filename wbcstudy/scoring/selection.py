"""Group runs, find those that can be compared, and rank them on the validation images; `decision` chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbcstudy.config import join_method
from wbcstudy.registry import ENCODERS, LOSSES, method_title
from wbcstudy.runs.results import Run
from wbcstudy.scoring.case_tables import Groups, group_names
from wbcstudy.scoring.evaluation import pool_scores
from wbcstudy.scoring.intervals import mean_interval, ratio_interval
from wbcstudy.scoring.metrics import COUNTS, RATIOS, dice

# (encoder, loss), or (encoder, loss, start) in a study with starts: the parts of a method's name.
Pair = tuple[str, ...]
# The regions of the paper's tables; scores.csv also has `cell`.
TABLE_REGIONS = ("nucleus", "cytoplasm")


@dataclass(frozen=True)
class Best:
    """An encoder and loss, with a start in a study of several, that can be chosen.

    Args:
        encoder: name of the encoder.
        loss: name of the loss.
        dice: pooled Dice on the validation cases, mean over the regions.
        start: name of the encoder's start; '' in a study without starts.
    """

    encoder: str
    loss: str
    dice: float
    start: str = ""

    @property
    def pair(self) -> Pair:
        """Key in `group_runs`."""
        return split_pair(self.method)

    @property
    def method(self) -> str:
        """Name in scores and tables: `resnet50__cross_entropy`."""
        return join_method(self.encoder, self.loss, self.start)

    @property
    def title(self) -> str:
        """Name for readers: "ResNet-50 with cross-entropy"."""
        return method_title(self.method)


def comparable_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the complete runs that can be compared: those of every seed with all folds.

    All folds are those with any complete run. A seed that lacks a fold was tested on other images than the others. If
    there is only one encoder and loss, nothing is compared and all complete runs are returned.
    """
    complete = [run for run in runs if run.complete]
    if len(group_runs(complete)) < 2:
        return complete
    folds: dict[tuple, set[int]] = {}
    for run in complete:
        folds.setdefault(_training(run), set()).add(run.config.fold)
    all_folds = set().union(*folds.values())
    return [run for run in complete if folds[_training(run)] == all_folds]


def rank_pairs(runs: Iterable[Run], regions: Sequence[str] = TABLE_REGIONS) -> list[Best]:
    """Rank encoders and losses by their pooled Dice on the *validation* cases, mean over the regions, best first.

    Test cases have no influence, since a choice made on them would make their scores too high. Regions that the
    validation cases lack are ignored. Ties are in the paper's order. Only `comparable_runs` compete, and of these only
    pairs with defined validation scores.
    """
    pairs = [
        Best(encoder, loss, validation_dice(group, regions), *start)
        for (encoder, loss, *start), group in group_runs(comparable_runs(runs)).items()
    ]
    return sorted((pair for pair in pairs if not np.isnan(pair.dice)), key=lambda pair: -pair.dice)


def split_pair(method: str) -> Pair:
    """Return the key of a method in `group_runs`."""
    return tuple(method.split("__"))


def method_names(table: pd.DataFrame) -> list[str]:
    """Return the method of each row of a table with the columns encoder, loss and, except in old tables, start."""
    starts = table["start"].fillna("") if "start" in table else [""] * len(table)
    return [join_method(*parts) for parts in zip(table["encoder"], table["loss"], starts, strict=True)]


def group_runs(runs: Iterable[Run]) -> dict[Pair, list[Run]]:
    """Group runs by encoder and loss (and start), in the paper's order of encoders and losses."""
    encoders, losses = list(ENCODERS), list(LOSSES)
    groups: dict[Pair, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (encoders.index(run.config.encoder), losses.index(run.config.loss))):
        groups.setdefault(split_pair(run.config.method), []).append(run)
    return groups


def read_scores(runs: Iterable[Run]) -> pd.DataFrame:
    """Read the scores of complete runs into one frame, with encoder, loss, start, fold and seed; empty for no runs."""
    frames = []
    for run in runs:
        names = ("encoder", "loss", "start", "fold", "seed")
        frames.append(run.scores.assign(**{name: getattr(run.config, name) for name in names}))
    return drop_absent_regions(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()


def drop_absent_regions(scores: pd.DataFrame) -> pd.DataFrame:
    """Drop the scores of regions that no reference mask has: there a network cannot be right about any pixel."""
    present = (scores["tp"] + scores["fn"]).groupby(scores["region"]).sum() > 0
    return scores[scores["region"].map(present)].reset_index(drop=True)


def average_scores(
    scores: pd.DataFrame, groups: Groups | None = None, regions: Sequence[str] = TABLE_REGIONS
) -> pd.DataFrame:
    """Pool counts within each seed and average the ratios over the seeds.

    Args:
        scores: rows as `read_scores` gives them for one encoder and loss; may be empty.
        groups: case id -> group, whose cases are one unit of the intervals.
        regions: regions to average.

    Returns:
        Indexed by region: the ratios, pooled_ci_low and pooled_ci_high (of the pooled Dice), dice_mean, dice_ci_low,
        dice_ci_high and n. The intervals are over the images, each with its mean Dice over the seeds, or with the sums
        of its counts.
    """
    if scores.empty:
        return pd.DataFrame()
    scores = scores[scores["region"].isin(regions)]
    ratios = pool_scores(scores, by=("seed", "region")).groupby("region", sort=False)[list(RATIOS)].mean()
    rows = {}
    for region, part in scores.groupby("region", sort=False):
        cases = part.groupby("case_id", sort=False).agg({"dice": "mean", "tp": "sum", "fp": "sum", "fn": "sum"})
        units = group_names(cases.index, groups) if groups else None
        mean = mean_interval(cases["dice"], units)
        pooled = ratio_interval(2 * cases["tp"], 2 * cases["tp"] + cases["fp"] + cases["fn"], units)
        rows[region] = (mean.cases, mean.estimate, mean.low, mean.high, pooled.low, pooled.high)
    names = ["n", "dice_mean", "dice_ci_low", "dice_ci_high", "pooled_ci_low", "pooled_ci_high"]
    return ratios.join(pd.DataFrame.from_dict(rows, orient="index", columns=names))


def _training(run: Run) -> tuple:
    """Return what the folds of one network have in common."""
    return run.config.method, run.config.seed


def validation_dice(runs: Iterable[Run], regions: Sequence[str] = TABLE_REGIONS) -> float:
    """Compute the validation Dice: pooled over folds, mean over seeds and regions; NaN if any is undefined.

    A region that the reference masks of the validation cases lack is ignored for all runs: there a network that
    correctly predicts nothing has no Dice, and one wrong pixel gives a Dice of 0.
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
