"""Train one network: early stopping on the validation loss, checkpoints, the best weights kept.

An interrupted training that is started again with equal settings and images resumes after its last saved epoch. Its
history and weights are then bit-identical to those of an uninterrupted training.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import Arrays, label_probabilities, majority
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, cannot_write
from wbcstudy.labels import CYTOPLASM, IGNORED, NUCLEUS
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.batches import make_batches
from wbcstudy.nets.checkpoint import Checkpoint
from wbcstudy.nets.cost import arithmetic, count_multiply_adds, device_name, kernels_name, peak_memory_mb
from wbcstudy.nets.fast_convolutions import fast_convolutions
from wbcstudy.nets.fast_layers import fast_adam
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.own_parts import CallbackRunner, OwnParts
from wbcstudy.nets.prediction import CHUNK, predict_masks, predict_probabilities
from wbcstudy.nets.progress import Display
from wbcstudy.nets.stain import normalise_training_images, set_target
from wbcstudy.nets.weight_average import WeightAverage
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.start import NEW_STUDY


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Args:
        history: one row per epoch, columns as in history.csv.
        best_epoch: the epoch with the lowest validation loss, from 1; the model has its weights.
        epochs: number of trained epochs.
        stopped_early: whether the training ended by `patience` or a callback, and not by `epochs`.
        fit_seconds: total time of all epochs with validation, in s, also before interruptions.
        steps_per_epoch: training steps per epoch.
        earlier_seconds: the part of fit_seconds before the last interruption, in s.
        earlier_notebooks: the notebook of each process before the last interruption.
        own_parts: the user's own loss, callbacks and augmentation, see `runs.own_parts.describe_parts`.
    """

    history: pd.DataFrame
    best_epoch: int
    epochs: int
    stopped_early: bool
    fit_seconds: float
    steps_per_epoch: int
    earlier_seconds: float = 0.0
    earlier_notebooks: Sequence[dict[str, Any]] = ()
    own_parts: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds_per_epoch(self) -> float:
        """Median time of an epoch; the first takes longer, since it builds the graph."""
        return float(self.history["seconds"].median())


