"""Write run.json: settings, dataset, versions, scores and outcome of a run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from wbcstudy import __version__
from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.config_io import read_run, seal_record
from wbcstudy.data.datasets import Dataset
from wbcstudy.data.records import Split, split_hash
from wbcstudy.data.scale import describe_scale
from wbcstudy.errors import StudyError
from wbcstudy.files import write_json
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.notebooks import combine_notebooks, describe_notebook, import_nbformat
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import NEW_STUDY

_PACKAGES = ("tensorflow", "keras", "segmentation-models", "numpy", "pandas", "scikit-learn", "papermill", "snakemake")


def finish_run(
    folder: RunFolder,
    config: RunConfig,
    dataset: Dataset,
    splits: tuple[Split, ...],
    *,
    scores: dict[str, dict[str, Any]],
    validation: dict[str, dict[str, Any]],
    training: dict[str, Any],
) -> dict[str, Any]:
    """Write run.json of a complete run, the last step of a training notebook.

    Args:
        folder: folder of the run.
        config: settings.
        dataset: training dataset.
        splits: all folds; the run used `splits[config.fold]`.
        scores: counts and ratios per region on the test cases, from `scoring.evaluation.summarise`.
        validation: the same for the validation cases, which the choice of encoder is based on.
        training: result of `nets.training.training_facts`.

    Returns:
        Contents of run.json.
    """
    record = _describe_run(folder, config, dataset, splits) | {"seed": config.seed} | training
    record["notebook"] = combine_notebooks([*record.pop("earlier_notebooks", ()), record["notebook"]])
    record |= {"trained_on": describe_scale(dataset, splits[config.fold].train)}
    record |= {"scores": scores, "validation": validation}
    write_record(folder, record)
    # Last: a run that was stopped during scoring resumes from its trained weights.
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    return record


def finish_baseline(
    folder: RunFolder,
    config: BaselineConfig,
    dataset: Dataset,
    splits: tuple[Split, ...],
    *,
    method: dict[str, Any],
    scores: dict[str, dict[str, Any]],
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Write run.json of an earlier method, the last step of its notebook.

    Args:
        folder: folder of the method.
        config: settings.
        dataset: dataset that it was run on.
        splits: all folds; the method used `splits[config.fold]`.
        method: name, title, reference, algorithm, learns, quoted_as.
        scores: variant ("raw", "cleaned", "central") -> counts and ratios per region on the test cases, pooled over
            the seeds.
        measured: seeds, params, fit_seconds, seconds_per_image.

    Returns:
        Contents of run.json.
    """
    record = _describe_run(folder, config, dataset, splits) | {"method": method} | measured | {"scores": scores}
    write_record(folder, record)
    return record


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return the facts about a dataset for records and the report: name, title, fingerprint, cases, citation etc."""
    ignored = {"ignored": [str(value) for value in dataset.spec.ignore]} if dataset.spec.ignore else {}
    return {
        "name": dataset.name,
        "title": dataset.title,
        "fingerprint": dataset.fingerprint,
        "cases": len(dataset.cases),
        "citation": dataset.spec.citation,
        "licence": dataset.spec.licence,
        "acknowledgement": dataset.spec.acknowledgement,
        **ignored,
    }


def write_dataset_record(path: Path, dataset: Dataset, label_shares: Mapping[str, float]) -> None:
    """Write dataset.json: the facts about a dataset and the share of each label's pixels."""
    write_json(path, seal_record(describe_dataset(dataset) | {"label_shares": dict(label_shares)}))


def record_failure(folder: RunFolder, log: Path | None = None) -> str | None:
    """Write run.json of a run whose notebook ended with an error, so that the report can show it.

    A run that was stopped from outside (Ctrl-C, a lost cluster node) has not failed: it stays unfinished and resumes
    after its last epoch. A run whose kernel alone was killed has failed, usually because memory ran out.

    Args:
        folder: folder of the run.
        log: output of papermill, which shows that a kernel was killed.

    Returns:
        The error, or None if the run was only stopped.
    """
    config = read_run(folder.params, RunConfig if folder.step == "train" else BaselineConfig)
    error = notebook_error(folder.notebook)
    advice = f"Find the failed cell in {folder.page.name}, fix the cause, and run the study again."
    if error is None:
        output = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
        if "DeadKernelError" not in output and "Kernel died" not in output:
            return None
        error = "The notebook's process was killed, most likely because the machine ran out of memory."
        advice = _memory_advice(config)
    elif error.startswith("KeyboardInterrupt"):
        return None
    elif "ResourceExhausted" in error or error.startswith(("MemoryError", "Out of memory")):
        advice = _memory_advice(config)
    elif "No space left" in error or "quota exceeded" in error:
        advice = "Free some disk space and run the study again. It resumes after the last saved epoch."
    write_record(
        folder,
        {
            "status": "failed",
            "study": config.study,
            "run": config.name,
            "config": config.model_dump(mode="json"),
            "code_version": __version__,
            "error": error,
            "advice": advice,
        },
    )
    return error


def _describe_run(
    folder: RunFolder, config: RunConfig | BaselineConfig, dataset: Dataset, splits: tuple[Split, ...]
) -> dict[str, Any]:
    split = splits[config.fold]
    return {
        "status": "complete",
        "study": config.study,
        "run": config.name,
        "config": config.model_dump(mode="json"),
        "code_version": __version__,
        "commit": current_commit(),
        "notebook": describe_notebook(folder.step),
        "dataset": describe_dataset(dataset),
        "split_hash": split_hash(splits),
        "split": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def notebook_error(notebook: Path) -> str | None:
    """Return 'Type: message' of the first error in a notebook's outputs, or None."""
    nbformat = import_nbformat()
    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (OSError, ValueError, nbformat.validator.NotebookValidationError):
        return None
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                message = re.sub(r"\x1b\[[0-9;]*m", "", output.evalue)
                # The message of a StudyError is clear without its type.
                return message if output.ename == StudyError.__name__ else f"{output.ename}: {message}"
    return None


def _memory_advice(config: RunConfig | BaselineConfig) -> str:
    batch = f"batch_size (now {config.batch_size}) or " if isinstance(config, RunConfig) else ""
    return f"Lower {batch}image_size (now {config.image_size}), {NEW_STUDY}."


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def current_commit() -> str | None:
    """Return the commit of the checkout, with '+' if files have changed since; None without git or a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    command += ["--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=os.environ, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
