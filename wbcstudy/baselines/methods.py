"""Build an earlier method by name, and tune its parameters. The table of methods is `registry.METHODS`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from wbcstudy.errors import StudyError
from wbcstudy.labels import CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS, MethodRow, pick

if TYPE_CHECKING:
    # Imported where it is used: `wbcstudy status` asks for names only, and should not wait for it.
    import numpy as np


def method_row(name: str) -> MethodRow:
    """The row of a name.

    Raises:
        StudyError: unknown name; the message lists the known ones and the nearest.
    """
    return pick(METHODS, name, "earlier method")


def build_method(name: str, **params):
    """Build a method that has learnt nothing yet.

    Args:
        name: a key of `METHODS`.
        params: parameters of its class, in place of the defaults.

    Returns:
        A `wbcstudy.baselines.base.Method`.

    Raises:
        StudyError: unknown name or parameter, or the package that the method needs is not installed.
    """
    row = method_row(name)
    if not row.available:
        raise StudyError(
            f"The method {name!r} needs the package {row.needs!r}, which is not installed.",
            expected=f"an environment with {row.needs}",
            fix=f"Install {row.needs}, or take {name!r} out of `baselines`.",
        )
    module, _, cls = row.builder.partition(":")
    made = getattr(import_module(f"wbcstudy.baselines.{module}"), cls)
    given = {**row.fixed, **params}
    known = made().get_params(deep=False)
    for key in given:
        if key not in known:
            raise StudyError(
                f"The method {name!r} has no parameter {key!r}.",
                expected=", ".join(known) or "no parameters",
                fix="Correct the name, or leave it out.",
            )
    return made(**given)


def search_parameters(
    row: MethodRow,
    training: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    validation: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    rng: np.random.Generator,
    *,
    max_training: int = 40,
    max_validation: int = 20,
) -> tuple[dict, list[dict]]:
    """Try each combination of a row's `search` and keep the best.

    Each setting learns from the same training cases with the same random numbers, so that settings differ by nothing
    else. The score of a setting is the mean over validation images of (nucleus Dice + cytoplasm Dice) / 2, of the raw
    output; an image's region that is neither there nor predicted is left out. The first of equals wins.

    Args:
        row: a row of `METHODS`.
        training: images and masks to learn from, as for `Method.fit`.
        validation: images and masks to score on. Never test cases.
        rng: draws the cases, where there are more than the limits, and the settings' common seed.
        max_training: most training cases to use.
        max_validation: most validation cases to use.

    Returns:
        The best setting's parameters (those of `search` alone; empty where there is nothing to search, and then
        nothing is run), and one dict per setting tried: its parameters, `nucleus`, `cytoplasm` and `score` (Dice, mean
        over images), `fit_seconds`, `predict_seconds` (per image).

    Raises:
        StudyError: there is something to search and no validation case to do it on.
    """
    import numpy as np

    if not row.search:
        return {}, []
    if len(validation[0]) == 0:
        raise StudyError(
            f"The parameters of {row.name!r} cannot be chosen without validation cases.",
            expected="one validation case or more",
            fix="Raise `validation_fraction`, or pass the parameters yourself.",
        )
    training, validation = _some(training, max_training, rng), _some(validation, max_validation, rng)
    seed = int(rng.integers(2**32))
    tried = []
    for values in itertools.product(*row.search.values()):
        params = dict(zip(row.search, values, strict=True))
        method = build_method(row.name, **params)
        start = time.perf_counter()
        method.fit(*training, np.random.default_rng(seed))
        fitted = time.perf_counter()
        predictions = [method.predict(image) for image in validation[0]]
        done = time.perf_counter()
        dice = {
            region: _mean(
                [_dice(mask == label, one == label) for mask, one in zip(validation[1], predictions, strict=True)]
            )
            for region, label in (("nucleus", NUCLEUS), ("cytoplasm", CYTOPLASM))
        }
        tried.append(
            {
                **params,
                **dice,
                "score": _mean(list(dice.values())),
                "fit_seconds": fitted - start,
                "predict_seconds": (done - fitted) / len(predictions),
            }
        )
    best = max(tried, key=lambda one: -1.0 if math.isnan(one["score"]) else one["score"])
    return {key: best[key] for key in row.search}, tried


def _some(cases, most: int, rng: np.random.Generator):
    images, masks = cases
    if len(images) <= most:
        return cases
    chosen = sorted(rng.choice(len(images), most, replace=False))
    return [images[k] for k in chosen], [masks[k] for k in chosen]


def _dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    total = int(reference.sum()) + int(prediction.sum())
    return 2 * int((reference & prediction).sum()) / total if total else float("nan")


def _mean(values: list[float]) -> float:
    import numpy as np

    values = [value for value in values if not math.isnan(value)]
    return float(np.mean(values)) if values else float("nan")
