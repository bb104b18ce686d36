"""Tables from what the runs noted beside their scores: what an encoder costs, and whether to believe probabilities."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from wbcstudy.registry import ENCODERS, method_title, varying_part
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout
from wbcstudy.runs.results import Run
from wbcstudy.scoring.calibration import Reliability, read_reliability
from wbcstudy.scoring.selection import TABLE_REGIONS, group_runs

COSTS = ("parameters", "multiply_adds", "seconds_per_epoch", "seconds_per_image", "peak_memory_mb")
# Name of a curve -> how it is called.
CURVE_TITLES = {"all": "most probable label"}


def make_costs(runs: Iterable[Run]) -> pd.DataFrame:
    """What each encoder costs: the median over its complete runs, since the loss changes nothing of it.

    Args:
        runs: finished and failed runs of one study.

    Returns:
        One row per encoder in the paper's order: encoder, runs, then `COSTS` (multiply_adds and seconds_per_image for
        one image of the study's size; peak_memory_mb of the training's whole process). NaN where no run noted it.
    """
    groups: dict[str, list[Run]] = {}
    for (encoder, _), group in group_runs(runs).items():
        groups.setdefault(encoder, []).extend(run for run in group if run.complete)
    rows = []
    for encoder, done in groups.items():
        if done:
            costs = {name: _median(_cost(run, name) for run in done) for name in COSTS}
            rows.append({"encoder": encoder, "runs": len(done)} | costs)
    return pd.DataFrame(rows, columns=["encoder", "runs", *COSTS])


def layout_costs(table: pd.DataFrame, notes: Iterable[str] = (), number: int = 6) -> Layout:
    """The cost table: a row per encoder.

    Args:
        table: from `make_costs`.
        notes: sentences to add below.
        number: of the table.
    """
    rows = []
    for row in table.itertuples():
        cells = [
            Cell(ENCODERS[row.encoder].title),
            Cell(_number(row.parameters, 1e6)),
            Cell(_number(row.multiply_adds, 1e9)),
            Cell(_number(row.seconds_per_epoch)),
            Cell(_number(row.seconds_per_image)),
            Cell(_number(row.peak_memory_mb, 1e3)),
        ]
        rows.append(("", cells))
    heads = ["Encoder", "Parameters, millions", "Multiply-adds per image, billions", "Seconds per epoch"]
    heads += ["Seconds per image", "Peak memory, GB"]
    what = [
        "Medians over the runs of an encoder. Multiply-adds and parameters are of the network alone; times and memory "
        "are of the machine, and of whatever else it did meanwhile.",
    ]
    return Layout(number, "What each encoder costs", [("", head) for head in heads], rows, notes=[*notes, *what])


def list_devices(runs: Iterable[Run]) -> list[str]:
    """What the complete runs were computed on, each once."""
    return list(dict.fromkeys(str(run.record["device"]) for run in runs if run.complete and run.record.get("device")))


def read_curves(runs: Iterable[Run]) -> dict[str, Reliability]:
    """Curve ("all" or a region) -> reliability over all test pixels of complete runs; {} where none kept any."""
    return read_reliability(run.folder.calibration for run in runs if run.complete)


def make_calibration(runs: Iterable[Run]) -> pd.DataFrame:
    """How far each method's probabilities are from the share that is right.

    Args:
        runs: finished and failed runs of one study.

    Returns:
        One row per method and curve: method, region ("all": the most probable label), n (pixels, of all its runs), ece
        (expected calibration error), largest_gap. No rows for methods whose runs kept no calibration.csv.
    """
    rows = []
    for (encoder, loss), group in group_runs(runs).items():
        for region, found in read_curves(group).items():
            about = {"method": f"{encoder}__{loss}", "region": region, "n": int(found.curve["n"].sum())}
            rows.append(about | {"ece": found.ece, "largest_gap": found.largest_gap})
    return pd.DataFrame(rows, columns=["method", "region", "n", "ece", "largest_gap"])


def layout_calibration(table: pd.DataFrame, notes: Iterable[str] = (), number: int = 7) -> Layout:
    """The calibration table: a row per method, the regions side by side.

    Args:
        table: from `make_calibration`; may be empty.
        notes: sentences to add below.
        number: of the table.
    """
    methods = list(dict.fromkeys(table["method"]))
    kind, by_key = varying_part(methods) if methods else "method", table.set_index(["method", "region"])
    rows = []
    for method in methods:
        cells = [Cell(method_title(method, kind))]
        for region in TABLE_REGIONS:
            known = (method, region) in by_key.index
            row = by_key.loc[(method, region)] if known else {}
            cells += [Cell(f"{row[name]:.3f}" if known else NOTHING) for name in ("ece", "largest_gap")]
        rows.append(("", cells))
    heads = [("", kind.capitalize())]
    heads += [(r.capitalize(), head) for r in TABLE_REGIONS for head in ("Expected error", "Largest gap")]
    what = [
        "Expected calibration error: how far the probability of the region is from the share of pixels that the expert "
        "put there, in 15 bins, weighted by pixels. Most pixels are surely background, which makes it small; the "
        "largest gap is that of the worst bin."
    ]
    return Layout(number, "Can the probabilities be believed?", heads, rows, notes=[*notes, *what])


def _cost(run: Run, name: str) -> float | None:
    value = run.record.get(name)
    if value is None and name == "seconds_per_epoch" and run.folder.history.exists():
        # Records of older runs lack it.
        return float(run.history["seconds"].median())
    return value


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else np.nan


def _number(value: float, unit: float = 1) -> str:
    """Three digits that count."""
    if pd.isna(value):
        return NOTHING
    value = value / unit
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
