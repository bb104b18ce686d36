"""The methods of Table 3 by name. One row is everything about the method; its module is loaded when it is built."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from wbcstudy.errors import StudyError
from wbcstudy.labels import CYTOPLASM, NUCLEUS
from wbcstudy.registry import pick

if TYPE_CHECKING:
    # Imported where it is used: `wbcstudy status` asks for names only, and should not wait for it.
    import numpy as np

_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True)
class MethodRow:
    """One earlier method.

    Args:
        name: as in `params/*.yaml` and in run names.
        title: as in tables.
        reference: its number in the paper's list of references, "" for a yardstick of ours.
        algorithm: the method in a few words, for Table 3.
        builder: where its class is, "module:Class" within `wbcstudy.baselines`.
        learns: whether it learns at random, and so is run with several seeds.
        fixed: parameters of the class that make this row, where rows share a class.
        search: for each parameter to be tuned, the values to try; all combinations are tried, on validation cases.
        quoted_as: the `method` of its rows in the paper's Table 3, None where the paper quotes no number.
        needs: package of an optional extra without which it does not run, as one imports it; "" for none.
    """

    name: str
    title: str
    reference: str
    algorithm: str
    builder: str
    learns: bool
    fixed: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    search: Mapping[str, tuple] = field(default_factory=lambda: _NOTHING)
    quoted_as: str | None = None
    needs: str = ""

    @property
    def available(self) -> bool:
        """Whether the package that it needs is installed."""
        return not self.needs or find_spec(self.needs) is not None

    def facts(self) -> dict[str, object]:
        """For run.json: name, title, reference, algorithm, learns, quoted_as."""
        names = ("name", "title", "reference", "algorithm", "learns", "quoted_as")
        return {name: getattr(self, name) for name in names}


def _rows(*rows: MethodRow) -> Mapping[str, MethodRow]:
    return MappingProxyType({row.name: row for row in rows})


def _few_labels(learner: str, title: str, algorithm: str, package: str = "", **fixed: object) -> MethodRow:
    """A row of reference 13; those of another package's learner have the package's name."""
    full = f"{package}_{learner}" if package else learner
    return MethodRow(
        full if package else f"bechar2018_{learner}",
        f"Bechar 2018, {title}",
        "13",
        algorithm,
        "bechar2018:FewLabelsSuperpixels",
        True,
        fixed=MappingProxyType({"learner": full} | fixed),
        needs=package,
    )


# In the order of the paper's references, our yardsticks first.
METHODS: Mapping[str, MethodRow] = _rows(
    MethodRow("otsu_levels", "Three-level Otsu", "", "Two thresholds on green", "otsu_levels:OtsuLevels", False),
    MethodRow(
        "forest",
        "Smoothed-colour forest",
        "",
        "Random forest on smoothed colour",
        "forest:ColourForest",
        True,
        search={"min_leaf": (1, 5, 20)},
    ),
    MethodRow(
        "benazzouz2013",
        "Benazzouz 2013",
        "6",
        "Otsu + region growing",
        "benazzouz2013:OtsuGrowing",
        False,
        search={"max_distance": (2.0, 3.0, 4.0), "max_reach_px": (20, 40, 80)},
        quoted_as="benazzouz2013",
    ),
    MethodRow(
        "baghli2014",
        "Baghli 2014",
        "7",
        "Watershed + evidence theory",
        "baghli2014:EvidenceWatershed",
        True,
        search={"region_px": (50, 94), "background_components": (3, 6)},
        quoted_as="baghli2014",
    ),
    MethodRow(
        "benomar2021",
        "Benomar 2021",
        "8",
        "Decorrelation stretch + Otsu + watershed",
        "benomar2021:StretchWatershed",
        False,
        search={"opening_px": (3, 5), "stray_px": (20.0, 40.0, float("inf"))},
        quoted_as="benomar2021",
    ),
    MethodRow(
        "settouti2020_tree",
        "Settouti 2020, tree",
        "9",
        "Pixel-based approach, decision tree",
        "settouti2020:PixelGrowing",
        True,
        fixed=MappingProxyType({"classifier": "tree"}),
        search=MappingProxyType({"sigma_px": (0.0, 1.0, 2.0), "min_leaf": (5, 20)}),
        quoted_as="settouti2020",
    ),
    MethodRow(
        "settouti2020_forest",
        "Settouti 2020, forest",
        "9",
        "Pixel-based approach, random forest",
        "settouti2020:PixelGrowing",
        True,
        fixed=MappingProxyType({"classifier": "forest"}),
        search=MappingProxyType({"sigma_px": (0.0, 1.0, 2.0)}),
        quoted_as="settouti2020",
    ),
    MethodRow(
        "saidi2018",
        "Saidi 2018",
        "10",
        "EMIS",
        "saidi2018:MarginSelection",
        True,
        search=MappingProxyType({"sigma_px": (0.0, 2.0), "share": (0.05, 0.2)}),
        quoted_as="saidi2018",
    ),
    MethodRow(
        "settouti2020_ivsel",
        "Settouti 2020, IVsel",
        "11",
        "IVsel",
        "ivsel:InstanceVariableSelection",
        True,
        search=MappingProxyType({"sigma_px": (0.0, 2.0), "share": (0.05, 0.2)}),
        quoted_as="settouti2020_ivsel",
    ),
    MethodRow(
        "bechar2019",
        "Bechar 2019",
        "12",
        "Superpixel classification",
        "bechar2019:SuperpixelForest",
        True,
        search=MappingProxyType({"normalisation": ("comprehensive", "none", "affine", "stretch")}),
    ),
    _few_labels("tree", "tree", "Superpixels, few labels, decision tree"),
    _few_labels("forest", "forest", "Superpixels, few labels, random forest"),
    _few_labels("coforest", "co-Forest", "Superpixels, few labels, co-Forest"),
    _few_labels("setred", "SETRED", "Superpixels, few labels, SETRED"),
    # Its fit takes minutes with 50 trees; ours is measured with 50.
    _few_labels(
        "coforest", "sslearn's co-Forest", "Superpixels, few labels, co-Forest of sslearn", "sslearn", trees=20
    ),
    _few_labels("setred", "sslearn's SETRED", "Superpixels, few labels, SETRED of sslearn", "sslearn"),
    MethodRow(
        "khouani2020",
        "Khouani 2020",
        "14",
        "Mask R-CNN",
        "khouani2020:MaskRcnn",
        True,
        needs="torchvision",
    ),
)


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
