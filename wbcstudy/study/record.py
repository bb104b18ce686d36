"""run.json: what a run was, on what, with what, and how it ended."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wbcstudy import __version__
from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.config_io import read_run
from wbcstudy.data.datasets import Dataset
from wbcstudy.data.scale import describe_scale
from wbcstudy.data.splits import Split, split_hash
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import NEW_STUDY

PACKAGES = ("tensorflow", "keras", "segmentation-models", "numpy", "pandas", "scikit-learn", "papermill", "snakemake")


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
    """Write run.json of a complete run: the last thing that a training notebook does.

    Args:
        folder: the run's folder.
        config: its settings.
        dataset: what it was trained on.
        splits: all folds; the run used `splits[config.fold]`.
        scores: counts and ratios per region on the test cases, from `scoring.evaluation.summarise`.
        validation: the same on the validation cases, by which encoders are chosen.
        training: best_epoch, epochs, stopped_early, parameters, fit_seconds, wall_seconds, peak_memory_mb, device.

    Returns:
        What was written.
    """
    record = _describe_run(config, dataset, splits) | {"seed": config.seed} | training
    record |= {"trained_on": describe_scale(dataset, splits[config.fold].train)}
    record |= {"scores": scores, "validation": validation}
    write_record(folder, record)
    # Only now: a run that is stopped while it is scored goes on from its trained weights.
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
    """Write run.json of an earlier method: the last thing that its notebook does.

    Args:
        folder: its folder.
        config: its settings.
        dataset: what it was run on.
        splits: all folds; it used `splits[config.fold]`.
        method: name, title, reference, algorithm, learns, quoted_as.
        scores: variant ("raw", "cleaned", "central") -> counts and ratios per region on the test cases, all seeds
            together.
        measured: seeds, params, fit_seconds, seconds_per_image.

    Returns:
        What was written.
    """
    record = _describe_run(config, dataset, splits) | {"method": method} | measured | {"scores": scores}
    write_record(folder, record)
    return record


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """What a record and the report say of a dataset: name, title, fingerprint, cases, citation and the rest."""
    return {
        "name": dataset.name,
        "title": dataset.title,
        "fingerprint": dataset.fingerprint,
        "cases": len(dataset.cases),
        "citation": dataset.spec.citation,
        "licence": dataset.spec.licence,
        "acknowledgement": dataset.spec.acknowledgement,
    }


def record_failure(folder: RunFolder, log: Path | None = None) -> str | None:
    """Write run.json of a run whose notebook ended with an error, so that the report can show it.

    A run that was stopped from outside (Ctrl-C, a lost cluster node) has not failed: it is left unfinished and goes on
    from its last epoch when the study is run again. A notebook process that was killed alone has failed, since that is
    what running out of memory looks like.

    Args:
        folder: the run's folder.
        log: what papermill printed, for the case that the kernel died without a word.

    Returns:
        The error, or None if the run was only stopped.
    """
    config = read_run(folder.params, RunConfig if folder.act == "train" else BaselineConfig)
    error = notebook_error(folder.notebook)
    advice = f"Read {folder.page.name}: the cell that failed is marked. Then run the study again."
    if error is None:
        words = log.read_text(encoding="utf-8", errors="replace") if log and log.exists() else ""
        if "DeadKernelError" not in words and "Kernel died" not in words:
            return None
        error = "The notebook's process was killed, most often because the machine ran out of memory."
        advice = _memory_advice(config)
    elif error.startswith("KeyboardInterrupt"):
        return None
    elif "ResourceExhausted" in error or error.startswith(("MemoryError", "Out of memory")):
        advice = _memory_advice(config)
    elif "No space left" in error or "quota exceeded" in error:
        advice = "Make room on that disk, and run the study again: it goes on after the last finished epoch."
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


def _describe_run(config: RunConfig | BaselineConfig, dataset: Dataset, splits: tuple[Split, ...]) -> dict[str, Any]:
    split = splits[config.fold]
    return {
        "status": "complete",
        "study": config.study,
        "run": config.name,
        "config": config.model_dump(mode="json"),
        "code_version": __version__,
        "commit": _commit(),
        "dataset": describe_dataset(dataset),
        "split_hash": split_hash(splits),
        "split": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def notebook_error(notebook: Path) -> str | None:
    """'Type: message' of the first error among a notebook's outputs."""
    import nbformat

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (OSError, ValueError, nbformat.validator.NotebookValidationError):
        return None
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                message = re.sub(r"\x1b\[[0-9;]*m", "", output.evalue)
                # A message for a person stands by itself; any other is told apart by its type.
                return message if output.ename == StudyError.__name__ else f"{output.ename}: {message}"
    return None


def _memory_advice(config: RunConfig | BaselineConfig) -> str:
    batch = f"batch_size (now {config.batch_size}) or " if isinstance(config, RunConfig) else ""
    return f"Lower {batch}image_size (now {config.image_size}), {NEW_STUDY}."


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, with '+' where files were changed since; None where git or the checkout is absent."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty=+",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=os.environ, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
