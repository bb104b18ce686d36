"""Figures of scores: per image, against cost, on other datasets, and calibration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from wbcstudy.registry import ENCODERS, LOSSES, loss_title, method_title, varying_part
from wbcstudy.reporting.figures.canvas import (
    COLUMN_IN,
    DRAWN,
    PAGE_IN,
    StudyFigure,
    add_legend,
    make_axes,
    make_blank,
    plain,
    styled,
)
from wbcstudy.reporting.figures.colours import BLUE, INK, PALETTE, PARETO_FRONT
from wbcstudy.scoring.breakdown import pareto_front
from wbcstudy.scoring.calibration import Reliability
from wbcstudy.scoring.selection import method_names

_LOSS_COLOURS = {"cross_entropy": BLUE, "dice": "#E69F00", "binary_cross_entropy": "#CC79A7"}


@styled
def fig_scores(scores: pd.DataFrame) -> StudyFigure:
    """Draw each test image's Dice (mean over the seeds) as a point and a box per method; a panel per region.

    Args:
        scores: rows as `read_scores` gives them: encoder, loss, start, region, case_id, dice.
    """
    if scores.empty or scores["dice"].isna().all():
        return make_blank("No run has scores yet.")
    import seaborn as sns

    networks = {
        f"{encoder}__{start}": f"{ENCODERS[encoder].title} ({start})" if start else ENCODERS[encoder].title
        for encoder in ENCODERS
        for start in dict.fromkeys(scores.loc[scores["encoder"] == encoder, "start"])
    }
    scores = scores.assign(network=scores["encoder"] + "__" + scores["start"], method=method_names(scores))
    keys = ["method", "network", "loss", "region", "case_id"]
    means = scores.groupby(keys, as_index=False)["dice"].mean().dropna()
    losses = [name for name in LOSSES if name in set(scores["loss"])]
    placed = {"x": "dice", "y": "network", "order": list(networks), "hue": "loss", "hue_order": losses}
    placed |= {"orient": "h", "palette": _LOSS_COLOURS, "legend": False}
    figure, axes = make_axes(1, len(DRAWN), PAGE_IN, 1.1 + 0.27 * len(networks) * len(losses), sharey=True)
    for axis, region in zip(np.ravel(axes), DRAWN, strict=True):
        rows = means[means["region"] == region]
        sns.boxplot(rows, ax=axis, **placed, showfliers=False, boxprops={"alpha": 0.35}, linewidth=0.8, linecolor=INK)
        heights = _scatter_heights(rows, list(networks), losses)
        colours = rows["loss"].map(_LOSS_COLOURS)
        axis.scatter(rows["dice"], heights, s=9, c=colours, alpha=0.8, linewidth=0.3, edgecolor=INK, zorder=3)
        figure.add_points(axis, rows[["method", "region", "case_id"]], rows["dice"], heights)
        axis.set(title=region.capitalize(), xlabel="Dice of one image", ylabel="")
        axis.set_yticks(range(len(networks)), list(networks.values()))
        axis.set_xlim(right=1.005)
    add_legend(figure, [Patch(color=_LOSS_COLOURS[name], label=loss_title(name)) for name in losses])
    return figure


def _scatter_heights(rows: pd.DataFrame, networks: Sequence[str], losses: Sequence[str]) -> np.ndarray:
    """Return heights that spread points over the middle of their box, the same in each drawing."""
    # seaborn's boxes of one network share a height of 0.8.
    lane = 0.8 / len(losses)
    middle = rows["network"].map(networks.index) + lane * (rows["loss"].map(losses.index) - (len(losses) - 1) / 2)
    return middle.to_numpy(dtype=float) + np.random.default_rng(0).uniform(-0.25, 0.25, len(rows)) * lane


@styled
def fig_reliability(curves: Mapping[str, Reliability]) -> StudyFigure:
    """Draw reliability curves: below the diagonal, probabilities are too high.

    Points are bins; the larger the point, the more pixels are in the bin.

    Args:
        curves: title -> result of `calibration.reliability`; curves without pixels are left out.
    """
    defined = {title: curve for title, curve in curves.items() if np.isfinite(curve.ece)}
    if not defined:
        return make_blank("No probabilities were recorded.")
    figure, axis = make_axes(1, 1, COLUMN_IN, 3.4)
    axis.plot([0, 1], [0, 1], color="#999999", lw=1, ls="--")
    for colour, (title, reliability) in zip(itertools.cycle(PALETTE), defined.items(), strict=False):
        bins = reliability.curve.dropna(subset=["confidence"])
        share = np.log10(bins["n"] + 1) / np.log10(bins["n"].max() + 1)
        label = f"{plain(title)} ({reliability.ece:.3f})"
        axis.plot(bins["confidence"], bins["correct"], color=colour, lw=1.2, label=label)
        axis.scatter(bins["confidence"], bins["correct"], s=4 + 30 * share**2, color=colour, zorder=3)
    axis.set(xlabel="predicted probability", ylabel="share that is correct", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    # Curves of trained networks are near the diagonal.
    legend = axis.legend(loc="lower right", fontsize=6.5, title="(expected calibration error)", framealpha=0.9)
    legend.get_title().set_fontsize(6.5)
    return figure


@styled
def fig_transfer(table: pd.DataFrame, titles: Mapping[str, str]) -> StudyFigure:
    """Draw mean Dice with intervals on the study's own test images and on other datasets; a panel per region.

    Args:
        table: table of `reporting.tables.transfer.Transfer`.
        titles: name of a dataset -> its title.
    """
    regions, methods = list(dict.fromkeys(table["region"])), list(dict.fromkeys(table["method"]))
    if not methods:
        return make_blank("No network was scored on another dataset.")
    names = list(dict.fromkeys(table["dataset"]))
    figure, axes = make_axes(1, len(regions), PAGE_IN, 1.2 + 0.3 * len(methods), squeeze=False, sharex=True)
    colours = dict(zip(names, itertools.cycle(PALETTE[1:]), strict=False))
    for axis, region in zip(axes[0], regions, strict=True):
        for lane, name in enumerate(names, start=1):
            rows = table[(table["region"] == region) & (table["dataset"] == name)].set_index("method").reindex(methods)
            offsets = [(index / len(names) - 0.5) * 0.3 for index in (0, lane)]
            if lane == 1:
                _draw_means(axis, rows, ("own_mean", "own_ci_low", "own_ci_high"), offsets[0], BLUE, "s")
            _draw_means(axis, rows, ("dice_mean", "ci_low", "ci_high"), offsets[1], colours[name], "o")
        axis.set_yticks(range(len(methods)), [plain(method_title(name, varying_part(methods))) for name in methods])
        axis.set(title=region, xlabel="mean Dice", ylim=(len(methods) - 0.4, -0.6), xlim=(0, 1))
    handles = [Line2D([], [], color=BLUE, marker="s", lw=1.5, label="own test images")]
    for name in names:
        label = plain(titles.get(name, name))
        handles.append(Line2D([], [], color=colours[name], marker="o", lw=1.5, label=label))
    add_legend(figure, handles)
    return figure


def _draw_means(axis, rows: pd.DataFrame, columns: tuple[str, str, str], offset: float, colour: str, marker: str):
    heights = np.arange(len(rows)) + offset
    mean, low, high = (rows[name].to_numpy(dtype=float) for name in columns)
    axis.hlines(heights, low, high, color=colour, lw=1.5)
    axis.plot(mean, heights, marker, color=colour, ms=5)


@styled
def fig_cost_quality(
    methods: Sequence[str],
    cost: Sequence[float],
    quality: Sequence[float],
    cost_label: str,
    quality_label: str,
    best: str | None = None,
) -> StudyFigure:
    """Draw cost against quality, with the Pareto front: the methods that no other beats on both.

    An encoder has a colour; a loss, with its start, has a marker. Only the chosen method is labelled; eighteen labels
    would overlap.

    Args:
        methods: names as in the column `method`; those with a NaN are left out.
        cost: one per method, lower is better; above 0 (on a logarithmic scale where it spans more than tenfold).
        quality: one per method, higher is better.
        cost_label: axis label with its unit, "seconds per image".
        quality_label: axis label, "Dice, nucleus".
        best: method that the study recommends; it gets a ring.
    """
    table = pd.DataFrame({"method": list(methods), "cost": list(cost), "quality": list(quality)}).dropna()
    if table.empty:
        return make_blank("No run has both a cost and a score.")
    table = table.sort_values(["cost", "quality"], ascending=[True, False], kind="stable")
    table[["encoder", "loss"]] = [method.split("__", 1) for method in table["method"]]
    front = table[pareto_front(table["cost"], table["quality"])]
    figure, axis = make_axes(1, 1, PAGE_IN, 3.6)
    axis.step(front["cost"], front["quality"], where="post", color=PARETO_FRONT[0], lw=1.2, zorder=1)
    colours = dict(zip(dict.fromkeys(table["encoder"]), PALETTE, strict=False))
    markers = dict(zip(dict.fromkeys(table["loss"]), itertools.cycle("osD^vPX<>*"), strict=False))
    for row in table.itertuples():
        axis.plot(row.cost, row.quality, markers[row.loss], color=colours[row.encoder], ms=6, mec="white", mew=0.5)
    _set_cost_scale(axis, table["cost"])
    for row in table[table["method"] == best].itertuples():
        axis.plot(row.cost, row.quality, "o", mfc="none", mec=INK, ms=12, mew=1.2, label="recommended")
        # Towards the middle, where there is space.
        on_the_right = row.cost > sum(axis.get_xlim()) / 2
        offset = {"xytext": (-10, 9), "ha": "right"} if on_the_right else {"xytext": (10, 9)}
        title = plain(method_title(row.method, varying_part(list(table["method"]))))
        text = axis.annotate(title, (row.cost, row.quality), textcoords="offset points", fontsize=7, **offset)
        # Not a white rim: with one, files have the shapes of the letters instead of text.
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})
    axis.set(xlabel=cost_label, ylabel=quality_label)
    axis.margins(x=0.12, y=0.12)
    handles = [
        Line2D([], [], color=colour, marker="o", ls="", label=ENCODERS[encoder].title)
        for encoder, colour in colours.items()
    ]
    if len(markers) > 1:
        handles += [
            Line2D([], [], color="#777777", mfc="none", marker=marker, ls="", label=_describe(loss))
            for loss, marker in markers.items()
        ]
    handles.append(Line2D([], [], color=PARETO_FRONT[0], lw=1.2, label="none is cheaper and better"))
    if best in set(table["method"]):
        handles.append(Line2D([], [], color=INK, marker="o", mfc="none", ms=10, ls="", label="recommended"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _describe(loss: str) -> str:
    """Return "Dice loss", or "Dice loss, frozen" for a loss with a start."""
    name, _, start = loss.partition("__")
    return f"{loss_title(name)}, {start}" if start else loss_title(name)


def _set_cost_scale(axis, cost: pd.Series) -> None:
    if cost.min() > 0 and cost.max() > 10 * cost.min():
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6))
    if cost.max() >= 1e5:
        # 15 M instead of 1.5 with 1e7 at the end of the axis.
        axis.xaxis.set_major_formatter(EngFormatter())
