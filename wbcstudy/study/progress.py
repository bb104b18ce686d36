"""How far a grid is, read from the run folders: which run of how many, epoch, loss, time left."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.registry import run_title
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import run_seconds

POLL_S = 1.0
# Columns of history.csv of which lines are made.
_SHOWN = ("loss", "val_loss", "seconds")


def last_epoch(history: Path) -> dict[str, str] | None:
    """The last complete row of a history.csv, or None."""
    rows = _read_rows(history)
    return rows[-1] if rows else None


def read_dice(record: Mapping) -> dict[str, float]:
    """Region -> pooled Dice, of a run.json; a region of which it says nothing is left out.

    An earlier method's scores are kept per clean-up, of which "raw" is meant.
    """
    scores = record.get("scores")
    if isinstance(scores, Mapping) and isinstance(scores.get("raw"), Mapping):
        scores = scores["raw"]
    of = {region: scores.get(region) if isinstance(scores, Mapping) else None for region in ("nucleus", "cytoplasm")}
    dice = {region: counts.get("dice") for region, counts in of.items() if isinstance(counts, Mapping)}
    return {region: float(value) for region, value in dice.items() if isinstance(value, int | float)}


def in_words(seconds: float) -> str:
    """A duration for a person: '40 s', '12 min', '3 h 20 min'."""
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Follows the runs of a grid and says one line for every epoch, run and step.

    Args:
        logs: the study's folder of logs.
        work: name -> folder and settings of what is followed.
        show: gets one line at a time.
        jobs: how many are done at the same time.
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
        self._place = {name: place for place, name in enumerate(work, start=1)}
        self._open = {name: (folder, run) for name, (folder, run) in work.items() if folder.status != "complete"}
        self._seen = {name: len(_read_rows(folder.history)) for name, (folder, _) in self._open.items()}
        self._begun: set[str] = set()
        self._transfers = {name: place for name, place in (transfers or {}).items() if place.read_record() is None}
        self._steps = [
            ("dataset", "Looking at the images (notebook 1_dataset)"),
            ("summary", "Building tables, figures and the report (notebook 4_summary)"),
        ]
        # A log from an earlier call is not news.
        self._old = {step: _modified(logs / f"{step}.log") for step, _ in self._steps}
        self._old |= {name: _modified(logs / f"{name}.log") for name in self._open}
        self._run_seconds: list[float] = []

    def follow(self, child: subprocess.Popen) -> None:
        """Say what happens until the process ends."""
        while child.poll() is None:
            start = time.monotonic()
            self._look()
            # Thousands of runs on a slow disk shall not be looked at all the time.
            pause = max(POLL_S, 10 * (time.monotonic() - start))
            try:
                child.wait(pause)
            except subprocess.TimeoutExpired:
                continue
        self._look()

    def _look(self) -> None:
        for step, text in list(self._steps):
            if _modified(self._logs / f"{step}.log") != self._old[step]:
                self._show(f"{text} ...")
                self._steps.remove((step, text))
        for folder, run in list(self._open.values()):
            self._look_at(run, folder)
        for name, place in list(self._transfers.items()):
            self._look_elsewhere(name, place)

    def _look_at(self, run: RunConfig | BaselineConfig, folder: RunFolder) -> None:
        head = f"[{self._place[run.name]}/{len(self._place)}] {run_title(run.name)}"
        if run.name not in self._begun and _modified(self._logs / f"{run.name}.log") != self._old[run.name]:
            self._begun.add(run.name)
            again = f", from epoch {self._seen[run.name] + 1} on" if self._seen[run.name] else ""
            self._show(f"{head}: starting{again} ...")
        if run.name not in self._begun:
            return
        rows = _read_rows(folder.history)
        for row in rows[self._seen[run.name] :]:
            left = (run.epochs - int(row["epoch"])) * float(row["seconds"])
            self._show(
                f"{head}: epoch {int(row['epoch']):>{len(str(run.epochs))}} of at most {run.epochs}, "
                f"loss {float(row['loss']):.4f}, validation loss {float(row['val_loss']):.4f}, "
                f"at most {in_words(left)} left{self._study_left(run, left)}"
            )
        self._seen[run.name] = max(self._seen[run.name], len(rows))
        record = folder.read_record()
        if record is None:
            return
        del self._open[run.name]
        if record.get("status") == "complete":
            told, after = ", ".join(f"{region} {dice:.3f}" for region, dice in read_dice(record).items()), ""
            if isinstance(run, RunConfig):
                self._run_seconds.append(run_seconds(record) or 0.0)
                after = f" after {record['epochs']} epochs, {in_words(self._run_seconds[-1])}"
            self._show(f"{head}: done{after}; test Dice {told}")
        else:
            self._show(f"{head}: FAILED: {str(record.get('error', '')).splitlines()[0]}")

    def _look_elsewhere(self, name: str, place: RunFolder) -> None:
        record = place.read_record()
        if record is None:
            return
        del self._transfers[name]
        if record.get("status") == "complete":
            told = ", ".join(f"{region} {dice:.3f}" for region, dice in read_dice(record).items())
            self._show(f"{name}: Dice {told}")
        else:
            self._show(f"{name}: FAILED: {str(record.get('error', '')).splitlines()[0]}")

    def _study_left(self, run: RunConfig, left: float) -> str:
        """Time for the whole study, once a finished run tells what one takes."""
        waiting = [
            name for name, (_, one) in self._open.items() if isinstance(one, RunConfig) and name not in self._begun
        ]
        if not self._run_seconds or not waiting:
            return ""
        typical = sum(self._run_seconds) / len(self._run_seconds)
        return f" (study: about {in_words(min(left, typical) + typical * len(waiting) / self._jobs)})"


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a history.csv; none of a damaged one, which the training itself will speak of."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, csv.Error):
        return []
    return [row for row in rows if (row.get("epoch") or "").isdigit() and all(_is_number(row.get(n)) for n in _SHOWN)]


def _is_number(text: object) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
