"""Table 3: the earlier methods that the paper quotes, and methods measured on the study's test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.config import BaselineConfig, StudyConfig
from wbcstudy.config_io import make_recorded_config
from wbcstudy.registry import METHODS, loss_title, network_title
from wbcstudy.reporting.tables.layout import (
    METRIC_TITLES,
    NOTHING,
    Cell,
    Layout,
    highest_values,
    number_cell,
    whole_numbers,
)
from wbcstudy.reporting.tables.paper import load_paper_table
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.records import RunRecord
from wbcstudy.runs.results import read_score_file
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.metrics import RATIOS
from wbcstudy.scoring.selection import TABLE_REGIONS, average_scores
from wbcstudy.wording import count

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# Post-processing before scoring, equal for every method and for the U-Net.
_VARIANTS = {
    "raw": "without clean-up",
    "cleaned": "after the clean-up common to all methods",
    "central": "after clean-up, keeping only the cell in the middle of the image",
}
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


@dataclass(frozen=True)
class MeasuredMethod:
    """A method's scores on the study's test cases.

    Args:
        method: unique short name.
        reference: number in the paper's list of references, or who described it; free text.
        algorithm: description in a few words; free text.
        scores: rows as `scoring.evaluation.score_seeds` makes them; None if it was not run.
        variant: key of `_VARIANTS`.
        fit_seconds: time of one fit.
        seconds_per_image: time to segment one image.
        folds: folds in the scores.
        failed: number of failed folds.
        averages: result of `average_scores`, if known.
        score_at: size at which it was scored, see `DataSettings.score_at`.
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
    averages: pd.DataFrame | None = None
    score_at: str = "native"


def load_measured(study: StudyFolder, config: StudyConfig) -> list[MeasuredMethod]:
    """Load the study's earlier methods: every variant of those that were run, one row for each that was not.

    Args:
        study: the study's folder.
        config: settings, whose `baselines` are loaded.
    """
    folders: dict[str, list[RunFolder]] = {}
    folds: dict[str, list[int]] = {}
    records: dict[str, list[RunRecord]] = {}
    failures: dict[str, int] = {}
    for run in config.baseline_runs():
        folder = study.baseline(run.name)
        record, _ = folder.check(used=(folder.predictions.name,))
        status = (record or {}).get("status")
        folders.setdefault(run.method, [])
        if status == "complete":
            folders[run.method].append(folder)
            records.setdefault(run.method, []).append(record)
            folds.setdefault(run.method, []).append(run.fold)
        failures[run.method] = failures.get(run.method, 0) + (status == "failed")
    measured = []
    for method, complete in folders.items():
        failed = failures[method]
        if not complete:
            facts = METHODS[method].facts() if method in METHODS else {}
            reference, algorithm = str(facts.get("reference", "")), str(facts.get("algorithm", method))
            measured.append(MeasuredMethod(method, reference, algorithm, None, folds=(), failed=failed))
            continue
        facts = (METHODS[method].facts() if method in METHODS else {}) | records[method][0].get("method", {})
        times = {
            name: _mean([record.get(name) for record in records[method]])
            for name in ("fit_seconds", "seconds_per_image")
        }
        # All folds have the same settings, see `check_same_settings`.
        settings = records[method][0].get("config") or config.model_dump(include={"score_at"})
        score_at = make_recorded_config(BaselineConfig, settings, source=str(complete[0].record)).score_at
        for variant in _VARIANTS:
            scores = _read_variant(complete, variant)
            names = str(facts["reference"]), str(facts["algorithm"])
            counts = {"folds": tuple(folds[method]), "failed": failed, "score_at": score_at}
            measured.append(MeasuredMethod(method, *names, scores, variant, **times, **counts))
    return measured


def make_table3(results: StudyResults) -> pd.DataFrame:
    """Make Table 3: the methods that the paper quotes, then those measured in this study.

    Returns:
        One row per method, variant and region: method, reference, algorithm, kind, variant, region, the pooled ratios
        (mean over seeds), dice_mean with its interval over images, n, seeds, folds (number), failed (folds), whole
        (whether it has every fold that any method has), fit_seconds, seconds_per_image. `kind` is "quoted" (printed in
        the paper: other images, definition unclear) or "measured". Quoted rows come first. NaN where a number was not
        printed, or the method was not run or failed (then n is 0).
    """
    columns = ["method", "reference", "algorithm", "kind", "variant", "region", *RATIOS]
    columns += ["dice_mean", "dice_ci_low", "dice_ci_high", "n", "seeds", "folds", "failed", "whole"]
    columns += ["fit_seconds", "seconds_per_image"]
    quoted = load_paper_table(3).assign(kind="quoted", variant="")
    quoted = quoted[quoted["region"].isin(TABLE_REGIONS)]
    # Sorted by variant, since readers compare methods of one variant.
    entries = sorted(
        [*results.measured, *_best_network(results)], key=lambda entry: list(_VARIANTS).index(entry.variant)
    )
    folds = {fold for entry in entries for fold in entry.folds}
    rows = [row | {"whole": set(entry.folds) == folds} for entry in entries for row in _rows(entry, results.groups)]
    table = pd.concat([quoted, pd.DataFrame(rows)], ignore_index=True).reindex(columns=columns)
    return table.assign(**{name: whole_numbers(table[name]) for name in ("n", "seeds", "folds", "failed")})


