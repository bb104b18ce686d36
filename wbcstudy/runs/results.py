"""Where results live and what a run folder holds. One place knows the file names; everybody else asks.

A run folder is complete and describes itself. `run.json` is written last and in one step, so a run whose `run.json`
says `complete` has all its files, and one without it is unfinished, whatever else lies there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_config, read_run
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, sync, write_json
from wbcstudy.runs.folders import RunFolder, StudyFolder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCORE_COLUMNS = ("run", "case_id", "cell_type", "region", "tp", "fp", "fn", "tn")


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
        return read_score_file(self.folder.scores)

    @cached_property
    def history(self) -> pd.DataFrame:
        """history.csv: one row per epoch."""
        import pandas as pd

        return pd.read_csv(self.folder.history)


def read_score_file(path: Path) -> pd.DataFrame:
    """A scores.csv. Case ids and cell types are text, as in the dataset."""
    import pandas as pd  # half a second, which `wbcstudy status` need not spend

    # "NA" and "null" are fine names for a case; only an empty field is missing.
    text = {"run": str, "case_id": str, "cell_type": str, "region": str}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


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
    return _load(folder, record)


def _load(folder: RunFolder, record: dict[str, Any]) -> Run:
    settings = record.get("config")
    if isinstance(settings, dict) and folder.params.exists():
        # The same as in params.yaml, and JSON is read a hundred times faster.
        return Run(folder, make_config(RunConfig, settings, source=str(folder.record)), record)
    return Run(folder, read_run(folder.params), record)


def load_runs(study: StudyFolder, names: Iterable[str] | None = None) -> list[Run]:
    """Every finished or failed run of a study, by name; unfinished ones are left out.

    Args:
        study: where they are.
        names: only these; runs that a study no longer names, or that were added by hand, are not part of it.
    """
    folders = sorted(path for path in study.runs.glob("*") if path.is_dir()) if study.runs.is_dir() else []
    wanted = None if names is None else set(names)
    folders = [path for path in folders if wanted is None or path.name in wanted]
    records = {path: RunFolder(path).read_record() for path in folders}
    return [_load(RunFolder(path), record) for path, record in records.items() if record is not None]


def run_seconds(record: Mapping[str, Any]) -> float | None:
    """How long a run took, of its run.json; None where that says nothing.

    `wall_seconds` is of the notebook that finished it; a training that was taken up again lasted longer.
    """
    told = (record.get(name) for name in ("wall_seconds", "fit_seconds"))
    return max((float(seconds) for seconds in told if isinstance(seconds, int | float)), default=None)


def write_predictions(folder: RunFolder, case_ids: Sequence[str], masks: np.ndarray) -> None:
    """Keep the predicted masks of the test cases, so that figures need no model.

    Args:
        folder: the run's folder.
        case_ids: N names, any text.
        masks: uint8 (N, S, S) of labels.
    """
    import numpy as np

    with atomic_write(folder.predictions) as part:
        np.savez_compressed(part, case_ids=np.array(case_ids, dtype=str), masks=masks)


def read_predictions(folder: RunFolder) -> dict[str, np.ndarray]:
    """Case id -> predicted mask, uint8 (S, S) of labels. Empty where the file is absent."""
    import numpy as np

    if not folder.predictions.exists():
        return {}
    with np.load(folder.predictions, allow_pickle=False) as stored:
        return dict(zip(stored["case_ids"].tolist(), stored["masks"], strict=True))


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write run.json in one step, with the time of writing (UTC, ISO 8601), after all else is on the disk."""
    for path in folder.path.glob("*"):
        if path.is_file():
            sync(path)
    write_json(folder.record, record | {"written": datetime.now(UTC).isoformat(timespec="seconds")})
