"""Measure one earlier method on one split: choose its parameters, fit it, segment the test cases."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wbcstudy.baselines.base import region_dice
from wbcstudy.baselines.methods import build_method
from wbcstudy.data.arrays import Arrays, resize_labels
from wbcstudy.errors import StudyError
from wbcstudy.labels import CYTOPLASM, IGNORED, NUCLEUS
from wbcstudy.registry import MethodRow


@dataclass(frozen=True)
class Measured:
    """Predictions and times of one method on one split.

    Args:
        seeds: seeds of the fits; one for a deterministic method.
        params: parameters chosen on the validation cases; empty if there is no search.
        search: one row per setting tried, with its validation scores.
        predictions: seed -> masks of the test cases, uint8 (H, W) of labels, at the size of their references.
        fit_seconds: processor time of one fit, mean over the seeds.
        seconds_per_image: processor time to segment one test image, mean over images and seeds.
        total_seconds: processor time of everything, including the search.

    Processor time is the time that one core would need alone; other work on the machine does not change it.
    """

    seeds: tuple[int, ...]
    params: dict[str, Any]
    search: pd.DataFrame
    predictions: dict[int, np.ndarray]
    fit_seconds: float
    seconds_per_image: float
    total_seconds: float

    def facts(self) -> dict[str, Any]:
        """Return the entries of run.json: seeds, params, fit_seconds, seconds_per_image, total_seconds."""
        return {
            "seeds": list(self.seeds),
            "params": self.params,
            "fit_seconds": round(self.fit_seconds, 3),
            "seconds_per_image": round(self.seconds_per_image, 5),
            "total_seconds": round(self.total_seconds, 1),
        }


def measure(
    row: MethodRow,
    training: Arrays,
    validation: Arrays,
    test: Arrays,
    seeds: Sequence[int],
    show: Callable[[str], object] = print,
) -> Measured:
    """Run one method under the same rules as the U-Nets: nothing is chosen on the test cases.

    Parameters are chosen on the validation cases after fitting on training cases. The method with the chosen parameters
    is then fitted on both.

    Args:
        row: the method.
        training: training cases, N > 0.
        validation: cases to choose parameters on, N > 0.
        test: cases to segment; their masks are not used. Predictions are brought to the size of their references.
        seeds: one fit per seed if the training is random, at most `row.max_seeds`; otherwise the first seed only.
        show: called with one line per step.

    Raises:
        StudyError: the method cannot be fitted to these cases, or needs a missing package.
    """
    begin = time.process_time()
    seeds = tuple(seeds[: row.max_seeds] if row.learns else seeds[:1])
    params, tried = _search_parameters(
        row,
        (np.asarray(training.images), np.asarray(training.masks)),
        (np.asarray(validation.images), np.asarray(validation.masks)),
        np.random.default_rng(seeds[0]),
    )
    if tried:
        show(f"{len(tried)} settings tried; best on validation: {params}")
    images = np.concatenate([training.images, validation.images])
    masks = np.concatenate([training.masks, validation.masks])
    predictions, fit_seconds, predict_seconds = {}, [], []
    for seed in seeds:
        method = build_method(row.name, **params)
        start = time.process_time()
        method.fit(list(images), list(masks), np.random.default_rng(seed))
        fitted = time.process_time()
        small = [method.predict(image) for image in test.images]
        fit_seconds.append(fitted - start)
        predict_seconds.append((time.process_time() - fitted) / len(test.images))
        predictions[seed] = [
            resize_labels(mask, shape) for mask, shape in zip(small, test.references.shapes, strict=True)
        ]
        show(f"seed {seed}: fitted in {fit_seconds[-1]:.1f} s, {predict_seconds[-1]:.3f} s per image")
    return Measured(
        seeds=seeds,
        params={name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()},
        search=pd.DataFrame(tried),
        predictions=predictions,
        fit_seconds=float(np.mean(fit_seconds)),
        seconds_per_image=float(np.mean(predict_seconds)),
        total_seconds=time.process_time() - begin,
    )


def _search_parameters(
    row: MethodRow,
    training: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    validation: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    rng: np.random.Generator,
    *,
    max_training: int = 40,
    max_validation: int = 20,
) -> tuple[dict, list[dict]]:
    """Try each combination of a row's `search` on images and masks, and return the best.

    All settings use the same training cases (at random, at most `max_training`) and the same seed. The score of a
    setting is the mean over validation images (at most `max_validation`) of (nucleus Dice + cytoplasm Dice) / 2 of the
    raw output; a region that is neither in the reference nor in the prediction is left out. The first of equal settings
    wins.

    Returns:
        The best setting (parameters of `search` only; empty without `search`, and then nothing runs), and one dict per
        setting tried: its parameters, `nucleus`, `cytoplasm` and `score` (Dice, mean over images), `fit_seconds`,
        `predict_seconds` (per image).

    Raises:
        StudyError: there is a search but no validation case.
    """
    if not row.search:
        return {}, []
    if len(validation[0]) == 0:
        raise StudyError(
            f"The parameters of {row.name!r} cannot be chosen without validation cases.",
            expected="one validation case or more",
            fix="Raise `validation_fraction`, or pass the parameters yourself.",
        )
    training, validation = _draw_cases(training, max_training, rng), _draw_cases(validation, max_validation, rng)
    seed = int(rng.integers(2**32))
    tried = []
    for values in itertools.product(*row.search.values()):
        params = dict(zip(row.search, values, strict=True))
        method = build_method(row.name, **params)
        start = time.perf_counter()
        method.fit(*training, np.random.default_rng(seed))
        fitted = time.perf_counter()
        predictions = [method.predict(image) for image in validation[0]]
        end = time.perf_counter()
        pairs = list(zip(validation[1], predictions, strict=True))
        dice = {
            region: _defined_mean(
                [region_dice(mask == label, (prediction == label) & (mask != IGNORED)) for mask, prediction in pairs]
            )
            for region, label in (("nucleus", NUCLEUS), ("cytoplasm", CYTOPLASM))
        }
        tried.append(
            {
                **params,
                **dice,
                "score": _defined_mean(list(dice.values())),
                "fit_seconds": fitted - start,
                "predict_seconds": (end - fitted) / len(predictions),
            }
        )
    best = max(tried, key=lambda setting: np.nan_to_num(setting["score"], nan=-1))
    return {name: best[name] for name in row.search}, tried


def _draw_cases(cases, limit: int, rng: np.random.Generator):
    images, masks = cases
    if len(images) <= limit:
        return cases
    chosen = sorted(rng.choice(len(images), limit, replace=False))
    return [images[k] for k in chosen], [masks[k] for k in chosen]


def _defined_mean(values: list[float]) -> float:
    """Return the mean without NaN; NaN if all are NaN."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
