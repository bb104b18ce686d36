"""Show the progress of a training: one line per epoch in scripts, a bar and live learning curves in notebooks."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.labels import REGION_COLOURS
from wbcstudy.nets.backend import load_keras
from wbcstudy.runs.notebooks import has_live_page
from wbcstudy.wording import count, duration

# Minimum time between two updates of the page within an epoch, and of the steps that the time per epoch is
# estimated from, in s. The first step builds the graph and is not counted.
_UPDATE_S, _ESTIMATE_S = 0.5, 2.0
# Scripts print the estimate for epochs of at least this time, in s.
_LONG_EPOCH_S = 10.0
# Size of one plot, and its margins on the left and at the bottom, in px.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 330, 170, 44, 24
_TRAINING_COLOUR = "#0072b2"
_Y_TICKS = 3


class Display:
    """The progress of one training.

    In a notebook that a user has open, one output is replaced again and again. Its last state stays in the saved
    notebook. Elsewhere, lines are printed.

    Args:
        config: the settings; epochs and batch_size are used.
        steps: steps per epoch.
        report: called with each line; None for the page or `print`.
    """

    def __init__(self, config: RunConfig, steps: int, report: Callable[[str], Any] | None = None) -> None:
        self._config, self._steps = config, steps
        self._report = report or (None if has_live_page() else print)
        self._lines: list[str] = []
        self._rows: Sequence[dict[str, Any]] = ()
        self._handle: Any = None
        self._curves, self._updated = "", 0.0
        self._first_step = 0.0
        self._epoch_s: float | None = None

    def line(self, text: str) -> None:
        """Show one line."""
        self._lines.append(text)
        if self._report:
            self._report(text)

    def begin(self, rows: Sequence[dict[str, Any]]) -> None:
        """Begin or resume a training.

        Args:
            rows: the finished epochs, as in history.csv; the same list in all calls.
        """
        self._rows = rows
        self._draw()
        self._update("the first step takes longer, since it builds the graph")

    def of_steps(self, epoch: int) -> list[Any]:
        """Return callbacks for `fit`, which show the step of an epoch; none where nothing would be shown."""
        if self._report and self._epoch_s is not None:
            return []
        callbacks = load_keras().callbacks
        return [callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: self._end_step(epoch, step + 1))]

    def epoch(self, rows: Sequence[dict[str, Any]]) -> None:
        """Show a finished epoch."""
        self._rows = rows
        self._epoch_s = rows[-1]["seconds"]
        self.line(describe_epoch(rows, self._config))
        self._draw()
        self._update(f"{duration(self._epoch_s)} per epoch, {_time_left(rows, self._config)}")

    def end(self, best_epoch: int, reason: str) -> None:
        """Show the end of the training, which stays in the notebook."""
        self._update(f"{reason}; the weights of epoch {best_epoch} are kept", done=True)

    def _end_step(self, epoch: int, step: int) -> None:
        now = time.perf_counter()
        if step == 1:
            self._first_step = now
        elif self._epoch_s is None and (now - self._first_step >= _ESTIMATE_S or step == self._steps):
            self._epoch_s = (now - self._first_step) / (step - 1) * self._steps
            if self._epoch_s >= _LONG_EPOCH_S and self._report:
                self.line(f"{self._estimate(epoch)}, without the time for the validation images")
        if self._handle and now - self._updated >= _UPDATE_S:
            self._update(", ".join(filter(None, [f"step {step} of {self._steps}", self._estimate(epoch)])), step=step)

    def _estimate(self, epoch: int) -> str:
        if self._epoch_s is None:
            return ""
        left = self._epoch_s * (self._config.epochs - epoch + 1)
        return f"about {duration(self._epoch_s)} per epoch, about {duration(left)} left"

    def _draw(self) -> None:
        if not self._report:
            self._curves = draw_curves(self._rows)

    def _update(self, state: str, step: int = 0, done: bool = False) -> None:
        if self._report:
            return
        self._updated = time.perf_counter()
        epochs, finished = self._config.epochs, len(self._rows)
        title = count(finished, "epoch") if done else f"Epoch {min(finished + 1, epochs)} of at most {epochs}"
        share = 1.0 if done else (finished + step / self._steps) / epochs
        listed = "\n".join(self._lines)
        list_page = f'<pre style="overflow-x: auto">{html.escape(listed)}</pre>'
        details = f"<details><summary>All epochs</summary>{list_page}</details>" if listed else ""
        page = (
            f'<div style="max-width: {2 * _WIDTH}px"><div><b>{title}</b>: {html.escape(state)}</div>'
            '<div style="height: 6px; margin: 4px 0 8px; border-radius: 3px; background: rgba(128, 128, 128, 0.3)">'
            f'<div style="height: 6px; width: {100 * share:.1f}%; border-radius: 3px; background: {_TRAINING_COLOUR}">'
            f"</div></div>{self._curves}"
            f"{details}</div>"
        )
        self._show({"text/html": page, "text/plain": f"{listed}\n{title}: {state}".strip()})

    def _show(self, data: dict[str, str]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


def describe_epoch(rows: Sequence[dict[str, Any]], config: RunConfig) -> str:
    """Describe the last epoch in one line.

    Args:
        rows: the finished epochs, as in history.csv, at least one.
        config: epochs is used.
    """
    row = rows[-1]
    width = len(str(config.epochs))
    return (
        f"epoch {row['epoch']:>{width}}/{config.epochs}  loss {row['loss']:.4f}  val_loss {row['val_loss']:.4f}  "
        f"nucleus {row['val_dice_nucleus']:.3f}  cytoplasm {row['val_dice_cytoplasm']:.3f}  "
        f"{row['seconds']:.1f} s, {_time_left(rows, config)}"
    )


def draw_curves(rows: Sequence[dict[str, Any]]) -> str:
    """Draw losses and validation Dice over the epochs.

    Args:
        rows: the finished epochs, as in history.csv.

    Returns:
        Two SVG images for a page of either brightness; "" without an epoch.
    """
    if not rows:
        return ""
    losses = {"training loss": ("loss", _TRAINING_COLOUR), "validation loss": ("val_loss", "currentColor")}
    dice = {
        f"validation Dice, {region}": (f"val_dice_{region}", REGION_COLOURS[region])
        for region in ("nucleus", "cytoplasm")
    }
    return _draw_plot(rows, losses, None) + _draw_plot(rows, dice, (0.0, 1.0))


def _draw_plot(
    rows: Sequence[dict[str, Any]], lines: dict[str, tuple[str, str]], limits: tuple[float, float] | None
) -> str:
    values = {name: [float(row[column]) for row in rows] for name, (column, _) in lines.items()}
    finite = [value for each in values.values() for value in each if math.isfinite(value)]
    # Losses of the first epochs are often ten times as high as the others: a log scale shows both.
    log = limits is None and bool(finite) and min(finite) > 0
    low, high = limits or ((min(finite), max(finite)) if finite else (0.0, 1.0))
    scale: Callable[[float], float] = math.log if log else float
    span = scale(high) - scale(low) or 1.0

    def x(epoch: float) -> float:
        return _LEFT + (epoch - 1) / max(1, len(rows) - 1) * (_WIDTH - _LEFT - 12)

    def y(value: float) -> float:
        return 30 + (scale(high) - scale(value)) / span * (_HEIGHT - 36 - _BOTTOM)

    ticks = np.geomspace(low, high, _Y_TICKS) if log else np.linspace(low, high, _Y_TICKS)
    parts = []
    for tick in dict.fromkeys(f"{value:.3g}" for value in ticks):
        height = y(min(max(float(tick), low), high))
        parts.append(
            f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - 12}" stroke="currentColor" opacity="0.2"/>'
            f'<text x="{_LEFT - 5}" y="{height + 4:.1f}" text-anchor="end">{tick}</text>'
        )
    for i, (name, (_, colour)) in enumerate(lines.items()):
        points = [
            (x(row["epoch"]), y(value)) for row, value in zip(rows, values[name], strict=True) if math.isfinite(value)
        ]
        parts.append(_draw_line(points, colour))
        parts.append(
            f'<circle cx="{_LEFT + 6}" cy="{8 + 13 * i}" r="4" fill="{colour}" stroke="#777777"/>'
            f'<text x="{_LEFT + 15}" y="{12 + 13 * i}">{name} {values[name][-1]:.3f}</text>'
        )
    parts.append(f'<text x="{_WIDTH - 12}" y="{_HEIGHT - 6}" text-anchor="end">epoch {len(rows)}</text>')
    summary = "; ".join(
        f"{name}: {each[0]:.3f} in epoch 1, {each[-1]:.3f} in epoch {len(rows)}" for name, each in values.items()
    )
    size = f'width="{_WIDTH}" height="{_HEIGHT}" font-size="11"'
    return f'<svg {size} fill="currentColor" role="img" aria-label="{summary}">{"".join(parts)}</svg>'


def _draw_line(points: Sequence[tuple[float, float]], colour: str) -> str:
    if len(points) == 1:
        return f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2.5" fill="{colour}" stroke="#777777"/>'
    path = f'points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none"'
    # With a rim, yellow is visible on white.
    rim = f'<polyline {path} stroke="#777777" stroke-width="2.8"/>'
    return f'{rim}<polyline {path} stroke="{colour}" stroke-width="1.6"/>'


def _time_left(rows: Sequence[dict[str, Any]], config: RunConfig) -> str:
    # The median ignores the first epoch after a start, which builds the graph.
    recent = [row["seconds"] for row in rows[-5:]]
    return f"about {duration(float(np.median(recent)) * (config.epochs - rows[-1]['epoch']))} left"
