"""Save the state of a training after epochs, so that it can be resumed exactly."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.config_io import changed_settings
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, read_number
from wbcstudy.nets.cost import arithmetic
from wbcstudy.nets.weight_average import WeightAverage
from wbcstudy.runs.notebooks import describe_notebook
from wbcstudy.runs.own_parts import compare_parts

# Least time between two states in s, unless WBCSTUDY_CHECKPOINT_SECONDS is set. A state has three numbers for each
# weight: writing it takes some percent of a short epoch, and a resumed training repeats at most this and one epoch.
_EVERY_S = 30.0


def checkpoint_seconds() -> float:
    """Return the least time between two saved states of a training, in s.

    Raises:
        StudyError: `WBCSTUDY_CHECKPOINT_SECONDS` is not a number of 0 or more.
    """
    meaning = "the least time between two saved states of a training in s"
    return read_number("WBCSTUDY_CHECKPOINT_SECONDS", _EVERY_S, meaning)


@dataclass
class Checkpoint:
    """The state of a training: history, weights and their average, optimiser, random state, the best epoch's weights.

    The folder contains `state.npz`, replaced in one step, and `best-<epoch>.npz`, written before the `state.npz` that
    refers to it. Both are written after the last epoch, and after others if the last state is 30 s old
    (`$WBCSTUDY_CHECKPOINT_SECONDS`). NumPy files without pickles cannot run code.

    Args:
        path: the folder.
        model: the compiled model, its optimiser built.
        average: the moving average of its weights.
        config: the settings.
        images: fingerprint of the images and masks.
        rows: one dict per finished epoch, with the columns of history.csv.
        earlier_seconds: time of the epochs of earlier processes, in s.
        notebooks: the notebook of each earlier process, see `runs.notebooks.describe_notebook`.
        own_parts: the user's own loss, callbacks and augmentation, see `runs.own_parts.describe_parts`.
        callbacks: the state of each of these callbacks.
        stopped: whether a callback has stopped the training.
    """

    path: Path
    model: Any
    average: WeightAverage
    config: RunConfig
    images: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    earlier_seconds: float = 0.0
    notebooks: list[dict[str, Any]] = field(default_factory=list)
    own_parts: dict[str, Any] = field(default_factory=dict)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self._every_s = checkpoint_seconds()
        self._saved_at = time.monotonic()
        # Weights of the best epoch that are in no file yet.
        self._kept: dict[str, np.ndarray] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        model,
        average: WeightAverage,
        config: RunConfig,
        parts: Iterable[Any],
        report: Callable[[str], Any],
        own_parts: dict[str, Any] | None = None,
    ) -> Checkpoint:
        """Open the checkpoint in a folder and restore its state into the model, or start an empty one.

        Args:
            path: the folder; need not exist.
            model: the compiled model, its optimiser built.
            average: the moving average of its weights.
            config: the settings.
            parts: training and validation set, with `.images` and `.shares`.
            report: called with one line when a training resumes, or when a damaged checkpoint is ignored.
            own_parts: the user's own loss, callbacks and augmentation, see `runs.own_parts.describe_parts`.

        Raises:
            StudyError: the checkpoint belongs to other settings, images, or parts of the user's own.
        """
        checkpoint = cls(path, model, average, config, _fingerprint(parts), own_parts=own_parts or {})
        if not checkpoint._state.exists():
            return checkpoint
        try:
            arrays = _read(checkpoint._state)
            description = json.loads(str(arrays["about"]))
            differences = checkpoint._compare(description)
            if not differences:
                checkpoint.rows.extend(description["rows"])
                checkpoint.earlier_seconds = float(sum(row["seconds"] for row in checkpoint.rows))
                checkpoint.notebooks = list(description.get("notebooks", []))
                checkpoint.callbacks = list(description.get("callbacks", []))
                checkpoint.stopped = bool(description.get("stopped"))
                _read(checkpoint._best)
                _assign(checkpoint._variables(), arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            report(f"the checkpoint in {path} is damaged ({error}); the training restarts from the first epoch")
            return cls(path, model, average, config, checkpoint.images, own_parts=checkpoint.own_parts)
        if differences:
            raise StudyError(
                f"{path} holds a checkpoint of another training: {'; '.join(differences)}.",
                expected=f"a checkpoint of {config.name} with the same settings, images and own parts",
                fix=f"Delete {path} to start again, or restore the earlier settings or machine to resume.",
            )
        report(f"resuming after epoch {len(checkpoint.rows)}, from {path}")
        return checkpoint

    def _compare(self, description: dict[str, Any]) -> list[str]:
        """Return the differences between the training that saved the checkpoint and this one, one clause each."""
        if "settings" not in description:
            return ["another version of wbcstudy wrote it"]
        differences = changed_settings(description["settings"], self.config)
        now = arithmetic(self.model)
        if (before := description.get("arithmetic", now)) != now:
            differences.append(
                f"it was computed in {before}, but precision: {self.config.precision} is {now} on this machine"
            )
        if description["images"] != self.images:
            differences.append("its images differ")
        return differences + compare_parts(description.get("own_parts"), self.own_parts)

    @property
    def history(self) -> pd.DataFrame:
        """One row per finished epoch."""
        return pd.DataFrame(self.rows)

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss, from 1; 0 before any epoch."""
        return min(self.rows, key=lambda row: row["val_loss"])["epoch"] if self.rows else 0

    @property
    def patience_ended(self) -> bool:
        """Whether the validation loss has not fallen for `patience` epochs."""
        return len(self.rows) - self.best_epoch >= self.config.patience

    @property
    def ended(self) -> bool:
        """Whether the training has ended, by `epochs`, by `patience` or by a callback."""
        return len(self.rows) >= self.config.epochs or self.patience_ended or self.stopped

    def add(self, row: dict[str, Any], callbacks: Sequence[dict[str, Any]] = (), stopped: bool = False) -> None:
        """Add a finished epoch, and save the state if it is due.

        Args:
            row: columns of history.csv.
            callbacks: the state of each callback of the user's.
            stopped: whether a callback has stopped the training.
        """
        self.callbacks, self.stopped = list(callbacks), stopped
        self.rows.append(row)
        if self.best_epoch == row["epoch"]:
            with self.average.in_model():
                self._kept = {name: view.copy() for name, view in _views(self.model.variables).items()}
        if self.ended or time.monotonic() - self._saved_at >= self._every_s:
            self._save()
            self._saved_at = time.monotonic()

    def _save(self) -> None:
        if self._kept is not None:
            _write(self._best, self._kept)
            self._kept = None
        description = {
            "settings": self.config.model_dump(mode="json"),
            "images": self.images,
            "rows": self.rows,
            "arithmetic": arithmetic(self.model),
            "notebooks": [*self.notebooks, *filter(None, [describe_notebook("train", finished=False)])],
            "own_parts": self.own_parts,
            "callbacks": self.callbacks,
            "stopped": self.stopped,
        }
        _write(self._state, _views(self._variables()) | {"about": np.array(json.dumps(description))})
        for path in self.path.glob("best-*.npz"):
            if path != self._best:
                path.unlink()

    def restore_best(self) -> None:
        """Restore the best epoch's weights into the model."""
        _assign(self.model.variables, _read(self._best))

    @property
    def _state(self) -> Path:
        return self.path / "state.npz"

    @property
    def _best(self) -> Path:
        return self.path / f"best-{self.best_epoch}.npz"

    def _variables(self) -> list:
        # The model's variables include the moving statistics of batch norm and the random state of dropout.
        return [*self.model.variables, *self.model.optimizer.variables, *self.average.variables]


def _fingerprint(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.images, part.shares):
            digest.update(f"{array.dtype}{array.shape}".encode())
            # In pieces: the array may be in a file because it does not fit into memory.
            for start in range(0, len(array), 64):
                digest.update(np.ascontiguousarray(array[start : start + 64]).data)
    return digest.hexdigest()


def _views(variables: Iterable[Any]) -> dict[str, np.ndarray]:
    """Return Keras' variables as arrays without copying them; they must be written before the variables change."""
    return {str(i): _view(v.value.read_value()) for i, v in enumerate(variables)}


def _view(tensor) -> np.ndarray:
    try:
        return np.asarray(memoryview(tensor))
    except (BufferError, TypeError, ValueError):
        # GPU tensors have no CPU buffer.
        return tensor.numpy()


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_write(path) as part:
        np.savez(part, **arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    # np.load(path) would not close an invalid file.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _assign(variables: list, arrays: dict[str, np.ndarray]) -> None:
    values = [arrays[str(index)] for index in range(len(variables))]
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise ValueError(f"{variable.path} has shape {tuple(variable.shape)}, the file {value.shape}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
