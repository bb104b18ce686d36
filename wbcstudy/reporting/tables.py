"""The paper's three tables as tidy frames, from run folders. How they look is `layout`'s matter.

Several trainings of one encoder and loss make one row: counts are pooled over the folds (each case is tested once),
and ratios are averaged over the seeds. Failed runs are counted and left out. Folds hold different cases, some of them
easier, so what has only some of the folds is shown and does not compete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd

from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS, LOSSES
from wbcstudy.runs import Run, read_predictions
from wbcstudy.scoring.breakdown import worst_cases
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
    def title(self) -> str:
        """As in a sentence: ResNet-50 with cross-entropy."""
        article = "the " if self.loss == "dice" else ""
        return f"{ENCODERS[self.encoder].title} with {article}{loss_words(self.loss)}"


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


def loss_title(name: str) -> str:
    """As in tables: Cross-entropy, but Dice loss, since Dice alone is the coefficient."""
    return "Dice loss" if name == "dice" else LOSSES[name].title


def loss_words(name: str) -> str:
    """As within a sentence: cross-entropy, Dice loss."""
    return loss_title(name) if name == "dice" else loss_title(name).lower()


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


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else np.nan


def whole_numbers(column: pd.Series) -> pd.Series:
    """As integers, where all are whole, so that a CSV says 13 and not 13.0."""
    numbers = column.astype(float)
    return numbers.astype("Int64") if (numbers.dropna() % 1 == 0).all() else numbers
