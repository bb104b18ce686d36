"""Table 4: mean ranks of all pairs, and how each compares with the leading one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.registry import method_heading, method_title, varying_part
from wbcstudy.reporting.tables.layout import (
    NOTHING,
    Cell,
    Layout,
    interval_notes,
    interval_text,
    number_text,
    whole_numbers,
)
from wbcstudy.scoring.case_tables import case_table
from wbcstudy.scoring.statistics import variance_components
from wbcstudy.wording import capitalise, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_COLUMNS = (
    *("region", "method", "n", "mean", "rank_low", "rank_high", "mean_rank", "leader", "behind", "ci_low", "ci_high"),
    *("p_adjusted", "undecided", "equivalent", "sd_seeds", "se_cases", "seeds"),
)


def make_ranks(results: StudyResults) -> pd.DataFrame:
    """Compare every pair of encoder and loss with the leading one per region, or with that of planned comparisons.

    Returns:
        Rows by region, then mean, best first: region, method, n (cases that all methods scored), mean (Dice over
        these), rank_low and rank_high (95 % interval of the rank of this mean), mean_rank, leader (bool), behind
        (difference from the leader: leader minus method; NaN for the leader), ci_low, ci_high, p_adjusted, undecided
        (bool: the leader, or not significantly different from it), equivalent (bool: to the leader), sd_seeds,
        se_cases, seeds. No rows for regions without scores.
    """
    rows = []
    for region, comparison in results.comparisons.items():
        means = case_table(results.comparable_scores, region).dropna().mean()
        ranks = results.rank_tests[region].mean_ranks
        spread = variance_components(results.comparable_scores, region, groups=results.groups).set_index("method")
        leading = results.config.compare_with if results.planned else comparison.leader
        position, stability = comparison.position(leading), results.rank_stability
        for method in comparison.order:
            leader = method == leading
            row = {"region": region, "method": method, "n": comparison.cases, "mean": means[method]}
            row |= {"mean_rank": ranks[method], "leader": leader, "undecided": leader or method in position.undecided}
            row |= {"equivalent": method in position.equivalent}
            if stability is not None and method in stability.methods:
                row |= stability.rank_intervals(region).loc[method].to_dict()
            if not leader:
                difference = comparison.difference(leading, method)
                row |= {"behind": difference["difference"]}
                row |= {name: difference[name] for name in ("ci_low", "ci_high", "p_adjusted")}
            rows.append(row | spread.loc[method, ["sd_seeds", "se_cases", "seeds"]].to_dict())
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"n": "int64", "seeds": "int64"})
    return table.assign(**{name: whole_numbers(table[name]) for name in ("rank_low", "rank_high")})


def layout_ranks(table: pd.DataFrame, notes: Iterable[str] = (), planned: bool = False) -> Layout:
    """Arrange Table 4: a block per region; the leader and all that do not differ significantly from it are bold.

    Args:
        table: result of `make_ranks`.
        notes: sentences to add below the table.
        planned: whether the comparisons were planned, so that they are with a fixed reference and not with the leader.
    """
    part = varying_part(list(table["method"].unique())) if len(table) else "method"
    several, leader = bool((table["seeds"] > 1).any()), "reference" if planned else "leader"
    rows = []
    for row in table.itertuples():
        cells = [
            Cell(method_title(row.method, part), best=bool(row.undecided)),
            Cell(number_text(row.mean)),
            Cell(number_text(row.mean_rank, 2)),
            Cell(NOTHING if pd.isna(row.rank_low) else number_range(row.rank_low, row.rank_high)),
            Cell(
                ("reference" if planned else "leads")
                if row.leader
                else interval_text(row.behind, row.ci_low, row.ci_high, interval_digits=4),
                muted=bool(row.leader),
            ),
            Cell("" if row.leader else p_text(row.p_adjusted)),
            Cell("yes" if row.equivalent else ""),
            *([Cell(number_text(row.sd_seeds))] if several else []),
            Cell(number_text(row.se_cases)),
        ]
        rows.append((f"{capitalise(row.region)}, {row.n} images", cells))
    heads = [
        method_heading(table["method"]) if part == "method" else part.capitalize(),
        "Mean Dice",
        "Mean rank",
        "Rank of the mean, 95 %",
    ]
    heads += [f"Behind the {leader} [95 % interval]", "Adjusted p", "Equivalent"]
    heads += [*(["SD over seeds"] if several else []), "SE over images"]
    remarks = [
        f"Bold: the {leader}, and all without a significant difference from it (p of 0.05 or more). No significant "
        "difference does not mean no difference.",
        "Mean rank: mean of the ranks within each image. Rank of the mean: 95 % interval of the rank by mean Dice, "
        f"from a bootstrap of the images{' and seeds' if several else ''}; 1 is best.",
        *interval_notes(table, "mean", "rank_low"),
        f"Behind the {leader}: difference of the means on the same images. Intervals and p values are adjusted for all "
        f"{'planned comparisons' if planned else 'pairs'} and regions together (Bonferroni): where the interval "
        "excludes 0, p is below 0.05. They include one imagined image, since an image on which a network fails is "
        "missing from most small test sets.",
        "Equivalent: the interval is within the margin (`equivalence_margin`).",
        "The standard errors include the variation between images and between seeds."
        if several
        else "One seed per row: intervals and p values are about these trained networks; other seeds could give "
        "another result.",
        *(["SD over seeds: standard deviation of the mean Dice from seed to seed."] if several else []),
        "SE over images: standard error of the mean Dice, over the images.",
    ]
    return Layout(4, f"Comparison with the {leader}", [("", head) for head in heads], rows, notes=[*remarks, *notes])


def p_text(value: float) -> str:
    """Format a p value for a table."""
    return NOTHING if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
