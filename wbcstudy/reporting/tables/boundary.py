"""Table 10: distances between predicted and expert's boundaries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.registry import method_heading, method_title
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout, interval_notes, interval_text
from wbcstudy.runs.results import Run, read_score_file
from wbcstudy.scoring.boundary import TOLERANCE_PX, average_boundaries, score_boundaries
from wbcstudy.scoring.selection import group_runs
from wbcstudy.wording import capitalise, join_words

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_METRICS = {"nsd": "NSD", "hd95_px": "HD95, px", "assd_px": "ASSD, px"}


def load_boundaries(results: StudyResults) -> pd.DataFrame:
    """Read boundary.csv of the comparable runs, or compute it from the predicted masks of runs that lack it.

    Returns:
        Rows as `score_boundaries` returns them. Pairs without the file, and without masks or images, are left out.
    """
    frames = []
    for runs in group_runs(results.comparable).values():
        tables = [_read(results, run) for run in runs]
        if all(frame is not None for frame in tables):
            frames += tables
    if not frames:
        return score_boundaries("", [], [], [])
    boundaries = pd.concat(frames, ignore_index=True)
    return boundaries[boundaries["region"].isin(results.comparable_scores["region"].unique())]


def _read(results: StudyResults, run: Run) -> pd.DataFrame | None:
    if run.folder.boundary.exists():
        return read_score_file(run.folder.boundary)
    masks = {} if results.missing_images else results.read_predictions(run.folder)
    if not masks:
        return None
    return score_boundaries(run.name, list(masks), results.read_cases(list(masks))[1], masks.values())


def make_boundary(results: StudyResults) -> pd.DataFrame:
    """Average the boundary metrics of each pair over the test images, with intervals, see `average_boundaries`."""
    return average_boundaries(results.boundaries, results.groups)


def boundary_notes(results: StudyResults) -> list[str]:
    """Return a sentence on the pairs without boundary metrics, if there are any."""
    pairs = ["__".join(pair) for pair in group_runs(results.comparable)]
    missing = [method for method in pairs if method not in set(results.boundary["method"])]
    if not missing:
        return []
    titles = join_words([method_title(method) for method in missing])
    return [
        "Left out, because their runs have no boundary.csv and their masks or images are not available: "
        f"{len(missing)} of {len(pairs)} pairs ({titles})."
    ]


def layout_boundary(table: pd.DataFrame, pixel_size_um: float | None = None, notes: Iterable[str] = ()) -> Layout:
    """Arrange Table 10: a row per method, a block per region.

    Args:
        table: result of `make_boundary`; may be empty.
        pixel_size_um: side of a pixel, if known; distances are then also in micrometres.
        notes: sentences to add below the table.
    """
    tolerance = f"{TOLERANCE_PX} px" + (f" ({TOLERANCE_PX * pixel_size_um:.2g} µm)" if pixel_size_um else "")
    heads = [("", method_heading(table["method"])), ("", "Images")]
    heads += [("Mean [95 % interval]", f"NSD at {tolerance}")]
    heads += [("Mean [95 % interval]", title) for title in list(_METRICS.values())[1:]]
    heads += [("Mean", title.replace("px", "µm")) for title in list(_METRICS.values())[1:] if pixel_size_um]
    rows = []
    for row in table.to_dict("records"):
        cells = [Cell(method_title(row["method"])), Cell(str(row["n"]))]
        for name in _METRICS:
            digits = 3 if name == "nsd" else 2
            cells.append(Cell(interval_text(row[name], row[f"{name}_low"], row[f"{name}_high"], digits, digits)))
        if pixel_size_um:
            sizes = [row[name] * pixel_size_um for name in list(_METRICS)[1:]]
            cells += [Cell(NOTHING if pd.isna(size) else f"{size:#.3g}") for size in sizes]
        rows.append((capitalise(row["region"]), cells))
    remarks = [
        f"NSD (normalised surface distance, surface Dice): share of the pixels of both boundaries within {tolerance} "
        "of the other; higher is better. HD95: 95th percentile of the distances, the larger of both directions. ASSD: "
        "mean distance of the pixels of both boundaries. Definitions of Metrics Reloaded and MONAI, computed with "
        "SciPy's k-d tree.",
    ]
    remarks += interval_notes(table, "nsd", "nsd_low")
    if (table["n_distances"] < table["n"]).any():
        remarks.append(
            "Images where only one of both masks has the region: NSD is 0, and they are left out of HD95 and ASSD "
            f"(at most {int((table['n'] - table['n_distances']).max())} of a row)."
        )
    return Layout(10, "Distances between boundaries, on the test images", heads, rows, notes=[*remarks, *notes])
