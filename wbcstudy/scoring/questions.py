"""Answer the planned questions of a study: differences between groups of methods that differ in one factor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.config import Question
from wbcstudy.registry import split_method
from wbcstudy.runs.results import Run
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import MethodScores, compare_scores, method_scores

_FACTORS = ("encoder", "loss", "start")
_COMPARED, _AGAINST = "compared", "against"


class Saved(NamedTuple):
    """Epochs saved: mean over the seeds with its 95 % interval, NaN for one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Args:
        question: the question.
        strata: the other two factors of each group of methods that is compared.
        seeds: number of seeds that all of these methods have.
        differences: region -> row of `compare_scores`, compared minus against; empty for a question about epochs.
        epochs: one row per training, see `compare_epochs`; empty for a question about Dice.
        saved: mean over the seeds of the epochs saved, with an interval over seeds; None without epochs.
    """

    question: Question
    strata: tuple[tuple[str, ...], ...]
    seeds: int
    differences: Mapping[str, Mapping] = field(default_factory=dict)
    epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    saved: Saved | None = None


def answer_questions(
    questions: Iterable[Question], runs: Sequence[Run], scores: pd.DataFrame, groups: Groups | None, margin: float
) -> list[Answer]:
    """Answer the questions of a study.

    Each difference is a mean of paired differences: within each combination of the other two factors that has all
    levels of the question, then over these combinations. It is tested as the difference of two methods whose score of
    an image and seed is the mean over the methods of its side, by `statistics.compare_scores`. The two regions of a
    question are one family.

    Args:
        questions: the planned questions.
        runs: the comparable runs.
        scores: their scores, rows as `score_masks` makes them.
        groups: case id -> group, where cases are not independent.
        margin: largest difference that does not matter.
    """
    return [_answer(question, runs, scores, groups, margin) for question in questions]


def _answer(
    question: Question, runs: Sequence[Run], scores: pd.DataFrame, groups: Groups | None, margin: float
) -> Answer:
    methods = dict.fromkeys(run.config.method for run in runs)
    strata = dict(_strata(question, methods))
    sides = {side: [method for pair in strata.values() for method in pair[side]] for side in (_COMPARED, _AGAINST)}
    used = {*sides[_COMPARED], *sides[_AGAINST]}
    seeds = [{run.config.seed for run in runs if run.config.method == method} for method in used]
    common = set.intersection(*seeds) if seeds else set()
    chosen = [run for run in runs if run.config.method in used and run.config.seed in common]
    if not chosen:
        return Answer(question, (), 0)
    if question.measure == "epochs":
        epochs = compare_epochs(strata.values(), chosen)
        return Answer(question, tuple(strata), len(common), epochs=epochs, saved=_mean_saved(epochs))
    frame = scores[scores["run"].isin([run.name for run in chosen])]
    regions = {}
    for region in TABLE_REGIONS:
        parts = method_scores(frame, region, groups=groups)
        if used <= set(parts):
            regions[region] = {side: _average([parts[method] for method in names]) for side, names in sides.items()}
    folds = len({run.config.fold for run in chosen})
    rows = compare_scores(regions, margin=margin, folds=folds).to_dict("records") if regions else []
    return Answer(question, tuple(strata), len(common), {row["region"]: row for row in rows})


def _strata(question: Question, methods: Iterable[str]) -> Iterator[tuple[tuple[str, ...], dict[str, list[str]]]]:
    """Yield the other factors of each combination with all levels, and the methods of its two sides."""
    by_key: dict[tuple[str, ...], dict[str, str]] = {}
    index = _FACTORS.index(question.factor)
    for method in methods:
        parts = split_method(method)
        if parts:
            by_key.setdefault((*parts[:index], *parts[index + 1 :]), {})[parts[index]] = method
    for key, levels in by_key.items():
        if {*question.compare, *question.against} <= set(levels):
            sides = {_COMPARED: question.compare, _AGAINST: question.against}
            yield key, {side: [levels[level] for level in names] for side, names in sides.items()}


def _average(parts: Sequence[MethodScores]) -> MethodScores:
    """Average methods: one score per case that all of them have, and seed."""
    tables = [part.table for part in parts]
    cases = sorted(set.intersection(*(set(table.index) for table in tables)))
    units = None if parts[0].units is None else pd.Series(parts[0].units, parts[0].cases).loc[cases].to_numpy()
    scores = np.mean([table.loc[cases].to_numpy() for table in tables], axis=0)
    return MethodScores(np.array(cases, dtype=str), scores, units)


def compare_epochs(strata: Iterable[Mapping[str, list[str]]], runs: Sequence[Run]) -> pd.DataFrame:
    """Find the epoch in which each training first reaches the best validation Dice of the one it is compared with.

    Args:
        strata: the methods of the two sides of each combination.
        runs: trainings of these methods.

    Returns:
        One row per training, fold, seed and training it is compared with: method, against, fold, seed, target (best
        validation Dice of the other, mean over the regions), best_epoch (in which the other reached it), first_epoch
        (NaN if not reached) and epochs (that were trained).
    """
    by_key = {(run.config.method, run.config.fold, run.config.seed): run for run in runs}
    rows = []
    for (method, fold, seed), run in by_key.items():
        for sides in strata:
            if method not in sides[_COMPARED]:
                continue
            for other in sides[_AGAINST]:
                if (other, fold, seed) not in by_key:
                    continue
                own, goal = _validation_curve(run), _validation_curve(by_key[other, fold, seed])
                target, reached = goal.max(), own[own >= goal.max()]
                first = reached.index[0] if len(reached) else np.nan
                rows.append((method, other, fold, seed, target, goal.idxmax(), first, own.index[-1]))
    names = ["method", "against", "fold", "seed", "target", "best_epoch", "first_epoch", "epochs"]
    return pd.DataFrame(rows, columns=names)


def _validation_curve(run: Run) -> pd.Series:
    """Return the validation Dice of each epoch, mean over the regions, with the epochs as index."""
    history = run.history.set_index("epoch")
    return history[[f"val_dice_{region}" for region in TABLE_REGIONS]].mean(axis=1)


def _mean_saved(epochs: pd.DataFrame) -> Saved | None:
    """Return the mean number of epochs saved over the seeds; a value that is not reached counts as one epoch more."""
    from scipy.stats import t

    if epochs.empty:
        return None
    saved = epochs["best_epoch"] - epochs["first_epoch"].fillna(epochs["epochs"] + 1)
    means = saved.groupby(epochs["seed"]).mean()
    half = t.isf(0.025, len(means) - 1) * means.sem() if len(means) > 1 else np.nan
    return Saved(float(means.mean()), float(means.mean() - half), float(means.mean() + half))
