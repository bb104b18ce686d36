"""Table 3: the earlier methods that the paper quotes, and beside them those that were measured on the same cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wbcstudy.config import StudyConfig
from wbcstudy.registry import loss_title, network_title
from wbcstudy.reporting.tables.layout import METRIC_TITLES, NOTHING, Cell, Layout, best_values, number_cell
from wbcstudy.reporting.tables.paper import load_paper_table, whole_numbers
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import Run, read_predictions, read_score_file
from wbcstudy.scoring.methods import Groups
from wbcstudy.scoring.metrics import RATIOS
from wbcstudy.scoring.selection import TABLE_REGIONS, average_scores, group_runs, pick_best, read_scores, whole_runs

# What is done to a prediction before it is scored, the same for every method and for the U-Net.
VARIANTS = {
    "raw": "as the method gives it",
    "cleaned": "after the clean-up that is common to all",
    "central": "after clean-up, and only the cell in the middle of the image kept",
}


@dataclass(frozen=True)
class MeasuredMethod:
    """A method's scores on this study's test cases.

    Args:
        method: short name, unique.
        reference: number in the paper's list of references, or who described it; free text.
        algorithm: what it is; free text.
        scores: rows as `scoring.evaluation.score_seeds` makes them; None where it was not run.
        variant: a key of `VARIANTS`.
        fit_seconds: time to fit it once.
        seconds_per_image: time to segment one image.
        folds: those that are in the scores.
        failed: how many folds failed.
    """

    method: str
    reference: str
    algorithm: str
    scores: pd.DataFrame | None
    variant: str = "raw"
    fit_seconds: float | None = None
    seconds_per_image: float | None = None
    folds: tuple[int, ...] = (0,)
    failed: int = 0


def load_measured(
    study: StudyFolder, config: StudyConfig, names: dict[str, dict] | None = None
) -> list[MeasuredMethod]:
    """The earlier methods of a study: every variant of those that were run, and a row for each that was not.

    Args:
        study: where the results are.
        config: the study; its `baselines` are looked for.
        names: method -> reference and algorithm, to name those that were not run.
    """
    folders: dict[str, list[RunFolder]] = {}
    folds: dict[str, list[int]] = {}
    failures: dict[str, int] = {}
    for one in config.baseline_runs():
        folder = study.baseline(one.name)
        folders.setdefault(one.method, [])
        status = folder.read_status()
        if status == "complete":
            folders[one.method].append(folder)
            folds.setdefault(one.method, []).append(one.fold)
        failures[one.method] = failures.get(one.method, 0) + (status == "failed")
    measured = []
    for method, done in folders.items():
        failed = failures[method]
        if not done:
            about = (names or {}).get(method, {})
            reference, algorithm = str(about.get("reference", "")), str(about.get("algorithm", method))
            measured.append(MeasuredMethod(method, reference, algorithm, None, folds=(), failed=failed))
            continue
        records = [folder.read_record() for folder in done]
        about = records[0]["method"]
        times = {
            name: sum(record[name] for record in records) / len(records)
            for name in ("fit_seconds", "seconds_per_image")
        }
        for variant in VARIANTS:
            scores = pd.concat([read_score_file(folder.scores_of(variant)) for folder in done], ignore_index=True)
            reference, algorithm = str(about["reference"]), str(about["algorithm"])
            counts = {"folds": tuple(folds[method]), "failed": failed}
            measured.append(MeasuredMethod(method, reference, algorithm, scores, variant, **times, **counts))
    return measured


def pick_method_examples(
    study: StudyFolder, config: StudyConfig, runs: Iterable[Run], count: int = 5
) -> tuple[list[str], dict[str, list[np.ndarray]]]:
    """The same test cases as every method segmented them, for a figure.

    Args:
        study: where the results are.
        config: the study; the cases are drawn by its split_seed, as those of Figure 2.
        runs: finished and failed runs of the study.
        count: cases at most.

    Returns:
        Case ids, and title -> predicted mask of each, as the method gives it (first seed, first fold): the earlier
        methods in the study's order, then the best U-Net. Empty where no earlier method was run.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for one in config.baseline_runs():
        folder = study.baseline(one.name)
        if one.fold == 0 and folder.read_status() == "complete":
            found[str(folder.read_record()["method"]["title"])] = read_predictions(folder)
    if found and (best := pick_best(runs)):
        found[network_title(best.encoder)] = read_predictions(
            group_runs(run for run in runs if run.complete)[best.encoder, best.loss][0].folder
        )
    names = sorted(set.intersection(*(set(masks) for masks in found.values()))) if found else []
    drawn = sorted(np.random.default_rng(config.split_seed).choice(len(names), min(count, len(names)), replace=False))
    cases = [names[place] for place in drawn]
    return cases, {title: [masks[case] for case in cases] for title, masks in found.items()}


