"""Show the progress of a grid, read from the run folders: run, epoch, loss and time left."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.files import read_bytes
from wbcstudy.registry import run_title
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import run_seconds
from wbcstudy.wording import count, duration

_POLL_S = 1.0
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
    """Follow the runs of a grid and show one line for every epoch, run and step.

    Args:
        logs: the study's folder of logs.
        work: name -> folder and settings of the runs to follow.
        show: receives one line at a time.
        jobs: number of parallel runs.
        transfers: `<run> on <dataset>` -> folder of the scores on another dataset.
    """

    def __init__(
        self,
        logs: Path,
        work: Mapping[str, tuple[RunFolder, RunConfig | BaselineConfig]],
        show: Callable[[str], None],
        jobs: int = 1,
        transfers: Mapping[str, RunFolder] | None = None,
    ) -> None:
        self._logs, self._show, self._jobs = logs, show, jobs
        self._number = {name: f"{number}/{len(work)}" for number, name in enumerate(work, start=1)}
        self._open = {name: (folder, run) for name, (folder, run) in work.items() if folder.read_status() != "complete"}
        self._epochs = {name: len(_read_rows(folder.history)) for name, (folder, _) in self._open.items()}
        self._started: set[str] = set()
        self._transfers = {name: folder for name, folder in (transfers or {}).items() if folder.read_record() is None}
        self._steps = {
            "dataset": "Checking the images (notebook 1_dataset)",
            "summary": "Building tables, figures and the report (notebook 4_summary)",
        }
        # Logs of an earlier call are not news.
        self._old_logs = {name: self._log_time(name) for name in (*self._steps, *self._open)}
        self._run_seconds: list[float] = []

    def follow(self, child: subprocess.Popen) -> None:
        """Show the progress until the process ends."""
        while child.poll() is None:
            start = time.monotonic()
            self._update()
            # With thousands of runs on a slow disk, wait longer than reading them takes.
            pause = max(_POLL_S, 10 * (time.monotonic() - start))
            try:
                child.wait(pause)
            except subprocess.TimeoutExpired:
                continue
        self._update()

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
            resumed = f", resuming at epoch {self._epochs[name] + 1}" if self._epochs[name] else ""
            self._show(f"{head}: starting{resumed} ...")
        rows = _read_rows(folder.history)
        for row in rows[self._epochs[name] :]:
            left = (run.epochs - int(row["epoch"])) * float(row["seconds"])
            self._show(
                f"{head}: epoch {int(row['epoch']):>{len(str(run.epochs))}} of at most {run.epochs}, "
                f"loss {float(row['loss']):.4f}, validation loss {float(row['val_loss']):.4f}, "
                f"at most {duration(left)} left{self._study_left(left)}"
            )
        self._epochs[name] = max(self._epochs[name], len(rows))
        record = folder.read_record()
        if record is None:
            return
        del self._open[name]
        success = "done, test Dice"
        if record.get("status") == "complete" and isinstance(run, RunConfig):
            self._run_seconds.append(run_seconds(record) or 0.0)
            success = (
                f"done after {count(record.get('epochs', 0), 'epoch')} ({duration(self._run_seconds[-1])}), test Dice"
            )
        self._show(f"{head}: {_outcome(record, success)}")

    def _study_left(self, left: float) -> str:
        """Return an estimate of the time for the whole study, once the first run is finished."""
        waiting = [
            name for name, (_, run) in self._open.items() if isinstance(run, RunConfig) and name not in self._started
        ]
        if not self._run_seconds or not waiting:
            return ""
        typical = sum(self._run_seconds) / len(self._run_seconds)
        return f" (study: about {duration(min(left, typical) + typical * len(waiting) / self._jobs)})"

    def _log_time(self, name: str) -> float | None:
        try:
            return (self._logs / f"{name}.log").stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None


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
