"""Start or resume a run: make its folder, write params.yaml, and refuse other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig
from wbcstudy.config_io import changed_settings, changed_values, read_run, write_yaml, yaml_line, yaml_text
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, cannot_write, outputs_folder, read_bytes
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import lock_run_folder
from wbcstudy.wording import join_words

# Appended to error messages.
NEW_STUDY = "in a copy of the study's YAML under a new name (one study has one set of settings)"


def start_run(config: RunConfig, outputs: Path | None = None) -> RunFolder:
    """Make a run's folder and write its params.yaml; an interrupted run with the same settings is resumed.

    Args:
        config: the run's settings.
        outputs: folder of all studies; `outputs_folder()` if None.

    Raises:
        StudyError: the run is already finished, the folder belongs to a run with other settings or cannot be written,
            or another process works there.
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
        # Checked under the lock: the process that held it may have finished the run.
        record, problem = folder.check()
        if problem:
            raise problem
        if record and record["status"] == "complete":
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

    `precision: auto` leaves the choice to the machine. A finished run therefore has the same settings if it computed in
    the precision that is now set, or if `auto` is set now. A run that has not started may change its precision.

    Raises:
        StudyError: params.yaml in the folder has other settings; the message names the fields.
    """
    record, problem = folder.check()
    if problem or not folder.params.is_file():
        # A run that cannot be used is left out, or repeated as a whole.
        return
    before = set(read_bytes(folder.params).decode(errors="replace").splitlines())
    now = set(yaml_text(config).splitlines())
    if before and before <= now:
        # The usual case, without parsing: YAML is too slow for thousands of runs. Each setting is one line. Settings
        # without a line were added in a later version.
        added = {line.partition(":")[0] for line in now - before}
        settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in added}
    else:
        settings = read_run(folder.params, type(config)).model_dump(mode="json")
        if isinstance(config, RunConfig) and settings["precision"] != config.precision:
            used = (record or {}).get("arithmetic", settings["precision"])
            complete = (record or {}).get("status") == "complete"
            if config.precision in ("auto", used) if complete else not folder.has_started():
                settings["precision"] = config.precision
    changed = changed_settings(settings, config)
    if changed:
        raise StudyError(
            f"{folder.path} was run with other settings: {'; '.join(changed)}.",
            expected="the settings of params.yaml in that folder, since one study has one set of settings",
            fix="Copy the YAML file under a new name and run it as a new study (in a notebook, change `study`). "
            + _continue_advice(settings, config),
        )


def _continue_advice(before: dict[str, Any], config: RunConfig | BaselineConfig) -> str:
    """Return how to set a study's file to the settings of its runs."""
    names = {"seeds": "baseline_seeds"} if isinstance(config, BaselineConfig) else {}
    earlier = {names.get(name, name): old for name, (old, _) in changed_values(before, config).items()}
    if not earlier.keys() <= StudyConfig.model_fields.keys():
        return "To continue this study, restore the settings."
    lines = [f"`{yaml_line(name, value)}`" for name, value in earlier.items()]
    return f"To continue this study, write into its YAML file: {join_words(lines)}."
