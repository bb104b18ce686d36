"""Show the progress of a grid, read from the run folders: a line per run and, on a terminal, a table."""

from __future__ import annotations

import csv
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.files import read_bytes
from wbcstudy.registry import run_title
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import run_seconds
from wbcstudy.study.live_table import LiveTable, Row, can_show_table
from wbcstudy.study.time_left import Pace, TimeLeft, study_time_left
from wbcstudy.wording import count, duration

_POLL_S = 1.0
# Finished runs of each encoder that say how long an epoch takes: enough, and quickly read in a study of thousands.
_LEARN_FROM = 3
# The study's time is first estimated after this epoch, since the first one also builds the graph.
_FIRST_ESTIMATE = 2
# No terminal has more lines.
_MOST_ROWS = 200
# Columns of history.csv that the progress lines show.
_SHOWN = ("loss", "val_loss", "seconds")


def last_epoch(history: Path) -> dict[str, str] | None:
    """Return the last complete row of a history.csv, or None."""
    rows = _read_rows(history)
    return rows[-1] if rows else None


def read_dice(record: Mapping) -> dict[str, float]:
    """Return region -> pooled Dice from a run.json, without regions that have none.

    The record of an earlier method has scores per clean-up; this returns the raw ones.
    """
    scores = record.get("scores")
    if isinstance(scores, Mapping) and isinstance(scores.get("raw"), Mapping):
        scores = scores["raw"]
    regions = {name: scores.get(name) if isinstance(scores, Mapping) else None for name in ("nucleus", "cytoplasm")}
    dice = {region: counts.get("dice") for region, counts in regions.items() if isinstance(counts, Mapping)}
    return {region: float(value) for region, value in dice.items() if isinstance(value, int | float)}


def error_line(record: Mapping) -> str:
    """Return the first line of the error in a run.json."""
    return next(iter(str(record.get("error") or "").splitlines()), "no reason recorded")


