"""The paper's three tables as tidy frames, from run folders. How they look is `layout`'s matter.

Several trainings of one encoder and loss make one row: counts are pooled over the folds (each case is tested once),
and ratios are averaged over the seeds. Failed runs are counted and left out. Folds hold different cases, some of them
easier, so what has only some of the folds is shown and does not compete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from wbcstudy.runs.results import Run, read_predictions
from wbcstudy.scoring.breakdown import worst_cases
from wbcstudy.scoring.methods import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS, Best, average_scores, group_runs, read_scores, whole_runs


def load_paper_table(number: int) -> pd.DataFrame:
    """The numbers that the paper prints in its Table 1, 2 or 3, as fractions ("quoted", never measured here)."""
    with (files("wbcstudy.reporting") / "paper" / f"table{number}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"reference": str})


def make_table1(
    runs: Iterable[Run], groups: Groups | None = None, regions: Sequence[str] = TABLE_REGIONS
) -> pd.DataFrame:
    """Table 1: every encoder and loss.

    Args:
        runs: finished and failed runs of one study.
        groups: case id -> slide, patient or laboratory (`Dataset.groups`), for the intervals.
        regions: rows to make.

    Returns:
        One row per encoder, loss and region in the paper's order: pooled precision and dice, `dice_mean` over the
        images (each image's mean over the seeds) with its 95 % interval, the median over runs of best_epoch and
        epochs, n (images with a defined Dice), seeds and folds (how many are in the scores: those of `whole_runs`, or
        all where there is none), runs (all), failed, and whole (whether the scores are of `whole_runs`, and so may be
        compared). Scores are NaN where no run is complete. No runs give no rows.
    """
    runs = list(runs)
    whole = {run.name for run in whole_runs(runs)}
    columns = ["encoder", "loss", "region", "precision", "dice", "dice_mean", "dice_ci_low", "dice_ci_high"]
    columns += ["best_epoch", "epochs", "n", "seeds", "folds", "runs", "failed", "whole"]
    rows = []
    for (encoder, loss), group in group_runs(runs).items():
        complete = [run for run in group if run.complete]
        done = [run for run in complete if run.name in whole] or complete
        scores = average_scores(read_scores(done), groups)
        about = {
            "seeds": len({run.config.seed for run in done}),
            "folds": len({run.config.fold for run in done}),
            "runs": len(group),
            "failed": len(group) - len(complete),
            "whole": bool(done) and all(run.name in whole for run in done),
        }
        about |= {name: _median(run.record.get(name) for run in done) for name in ("best_epoch", "epochs")}
        for region in regions:
            found = scores.loc[region].to_dict() if region in scores.index else {"n": 0}
            rows.append({"encoder": encoder, "loss": loss, "region": region} | about | found)
    table = pd.DataFrame(rows).reindex(columns=columns)
    return table.assign(**{name: whole_numbers(table[name]) for name in ("best_epoch", "epochs", "n")})


def pick_examples(runs: Iterable[Run], best: Best | None, count: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Test cases drawn by seed, with what the best encoder and loss predicted for them.

    Args:
        runs: complete runs of one study.
        best: as `pick_best` gives it; None gives no examples.
        count: cases at most.
        seed: of the draw.

    Returns:
        Case id -> predicted mask, uint8 (S, S) of labels, from the first of the best pair's runs; {} for none.
    """
    group = group_runs(whole_runs(runs)).get((best.encoder, best.loss), []) if best else []
    found = read_predictions(group[0].folder) if group else {}
    names = sorted(found)
    drawn = np.random.default_rng(seed).choice(len(names), min(count, len(names)), replace=False)
    return {names[place]: found[names[place]] for place in sorted(drawn)}


def pick_worst(runs: Iterable[Run], best: Best | None, count: int = 10) -> tuple[dict[str, np.ndarray], list[str]]:
    """The test cases on which the best encoder and loss did worst, the worst first.

    Args:
        runs: complete runs of one study.
        best: as `pick_best` gives it; None gives no cases.
        count: cases at most.

    Returns:
        Case id -> predicted mask, uint8 (S, S) of labels, by the run with the lowest seed; and a title for each: the
        case, its cell type, and its Dice of nucleus and cytoplasm (mean over the seeds). Cases whose masks were not
        kept are left out.
    """
    group = group_runs(whole_runs(runs)).get((best.encoder, best.loss), []) if best else []
    if not group:
        return {}, []
    worst = worst_cases(read_scores(group), count)
    masks: dict[str, np.ndarray] = {}
    for run in sorted(group, key=lambda run: run.config.seed):
        masks = read_predictions(run.folder) | masks
    worst = worst[worst["case_id"].isin(list(masks))]
    titles = []
    for row in worst.itertuples():
        name = row.case_id if pd.isna(row.cell_type) else f"{row.case_id}, {row.cell_type}"
        scores = " / ".join("-" if pd.isna(value) else f"{value:.2f}" for value in (row.nucleus, row.cytoplasm))
        titles.append(f"{name}\nDice {scores}")
    return {case: masks[case] for case in worst["case_id"]}, titles


def pick_drawn(runs: Iterable[Run], most: int = 36) -> list[Run]:
    """The complete runs that get a panel each: all, or of more than `most` the first of each encoder and loss."""
    complete = [run for run in runs if run.complete]
    if len(complete) <= most:
        return complete
    return [min(group, key=lambda run: (run.config.seed, run.config.fold)) for group in group_runs(complete).values()]


def make_ensemble(
    scores: pd.DataFrame, voters: int, groups: Groups | None = None, regions: Sequence[str] = TABLE_REGIONS
) -> pd.DataFrame:
    """The majority's row of Table 1.

    Args:
        scores: as `scoring.ensemble.score_votes` gives them; may be empty.
        voters: how many pairs of encoder and loss voted.
        groups: case id -> group, for the interval.
        regions: rows to make.

    Returns:
        One row per region: encoder ("ensemble"), loss ("vote"), region, precision, dice, dice_mean, its interval, n
        and voters. No rows without scores.
    """
    columns = ["encoder", "loss", "region", "precision", "dice", "dice_mean", "dice_ci_low", "dice_ci_high", "n"]
    columns += ["voters"]
    if scores.empty:
        return pd.DataFrame(columns=columns)
    found = average_scores(scores.assign(seed=scores["run"].str.extract(r"__seed(\d+)$")[0]), groups)
    about = {"encoder": "ensemble", "loss": "vote", "voters": voters}
    rows = [about | {"region": region} | found.loc[region].to_dict() for region in regions if region in found.index]
    table = pd.DataFrame(rows).reindex(columns=columns)
    return table.assign(n=whole_numbers(table["n"]))


def make_table2(runs: Iterable[Run], encoder: str | None, regions: Sequence[str] = TABLE_REGIONS) -> pd.DataFrame:
    """Table 2: five pooled metrics of one encoder, a row per loss and region.

    Args:
        runs: finished and failed runs of one study; scores are of `whole_runs`, NaN where a loss has none.
        encoder: usually `pick_best(runs).encoder`; None gives no rows.
        regions: rows to make.
    """
    columns = ["encoder", "loss", "region", "precision", "sensitivity", "specificity", "dice", "iou"]
    rows = []
    runs = list(runs)
    whole = {run.name for run in whole_runs(runs)}
    for (name, loss), group in group_runs(runs).items():
        if name == encoder:
            scores = average_scores(read_scores(run for run in group if run.name in whole))
            for region in regions:
                found = scores.loc[region].to_dict() if region in scores.index else {}
                rows.append({"encoder": name, "loss": loss, "region": region} | found)
    return pd.DataFrame(rows).reindex(columns=columns)


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else np.nan


def whole_numbers(column: pd.Series) -> pd.Series:
    """As integers, where all are whole, so that a CSV says 13 and not 13.0."""
    numbers = column.astype(float)
    return numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() else numbers
