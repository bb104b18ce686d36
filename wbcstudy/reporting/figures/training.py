"""Figures of trainings: losses and validation Dice over the epochs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from wbcstudy.labels import REGION_COLOURS
from wbcstudy.registry import run_title
from wbcstudy.reporting.figures.canvas import (
    DRAWN,
    PAGE_IN,
    RIM,
    StudyFigure,
    add_legend,
    make_axes,
    make_blank,
    plain,
    styled,
)
from wbcstudy.reporting.figures.colours import BLUE, INK, ORANGE


@styled
def fig_history(history: pd.DataFrame, best_epoch: int | None, title: str) -> StudyFigure:
    """Draw one run's losses, and its validation Dice per region.

    Args:
        history: a run's history.csv: epoch, loss, val_loss, and val_dice_<region> where measured.
        best_epoch: epoch whose weights were kept, marked by a line; None for no line.
        title: title of the figure.
    """
    figure, (left, right) = make_axes(1, 2, PAGE_IN, 2.6)
    _draw_losses(left, history, best_epoch)
    left.set(xlabel="epoch", ylabel="loss")
    left.legend(frameon=False)
    for region in DRAWN:
        if f"val_dice_{region}" in history:
            line = {"color": REGION_COLOURS[region], "label": region, "lw": 1.6, "path_effects": RIM}
            right.plot(history["epoch"], history[f"val_dice_{region}"], **line)
    _mark_best(right, best_epoch)
    right.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))
    right.set(xlabel="epoch", ylabel="validation Dice", ylim=(0, 1.02))
    if right.get_lines():
        right.legend(frameon=False, loc="lower right")
    figure.suptitle(plain(title), fontsize=9)
    return figure


@styled
def fig_learning_curves(
    histories: Mapping[str, pd.DataFrame], best_epochs: Mapping[str, int] | None = None
) -> StudyFigure:
    """Draw the losses of several runs, one panel each, with the best epoch and its validation Dice in the title.

    Args:
        histories: run name -> history.csv.
        best_epochs: run name -> best epoch; the epoch of the lowest validation loss if None.
    """
    if not histories:
        return make_blank("No run has a history yet.")
    width = min(4, len(histories))
    height = -(-len(histories) // width)
    figure, axes = make_axes(height, width, PAGE_IN, 1.85 * height + 0.45)
    panels = np.ravel(axes)
    for axis, (name, history) in zip(panels, histories.items(), strict=False):
        best = (best_epochs or {}).get(name)
        if best is None and history["val_loss"].notna().any():
            best = int(history.loc[history["val_loss"].idxmin(), "epoch"])
        _draw_losses(axis, history, best)
        at_best = history[history["epoch"] == best].head(1)
        columns = [f"val_dice_{region}" for region in DRAWN if f"val_dice_{region}" in history]
        dice = " / ".join(f"{value:.3f}" for value in at_best[columns].to_numpy().ravel())
        title = "\n".join(plain(line) for line in textwrap.wrap(run_title(name), 24, break_on_hyphens=False))
        axis.set_title(f"{title}\nepoch {best}" + (f": Dice {dice}" if dice else ""), fontsize=6.5)
    for axis in panels[len(histories) :]:
        axis.set_axis_off()
    for axis in panels[max(0, len(histories) - width) : len(histories)]:
        axis.set_xlabel("epoch")
    figure.supylabel("loss", fontsize=8)
    handles = [Line2D([], [], color=BLUE, label="training"), Line2D([], [], color=INK, label="validation")]
    add_legend(figure, [*handles, Line2D([], [], color=ORANGE, ls=":", label="best epoch (weights kept)")])
    return figure


def _draw_losses(axis, history: pd.DataFrame, best_epoch: int | None) -> None:
    axis.plot(history["epoch"], history["loss"], color=BLUE, lw=1.3, label="training")
    axis.plot(history["epoch"], history["val_loss"], color=INK, lw=1.3, label="validation")
    _mark_best(axis, best_epoch)
    # The losses of the first epochs are often ten times as high as the others; a log scale shows both.
    if (history[["loss", "val_loss"]].dropna() > 0).all(axis=None):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axis.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))


def _mark_best(axis, best_epoch: int | None) -> None:
    if best_epoch is not None:
        axis.axvline(best_epoch, color=ORANGE, lw=1.2, ls=":", label=f"best epoch {best_epoch}")
