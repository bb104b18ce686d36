"""Table 6: cost of each encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout
from wbcstudy.runs.results import Run
from wbcstudy.scoring.decision import multiply_adds
from wbcstudy.scoring.selection import Pair
from wbcstudy.wording import join_words

# Column -> (table heading, unit).
_COSTS = {
    "parameters": ("Parameters, millions", 1e6),
    "multiply_adds": ("Multiply-adds per image, billions", 1e9),
    "seconds_per_epoch": ("Seconds per epoch", 1),
    "seconds_per_image": ("Seconds per image", 1),
    "peak_memory_mb": ("Peak memory, GB", 1e3),
}


def make_costs(pairs: Mapping[Pair, list[Run]]) -> pd.DataFrame:
    """Compute the cost of each encoder: the median over its complete runs, since it does not depend on the loss.

    Args:
        pairs: pair -> finished and failed runs of a study.

    Returns:
        One row per encoder and start in the paper's order: encoder, start ('' without starts), runs, parameters,
        multiply_adds (of one image of the study's size), seconds_per_epoch, seconds_per_image, peak_memory_mb (of the
        whole training process). NaN where no run recorded it.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for (encoder, _, *start), runs in pairs.items():
        groups.setdefault((encoder, "".join(start)), []).extend(run for run in runs if run.complete)
    rows = []
    for (encoder, start), complete in groups.items():
        if complete:
            costs = {name: _median(_cost(run, name) for run in complete) for name in _COSTS}
            costs["multiply_adds"] = multiply_adds(complete)[encoder]
            rows.append({"encoder": encoder, "start": start, "runs": len(complete)} | costs)
    return pd.DataFrame(rows, columns=["encoder", "start", "runs", *_COSTS])


def layout_costs(table: pd.DataFrame, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 6: a row per encoder.

    Args:
        table: result of `make_costs`.
        notes: sentences to add below the table.
    """
    rows = []
    for row in table.to_dict("records"):
        values = [Cell(_three_digits(row[name], unit)) for name, (_, unit) in _COSTS.items()]
        rows.append(("", [Cell(_title(row["encoder"], row["start"])), *values]))
    heads = [("", "Encoder"), *(("", head) for head, _ in _COSTS.values())]
    remarks = [
        "Medians over the runs of an encoder. Parameters and multiply-adds depend on the network alone; times and "
        "memory also depend on the machine and on what else was running.",
    ]
    missing = [_COSTS[name][0].partition(",")[0].lower() for name in _COSTS if table[name].isna().any()]
    if missing:
        encoders = table[table[list(_COSTS)].isna().any(axis=1)]
        names = join_words([_title(row.encoder, row.start) for row in encoders.itertuples()])
        remarks.append(
            f"{NOTHING}: not recorded by the runs of {len(encoders)} of {len(table)} encoders ({names}): "
            f"{join_words(missing)}. Runs of an earlier version lack them."
        )
    return Layout(6, "Cost of each encoder", heads, rows, notes=[*remarks, *notes])


def _title(encoder: str, start: str) -> str:
    return f"{ENCODERS[encoder].title} ({start})" if start else ENCODERS[encoder].title


def _cost(run: Run, name: str) -> float | None:
    value = run.record.get(name)
    if value is None and name == "seconds_per_epoch" and run.folder.history.exists():
        # Records of earlier versions lack it.
        return float(run.history["seconds"].median())
    return value


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else np.nan


def _three_digits(value: float, unit: float) -> str:
    """Format a number with three significant digits."""
    if pd.isna(value):
        return NOTHING
    value = value / unit
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