def layout_table3(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 3: the quoted methods, then the measured ones, by variant.

    Args:
        table: result of `make_table3`.
        notes: sentences to add below the table.
    """
    regions = list(dict.fromkeys(table["region"]))
    metrics = ("precision", "sensitivity", "accuracy", "dice", "dice_mean")
    rows, whole = [], table["whole"].eq(True)
    for (kind, variant), block in table.groupby(["kind", "variant"], sort=False):
        title = "Quoted from the paper (its own images and split; “precision” is not always clearly defined)"
        if kind == "measured":
            title = f"Measured on this study's test images, {_VARIANTS[variant]}"
        # Quoted numbers are not compared, and a single method has nothing to be compared with.
        rivals = block[whole[block.index]] if kind == "measured" else block.head(0)
        highest = highest_values(rivals if len(set(rivals["method"])) > 1 else block.head(0), metrics, regions)
        for _, group in block.groupby("method", sort=False):
            compared = highest if whole[group.index].all() else {}
            rows.append((title, _cells(kind, group, regions, metrics, compared)))
    heads = [("", "Method"), ("", "Algorithm")]
    heads += [(region.capitalize(), METRIC_TITLES[metric]) for region in regions for metric in metrics]
    heads += [("", "Seconds per image")]
    remarks = [f"{NOTHING}: not printed in the paper."]
    short = table[(table["folds"] > 0) & ~whole].drop_duplicates("method")
    if len(short):
        names = "; ".join(f"{row.algorithm} ({count(row.folds, 'fold')})" for row in short.itertuples())
        remarks.append(f"Tested on some of the images only and not compared (no bold): {names}.")
    if (table["seeds"].fillna(1) > 1).any():
        remarks.append("Methods with random training: mean over the seeds; the interval is over the images.")
    return Layout(3, "Earlier methods", heads, rows, text_columns=2, notes=[*remarks, *notes])


def _best_network(results: StudyResults) -> list[MeasuredMethod]:
    """Return the best U-Net in each variant in which it was scored."""
    best, runs, entries = results.best, results.best_runs, []
    for variant in _VARIANTS if best else ():
        averages = None
        if variant == "raw":
            scores, averages = results.scores_of(runs), results.averages[best.pair]
        elif all(run.folder.scores_of(variant).exists() for run in runs):
            scores = _read_variant([run.folder for run in runs], variant)
        else:
            continue
        entries.append(
            MeasuredMethod(
                best.method,
                "This study",
                f"{network_title(best.encoder)}{f' ({best.start})' if best.start else ''}, "
                f"{loss_title(best.loss, in_sentence=True)}",
                scores,
                variant,
                _mean([run.record.get("fit_seconds") for run in runs]),
                _mean([run.record.get("seconds_per_image") for run in runs]),
                folds=tuple(sorted({run.config.fold for run in runs})),
                averages=averages,
            )
        )
    return entries


def _read_variant(folders: Sequence[RunFolder], variant: str) -> pd.DataFrame:
    return pd.concat([read_score_file(folder.scores_of(variant)) for folder in folders], ignore_index=True)


def _rows(entry: MeasuredMethod, groups: Groups) -> list[dict]:
    row = {"method": entry.method, "reference": entry.reference, "algorithm": entry.algorithm, "kind": "measured"}
    row |= {"variant": entry.variant, "folds": len(entry.folds), "failed": entry.failed}
    if entry.scores is None:
        return [row | {"region": region, "n": 0} for region in TABLE_REGIONS]
    seed = entry.scores["run"].str.extract(r"__seed(\d+)$")[0].fillna("0")
    averages = entry.averages
    if averages is None:
        averages = average_scores(entry.scores.assign(seed=seed), groups)
    row |= {"seeds": seed.nunique(), "fit_seconds": entry.fit_seconds, "seconds_per_image": entry.seconds_per_image}
    return [
        row | {"region": region} | averages.loc[region].to_dict()
        for region in TABLE_REGIONS
        if region in averages.index
    ]


def _cells(kind: str, group: pd.DataFrame, regions, metrics, highest) -> list[Cell]:
    first, by_region = group.iloc[0], group.set_index("region")
    cells = [Cell(_authors(first["reference"])), Cell(str(first["algorithm"]))]
    not_run = kind == "measured" and first["n"] == 0
    for region in regions:
        for metric in metrics:
            if not_run:
                cells.append(Cell("failed" if first["failed"] else "not run", muted=True))
            elif region in by_region.index:
                cells.append(number_cell(by_region.loc[region], metric, highest.get(region, {})))
            else:
                cells.append(Cell(NOTHING))
    seconds = first["seconds_per_image"]
    return [*cells, Cell(NOTHING if pd.isna(seconds) else f"{seconds:.2g}")]


def _authors(reference) -> str:
    """Return the authors with the number in the paper's list of references."""
    reference = "" if pd.isna(reference) else str(reference)
    if reference in _AUTHORS:
        return _AUTHORS[reference] + (f" [{reference}]" if reference.isdigit() else "")
    return reference or "Baseline"


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