class Progress:
    """Follow the runs of a grid: a line for every step and finished run, and on a terminal a table of current runs.

    Args:
        logs: the study's folder of logs.
        work: name -> folder and settings of the runs to follow.
        show: receives one line at a time.
        jobs: number of parallel runs.
        transfers: `<run> on <dataset>` -> folder of the scores on another dataset.
        verbose: show a line for every epoch, and no table.
        steps: seconds per epoch from timed steps, see `Pace`.
    """

    def __init__(
        self,
        logs: Path,
        work: Mapping[str, tuple[RunFolder, RunConfig | BaselineConfig]],
        show: Callable[[str], None],
        jobs: int = 1,
        transfers: Mapping[str, RunFolder] | None = None,
        verbose: bool = False,
        steps: Mapping[tuple[str, bool], float] | None = None,
    ) -> None:
        self._logs, self._show, self._jobs, self._verbose = logs, show, jobs, verbose
        self._work = work
        self._number = {name: f"{number}/{len(work)}" for number, name in enumerate(work, start=1)}
        self._open = {name: (folder, run) for name, (folder, run) in work.items() if folder.read_status() != "complete"}
        self._rows = {name: _read_rows(folder.history) for name, (folder, _) in self._open.items()}
        self._started: set[str] = set()
        self._failed = 0
        self._estimated = self._table = False
        self._transfers = {name: folder for name, folder in (transfers or {}).items() if folder.read_record() is None}
        self._steps = {
            "dataset": "Checking the images (notebook 1_dataset)",
            "summary": "Building tables, figures and the report (notebook 4_summary)",
        }
        # Logs of an earlier call are not news.
        self._old_logs = {name: self._log_time(name) for name in (*self._steps, *self._open)}
        self._pace = Pace(steps or {})
        self._learn_pace()

    def follow(self, child: subprocess.Popen) -> None:
        """Show the progress until the process ends."""
        show = self._show
        with LiveTable(can_show_table() and not self._verbose) as table:
            self._table = table.enabled
            self._show = table.print if table.enabled else show
            while child.poll() is None:
                start = time.monotonic()
                self._update()
                table.show(self._table_rows(), self._summary)
                # With thousands of runs on a slow disk, wait longer than reading them takes.
                pause = max(_POLL_S, 10 * (time.monotonic() - start))
                try:
                    child.wait(pause)
                except subprocess.TimeoutExpired:
                    continue
            self._update()
        self._show = show

    def time_left(self) -> TimeLeft:
        """Estimate the time until all trainings of the study end."""
        trainings = {
            name: (run, _seconds(self._rows[name]))
            for name, (_, run) in self._open.items()
            if isinstance(run, RunConfig)
        }
        left = study_time_left(self._pace, trainings, max(self._jobs, len(self._running)))
        return replace(left, methods=len(trainings) < len(self._open))

    def _learn_pace(self) -> None:
        """Read the pace of each encoder from runs of earlier calls: of finished runs, a few of each encoder."""
        read: Counter = Counter()
        for name, (folder, run) in self._work.items():
            if not isinstance(run, RunConfig):
                continue
            if name in self._open:
                self._pace.add_epochs(run, _seconds(self._rows[name]))
            elif read[run.encoder] < _LEARN_FROM and (record := folder.read_record()):
                read[run.encoder] += 1
                self._pace.add_epochs(run, _seconds(_read_rows(folder.history)))
                self._pace.add_run(run, *_length(record, run))

    def _update(self) -> None:
        for step, text in list(self._steps.items()):
            if self._log_time(step) != self._old_logs[step]:
                self._show(f"{text} ...")
                del self._steps[step]
        for folder, run in list(self._open.values()):
            self._update_run(run, folder)
        for name, folder in list(self._transfers.items()):
            if (record := folder.read_record()) is not None:
                del self._transfers[name]
                self._show(f"{name}: {_outcome(record, 'Dice')}")

    def _update_run(self, run: RunConfig | BaselineConfig, folder: RunFolder) -> None:
        name, head = run.name, f"[{self._number[run.name]}] {run_title(run.name)}"
        if name not in self._started:
            if self._log_time(name) == self._old_logs[name]:
                return
            self._started.add(name)
            resumed = f", resuming at epoch {len(self._rows[name]) + 1}" if self._rows[name] else ""
            if self._verbose or resumed:
                self._show(f"{head}: starting{resumed} ...")
        if isinstance(run, RunConfig):
            self._update_epochs(run, folder, head)
        record = folder.read_record()
        if record is None:
            return
        del self._open[name]
        success = "done, test Dice"
        if record.get("status") == "complete" and isinstance(run, RunConfig):
            epochs, _ = _length(record, run)
            self._pace.add_run(run, *_length(record, run))
            success = f"done after {count(epochs, 'epoch')} ({duration(run_seconds(record) or 0.0)}), test Dice"
        self._failed += record.get("status") != "complete"
        # The table shows it, too.
        left = f"; study: {self.time_left().describe()}" if self._trainings_left and not self._table else ""
        self._show(f"{head}: {_outcome(record, success)}{left}")

    def _update_epochs(self, run: RunConfig, folder: RunFolder, head: str) -> None:
        earlier, rows = len(self._rows[run.name]), _read_rows(folder.history)
        if len(rows) <= earlier:
            return
        self._rows[run.name] = rows
        self._pace.add_epochs(run, _seconds(rows[earlier:]))
        if self._verbose:
            for number in range(earlier, len(rows)):
                row = rows[number]
                left = self._pace.seconds_left(run, _seconds(rows[: number + 1]))
                self._show(
                    f"{head}: epoch {int(row['epoch']):>{len(str(run.epochs))}} of at most {run.epochs}, "
                    f"loss {float(row['loss']):.4f}, validation loss {float(row['val_loss']):.4f}, "
                    f"about {duration(left)} left"
                )
        elif not self._table and not self._estimated and len(rows) >= _FIRST_ESTIMATE:
            self._estimated = True
            self._show(f"{head}: epoch {len(rows)}; study: {self.time_left().describe()}")

    @property
    def _running(self) -> list[str]:
        return [name for name in self._open if name in self._started]

    @property
    def _trainings_left(self) -> bool:
        return any(isinstance(run, RunConfig) for _, run in self._open.values())

    def _table_rows(self) -> list[Row]:
        """Return the current runs, then those that wait."""
        waiting = (name for name in self._open if name not in self._started)
        return [self._row(name) for name in islice(chain(self._running, waiting), _MOST_ROWS)]

    def _row(self, name: str) -> Row:
        _, run = self._open[name]
        rows, title = self._rows[name], run_title(name).replace(" loss", "")
        if not isinstance(run, RunConfig):
            return Row(title, "", "", "" if name in self._started else "waiting")
        epoch = f"{len(rows)}/{run.epochs}" if rows or name in self._started else ""
        dice = [rows[-1].get(f"val_dice_{region}", "") for region in ("nucleus", "cytoplasm")] if rows else []
        shown = " ".join(f"{float(value):.3f}" for value in dice if _is_number(value))
        if name not in self._started:
            return Row(title, epoch, shown, "waiting")
        if len(rows) >= run.epochs:
            return Row(title, epoch, shown, "scoring")
        seconds = self._pace.seconds_left(run, _seconds(rows))
        return Row(title, epoch, shown, duration(seconds) if rows or seconds else "starting")

    def _summary(self) -> str:
        done = len(self._work) - len(self._open) - self._failed
        waiting = len(self._open) - len(self._running)
        failed = f", {self._failed} failed" if self._failed else ""
        text = f"{done} of {count(len(self._work), 'run')} finished{failed}, "
        text += f"{len(self._running)} running, {waiting} waiting."
        return f"{text} Study: {self.time_left().describe()}." if self._trainings_left else text

    def _log_time(self, name: str) -> float | None:
        try:
            return (self._logs / f"{name}.log").stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None


def _seconds(rows: list[dict[str, str]]) -> list[float]:
    return [float(row["seconds"]) for row in rows]


def _length(record: Mapping[str, Any], run: RunConfig) -> tuple[int, float]:
    """Return a finished run's epochs, and its seconds outside of them."""
    epochs, fit = record.get("epochs"), record.get("fit_seconds")
    epochs = epochs if isinstance(epochs, int) else run.epochs
    return epochs, (run_seconds(record) or 0.0) - (float(fit) if isinstance(fit, int | float) else 0.0)


def _outcome(record: Mapping[str, Any], success: str) -> str:
    if record.get("status") != "complete":
        return f"FAILED: {error_line(record)}"
    return f"{success} {', '.join(f'{region} {dice:.3f}' for region, dice in read_dice(record).items())}"


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Return the complete rows of a history.csv; none of a damaged one, which the training itself reports."""
    try:
        rows = list(csv.DictReader(read_bytes(path).decode().splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [row for row in rows if (row.get("epoch") or "").isdigit() and all(_is_number(row.get(n)) for n in _SHOWN)]


def _is_number(text: object) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
