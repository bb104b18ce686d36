"""Read and write the results in run folders.

`run.json` is written last and in one step: a run whose `run.json` says `complete` has all its files, and a run without
it is unfinished, whatever other files exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_recorded_config, read_run
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, sync, write_json
from wbcstudy.runs.folders import RunFolder, StudyFolder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCORE_COLUMNS = ("run", "case_id", "cell_type", "height_px", "width_px", "region", "tp", "fp", "fn", "tn")


@dataclass(frozen=True)
class Run:
    """A finished or failed run, read from its folder.

    Args:
        folder: the run's folder.
        config: the run's settings.
        record: the content of run.json.
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
        """Whether the run is complete, and has scores."""
        return self.record.get("status") == "complete"

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The table of scores.csv: one row per test case and region."""
        return read_score_file(self.folder.scores)

    @cached_property
    def validation_scores(self) -> pd.DataFrame | None:
        """The table of scores_validation.csv: one row per validation case and region; None in runs that lack it."""
        path = self.folder.scores_of("validation")
        return read_score_file(path) if path.exists() else None

    @cached_property
    def history(self) -> pd.DataFrame:
        """The table of history.csv: one row per epoch."""
        import pandas as pd

        return pd.read_csv(self.folder.history)


def read_score_file(path: Path) -> pd.DataFrame:
    """Read a scores.csv. Case ids and cell types are text, as in the dataset."""
    import pandas as pd  # takes half a second, which `wbcstudy status` should not spend

    # "NA" and "null" are valid case ids; only an empty field is missing.
    text_columns = {"run": str, "case_id": str, "cell_type": str, "region": str}
    return pd.read_csv(path, dtype=text_columns, keep_default_na=False, na_values=[""])


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
            fix="Finish the run: `wbcstudy run params/<study>.yaml` resumes it.",
        )
    return _load(folder, record)


def _load(folder: RunFolder, record: dict[str, Any]) -> Run:
    settings = record.get("config")
    if isinstance(settings, dict) and folder.params.exists():
        # Equal to params.yaml; JSON is read a hundred times faster.
        return Run(folder, make_recorded_config(RunConfig, settings, source=str(folder.record)), record)
    return Run(folder, read_run(folder.params), record)


def load_runs(study: StudyFolder, names: Iterable[str] | None = None) -> list[Run]:
    """Read the finished and failed runs of a study, in the order of their names.

    Args:
        study: the study's folder.
        names: read only these runs. A folder may hold others, which were added by hand or removed from the study.
    """
    folders = sorted(path for path in study.runs.glob("*") if path.is_dir()) if study.runs.is_dir() else []
    selected = None if names is None else set(names)
    records = {path: RunFolder(path).read_record() for path in folders if selected is None or path.name in selected}
    return [_load(RunFolder(path), record) for path, record in records.items() if record is not None]


def run_seconds(record: Mapping[str, Any]) -> float | None:
    """Return how long a run took, in s, from its run.json; None where it is unknown.

    In runs of earlier versions, `wall_seconds` covers the last process only; the training of a resumed run took longer.
    """
    seconds = (record.get(name) for name in ("wall_seconds", "fit_seconds"))
    return max((float(value) for value in seconds if isinstance(value, int | float)), default=None)


def write_predictions(folder: RunFolder, case_ids: Sequence[str], masks: Sequence[np.ndarray]) -> None:
    """Write the predicted masks of the test cases, so that figures need no model.

    Args:
        folder: the run's folder.
        case_ids: N ids, any text.
        masks: N masks, uint8 (H, W) of labels, which may differ in size.
    """
    import numpy as np

    arrays = {f"mask_{index}": mask for index, mask in enumerate(masks)}
    with atomic_write(folder.predictions) as part:
        np.savez_compressed(part, case_ids=np.array(case_ids, dtype=str), **arrays)


def read_predictions(folder: RunFolder) -> dict[str, np.ndarray]:
    """Read case id -> predicted mask, uint8 (H, W), labels. Empty where the file is absent."""
    import numpy as np

    if not folder.predictions.exists():
        return {}
    with np.load(folder.predictions, allow_pickle=False) as stored:
        case_ids = stored["case_ids"].tolist()
        # Written by an earlier version: all masks had one size and were one array.
        masks = stored["masks"] if "masks" in stored else [stored[f"mask_{index}"] for index in range(len(case_ids))]
    return dict(zip(case_ids, masks, strict=True))


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write run.json in one step, with the time of writing (UTC, ISO 8601), after all other files are on the disk."""
    for path in folder.path.glob("*"):
        if path.is_file():
            sync(path)
    write_json(folder.record, record | {"written": datetime.now(UTC).isoformat(timespec="seconds")})
