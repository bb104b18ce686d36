"""The earlier methods of Table 3, by name. The module of a method is imported when the method is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType

from wbcstudy.errors import StudyError
from wbcstudy.registry import pick


@dataclass(frozen=True)
class MethodRow:
    """One earlier method.

    Args:
        name: name in `params/*.yaml` and in run names.
        title: name in tables.
        reference: its number in the paper's list of references, "" for our own baselines.
        algorithm: short description for Table 3.
        builder: its class, "module:Class" within `wbcstudy.baselines`.
        learns: whether its training is random, so that it runs with several seeds.
        fixed: parameters of the class that define this row, if several rows share a class.
        search: parameter -> values to try; all combinations are tried on validation cases.
        quoted_as: `method` of its rows in the paper's Table 3, None if the paper quotes no number.
        needs: import name of the optional package that it needs; "" for none.
    """

    name: str
    title: str
    reference: str
    algorithm: str
    builder: str
    learns: bool
    fixed: Mapping[str, object] = field(default_factory=dict)
    search: Mapping[str, tuple] = field(default_factory=dict)
    quoted_as: str | None = None
    needs: str = ""

    @property
    def available(self) -> bool:
        """Whether the package that it needs is installed."""
        return not self.needs or find_spec(self.needs) is not None

    def facts(self) -> dict[str, object]:
        """Return the entries of run.json: name, title, reference, algorithm, learns, quoted_as."""
        names = ("name", "title", "reference", "algorithm", "learns", "quoted_as")
        return {name: getattr(self, name) for name in names}


def _few_labels(learner: str, title: str, algorithm: str, package: str = "", **fixed: object) -> MethodRow:
    """Return a row of reference 13; rows with the learner of another package have the package's name."""
    learner_name = f"{package}_{learner}" if package else learner
    return MethodRow(
        learner_name if package else f"bechar2018_{learner}",
        f"Bechar 2018, {title}",
        "13",
        algorithm,
        "bechar2018:FewLabelsSuperpixels",
        True,
        fixed={"learner": learner_name} | fixed,
        needs=package,
    )


# Our own baselines first, then in the order of the paper's references.
_ROWS = (
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
        fixed={"classifier": "tree"},
        search={"sigma_px": (0.0, 1.0, 2.0), "min_leaf": (5, 20)},
        quoted_as="settouti2020",
    ),
    MethodRow(
        "settouti2020_forest",
        "Settouti 2020, forest",
        "9",
        "Pixel-based approach, random forest",
        "settouti2020:PixelGrowing",
        True,
        fixed={"classifier": "forest"},
        search={"sigma_px": (0.0, 1.0, 2.0)},
        quoted_as="settouti2020",
    ),
    MethodRow(
        "saidi2018",
        "Saidi 2018",
        "10",
        "EMIS",
        "saidi2018:MarginSelection",
        True,
        search={"sigma_px": (0.0, 2.0), "share": (0.05, 0.2)},
        quoted_as="saidi2018",
    ),
    MethodRow(
        "settouti2020_ivsel",
        "Settouti 2020, IVsel",
        "11",
        "IVsel",
        "ivsel:InstanceVariableSelection",
        True,
        search={"sigma_px": (0.0, 2.0), "share": (0.05, 0.2)},
        quoted_as="settouti2020_ivsel",
    ),
    MethodRow(
        "bechar2019",
        "Bechar 2019",
        "12",
        "Superpixel classification",
        "bechar2019:SuperpixelForest",
        True,
        search={"normalisation": ("comprehensive", "none", "affine", "stretch")},
    ),
    _few_labels("tree", "tree", "Superpixels, few labels, decision tree"),
    _few_labels("forest", "forest", "Superpixels, few labels, random forest"),
    _few_labels("coforest", "co-Forest", "Superpixels, few labels, co-Forest"),
    _few_labels("setred", "SETRED", "Superpixels, few labels, SETRED"),
    # Fitting takes minutes with 50 trees, the number of our own co-Forest.
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
METHODS: Mapping[str, MethodRow] = MappingProxyType({row.name: row for row in _ROWS})


def method_row(name: str) -> MethodRow:
    """Return the row of a name.

    Raises:
        StudyError: unknown name; the message lists the known names and suggests the closest.
    """
    return pick(METHODS, name, "earlier method")


def build_method(name: str, **params):
    """Build an unfitted method.

    Args:
        name: a key of `METHODS`.
        params: parameters of its class that replace the defaults.

    Returns:
        A `wbcstudy.baselines.base.Method`.

    Raises:
        StudyError: unknown name or parameter, or a missing package.
    """
    row = method_row(name)
    if not row.available:
        raise StudyError(
            f"The method {name!r} needs the package {row.needs!r}, which is not installed.",
            expected=f"an environment with {row.needs}",
            fix=f"Install {row.needs}, or remove {name!r} from `baselines`.",
        )
    module, _, class_name = row.builder.partition(":")
    method_class = getattr(import_module(f"wbcstudy.baselines.{module}"), class_name)
    given = {**row.fixed, **params}
    known = method_class().get_params(deep=False)
    for key in given:
        if key not in known:
            raise StudyError(
                f"The method {name!r} has no parameter {key!r}.",
                expected=", ".join(known) or "no parameters",
                fix="Correct the name, or remove the parameter.",
            )
    return method_class(**given)