def train(
    model,
    training: Arrays,
    validation: Arrays,
    config: RunConfig,
    folder: RunFolder,
    report: Callable[[str], Any] | None = None,
    *,
    loss: Any = None,
    callbacks: Any = (),
    augmentation: Any = None,
) -> TrainingResult:
    """Train a model, and write `model.keras` and `history.csv` to the run's folder.

    Checkpoints are written after epochs, see `Checkpoint`. If the folder has one, the training resumes from it. The
    last one is kept until the run is complete: a run that is interrupted during its evaluation is not trained again.

    With `weight_average`, the average of the weights is validated after each epoch: early stopping, the best epoch and
    the kept weights are those of the average. The column `loss` of the history is the loss before averaging.

    Args:
        model: from `build_unet(config)`; changed in place, and has the best epoch's weights at the end.
        training: training images, from `read_training_cases`, N > 0.
        validation: images for early stopping, from `read_cases`, N > 0.
        config: the settings.
        folder: the run's folder, created if it does not exist.
        report: called with one line per epoch; by default, a notebook shows a progress bar with learning curves, and
            a script prints.
        loss: a loss of your own, used instead of `config.loss`, see `OwnParts`.
        callbacks: Keras callbacks of your own. They get loss, val_loss, val_dice_nucleus and val_dice_cytoplasm. Their
            numbers, texts and lists are saved with a checkpoint and restored when a training resumes.
        augmentation: Keras layers of your own, applied after the augmentation of the settings, see `OwnParts`.

    Raises:
        StudyError: no images; a checkpoint of other settings, images or parts of your own; a loss that is not finite;
            a loss, callback or augmentation of the wrong type or with a result of the wrong shape; out of memory; disk
            full.
    """
    for arrays, part in ((training, "training"), (validation, "validation")):
        _check_arrays(arrays, part)
    if config.start_from != "none" and not getattr(model, "network_start", None):
        raise StudyError(
            f"The network has random weights, but its settings have start_from: {config.start_from}.",
            expected="the weights of that network",
            fix="Call `study.network_start.start_from_network` after `build_unet`, as notebooks/2_train.ipynb does.",
        )
    keras = load_keras()
    own = OwnParts(loss, callbacks, augmentation, config, training.shares.shape[-1] + 1)
    steps = -(-len(training.images) * config.augmented_copies // config.batch_size)
    model.compile(fast_adam(_build_learning_rate(config, steps)), own.loss, jit_compile=False)
    # Creates the optimiser's variables, which a checkpoint restores.
    model.optimizer.build(model.trainable_variables)

    set_target(model, training.images)
    images = normalise_training_images(training.images, config)
    average = WeightAverage(model, config.weight_average)
    display = Display(config, steps, report)
    checkpoint = Checkpoint.open(
        folder.checkpoint, model, average, config, (training, validation), display.line, own.description
    )
    rows = checkpoint.rows
    runner = CallbackRunner(model, own.callbacks, config.epochs, steps)
    trains = not checkpoint.ended
    if trains:
        runner.begin(checkpoint.callbacks)
    display.begin(rows)
    while not checkpoint.ended:
        epoch, start = len(rows) + 1, time.perf_counter()
        with _memory_advice(config):
            runner.begin_epoch(epoch)
            own.seed_augmentation(epoch)
            batches = make_batches(images, training.shares, config, epoch, training.aspects, own.augmentation)
            of_steps = [*average.callbacks, *runner.of_steps, *display.of_steps(epoch)]
            with fast_convolutions(model):
                mean_loss = model.fit(batches, shuffle=False, verbose=0, callbacks=of_steps).history["loss"][-1]
            _check_finite(mean_loss, "training", epoch, config)
            with average.in_model():
                scores = validate(model, validation, config, own.loss)
            _check_finite(scores["val_loss"], "validation", epoch, config)
        row = {"epoch": epoch, "loss": float(mean_loss), **scores, "seconds": round(time.perf_counter() - start, 3)}
        row["learning_rate"] = float(model.optimizer.learning_rate)
        stopped = runner.end_epoch(epoch, row)
        with _disk_advice(folder):
            checkpoint.add(row, runner.states, stopped)
            _write_history(checkpoint.history, folder)
        display.epoch(rows)
    if trains:
        runner.end()
    display.end(checkpoint.best_epoch, _end_reason(checkpoint))

    checkpoint.restore_best()
    history = checkpoint.history
    # With a new optimiser, the file has a third of the size.
    model.compile(keras.optimizers.Adam(config.learning_rate), build_loss(config.loss), jit_compile=False)
    with _disk_advice(folder):
        _write_history(history, folder)
        with atomic_write(folder.model) as path:
            model.save(path)
    return TrainingResult(
        history=history,
        best_epoch=checkpoint.best_epoch,
        epochs=len(rows),
        stopped_early=checkpoint.patience_ended or checkpoint.stopped,
        fit_seconds=float(history["seconds"].sum()),
        steps_per_epoch=steps,
        earlier_seconds=checkpoint.earlier_seconds,
        earlier_notebooks=checkpoint.notebooks,
        own_parts=own.description,
    )


def _end_reason(checkpoint: Checkpoint) -> str:
    if checkpoint.stopped:
        return "stopped by a callback"
    if checkpoint.patience_ended:
        return f"stopped early: no lower validation loss in {checkpoint.config.patience} epochs"
    return "all epochs done"


def _build_learning_rate(config: RunConfig, steps_per_epoch: int):
    """Return the learning rate, or its schedule over the steps of a training.

    Args:
        config: learning_rate, learning_rate_schedule and epochs are used.
        steps_per_epoch: > 0.

    Returns:
        A float, or for "cosine" a keras.optimizers.schedules.LearningRateSchedule: it rises linearly from 0 during the
        first epoch (Goyal et al. 2017), then follows half a cosine to 0 at the end of the last epoch (Loshchilov and
        Hutter 2017, without restarts). A single epoch only falls. It depends only on the optimiser's step count, which
        a checkpoint restores.
    """
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    warmup = steps_per_epoch if config.epochs > 1 else 0
    return load_keras().optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps_per_epoch - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def training_facts(
    model, result: TrainingResult, cases: Arrays, batch_size: int = 8, flips: bool = False
) -> dict[str, Any]:
    """Collect the facts about a training for run.json.

    Args:
        model: the trained network.
        result: the result of its training.
        cases: N > 0; segmented again to measure the time, which includes resizing the probabilities.
        batch_size: images per batch.
        flips: as in `predict_probabilities`; the time per image includes all eight predictions.

    Returns:
        best_epoch, epochs, stopped_early, parameters, multiply_adds (per image), fit_seconds (also before
        interruptions), seconds_per_epoch (median), seconds_per_image, wall_seconds (of this process with its start,
        and of the epochs before an interruption), peak_memory_mb, device, arithmetic (precision of the convolutions,
        "float32" or "bfloat16"), kernels (whose convolutions, or None), encoder_start (as `weights.LoadedWeights`, None
        for random weights), network_start (as `runs.records.NetworkStartRecord`, or None), earlier_notebooks; own_parts
        if the user has any.
    """
    import psutil

    # Builds the graph for this shape, which should not be measured.
    predict_probabilities(model, cases.images[:batch_size], batch_size, flips=flips)
    start = time.perf_counter()
    predict_masks(model, cases, batch_size, flips=flips)
    seconds_per_image = (time.perf_counter() - start) / len(cases)

    return {
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "stopped_early": result.stopped_early,
        "parameters": int(model.count_params()),
        "multiply_adds": count_multiply_adds(model, cases.images.shape[1]),
        "fit_seconds": round(result.fit_seconds, 1),
        "seconds_per_epoch": round(result.seconds_per_epoch, 3),
        "seconds_per_image": round(seconds_per_image, 5),
        "wall_seconds": round(result.earlier_seconds + time.time() - psutil.Process().create_time(), 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "device": device_name(),
        "arithmetic": arithmetic(model),
        "kernels": kernels_name(),
        "encoder_start": asdict(start) if (start := getattr(model, "encoder_start", None)) else None,
        "network_start": getattr(model, "network_start", None),
        "earlier_notebooks": list(result.earlier_notebooks),
        **({"own_parts": result.own_parts} if result.own_parts else {}),
    }


def validate(model, validation: Arrays, config: RunConfig, loss_function: Callable | None = None) -> dict[str, float]:
    """Compute validation loss and pooled Dice in one pass over the validation images, at `image_size`.

    The loss decides when to stop. It is computed at the size of the network, since each image's own size would need
    several times the time. The scores in run.json, which choose the encoder, are computed at the scored size.

    Args:
        model: a network.
        validation: images with masks, N > 0.
        config: loss and batch_size are used; the result does not depend on batch_size.
        loss_function: used instead of `config.loss`.

    Returns:
        `val_loss` against the labels' shares of each pixel, the mean over chunks of `CHUNK` images, weighted by their
        size; `val_dice_nucleus` and `val_dice_cytoplasm` from the pixel counts of all images, NaN if the label is in no
        reference or prediction.
    """
    loss_function = loss_function or build_loss(config.loss)
    count, loss = len(validation.images), 0.0
    overlap, total = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for start in range(0, count, CHUNK):
        chunk = slice(start, start + CHUNK)
        shares = validation.shares[chunk]
        reference = majority(shares)
        probabilities = predict_probabilities(model, validation.images[chunk], config.batch_size)
        loss += float(loss_function(label_probabilities(shares), probabilities)) * len(reference) / count
        # Ignored pixels have no label in the reference, and must have none in the prediction.
        prediction = np.where(reference == IGNORED, IGNORED, probabilities.argmax(axis=-1))
        for label in (CYTOPLASM, NUCLEUS):
            overlap[label] += np.count_nonzero((reference == label) & (prediction == label))
            total[label] += np.count_nonzero(reference == label) + np.count_nonzero(prediction == label)
    dice = [2 * int(common) / int(size) if size else math.nan for common, size in zip(overlap, total, strict=True)]
    return {"val_loss": loss, "val_dice_nucleus": dice[NUCLEUS], "val_dice_cytoplasm": dice[CYTOPLASM]}


def _check_arrays(arrays: Arrays, part: str) -> None:
    if not len(arrays.images):
        raise StudyError(
            f"There is no {part} image.",
            expected="at least one",
            fix="Check the split: add cases, or change test_fraction and validation_fraction.",
        )


def _check_finite(loss: float, part: str, epoch: int, config: RunConfig) -> None:
    if not math.isfinite(loss):
        raise StudyError(
            f"The {part} loss became {loss} in epoch {epoch}.",
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
            expected=f"enough memory for {config.batch_size} images of {config.image_size} px at a time",
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
