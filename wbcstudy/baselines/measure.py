"""One earlier method on one split: choose its parameters, fit it, segment the test cases."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from wbcstudy.baselines.methods import MethodRow, build_method, search_parameters


class Arrays(Protocol):
    """Images and masks of one part of the split.

    Attributes:
        images: uint8 (N, S, S, 3), RGB.
        masks: uint8 (N, S, S), labels.
    """

    images: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Measured:
    """What a method came to.

    Args:
        seeds: those it was fitted with; one for a method that does not learn at random.
        params: what was chosen on the validation cases; empty where nothing was searched.
        search: one row per setting tried, with its validation scores.
        predictions: seed -> uint8 (N, S, S), labels of the test cases.
        fit_seconds: processor time to fit once, mean over the seeds.
        seconds_per_image: processor time to segment one test image, mean over images and seeds.
        total_seconds: processor time of everything, the search included.

    Processor time is what one core would need alone: other work on the machine does not change it.
    """

    seeds: tuple[int, ...]
    params: dict[str, Any]
    search: pd.DataFrame
    predictions: dict[int, np.ndarray]
    fit_seconds: float
    seconds_per_image: float
    total_seconds: float

    def facts(self) -> dict[str, Any]:
        """For run.json: seeds, params, fit_seconds, seconds_per_image, total_seconds."""
        return {
            "seeds": list(self.seeds),
            "params": self.params,
            "fit_seconds": round(self.fit_seconds, 3),
            "seconds_per_image": round(self.seconds_per_image, 5),
            "total_seconds": round(self.total_seconds, 1),
        }


def measure(
    row: MethodRow, training: Arrays, validation: Arrays, test: Arrays, seeds: Sequence[int], show=print
) -> Measured:
    """Run one method as the U-Nets are run: nothing is chosen on the test cases.

    Parameters are chosen on the validation cases after fitting on training cases; the method with the chosen ones is
    then fitted on both, since it needs no validation any more.

    Args:
        row: the method.
        training: to fit on, N > 0.
        validation: to choose parameters on, N > 0.
        test: to segment; its masks are not looked at.
        seeds: one fit each, where the method learns at random; the first otherwise.
        show: called with one line per step.

    Raises:
        StudyError: the method cannot learn from these cases, or needs a package that is not installed.
    """
    begin = time.process_time()
    seeds = tuple(seeds if row.learns else seeds[:1])
    params, tried = search_parameters(
        row,
        (np.asarray(training.images), np.asarray(training.masks)),
        (np.asarray(validation.images), np.asarray(validation.masks)),
        np.random.default_rng(seeds[0]),
    )
    if tried:
        show(f"{len(tried)} settings tried; best on validation: {params}")
    images, masks = (np.concatenate([getattr(training, of), getattr(validation, of)]) for of in ("images", "masks"))
    predictions, fit_s, predict_s = {}, [], []
    for seed in seeds:
        method = build_method(row.name, **params)
        start = time.process_time()
        method.fit(list(images), list(masks), np.random.default_rng(seed))
        fitted = time.process_time()
        predictions[seed] = np.stack([method.predict(image) for image in test.images])
        fit_s.append(fitted - start)
        predict_s.append((time.process_time() - fitted) / len(test.images))
        show(f"seed {seed}: fitted in {fit_s[-1]:.1f} s, {predict_s[-1]:.3f} s per image")
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
    return Measured(
        seeds=seeds,
        params=plain,
        search=pd.DataFrame(tried),
        predictions=predictions,
        fit_seconds=float(np.mean(fit_s)),
        seconds_per_image=float(np.mean(predict_s)),
        total_seconds=time.process_time() - begin,
    )
