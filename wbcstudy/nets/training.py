"""Train one network: early stopping on the validation loss, one checkpoint per epoch, the best weights kept.

An interrupted training that is started again with the same settings and images continues after its last finished epoch
and ends with the same history and the same weights, bit by bit, as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import Arrays
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, cannot_write
from wbcstudy.labels import CYTOPLASM, NUCLEUS
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.batches import make_batches
from wbcstudy.nets.checkpoint import Checkpoint
from wbcstudy.nets.cost import arithmetic, count_multiply_adds, device_name, peak_memory_mb
from wbcstudy.nets.fast_layers import fast_adam
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.prediction import CHUNK, predict_masks, predict_probabilities
from wbcstudy.nets.stain import normalise_training_images, set_target
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.start import NEW_STUDY

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "val_loss",
    "val_dice_nucleus",
    "val_dice_cytoplasm",
    "seconds",
    "learning_rate",
)


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Args:
        history: one row per epoch, columns `HISTORY_COLUMNS`.
        best_epoch: the epoch with the lowest validation loss, from 1; its weights are in the model.
        epochs: how many were trained.
        stopped_early: whether `patience` ended it, and not `epochs`.
        fit_seconds: time of all epochs with validation, of all sittings together.
        steps_per_epoch: training steps of an epoch.
    """

    history: pd.DataFrame
    best_epoch: int
    epochs: int
    stopped_early: bool
    fit_seconds: float
    steps_per_epoch: int

    @property
    def seconds_per_epoch(self) -> float:
        """Median time of an epoch; the first one builds the graph and takes longer."""
        return float(self.history["seconds"].median())


