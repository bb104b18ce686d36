"""Tables of the comparison: who ranks where and how sure that is, and scores by cell type. Frames in, layouts out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from wbcstudy.registry import method_title, varying_part
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout
from wbcstudy.scoring.breakdown import scores_by_cell_type
from wbcstudy.scoring.comparison import compare_methods
from wbcstudy.scoring.methods import Groups, case_table
from wbcstudy.scoring.ranks import friedman_nemenyi
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import variance_components

RANK_COLUMNS = (
    *("region", "method", "n", "mean", "mean_rank", "leader", "behind", "ci_low", "ci_high", "p_holm", "undecided"),
    *("sd_seeds", "se_cases", "seeds"),
)


def make_ranks(
    scores: pd.DataFrame,
    regions: Sequence[str] = TABLE_REGIONS,
    alpha: float = 0.05,
    groups: Groups | None = None,
) -> pd.DataFrame:
    """Every method beside the leading one, per region.

    Args:
        scores: rows as `score_masks` makes them, of the runs to compare, on one dataset.
        regions: to compare, each by itself.
        alpha: level over all pairs of a region.
        groups: case id -> group, where cases are not independent.

    Returns:
        Rows by region, then mean, best first: region, method, n (cases that all methods scored), mean (Dice over
        these), mean_rank, leader (bool), behind (typical difference from the leader: leader minus method; NaN for the
        leader), ci_low, ci_high, p_holm, undecided (bool: the leader, or not told apart from it), sd_seeds, se_cases,
        seeds. No rows for regions without scores.
    """
    rows = []
    for region in regions:
        found = compare_methods(scores, region, "dice", alpha, groups)
        if found.leader is None:
            continue
        means = case_table(scores, region, "dice").dropna().mean()
        ranks = friedman_nemenyi(scores, region, "dice", alpha, groups).mean_ranks
        spread = variance_components(scores, region, "dice", groups).set_index("method")
        for method in found.order:
            leader = method == found.leader
            about = {"region": region, "method": method, "n": found.cases, "mean": means[method]}
            about |= {"mean_rank": ranks[method], "leader": leader, "undecided": leader or method in found.undecided}
            about |= {} if leader else found.lead_over(method)
            rows.append(about | spread.loc[method, ["sd_seeds", "se_cases", "seeds"]].to_dict())
    return pd.DataFrame(rows, columns=list(RANK_COLUMNS)).astype({"n": "int64", "seeds": "int64"})


def layout_ranks(table: pd.DataFrame, notes: Iterable[str] = (), number: int = 4) -> Layout:
    """The rank table: a block per region, the leader first in bold with those that cannot be told apart from it.

    Args:
        table: from `make_ranks`.
        notes: sentences to add below.
        number: of the table.
    """
    kind = varying_part(list(table["method"].unique())) if len(table) else "method"
    several = bool((table["seeds"] > 1).any())
    rows = []
    for row in table.itertuples():
        cells = [
            Cell(method_title(row.method, kind), best=bool(row.undecided)),
            Cell(_number(row.mean, 4)),
            Cell(_number(row.mean_rank, 2)),
            Cell("leads" if row.leader else _behind(row), muted=bool(row.leader)),
            Cell("" if row.leader else _p(row.p_holm)),
            *([Cell(_number(row.sd_seeds, 4))] if several else []),
            Cell(_number(row.se_cases, 4)),
        ]
        rows.append((f"{row.region.capitalize()}, {row.n} images", cells))
    heads = [kind.capitalize(), "Mean Dice", "Mean rank", "Behind the leader [95 % interval]", "p (Holm)"]
    heads += [*(["Spread over seeds"] if several else []), "Spread over images"]
    what = [
        "Bold: leads, or cannot be told apart from the leader (Wilcoxon's signed-rank test of every pair on the same "
        "images, Holm's correction, p at least 0.05); this does not mean that there is no difference.",
        "Behind the leader: the typical difference of one image (Hodges and Lehmann).",
        "Spread: standard deviation of the mean Dice "
        + ("from seed to seed, and " if several else "")
        + "as estimated for other images of the same kind.",
    ]
    return Layout(number, "Is the difference real?", [("", head) for head in heads], rows, notes=[*notes, *what])


def make_cell_types(
    scores: pd.DataFrame,
    methods: Sequence[str] | None = None,
    regions: Sequence[str] = TABLE_REGIONS,
    groups: Groups | None = None,
) -> pd.DataFrame:
    """Mean Dice by cell type, per region and method.

    Args:
        scores: rows as `score_masks` makes them.
        methods: as in the column `method`; None for all.
        regions: to show.
        groups: case id -> group, for the intervals.

    Returns:
        region, then the columns of `scores_by_cell_type`. Empty where no case has a cell type.
    """
    parts = [scores_by_cell_type(scores, region, "dice", groups) for region in regions]
    table = pd.concat([part.assign(region=region) for part, region in zip(parts, regions, strict=True)])
    table = table[["region", *(name for name in table if name != "region")]].reset_index(drop=True)
    if table["cell_type"].isna().all():
        return table.head(0)
    return table if methods is None else table[table["method"].isin(methods)].reset_index(drop=True)


def layout_cell_types(table: pd.DataFrame, notes: Iterable[str] = (), number: int = 5) -> Layout:
    """Scores by cell type: a row per type, the regions side by side, a block per method.

    Args:
        table: from `make_cell_types`; may be empty.
        notes: sentences to add below.
        number: of the table.
    """
    regions, rows = list(dict.fromkeys(table["region"])), []
    for method, part in table.groupby("method", sort=False):
        by_type = part.assign(cell_type=part["cell_type"].fillna("unknown"))
        for cell_type in dict.fromkeys(by_type["cell_type"]):
            shown = by_type[by_type["cell_type"] == cell_type].set_index("region").reindex(regions)
            cells = [Cell(str(cell_type)), Cell(f"{shown['n'].max():g}")]
            for row in shown.itertuples():
                span = f" [{row.ci_low:.3f}, {row.ci_high:.3f}]" if pd.notna(row.ci_low) else ""
                cells.append(Cell(_number(row.mean, 4) + span))
            rows.append((method_title(method), cells))
    heads = [
        ("", "Cell type"),
        ("", "Images"),
        *((region.capitalize(), "Mean Dice [95 % interval]") for region in regions),
    ]
    what = [
        "Intervals over the images of the type (over slides or patients, where known); few of them make a wide one, a "
        "single one makes none."
    ]
    return Layout(number, "Scores by cell type, on the test images", heads, rows, notes=[*notes, *what])


def _behind(row) -> str:
    if pd.isna(row.behind):
        return NOTHING
    span = f" [{row.ci_low:.4f}, {row.ci_high:.4f}]" if pd.notna(row.ci_low) else ""
    return f"{row.behind:.4f}{span}"


def _number(value: float, digits: int) -> str:
    return NOTHING if pd.isna(value) else f"{value:.{digits}f}"


def _p(value: float) -> str:
    return NOTHING if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
