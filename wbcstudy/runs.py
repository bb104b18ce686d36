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

from wbcstudy.claim import claim
from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.config_files import changed_settings, make_config, read_run, write_yaml, yaml_text
from wbcstudy.errors import StudyError
from wbcstudy.storage import atomic_write, cannot_write, outputs_folder, read_json, sync, write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCORE_COLUMNS = ("run", "case_id", "cell_type", "region", "tp", "fp", "fn", "tn")
# Where other settings belong, as advice has it.
NEW_STUDY = "in a copy of the study's YAML under a new name (one study has one set of settings)"


@dataclass(frozen=True)
class StudyFolder:
    """`outputs/<study>/`: every path below it, by name."""

    path: Path

    @classmethod
    def of(cls, name: str) -> StudyFolder:
        """A study by its name, in `outputs_folder()`."""
        return cls(outputs_folder() / name)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.name

    @property
    def split(self) -> Path:
        """The cases of each fold's training, validation and test part; one for all runs."""
        return self.path / "split.json"

    @property
    def dataset(self) -> Path:
        """Facts about the images: counts, sizes and label shares, for the report."""
        return self.path / "dataset.json"

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

    @property
    def reported(self) -> Path:
        """Touched when the report is whole.

        Snakemake deletes what a rule is to make, and a report that fails must not take the one before it away.
        """
        return self.logs / "summary.done"

    @property
    def contents(self) -> Path:
        """What the report is of: name -> status, as `plan.reportable` has it."""
        return self.logs / "reported.json"

    @property
    def baselines(self) -> Path:
        """Folder of the earlier methods' folders."""
        return self.path / "baselines"

    @property
    def others(self) -> Path:
        """Facts about the other datasets that the networks are scored on; absent where there are none."""
        return self.path / "other_datasets.json"

    def run(self, name: str) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.runs / name)

    def baseline(self, name: str) -> RunFolder:
        """The folder of one earlier method on one fold."""
        return RunFolder(self.baselines / name, act="baseline")


@dataclass(frozen=True)
class RunFolder:
    """`outputs/<study>/runs/<run>/`: every file in it, by name.

    Args:
        path: the folder.
        act: stem of the executed notebook: "train", or "baseline" in the folder of an earlier method, which holds the
            same files but those of a network.
    """

    path: Path
    act: str = "train"

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
        return self.path / f"{self.act}.ipynb"

    @property
    def page(self) -> Path:
        """The executed notebook as a page."""
        return self.path / f"{self.act}.html"

    @property
    def history(self) -> Path:
        """One row per epoch: epoch (from 1), loss, val_loss, and more."""
        return self.path / "history.csv"

    @property
    def scores(self) -> Path:
        """One row per test case and region; the columns are `SCORE_COLUMNS` and ratios."""
        return self.path / "scores.csv"

    def scores_of(self, variant: str) -> Path:
        """Scores of the prediction as it is ("raw", scores.csv) or changed.

        "cleaned" and "central": after a clean-up. "single": of runs with `test_time_flips`, without the flips.
        """
        return self.scores if variant == "raw" else self.path / f"scores_{variant}.csv"

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
        """Predicted masks of the test cases: a compressed NumPy file, read by `read_predictions`."""
        return self.path / "predictions.npz"

    @property
    def calibration(self) -> Path:
        """Sums per region and bin of confidence of the test pixels; absent for runs that kept none."""
        return self.path / "calibration.csv"

    @property
    def figures(self) -> Path:
        """Folder of the run's own figures."""
        return self.path / "figures"

    def transfer(self, dataset: str) -> RunFolder:
        """Folder of the network's scores, masks and record on another dataset, by its name."""
        return RunFolder(self.path / "transfer" / dataset, act="transfer")

    @property
    def checkpoint(self) -> Path:
        """Folder of the state after the last finished epoch; gone when the run is complete."""
        return self.path / "checkpoint"

    def read_record(self) -> dict[str, Any] | None:
        """run.json as a dict, or None where it is absent or was cut off."""
        return read_json(self.record)

    @property
    def begun(self) -> bool:
        """Whether a training has left anything to go on from."""
        return self.history.exists() or self.checkpoint.exists()

    @property
    def status(self) -> str:
        """'complete', 'failed', 'unfinished' (it has begun) or 'waiting'."""
        record = self.read_record()
        if record is not None and record.get("status") in ("complete", "failed"):
            return record["status"]
        return "unfinished" if self.begun else "waiting"


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


def start_run(config: RunConfig, outputs: Path | None = None) -> RunFolder:
    """Make a run's folder and write its params.yaml; an interrupted run of the same settings is taken up again.

    Args:
        config: the run's settings.
        outputs: folder of all studies; `outputs_folder()` if None.

    Raises:
        StudyError: the run is finished already, or the folder belongs to a run of other settings, or nothing can be
            written there, or another process works there.
    """
    study = StudyFolder((outputs or outputs_folder()) / config.study)
    return _start(study.run(config.name), config)


def start_baseline(config: BaselineConfig, outputs: Path | None = None) -> RunFolder:
    """Make the folder of an earlier method; arguments and errors as `start_run`."""
    study = StudyFolder((outputs or outputs_folder()) / config.study)
    return _start(study.baseline(config.name), config)


def _start(folder: RunFolder, config: RunConfig | BaselineConfig) -> RunFolder:
    check_same_settings(folder, config)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        claim(folder.path)
        # Only now: whoever worked here before may have finished it.
        if folder.status == "complete":
            raise StudyError(
                f"{folder.path} holds a finished run.",
                expected="a run that is not finished, since results are never overwritten",
                fix="Choose another study name (papermill: -p study my_second_try), or delete that folder.",
            )
        folder.figures.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder.params) as path:
            write_yaml(config, path)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    folder.record.unlink(missing_ok=True)
    return folder


def check_same_settings(folder: RunFolder, config: RunConfig | BaselineConfig) -> None:
    """Refuse to mix settings in one run folder.

    `precision: auto` leaves the arithmetic to the machine. So a finished run that computed in what is asked for now, or
    any where `auto` is asked for, is of the same settings; and one that has not begun can take another precision.

    Raises:
        StudyError: the folder has a params.yaml that says something else; the message names the fields.
    """
    if not folder.params.exists():
        return
    before = set(folder.params.read_text(encoding="utf-8", errors="replace").splitlines())
    now = set(yaml_text(config).splitlines())
    if before and before <= now:
        # The common case, and of thousands of runs the only one that may not take long, as reading YAML does: one
        # line a setting, and no line says anything else. Those that are not there came with a later version.
        added = {line.partition(":")[0] for line in now - before}
        settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in added}
    else:
        settings = read_run(folder.params, type(config)).model_dump(mode="json")
        if isinstance(config, RunConfig) and settings["precision"] != config.precision:
            record = folder.read_record() or {}
            used = record.get("arithmetic", settings["precision"])
            done = record.get("status") == "complete"
            if config.precision in ("auto", used) if done else not folder.begun:
                settings["precision"] = config.precision
    changed = changed_settings(settings, config)
    if changed:
        raise StudyError(
            f"{folder.path} was run with other settings: {'; '.join(changed)}.",
            expected="the settings of params.yaml in that folder, since one study has one set of settings",
            fix="Copy the YAML file under a new name, a new study, and run that; by hand in a notebook, change `study`."
            " Or set it back, to go on with this study.",
        )


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