def make_table3(
    runs: Iterable[Run],
    measured: Iterable[MeasuredMethod] = (),
    groups: Groups | None = None,
    regions: Sequence[str] = TABLE_REGIONS,
) -> pd.DataFrame:
    """Table 3: what the paper quotes, and beside it what was measured here.

    Args:
        runs: finished and failed runs of one study; the best on validation is shown, in each variant it has.
        measured: other methods, scored on the same test cases.
        groups: case id -> group, for the intervals.
        regions: rows to make.

    Returns:
        One row per method, variant and region: method, reference, algorithm, kind, variant, region, the pooled ratios
        (mean over seeds), dice_mean with its interval over images, n, seeds, folds (how many), failed (folds), whole
        (whether it has all folds that any has), fit_seconds, seconds_per_image. `kind` is "quoted" (printed in the
        paper: other images, definition unclear) or "measured". Quoted rows come first. NaN where a number was not
        printed, or the method was not run or failed (then n is 0).
    """
    columns = ["method", "reference", "algorithm", "kind", "variant", "region", *RATIOS]
    columns += ["dice_mean", "dice_ci_low", "dice_ci_high", "n", "seeds", "folds", "failed", "whole"]
    columns += ["fit_seconds", "seconds_per_image"]
    quoted = load_paper_table(3).assign(kind="quoted", variant="")
    quoted = quoted[quoted["region"].isin(regions)]
    # All methods of one variant together: these are what a reader compares.
    entries = sorted([*measured, *_network(list(runs), regions)], key=lambda one: list(VARIANTS).index(one.variant))
    every = {fold for entry in entries for fold in entry.folds}
    rows = [row | {"whole": set(entry.folds) == every} for entry in entries for row in _rows(entry, regions, groups)]
    table = pd.concat([quoted, pd.DataFrame(rows)], ignore_index=True).reindex(columns=columns)
    return table.assign(**{name: whole_numbers(table[name]) for name in ("n", "seeds", "folds", "failed")})


