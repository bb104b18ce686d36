"""The state of a training after each epoch, so that it can be interrupted and continued exactly."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.config_io import changed_settings
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write
from wbcstudy.nets.cost import arithmetic


@dataclass
class Checkpoint:
    """What a training needs to go on: history, weights, optimiser, random state, and the best epoch's weights.

    In the folder: `state.npz`, replaced in one step after each epoch, and `best-<epoch>.npz`, written before the
    `state.npz` that relies on it. NumPy files without pickles: a foreign checkpoint cannot run code.

    Args:
        path: the folder.
        model: the compiled model, its optimiser built.
        config: the settings.
        images: fingerprint of the images and masks.
        rows: one dict per finished epoch, the columns of history.csv.
    """

    path: Path
    model: Any
    config: RunConfig
    images: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(
        cls, path: Path, model, config: RunConfig, parts: Iterable[Any], report: Callable[[str], Any]
    ) -> Checkpoint:
        """The checkpoint in a folder, its state restored into the model; an empty one where there is none.

        Args:
            path: the folder; need not exist.
            model: the compiled model, its optimiser built.
            config: the settings.
            parts: what has `.images` and `.masks`: training and validation.
            report: told in one line when a training continues, or why a damaged checkpoint is not used.

        Raises:
            StudyError: it was made with other settings or other images.
        """
        checkpoint = cls(path, model, config, _fingerprint(parts))
        if not checkpoint._state.exists():
            return checkpoint
        try:
            arrays = _read(checkpoint._state)
            about = json.loads(str(arrays["about"]))
            other = _differences(about, checkpoint)
            if not other:
                checkpoint.rows.extend(about["rows"])
                _read(checkpoint._best)
                _assign(checkpoint._variables(), arrays)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            report(f"The checkpoint in {path} is damaged ({error}); training starts again from the first epoch.")
            checkpoint.rows.clear()
            return checkpoint
        if other:
            raise StudyError(
                f"{path} holds a checkpoint of another training: {'; '.join(other)}.",
                expected=f"a checkpoint of {config.name} with the same parameters and the same images",
                fix=f"Delete {path} to start again, or go back to the earlier settings or machine to continue.",
            )
        report(f"continuing after epoch {len(checkpoint.rows)}, from {path}")
        return checkpoint

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

    def add(self, row: dict[str, Any]) -> None:
        """Note a finished epoch and save the state after it."""
        self.rows.append(row)
        if self.best_epoch == row["epoch"]:
            _write(self._best, _views(self.model.variables))
        state = _views(self._variables())
        facts = {"settings": self.config.model_dump(mode="json"), "images": self.images, "rows": self.rows}
        about = json.dumps(facts | {"arithmetic": arithmetic(self.model)})
        _write(self._state, state | {"about": np.array(about)})
        for path in self.path.glob("best-*.npz"):
            if path != self._best:
                path.unlink()

    def restore_best(self) -> None:
        """Put the best epoch's weights into the model."""
        _assign(self.model.variables, _read(self._best))

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _state(self) -> Path:
        return self.path / "state.npz"

    @property
    def _best(self) -> Path:
        return self.path / f"best-{self.best_epoch}.npz"

    def _variables(self) -> list:
        # Among the model's variables are the moving statistics of batch norm and the random state of dropout.
        return [*self.model.variables, *self.model.optimizer.variables]


def _differences(about: dict[str, Any], checkpoint: Checkpoint) -> list[str]:
    """In what the training that left a checkpoint differs from this one, in words; empty for the same training."""
    if "settings" not in about:
        return ["another version of wbcstudy wrote it"]
    other = changed_settings(about["settings"], checkpoint.config)
    here = arithmetic(checkpoint.model)
    if (there := about.get("arithmetic", here)) != here:
        other.append(f"it computed in {there}, and precision: {checkpoint.config.precision} is {here} on this machine")
    return other + ["its images are others"] * (about["images"] != checkpoint.images)


def _fingerprint(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.images, part.masks):
            digest.update(f"{array.dtype}{array.shape}".encode())
            # Piece by piece: it may be on the disk because it is too large for memory.
            for start in range(0, len(array), 64):
                digest.update(np.ascontiguousarray(array[start : start + 64]).data)
    return digest.hexdigest()


def _views(variables: Iterable[Any]) -> dict[str, np.ndarray]:
    """Keras' variables as arrays on their own memory, to be written before they change: copies of all take longer."""
    return {str(i): _view(v.value.read_value()) for i, v in enumerate(variables)}


def _view(tensor) -> np.ndarray:
    try:
        return np.asarray(memoryview(tensor))
    except (BufferError, TypeError, ValueError):
        # A graphics card's memory is none of the processor's.
        return tensor.numpy()


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_write(path) as part:
        np.savez(part, **arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    # NumPy would leave a file open that turns out not to be one of its own.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _assign(variables: list, arrays: dict[str, np.ndarray]) -> None:
    values = [arrays[str(index)] for index in range(len(variables))]
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != value.shape:
            raise ValueError(f"{variable.path} has shape {tuple(variable.shape)}, the file {value.shape}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
