"""Figures of the comparison: ranks, pairwise differences, calibration, cost. Data in, figure out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import EngFormatter, MaxNLocator

from wbcstudy.registry import method_title, varying_part
from wbcstudy.reporting.figures.canvas import INK, StudyFigure, add_legend, make_axes, make_blank, plain, styled
from wbcstudy.scoring.breakdown import pareto_front
from wbcstudy.scoring.calibration import Reliability
from wbcstudy.scoring.ranks import RankTest

BAR_COLOUR = "#0072B2"
# Beyond this many methods the numbers do not fit into the squares.
_MOST_NUMBERS = 12
# Orange and violet, white between: told apart with any of the common colour-vision deficiencies.
_DIVERGING = "PuOr_r"


@styled
def fig_ranks(tests: Mapping[str, RankTest], units: str = "images") -> StudyFigure:
    """Critical-difference diagram: mean ranks of the methods, a panel per region.

    Methods stand one below the other, best first. A vertical bar joins those that Nemenyi's test cannot tell apart; the
    horizontal one above shows how far apart two mean ranks must be to differ.

    Args:
        tests: region -> as `friedman_nemenyi` makes it. Regions with nothing to compare are left out.
        units: what was ranked on, in the plural.
    """
    shown = {region: test for region, test in tests.items() if len(test.mean_ranks) > 1 and test.n > 1}
    if not shown:
        return make_blank("Fewer than two methods: nothing to rank.")
    most = max(len(test.mean_ranks) for test in shown.values())
    figure, axes = make_axes(1, len(shown), 4.9 * len(shown), 1.75 + 0.27 * most, squeeze=False)
    for axis, (region, test) in zip(axes[0], shown.items(), strict=True):
        _draw_ranks(axis, region, test, units)
    if any(test.groups for test in shown.values()):
        add_legend(figure, [Line2D([], [], color=BAR_COLOUR, lw=3, label="joined by a bar: cannot be told apart")])
    return figure


def _draw_ranks(axis, region: str, test: RankTest, units: str) -> None:
    methods, ranks = list(test.mean_ranks.index), test.mean_ranks.to_numpy()
    kind, k = varying_part(methods), len(methods)
    axis.plot(ranks, range(k), "o", color=INK, ms=5, zorder=3)
    # Bars stand to the right of their points, each in a lane of its own.
    for lane, group in enumerate(test.groups):
        rows = [methods.index(method) for method in group]
        place = k + 0.15 + 0.13 * lane * max(1, k / 6)
        axis.plot([place, place], [min(rows) - 0.2, max(rows) + 0.2], color=BAR_COLOUR, lw=3, solid_capstyle="butt")
    for row, rank in enumerate(ranks):
        axis.plot([1, rank], [row, row], color="#BBBBBB", lw=0.8, zorder=1)
        axis.annotate(f"{rank:.2f}", (rank, row), (5, 0), textcoords="offset points", va="center", fontsize=7)
    if np.isfinite(test.critical_difference):
        end = 1 + test.critical_difference
        axis.plot([1, end], [-1, -1], color=INK, lw=1.5, marker="|", ms=7)
        words = f"critical difference {test.critical_difference:.2f}"
        axis.annotate(words, (end, -1), (6, 0), textcoords="offset points", va="center", fontsize=7)
    axis.set_yticks(range(k), [plain(method_title(method, kind)) for method in methods])
    axis.set(ylim=(k - 0.4, -1.6), xlabel="mean rank (1 is the best)")
    axis.set_xlim(0.8, k + 0.3 + 0.13 * max(len(test.groups), 1) * max(1, k / 6))
    axis.set_xticks(range(1, k + 1, 1 if k <= 10 else 2))
    axis.grid(visible=False, axis="y")
    p = "p < 0.001" if test.p < 0.001 else f"p = {test.p:.3f}"
    name = {"friedman": "Friedman", "wilcoxon": "Wilcoxon"}[test.test]
    axis.set_title(f"{region}\n{name} {'not tested' if np.isnan(test.p) else p}, {test.n} {units}")


@styled
def fig_differences(pairs: pd.DataFrame, region: str, order: Sequence[str], alpha: float = 0.05) -> StudyFigure:
    """Heat map of pairwise differences: row minus column, in thousandths of Dice.

    Squares are coloured only where the difference is more than chance (Holm-adjusted p below alpha), so that what is
    white has not been shown.

    Args:
        pairs: rows of `paired_differences`.
        region: for the title.
        order: methods, best first, as in `Comparison.order`.
        alpha: level over all pairs.
    """
    order = list(order)
    if len(order) < 2:
        return make_blank("Fewer than two methods: no differences.")
    k, kind = len(order), varying_part(order)
    values, real = np.full((k, k), np.nan), np.zeros((k, k), dtype=bool)
    for row in pairs.itertuples():
        a, b = order.index(row.method_a), order.index(row.method_b)
        values[a, b], values[b, a] = row.difference, -row.difference
        real[a, b] = real[b, a] = row.p_holm < alpha
    side = 0.52 if k <= _MOST_NUMBERS else 0.36
    figure, axis = make_axes(1, 1, 2.9 + side * k, 1.9 + side * k)
    largest = np.nanmax(np.abs(np.where(real, values, np.nan)), initial=0, where=real) or 1e-3
    norm = TwoSlopeNorm(0, -1000 * largest, 1000 * largest)
    picture = axis.imshow(np.where(real, 1000 * values, np.nan), cmap=_DIVERGING, norm=norm)
    if k <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = real[row, column] and abs(value) > 0.45 * largest and (value < 0 or value > 0.65 * largest)
                colour = "white" if dark else INK if real[row, column] else "#888888"
                axis.text(column, row, f"{1000 * value:+.1f}", ha="center", va="center", fontsize=7, color=colour)
    titles = [plain(method_title(method, kind)) for method in order]
    axis.set_xticks(range(k), titles, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(k), titles)
    axis.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axis.grid(visible=False)
    axis.grid(visible=True, which="minor", color="#DDDDDD", lw=0.6)
    axis.tick_params(which="minor", length=0)
    figure.colorbar(picture, ax=axis, shrink=0.8, label="row minus column, Dice \N{MULTIPLICATION SIGN} 1000")
    axis.set_title(f"{region}\ncoloured: more than chance", fontsize=9)
    return figure


@styled
def fig_reliability(curves: Mapping[str, Reliability]) -> StudyFigure:
    """Reliability curves: on the diagonal, of the pixels given 70 % seven in ten are right.

    Below it the network is too sure. Points are bins; a bin with few pixels is a small point.

    Args:
        curves: title -> as `calibration.reliability` makes it. Curves without pixels are left out.
    """
    shown = {title: curve for title, curve in curves.items() if np.isfinite(curve.ece)}
    if not shown:
        return make_blank("No probabilities were kept.")
    figure, axis = make_axes(1, 1, 6, 4)
    # A square of fixed shape beside a legend: the plain constrained layout cuts the axis label off.
    figure.set_layout_engine("compressed")
    axis.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
    for index, (title, found) in enumerate(shown.items()):
        bins, colour = found.curve.dropna(subset=["confidence"]), colours[index % len(colours)]
        share = np.log10(bins["n"] + 1) / np.log10(bins["n"].max() + 1)
        axis.plot(bins["confidence"], bins["correct"], color=colour, lw=1.2, label=f"{plain(title)} ({found.ece:.3f})")
        axis.scatter(bins["confidence"], bins["correct"], s=4 + 30 * share**2, color=colour, zorder=3)
    axis.set(xlabel="probability given", ylabel="share that was right", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside right upper", frameon=False, title="(expected calibration error)", title_fontsize=8)
    return figure


@styled
def fig_transfer(table: pd.DataFrame, titles: Mapping[str, str]) -> StudyFigure:
    """Mean Dice on the own test images and on other datasets, with intervals; a panel per region.

    Args:
        table: as `reporting.transfer.Transfer` has it.
        titles: name of a dataset -> as a reader calls it.
    """
    regions, methods = list(dict.fromkeys(table["region"])), list(dict.fromkeys(table["method"]))
    if not methods:
        return make_blank("No network was scored on another dataset.")
    kind, others = varying_part(methods), list(dict.fromkeys(table["dataset"]))
    figure, axes = make_axes(1, len(regions), 4.6 * len(regions), 1.7 + 0.4 * len(methods), squeeze=False, sharex=True)
    colours = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    for axis, region in zip(axes[0], regions, strict=True):
        for index, other in enumerate(others):
            rows = table[(table["region"] == region) & (table["dataset"] == other)].set_index("method").reindex(methods)
            if index == 0:
                _points(axis, rows, ("own_mean", "own_ci_low", "own_ci_high"), 0, len(others), BAR_COLOUR, "s")
            _points(
                axis,
                rows,
                ("dice_mean", "ci_low", "ci_high"),
                index + 1,
                len(others),
                colours[index % len(colours)],
                "o",
            )
        axis.set_yticks(range(len(methods)), [plain(method_title(method, kind)) for method in methods])
        axis.set(title=region, xlabel="mean Dice", ylim=(len(methods) - 0.4, -0.6), xlim=(0, 1))
    handles = [Line2D([], [], color=BAR_COLOUR, marker="s", lw=1.5, label="own test images")]
    for index, other in enumerate(others):
        label = plain(titles.get(other, other))
        handles.append(Line2D([], [], color=colours[index % len(colours)], marker="o", lw=1.5, label=label))
    add_legend(figure, handles)
    return figure


def _points(axis, rows: pd.DataFrame, columns: tuple[str, str, str], lane: int, lanes: int, colour: str, marker: str):
    place = np.arange(len(rows)) + (lane / lanes - 0.5) * 0.3
    mean, low, high = (rows[name].to_numpy(dtype=float) for name in columns)
    axis.hlines(place, low, high, color=colour, lw=1.5)
    axis.plot(mean, place, marker, color=colour, ms=5)


@styled
def fig_cost_quality(
    methods: Sequence[str],
    cost: Sequence[float],
    quality: Sequence[float],
    cost_label: str,
    quality_label: str,
    chosen: str | None = None,
) -> StudyFigure:
    """Cost against quality, with the Pareto front: the methods that no other beats on both.

    A colour is an encoder and a marker a loss. Only the chosen method is named beside its point: eighteen names would
    lie on one another.

    Args:
        methods: as in the column `method`; those with a NaN are left out.
        cost: one per method, lower is better; above 0 (drawn on a logarithmic scale where it spans more than tenfold).
        quality: one per method, higher is better.
        cost_label: with its unit, "seconds per image".
        quality_label: "Dice, nucleus".
        chosen: the method that the study recommends; gets a ring.
    """
    table = pd.DataFrame({"method": list(methods), "cost": list(cost), "quality": list(quality)}).dropna()
    if table.empty:
        return make_blank("No run has both a cost and a score.")
    import seaborn as sns

    table = table.sort_values(["cost", "quality"], ascending=[True, False], kind="stable")
    front = pareto_front(table["cost"], table["quality"])
    figure, axis = make_axes(1, 1, 7.4, 4.2)
    kind = varying_part(list(table["method"]))
    best = table[front]
    axis.step(best["cost"], best["quality"], where="post", color=INK, lw=1.2, zorder=1)
    # Name -> one of its methods, for the title.
    encoders = {method.partition("__")[0]: method for method in table["method"]}
    losses = {method.partition("__")[2]: method for method in table["method"]}
    colours = dict(zip(encoders, sns.color_palette("colorblind", len(encoders)), strict=True))
    markers = dict(zip(losses, itertools.cycle("osD^v"), strict=False))
    for row in table.itertuples():
        encoder, _, loss = row.method.partition("__")
        axis.plot(row.cost, row.quality, markers[loss], color=colours[encoder], ms=6, mec="white", mew=0.5)
    ring = table[table["method"] == chosen]
    axis.plot(ring["cost"], ring["quality"], "o", mfc="none", mec=INK, ms=12, mew=1.2)
    _set_cost_scale(axis, table["cost"])
    for row in ring.itertuples():
        # Towards the middle, where there is room.
        right = row.cost > (axis.get_xlim()[0] + axis.get_xlim()[1]) / 2
        place = {"xytext": (-10, 9), "ha": "right"} if right else {"xytext": (10, 9)}
        words = plain(method_title(row.method, kind))
        text = axis.annotate(words, (row.cost, row.quality), textcoords="offset points", fontsize=8, color=INK, **place)
        text.set_path_effects([Stroke(linewidth=2.5, foreground="white"), Normal()])
    axis.set(xlabel=cost_label, ylabel=quality_label)
    axis.margins(x=0.12, y=0.12)
    handles = [
        Line2D([], [], color=colours[encoder], marker="o", ls="", label=plain(method_title(one, "encoder")))
        for encoder, one in encoders.items()
    ]
    if len(losses) > 1:
        handles += [
            Line2D([], [], color="#777777", marker=markers[loss], ls="", label=plain(method_title(one, "loss")))
            for loss, one in losses.items()
        ]
    handles.append(Line2D([], [], color=INK, lw=1.2, label="no other is as good for less"))
    if len(ring):
        handles.append(Line2D([], [], color=INK, marker="o", mfc="none", ms=10, ls="", label="recommended"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _set_cost_scale(axis, cost: pd.Series) -> None:
    if cost.min() > 0 and cost.max() > 10 * cost.min():
        axis.set_xscale("log")
        return
    axis.xaxis.set_major_locator(MaxNLocator(6))
    if cost.max() >= 1e5:
        # 15 M and not 1.5, times 1e7 written elsewhere.
        axis.xaxis.set_major_formatter(EngFormatter())