def layout_table3(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Table 3: the quoted methods, then the measured ones, by variant.

    Args:
        table: from `make_table3`.
        notes: sentences to add below.
    """
    regions = list(dict.fromkeys(table["region"]))
    metrics = ("precision", "sensitivity", "accuracy", "dice", "dice_mean")
    rows, whole = [], table["whole"].eq(True)
    for (kind, variant), block in table.groupby(["kind", "variant"], sort=False):
        title = "Quoted from the paper (its own images, another split; what its precision is, is not always clear)"
        if kind == "measured":
            title = f"Measured here, on this study's test images, {VARIANTS[variant]}"
        # The best of one method alone says nothing, and quoted numbers do not compete.
        rivals = block[whole[block.index]] if kind == "measured" else block.head(0)
        best = best_values(rivals if len(set(rivals["method"])) > 1 else block.head(0), metrics, regions)
        for method, group in block.groupby("method", sort=False):
            competes = bool(whole[group.index].all())
            rows.append((title, _cells(str(method), kind, group, regions, metrics, best if competes else {})))
    heads = [("", "Method"), ("", "Algorithm")]
    heads += [(region.capitalize(), METRIC_TITLES[metric]) for region in regions for metric in metrics]
    heads += [("", "Seconds per image")]
    what = [f"{NOTHING}: not printed in the paper."]
    short = table[(table["folds"] > 0) & ~whole].drop_duplicates("method")
    if len(short):
        names = "; ".join(
            f"{row.algorithm} ({row.folds} {'fold' if row.folds == 1 else 'folds'})" for row in short.itertuples()
        )
        what.append(f"Tested on some of the images only, so not compared by bold: {names}.")
    if (table["seeds"].fillna(1) > 1).any():
        what.append("Methods that learn at random: mean over the seeds; their interval is over the images.")
    return Layout(3, "Earlier methods", heads, rows, words=2, notes=[*notes, *what])


def _network(runs: list[Run], regions: Sequence[str]) -> list[MeasuredMethod]:
    """The best U-Net in each variant in which it was scored."""
    best = pick_best(runs, regions)
    if best is None:
        return []
    done = group_runs(whole_runs(runs))[best.encoder, best.loss]
    algorithm = f"{network_title(best.encoder)}, {loss_title(best.loss, in_sentence=True)}"
    times = [run.record.get("seconds_per_image") for run in done]
    fits = [run.record.get("fit_seconds") for run in done]
    entries = []
    for variant in VARIANTS:
        if variant == "raw":
            scores = read_scores(done)
        elif all(run.folder.scores_of(variant).exists() for run in done):
            scores = pd.concat([read_score_file(run.folder.scores_of(variant)) for run in done], ignore_index=True)
        else:
            continue
        name = f"{best.encoder}__{best.loss}"
        about = (name, "This study", algorithm, scores, variant, _mean(fits), _mean(times))
        entries.append(MeasuredMethod(*about, folds=tuple(sorted({run.config.fold for run in done}))))
    return entries


def _rows(entry: MeasuredMethod, regions: Sequence[str], groups: Groups | None) -> list[dict]:
    about = {"method": entry.method, "reference": entry.reference, "algorithm": entry.algorithm, "kind": "measured"}
    about |= {"variant": entry.variant, "folds": len(entry.folds), "failed": entry.failed}
    if entry.scores is None:
        return [about | {"region": region, "n": 0} for region in regions]
    seed = entry.scores["run"].str.extract(r"__seed(\d+)$")[0].fillna("0")
    scores = average_scores(entry.scores.assign(seed=seed), groups)
    about |= {"seeds": seed.nunique(), "fit_seconds": entry.fit_seconds, "seconds_per_image": entry.seconds_per_image}
    return [about | {"region": region} | scores.loc[region].to_dict() for region in regions if region in scores.index]


def _cells(method: str, kind: str, group: pd.DataFrame, regions, metrics, best) -> list[Cell]:
    first, by_region = group.iloc[0], group.set_index("region")
    cells = [Cell(_authors(method, first["reference"])), Cell(str(first["algorithm"]))]
    not_run = kind == "measured" and first["n"] == 0
    for region in regions:
        for metric in metrics:
            if not_run:
                cells.append(Cell("failed" if first["failed"] else "not run", muted=True))
            elif region in by_region.index:
                cells.append(number_cell(by_region.loc[region], metric, best.get(region, {})))
            else:
                cells.append(Cell(NOTHING))
    seconds = first["seconds_per_image"]
    return [*cells, Cell(NOTHING if pd.isna(seconds) else f"{seconds:.2g}")]


_AUTHORS = {
    "6": "Benazzouz et al.",
    "7": "Baghli et al.",
    "8": "Benomar et al.",
    "9": "Settouti et al.",
    "10": "Saidi et al.",
    "11": "Settouti et al.",
    "12": "Bechar et al.",
    "13": "Bechar et al.",
    "14": "Khouani et al.",
    "this": "The paper itself",
}


def _authors(method: str, reference) -> str:
    """The authors, with the number in the paper's list of references."""
    reference = "" if pd.isna(reference) else str(reference)
    if reference in _AUTHORS:
        return _AUTHORS[reference] + (f" [{reference}]" if reference.isdigit() else "")
    return reference or "Yardstick"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
