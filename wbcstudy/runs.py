"""Where results live and what a run folder holds. One place knows the file names; everybody else asks.

A run folder is complete and describes itself. `run.json` is written last and in one step, so a run whose `run.json`
says `complete` has all its files, and one without it is unfinished, whatever else lies there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from wbcstudy.config import RunConfig, read_run
from wbcstudy.errors import StudyError

SCORE_COLUMNS = ("run", "case_id", "cell_type", "region", "tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class StudyFolder:
    """`outputs/<study>/`: every path below it, by name."""

    path: Path

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def split(self) -> Path:
        """The cases of each fold's training, validation and test part; one for all runs."""
        return self.path / "split.json"

    @property
    def settings(self) -> Path:
        """The study's settings as first run; later ones must agree."""
        return self.path / "study.yaml"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """Folder of what the programs printed."""
        return self.path / "logs"

    @property
    def tables(self) -> Path:
        """Folder of table1, table2 and table3, each .csv, .html and .tex."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures, each .png and .svg."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.path / "report" / "index.html"

    def run(self, name: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.runs / name)


@dataclass(frozen=True)
class RunFolder:
    """`outputs/<study>/runs/<run>/`: every file in it, by name."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def params(self) -> Path:
        """What papermill got."""
        return self.path / "params.yaml"

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.path / "train.ipynb"

    @property
    def page(self) -> Path:
        """The executed notebook as a page."""
        return self.path / "train.html"

    @property
    def history(self) -> Path:
        """One row per epoch: epoch (from 1), loss, val_loss, and more."""
        return self.path / "history.csv"

    @property
    def scores(self) -> Path:
        """One row per test case and region; the columns are `SCORE_COLUMNS` and ratios."""
        return self.path / "scores.csv"

    @property
    def record(self) -> Path:
        """run.json."""
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        """The trained model with the best epoch's weights."""
        return self.path / "model.keras"

    @property
    def predictions(self) -> Path:
        """Predicted masks of the test cases: a compressed NumPy file, case id -> uint8 (H, W) of labels."""
        return self.path / "predictions.npz"

    @property
    def figures(self) -> Path:
        """Folder of the run's own figures."""
        return self.path / "figures"

    @property
    def checkpoint(self) -> Path:
        """Folder of the state after the last finished epoch; gone when the run is complete."""
        return self.path / "checkpoint"

    def read_record(self) -> dict[str, Any] | None:
        """run.json as a dict, or None where it is absent or was cut off."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
            return None
        return record if isinstance(record, dict) else None

    @property
    def status(self) -> str:
        """'complete', 'failed', 'unfinished' (it has begun) or 'waiting'."""
        record = self.read_record()
        if record is not None and record.get("status") in ("complete", "failed"):
            return record["status"]
        return "unfinished" if self.history.exists() or self.checkpoint.exists() else "waiting"


@dataclass(frozen=True)
class Run:
    """A finished or failed run, read back from its folder.

    Args:
        folder: where it lies.
        config: its parameters.
        record: run.json.
    """

    folder: RunFolder
    config: RunConfig
    record: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def complete(self) -> bool:
        """Whether it has scores."""
        return self.record.get("status") == "complete"

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.csv: one row per test case and region. Case ids and cell types are text, as in the dataset."""
        # "NA" and "null" are fine names for a case; only an empty field is missing.
        text = {"run": str, "case_id": str, "cell_type": str, "region": str}
        return pd.read_csv(self.folder.scores, dtype=text, keep_default_na=False, na_values=[""])

    @cached_property
    def history(self) -> pd.DataFrame:
        """history.csv: one row per epoch."""
        return pd.read_csv(self.folder.history)


def load_run(folder: RunFolder) -> Run:
    """Read one run.

    Raises:
        StudyError: there is no `run.json`, or it is damaged.
    """
    record = folder.read_record()
    if record is None:
        raise StudyError(
            f"{folder.path} holds no finished run.",
            expected="a run folder with params.yaml and run.json",
            fix="Let the run finish: `wbcstudy run params/<study>.yaml` continues it.",
        )
    return Run(folder, read_run(folder.params), record)


def load_runs(study: StudyFolder) -> list[Run]:
    """Every finished or failed run of a study, by name; unfinished ones are left out."""
    folders = sorted(path for path in study.runs.glob("*") if path.is_dir()) if study.runs.is_dir() else []
    return [load_run(RunFolder(path)) for path in folders if RunFolder(path).read_record() is not None]


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write run.json in one step, with the time of writing (UTC, ISO 8601)."""
    stamped = record | {"written": datetime.now(UTC).isoformat(timespec="seconds")}
    with atomic_write(folder.record) as path:
        path.write_text(json.dumps(stamped, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` only when the block ends without an error.

    The temporary file lies beside the target and keeps its suffix, since writers choose a format by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        # mkstemp makes files private; results are for the group.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def project_root() -> Path:
    """The checkout: `$WBCSTUDY_ROOT`, or the nearest folder upwards that holds the notebooks.

    A notebook opened in JupyterLab runs in notebooks/, a batch in the checkout; both must find the same outputs/.

    Raises:
        StudyError: there is none.
    """
    given = os.environ.get("WBCSTUDY_ROOT")
    places = [Path(given)] if given else [Path.cwd(), *Path.cwd().parents]
    for place in places:
        if (place / "notebooks" / "2_train.ipynb").is_file():
            return place.resolve()
    raise StudyError(
        f"No wbcstudy checkout at {places[0]}" + ("." if given else " or above it."),
        expected="a folder with notebooks/2_train.ipynb, params/ and Snakefile",
        fix="Go to your copy of the wbcstudy repository, or set WBCSTUDY_ROOT to it.",
    )


def outputs_folder() -> Path:
    """Where studies are written: `$WBCSTUDY_OUTPUTS`, or outputs/ in the checkout."""
    given = os.environ.get("WBCSTUDY_OUTPUTS")
    return Path(given).resolve() if given else project_root() / "outputs"


def data_folder() -> Path:
    """Where fetched and generated datasets lie: `$WBCSTUDY_DATA`, or data/ in the checkout."""
    given = os.environ.get("WBCSTUDY_DATA")
    return Path(given).resolve() if given else project_root() / "data"