def train(
    model,
    training: Arrays,
    validation: Arrays,
    config: RunConfig,
    folder: RunFolder,
    report: Callable[[str], Any] = print,
) -> TrainingResult:
    """Train a model and leave `model.keras` and `history.csv` in the run's folder.

    After each epoch the folder holds a checkpoint of it; where one is found, the training goes on from there. It stays
    until the run is complete, so that a run which is stopped later, while it is scored, need not train again.

    Args:
        model: what `build_unet(config)` returned; its weights are changed in place and are the best epoch's at the end.
        training: images to learn from, N > 0.
        validation: images for early stopping, N > 0.
        config: the settings.
        folder: where results go; made if need be.
        report: called with one line per epoch.

    Raises:
        StudyError: no images; a checkpoint of other settings or images; the loss is not a number; out of memory; the
            disk is full.
    """
    for arrays, part in ((training, "training"), (validation, "validation")):
        _check_arrays(arrays, part)
    keras = load_keras()
    steps = -(-len(training.images) * config.augmented_copies // config.batch_size)
    model.compile(fast_adam(build_learning_rate(config, steps)), build_loss(config.loss), jit_compile=False)
    # Its variables exist only from here on, and a checkpoint restores them.
    model.optimizer.build(model.trainable_variables)

    set_target(model, training.images)
    taught = normalise_training_images(training.images, config)
    checkpoint = Checkpoint.open(folder.checkpoint, model, config, (training, validation), report)
    rows = checkpoint.rows
    while len(rows) < config.epochs and not checkpoint.patience_ended:
        epoch, start = len(rows) + 1, time.perf_counter()
        with _memory_advice(config):
            batches = make_batches(taught, training.masks, config, epoch)
            loss = model.fit(batches, shuffle=False, verbose=0).history["loss"][-1]
            _check_finite(loss, "training", epoch, config)
            scores = validate(model, validation, config)
            _check_finite(scores["val_loss"], "validation", epoch, config)
        row = {"epoch": epoch, "loss": float(loss), **scores, "seconds": round(time.perf_counter() - start, 3)}
        with _disk_advice(folder):
            checkpoint.add(row | {"learning_rate": float(model.optimizer.learning_rate)})
            _write_history(checkpoint.history, folder)
        report(_line(rows, config))

    checkpoint.restore_best()
    history = checkpoint.history
    # A fresh optimiser: the file is a third as large, and nothing continues from it.
    model.compile(keras.optimizers.Adam(config.learning_rate), build_loss(config.loss), jit_compile=False)
    with _disk_advice(folder):
        _write_history(history, folder)
        with atomic_write(folder.model) as path:
            model.save(path)
    result = TrainingResult(
        history=history,
        best_epoch=checkpoint.best_epoch,
        epochs=len(rows),
        stopped_early=checkpoint.patience_ended,
        fit_seconds=float(history["seconds"].sum()),
        steps_per_epoch=steps,
    )
    return result


def build_learning_rate(config: RunConfig, steps_per_epoch: int):
    """The learning rate, over the steps of a training if it changes.

    Args:
        config: its `learning_rate`, `learning_rate_schedule` and `epochs`.
        steps_per_epoch: > 0.

    Returns:
        A float, or for "cosine" a keras.optimizers.schedules.LearningRateSchedule: it rises in a straight line from 0
        over the first epoch (Goyal et al. 2017), then follows half a cosine down to 0 at the end of the last
        (Loshchilov, Hutter 2017, without restarts). A single epoch is all descent. It depends on the optimiser's count
        of steps alone, so that a training which is taken up again goes on as it would have.
    """
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    rise = steps_per_epoch if config.epochs > 1 else 0
    return load_keras().optimizers.schedules.CosineDecay(
        0.0 if rise else config.learning_rate,
        decay_steps=config.epochs * steps_per_epoch - rise,
        warmup_target=config.learning_rate if rise else None,
        warmup_steps=rise,
    )


def training_facts(
    model, result: TrainingResult, images: np.ndarray, batch_size: int = 8, flips: bool = False
) -> dict[str, Any]:
    """What run.json says of a training.

    Args:
        model: the trained network.
        result: of its training.
        images: uint8 (N, S, S, 3); segmented once more to take the time, N > 0.
        batch_size: images at a time.
        flips: as in `predict_probabilities`; the time of an image holds all eight.

    Returns:
        best_epoch, epochs, stopped_early, parameters, multiply_adds (for one image), fit_seconds (of all sittings),
        seconds_per_epoch (median), seconds_per_image, wall_seconds (of this process, start-up included),
        peak_memory_mb, device, arithmetic (what the network computes in, "float32" or "bfloat16").
    """
    import psutil

    # The graph for this shape may still have to be built; that is not the time of an image.
    predict_masks(model, images[:batch_size], batch_size, flips=flips)
    start = time.perf_counter()
    predict_masks(model, images, batch_size, flips=flips)
    seconds_per_image = (time.perf_counter() - start) / len(images)

    return {
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "stopped_early": result.stopped_early,
        "parameters": int(model.count_params()),
        "multiply_adds": count_multiply_adds(model, images.shape[1]),
        "fit_seconds": round(result.fit_seconds, 1),
        "seconds_per_epoch": round(result.seconds_per_epoch, 3),
        "seconds_per_image": round(seconds_per_image, 5),
        "wall_seconds": round(time.time() - psutil.Process().create_time(), 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "device": device_name(),
        "arithmetic": arithmetic(model),
    }


def validate(model, validation: Arrays, config: RunConfig) -> dict[str, float]:
    """Validation loss and pooled Dice from one pass over the validation images.

    Args:
        model: a network.
        validation: N > 0 images with masks.
        config: loss and batch_size are used; the result does not depend on batch_size.

    Returns:
        `val_loss`, mean over chunks of `CHUNK` images weighted by their size; `val_dice_nucleus` and
        `val_dice_cytoplasm`, from pixel counts over all images, NaN where neither reference nor prediction has any.
    """
    loss_function = build_loss(config.loss)
    count, loss = len(validation.images), 0.0
    overlap, total = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for start in range(0, count, CHUNK):
        chunk = slice(start, start + CHUNK)
        reference = validation.masks[chunk]
        probabilities = predict_probabilities(model, validation.images[chunk], config.batch_size)
        loss += float(loss_function(reference, probabilities)) * len(reference) / count
        prediction = probabilities.argmax(axis=-1)
        for label in (CYTOPLASM, NUCLEUS):
            overlap[label] += np.count_nonzero((reference == label) & (prediction == label))
            total[label] += np.count_nonzero(reference == label) + np.count_nonzero(prediction == label)
    dice = [2 * int(both) / int(sizes) if sizes else math.nan for both, sizes in zip(overlap, total, strict=True)]
    return {"val_loss": loss, "val_dice_nucleus": dice[NUCLEUS], "val_dice_cytoplasm": dice[CYTOPLASM]}


def _check_arrays(arrays: Arrays, part: str) -> None:
    if not len(arrays.images):
        raise StudyError(
            f"There is no {part} image.",
            expected="at least one",
            fix="Check the split: add cases, or change test_fraction and validation_fraction.",
        )


def _check_finite(value: float, which: str, epoch: int, config: RunConfig) -> None:
    if not math.isfinite(value):
        raise StudyError(
            f"The {which} loss became {value} in epoch {epoch}.",
            expected="a finite number",
            fix=f"Lower learning_rate (now {config.learning_rate:g}), for example to {config.learning_rate / 10:g}"
            + (", or set precision: float32" if config.precision != "float32" else "")
            + f"; {NEW_STUDY}.",
        )


@contextlib.contextmanager
def _memory_advice(config: RunConfig) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        detail = (str(error).splitlines() or ["no detail"])[0][:200]
        raise StudyError(
            f"Out of memory while training {config.encoder} ({detail}).",
            expected=f"{config.batch_size} images of {config.image_size} px at a time to fit",
            fix=f"Lower batch_size (now {config.batch_size}) or image_size (now {config.image_size}), {NEW_STUDY}.",
        ) from error


@contextlib.contextmanager
def _disk_advice(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder.path, error) from error


def _write_history(history: pd.DataFrame, folder: RunFolder) -> None:
    with atomic_write(folder.history) as path:
        history.to_csv(path, index=False)


def _line(rows: list[dict[str, Any]], config: RunConfig) -> str:
    row = rows[-1]
    # The first epoch of a sitting builds the graph; the later ones tell how long an epoch takes.
    recent = [earlier["seconds"] for earlier in rows[-5:]]
    left = float(np.median(recent)) * (config.epochs - row["epoch"])
    width = len(str(config.epochs))
    return (
        f"epoch {row['epoch']:>{width}}/{config.epochs}  loss {row['loss']:.4f}  val_loss {row['val_loss']:.4f}  "
        f"nucleus {row['val_dice_nucleus']:.3f}  cytoplasm {row['val_dice_cytoplasm']:.3f}  "
        f"{row['seconds']:.1f} s, at most {_duration(left)} left"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
