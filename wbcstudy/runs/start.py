"""Start a run: its folder, its params.yaml, and only with the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.config_io import changed_settings, read_run, write_yaml, yaml_text
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, cannot_write, outputs_folder
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import lock_run_folder

if TYPE_CHECKING:
    pass


# Where other settings belong, as advice has it.
NEW_STUDY = "in a copy of the study's YAML under a new name (one study has one set of settings)"


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
        lock_run_folder(folder.path)
        # Only now: whoever worked here before may have finished it.
        if folder.read_status() == "complete":
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
            if config.precision in ("auto", used) if done else not folder.has_started():
                settings["precision"] = config.precision
    changed = changed_settings(settings, config)
    if changed:
        raise StudyError(
            f"{folder.path} was run with other settings: {'; '.join(changed)}.",
            expected="the settings of params.yaml in that folder, since one study has one set of settings",
            fix="Copy the YAML file under a new name, a new study, and run that; by hand in a notebook, change `study`."
            " Or set it back, to go on with this study.",
        )
