"""Figures of numbers: curves, shares and scores. Import them from `figures`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from wbcstudy.labels import REGION_COLOURS
from wbcstudy.registry import ENCODERS, LOSSES, loss_title, run_title
from wbcstudy.reporting.figures.canvas import (
    DRAWN,
    INK,
    PLAIN_COLOUR,
    RIM,
    StudyFigure,
    add_legend,
    make_axes,
    make_blank,
    plain,
    styled,
)

LOSS_COLOURS = {"cross_entropy": "#0072B2", "dice": "#E69F00", "binary_cross_entropy": "#CC79A7"}


@styled
def fig_history(history: pd.DataFrame, best_epoch: int | None, title: str) -> StudyFigure:
    """One run's curves: the loss, and the validation Dice of each region, over the epochs.

    Args:
        history: a run's history.csv: epoch, loss, val_loss, and val_dice_<region> where measured.
        best_epoch: marked by a line; its weights were kept. None for none.
        title: above the figure.
    """
    figure, (left, right) = make_axes(1, 2, 8.6, 3.2)
    _draw_losses(left, history, best_epoch)
    left.set(xlabel="epoch", ylabel="loss")
    left.legend(frameon=False)
    for region in DRAWN:
        if f"val_dice_{region}" in history:
            right.plot(
                history["epoch"],
                history[f"val_dice_{region}"],
                color=REGION_COLOURS[region],
                label=region,
                lw=1.6,
                path_effects=RIM,
            )
    _mark_best(right, best_epoch)
    right.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))
    right.set(xlabel="epoch", ylabel="Dice, validation", ylim=(0, 1.02))
    if right.get_lines():
        right.legend(frameon=False, loc="lower right")
    figure.suptitle(plain(title), fontsize=10)
    return figure


@styled
def fig_learning_curves(
    histories: Mapping[str, pd.DataFrame], best_epochs: Mapping[str, int] | None = None
) -> StudyFigure:
    """The losses of every run of a study, a panel each, titled with its best epoch and the validation Dice there.

    Args:
        histories: run name -> history.csv.
        best_epochs: run name -> best epoch; by default that of the lowest validation loss.
    """
    if not histories:
        return make_blank("No run has a history yet.")
    width = min(4, len(histories))
    height = -(-len(histories) // width)
    figure, axes = make_axes(height, width, max(2.5 * width, 4.5), 2.3 * height + 0.5)
    panels = np.ravel(axes)
    for axis, (name, history) in zip(panels, histories.items(), strict=False):
        best = (best_epochs or {}).get(name)
        if best is None and history["val_loss"].notna().any():
            best = int(history.loc[history["val_loss"].idxmin(), "epoch"])
        _draw_losses(axis, history, best)
        at_best = history[history["epoch"] == best]
        dice = [
            f"{at_best[column].iloc[0]:.3f}" for r in DRAWN if (column := f"val_dice_{r}") in history and len(at_best)
        ]
        axis.set_title(
            plain(run_title(name)) + f"\nbest epoch {best}" + (f", Dice {' / '.join(dice)}" if dice else ""),
            fontsize=8,
        )
    for axis in panels[len(histories) :]:
        axis.set_axis_off()
    for axis in panels[max(0, len(histories) - width) : len(histories)]:
        axis.set_xlabel("epoch")
    figure.supylabel("loss", fontsize=9)
    handles = [Line2D([], [], color="#0072B2", label="training"), Line2D([], [], color=INK, label="validation")]
    add_legend(figure, [*handles, Line2D([], [], color="#D55E00", ls=":", label="best epoch (weights kept)")])
    return figure


@styled
def fig_label_shares(frame: pd.DataFrame) -> StudyFigure:
    """How much of each case is nucleus, cytoplasm and background, the emptiest case on the right.

    Args:
        frame: one row per case, columns named by the labels, shares 0-1; other columns are ignored.
    """
    ordered = frame.sort_values("background", ignore_index=True)
    figure, axis = make_axes(1, 1, 7.5, 2.8)
    base = np.zeros(len(ordered))
    for label in (*DRAWN, "background"):
        share = 100 * ordered[label].to_numpy(dtype=float)
        axis.bar(
            range(len(ordered)), share, 1.0, base, color=REGION_COLOURS.get(label, PLAIN_COLOUR), label=label, lw=0
        )
        base += share
    axis.set(
        xlabel=f"{len(ordered)} cases", ylabel="% of the pixels", ylim=(0, 100), xlim=(-0.5, max(len(ordered), 1) - 0.5)
    )
    axis.set_xticks([])
    axis.grid(visible=False)
    add_legend(figure, axis.get_legend_handles_labels()[0])
    return figure


@styled
def fig_scores(scores: pd.DataFrame) -> StudyFigure:
    """Each test image's Dice, a panel per region, a box per encoder and loss: a point is an image, seeds averaged.

    Args:
        scores: rows as `tables.read_scores` gives them: encoder, loss, region, case_id, dice.
    """
    if scores.empty or scores["dice"].isna().all():
        return make_blank("No run has scores yet.")
    shown = scores.assign(
        encoder=scores["encoder"].map(lambda name: ENCODERS[name].title),
        loss=scores["loss"].map(loss_title),
    )
    shown = shown.groupby(["encoder", "loss", "region", "case_id"], as_index=False)["dice"].mean()
    encoders = [row.title for row in ENCODERS.values() if row.title in set(shown["encoder"])]
    losses = [title for title in map(loss_title, LOSSES) if title in set(shown["loss"])]
    palette = {loss_title(name): colour for name, colour in LOSS_COLOURS.items()}
    palette |= {title: "#777777" for title in losses if title not in palette}
    step = 0.8 / len(losses)
    generator = np.random.default_rng(0)
    figure, axes = make_axes(1, len(DRAWN), 8.6, 0.9 + 0.32 * len(encoders) * len(losses) + 0.6, sharey=True)
    for axis, region in zip(np.ravel(axes), DRAWN, strict=True):
        part = shown[shown["region"] == region].dropna(subset="dice")
        for (encoder, loss), values in part.groupby(["encoder", "loss"])["dice"]:
            middle = encoders.index(encoder) + (losses.index(loss) - (len(losses) - 1) / 2) * step
            axis.boxplot(
                values,
                positions=[middle],
                widths=0.8 * step,
                orientation="horizontal",
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": (*to_rgb(palette[loss]), 0.35), "linewidth": 0.8},
                medianprops={"color": INK, "linewidth": 1.4},
                manage_ticks=False,
            )
            heights = middle + generator.uniform(-0.25, 0.25, len(values)) * step
            axis.plot(values, heights, ".", color=palette[loss], ms=4, alpha=0.8, mec=INK, mew=0.3)
        axis.set(title=region.capitalize(), xlabel="Dice of one image", ylim=(len(encoders) - 0.5, -0.5))
        axis.set_yticks(range(len(encoders)), encoders)
        axis.set_xlim(right=1.005)
    add_legend(figure, [Patch(color=palette[title], label=title) for title in losses])
    return figure


def _draw_losses(axis, history: pd.DataFrame, best_epoch: int | None) -> None:
    axis.plot(history["epoch"], history["loss"], color="#0072B2", lw=1.3, label="training")
    axis.plot(history["epoch"], history["val_loss"], color=INK, lw=1.3, label="validation")
    _mark_best(axis, best_epoch)
    # The first epochs of a run are often ten times the rest; a log scale shows both.
    if (history[["loss", "val_loss"]].dropna() > 0).all(axis=None):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axis.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))


def _mark_best(axis, best_epoch: int | None) -> None:
    if best_epoch is not None:
        axis.axvline(best_epoch, color="#D55E00", lw=1.2, ls=":", label=f"best epoch {best_epoch}")
