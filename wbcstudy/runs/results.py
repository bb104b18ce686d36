"""Read and write the results in run folders.

`run.json` is written last and in one step: a run whose `run.json` says `complete` has all its files, and a run without
it is unfinished, whatever other files exist.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_recorded_config, read_run, seal_record
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import MOST_BYTES, MOST_HASHED_BYTES, atomic_write, check_file, sync, unescape_cell, write_json
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.records import RunRecord, describe_file, describe_files, repeat_advice

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
    record: RunRecord = field(repr=False)

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

        with _named(self.folder.history):
            check_file(self.folder.history, MOST_BYTES)
            return pd.read_csv(self.folder.history)


def read_score_file(path: Path) -> pd.DataFrame:
    """Read a scores.csv. Case ids and cell types are text, as in the dataset."""
    import pandas as pd  # takes half a second, which `wbcstudy status` should not spend

    # "NA" and "null" are valid case ids; only an empty field is missing.
    text_columns = {"run": str, "case_id": str, "cell_type": str, "region": str}
    with _named(path):
        check_file(path, MOST_BYTES)
        scores = pd.read_csv(path, dtype=text_columns, keep_default_na=False, na_values=[""])
    names = [name for name in ("case_id", "cell_type") if name in scores]
    return scores.assign(**{name: scores[name].map(unescape_cell, na_action="ignore") for name in names})


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file of a run that cannot be read, and how to make the run again."""
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise DamagedFileError(
            f"{path} {reason}.", expected="the files as the run wrote them", fix=repeat_advice(path.parent)
        ) from None


def load_run(folder: RunFolder, used: Collection[str] = ()) -> Run:
    """Read one run.

    Args:
        folder: the run's folder.
        used: names or suffixes of large files to check too, see `find_damage`.

    Raises:
        StudyError: there is no `run.json`, or the run is damaged.
    """
    record, problem = folder.check(used)
    if problem:
        raise problem
    if record is None:
        raise StudyError(
            f"{folder.path} holds no finished run.",
            expected="a run folder with params.yaml and run.json",
            fix="Finish the run: `wbcstudy run params/<study>.yaml` resumes it.",
        )
    return _load(folder, record)


def _load(folder: RunFolder, record: RunRecord) -> Run:
    settings = record.get("config")
    if settings is None:
        return Run(folder, read_run(folder.params), record)
    if unknown := sorted(settings.keys() - RunConfig.model_fields.keys()):
        raise StudyError(
            f"{folder.record} was made by wbcstudy {record.get('code_version', '')}, with settings that this version "
            f"does not have: {', '.join(unknown)}.",
            expected="the settings of this version",
            fix="Update wbcstudy.",
        )
    # Equal to params.yaml; JSON is read a hundred times faster.
    return Run(folder, make_recorded_config(RunConfig, settings, source=str(folder.record)), record)


def load_runs(study: StudyFolder, names: Iterable[str] | None = None) -> list[Run]:
    """Read the finished and failed runs of a study, in the order of their names, without damaged ones.

    Args:
        study: the study's folder.
        names: read only these runs. A folder may hold others, which were added by hand or removed from the study.
    """
    return load_usable_runs(study, names)[0]


def load_usable_runs(
    study: StudyFolder, names: Iterable[str] | None = None, used: Collection[str] = ()
) -> tuple[list[Run], dict[str, StudyError]]:
    """Read runs as `load_runs` does, and say why the others cannot be used.

    Args:
        study: the study's folder.
        names: read only these runs.
        used: names or suffixes of large files to check too, see `find_damage`.

    Returns:
        The runs, and the name of each run that cannot be used with the reason.
    """
    folders = sorted(path for path in study.runs.glob("*") if path.is_dir()) if study.runs.is_dir() else []
    selected = None if names is None else set(names)
    runs, problems = [], {}
    for folder in [RunFolder(path) for path in folders if selected is None or path.name in selected]:
        try:
            record, problem = folder.check(used)
            if problem:
                raise problem
            if record:
                runs.append(_load(folder, record))
        except StudyError as error:
            problems[folder.name] = error
    return runs, problems


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
    with _named(folder.predictions):
        check_file(folder.predictions, MOST_HASHED_BYTES)
        with np.load(folder.predictions, allow_pickle=False) as stored:
            cases = stored["case_ids"].tolist()
            # Written by an earlier version: all masks had one size and were one array.
            masks = stored["masks"] if "masks" in stored else [stored[f"mask_{index}"] for index in range(len(cases))]
            return dict(zip(cases, masks, strict=True))


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write run.json in one step after all other files are on the disk, with their digests.

    The time of writing (UTC, ISO 8601) is added.
    """
    for path in folder.path.glob("*"):
        if path.is_file():
            sync(path)
    files = {"files": describe_files(folder.path), "written": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(folder.record, seal_record(record | files))


def record_documents(folder: RunFolder) -> None:
    """Add the digests of the executed notebook and its page, which are written after run.json, to run.json."""
    record = folder.read_record()
    if record and "files" in record:
        documents = {path.name: describe_file(path) for path in (folder.notebook, folder.page) if path.is_file()}
        write_json(folder.record, seal_record(record | {"files": record["files"] | documents}))
