"""Figures of the comparison of methods: mean ranks and pairwise differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D

from wbcstudy.registry import method_title, varying_part
from wbcstudy.reporting.figures.canvas import (
    PAGE_IN,
    StudyFigure,
    add_legend,
    make_axes,
    make_blank,
    plain,
    styled,
)
from wbcstudy.reporting.figures.colours import BLUE, INK
from wbcstudy.scoring.ranks import RankTest
from wbcstudy.scoring.statistics import ALPHA
from wbcstudy.wording import p_value

# With more methods the numbers do not fit into the squares.
_MOST_NUMBERS = 12
# Orange and violet with white between, distinguishable with any common colour-vision deficiency.
_DIVERGING = "PuOr_r"


@styled
def fig_ranks(tests: Mapping[str, RankTest], units: str = "images") -> StudyFigure:
    """Draw mean ranks of the methods, best first, with Nemenyi's critical difference; a panel per region.

    A vertical bar joins methods without a significant difference.

    Args:
        tests: region -> result of `friedman_nemenyi`; regions with nothing to compare are left out.
        units: plural noun for what was ranked.
    """
    compared = {region: test for region, test in tests.items() if len(test.mean_ranks) > 1 and test.n > 1}
    if not compared:
        return make_blank("Fewer than two methods: nothing to rank.")
    most = max(len(test.mean_ranks) for test in compared.values())
    figure, axes = make_axes(1, len(compared), PAGE_IN, 1.5 + 0.2 * most, squeeze=False)
    for axis, (region, test) in zip(axes[0], compared.items(), strict=True):
        _draw_ranks(axis, region, test, units)
    if any(test.groups for test in compared.values()):
        add_legend(figure, [Line2D([], [], color=BLUE, lw=3, label="joined by a bar: no significant difference")])
    return figure


def _draw_ranks(axis, region: str, test: RankTest, units: str) -> None:
    methods, ranks = list(test.mean_ranks.index), test.mean_ranks.to_numpy()
    k = len(methods)
    axis.plot(ranks, range(k), "o", color=INK, ms=5, zorder=3)
    # Bars are to the right of the points, each in a lane.
    lane = 0.13 * max(1, k / 6)
    # The number of the last point needs a fifth of the axis.
    start = max(k, ranks.max() + 0.2 * k) + 0.15
    for index, group in enumerate(test.groups):
        rows, x = [methods.index(method) for method in group], start + lane * index
        axis.plot([x, x], [min(rows) - 0.2, max(rows) + 0.2], color=BLUE, lw=3, solid_capstyle="butt")
    note = {"textcoords": "offset points", "va": "center", "fontsize": 6.5}
    for row, rank in enumerate(ranks):
        axis.plot([1, rank], [row, row], color="#BBBBBB", lw=0.8, zorder=1)
        axis.annotate(f"{rank:.2f}", (rank, row), (5, 0), **note)
    if np.isfinite(test.critical_difference):
        end = 1 + test.critical_difference
        axis.plot([1, end], [-1, -1], color=INK, lw=1.5, marker="|", ms=7)
        # Above its bar: to the right of it there is not always space.
        axis.text(1, -1.35, f"critical difference {test.critical_difference:.2f}", va="bottom", fontsize=6.5)
    axis.set_yticks(range(k), [plain(method_title(method, varying_part(methods))) for method in methods])
    axis.set(ylim=(k - 0.4, -2.2), xlabel="mean rank (1 is the best)")
    axis.set_xlim(0.8, start + 0.15 + lane * max(len(test.groups), 1))
    axis.set_xticks(range(1, k + 1, 1 if k <= 10 else 2))
    axis.grid(visible=False, axis="y")
    name = {"friedman": "Friedman", "wilcoxon": "Wilcoxon"}[test.test]
    axis.set_title(f"{region}\n{name} {p_value(test.p) or 'not tested'}\n{test.n} {units}")


@styled
def fig_differences(pairs: pd.DataFrame, region: str, order: Sequence[str]) -> StudyFigure:
    """Draw a heat map of pairwise differences: row minus column, in thousandths of Dice.

    Squares have a colour only where the difference is significant (adjusted p below `ALPHA`). With more than 12 methods
    there is no space for numbers, and without a significant difference there is no figure.

    Args:
        pairs: rows of `paired_differences`.
        region: region, for the title.
        order: methods, best first, as in `Comparison.order`.
    """
    order = list(order)
    if len(order) < 2:
        return make_blank("Fewer than two methods: no differences.")
    k = len(order)
    values, significant = np.full((k, k), np.nan), np.zeros((k, k), dtype=bool)
    for row in pairs.itertuples():
        a, b = order.index(row.method_a), order.index(row.method_b)
        values[a, b], values[b, a] = row.difference, -row.difference
        significant[a, b] = significant[b, a] = row.p_adjusted < ALPHA
    if not significant.any() and k > _MOST_NUMBERS:
        return make_blank("No difference is significant.")
    # Rows of the height of a text, or lower where a page would not hold them; labels below need 1.6 inches.
    figure, axis = make_axes(1, 1, PAGE_IN, 1.6 + k * min(0.3, 5 / k))
    shown = np.where(significant, values, np.nan)
    largest = np.nanmax(np.abs(shown), initial=0, where=significant) or 1e-3
    heat_map = axis.imshow(1000 * shown, _DIVERGING, TwoSlopeNorm(0, -1000 * largest, 1000 * largest), aspect="auto")
    if k <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = significant[row, column] and not -0.45 * largest <= value <= 0.65 * largest
                colour = "white" if dark else INK if significant[row, column] else "#888888"
                axis.text(column, row, f"{1000 * value:+.1f}", ha="center", va="center", fontsize=6.5, color=colour)
    titles = [plain(method_title(method, varying_part(order))) for method in order]
    axis.set_xticks(range(k), titles, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(k), titles)
    for ticks in (axis.set_xticks, axis.set_yticks):
        ticks(np.arange(k + 1) - 0.5, minor=True)
    axis.grid(visible=False)
    axis.grid(visible=True, which="minor", color="#DDDDDD", lw=0.6)
    axis.tick_params(which="minor", length=0)
    if significant.any():
        figure.colorbar(heat_map, ax=axis, shrink=0.8, label="Dice \N{MULTIPLICATION SIGN} 1000")
    axis.set_title(f"{region}\nwhite: not significant")
    return figure
