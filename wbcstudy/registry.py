"""Encoders, losses and earlier methods by name, and how they are called in tables and sentences.

This module imports no TensorFlow, so an unknown name is refused in milliseconds. The ImageNet weights are those that
`segmentation-models` (ResNets) and Keras (all others) publish. The MD5 sums are the publishers'; for the two
MobileNets, which are published without one, they are those that mirrors list.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType

from wbcstudy.errors import StudyError, show_value


@dataclass(frozen=True)
class Encoder:
    """One encoder.

    Args:
        name: name in `params/*.yaml` and in run names.
        title: name in tables.
        backbone: name in `segmentation-models`; None for the plain U-Net, which is built here.
        preprocessing: input that its ImageNet weights expect: "none" (RGB 0-255), "tf" (scaled to -1..1) or "caffe"
            (BGR, channel means subtracted).
        weights_url: URL of the public ImageNet weights without the classification head.
        weights_md5: their MD5 sum.
    """

    name: str
    title: str
    backbone: str | None
    preprocessing: str
    multiply_adds_per_px: float
    weights_url: str | None = None
    weights_md5: str | None = None

    @property
    def weights_file(self) -> str | None:
        """The file name under which the weights are cached."""
        return self.weights_url.rsplit("/", 1)[-1] if self.weights_url else None


@dataclass(frozen=True)
class Loss:
    """One loss: its name in `params/*.yaml`, its title in tables and its source."""

    name: str
    title: str
    source: str


@dataclass(frozen=True)
class MethodRow:
    """One earlier method.

    Args:
        name: name in `params/*.yaml` and in run names.
        title: name in tables.
        reference: its number in the paper's list of references; "" for our own baselines.
        algorithm: the method in a few words, for Table 3.
        builder: its class, as "module:Class" within `wbcstudy.baselines`.
        learns: whether training is random, so that it is run with several seeds.
        fixed: parameters of the class that define this row, where rows share a class.
        search: parameter -> values to try; all combinations are tried on validation cases.
        quoted_as: the `method` of its rows in the paper's Table 3; None where the paper quotes no number.
        needs: import name of the optional package that it needs; "" for none.
        max_seeds: largest number of seeds that it is fitted with; None for all.
    """

    name: str
    title: str
    reference: str
    algorithm: str
    builder: str
    learns: bool
    fixed: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    search: Mapping[str, tuple] = field(default_factory=lambda: MappingProxyType({}))
    quoted_as: str | None = None
    needs: str = ""
    max_seeds: int | None = None

    @property
    def available(self) -> bool:
        """Whether the package it needs is installed."""
        return not self.needs or find_spec(self.needs) is not None

    def facts(self) -> dict[str, object]:
        """Return what run.json records: name, title, reference, algorithm, learns, quoted_as."""
        names = ("name", "title", "reference", "algorithm", "learns", "quoted_as")
        return {name: getattr(self, name) for name in names}


def pick(table: Mapping, name: str, noun: str):
    """Return one row of a registry.

    Args:
        table: registry.
        name: key.
        noun: noun for the error message ("encoder").

    Raises:
        StudyError: unknown name; the message lists the known names and suggests the closest.
    """
    if name in table:
        return table[name]
    raise unknown_name(name, table, noun)


def unknown_name(name: str, known: Iterable[str], noun: str) -> StudyError:
    """Return the error for an unknown name, with the closest known name as a suggestion."""
    known = list(known)
    closest = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0.5)
    hint = f"Did you mean {closest[0]!r}?" if closest else f"Use one of these {noun} names."
    return StudyError(f"Unknown {noun} {show_value(name)}.", expected=", ".join(known), fix=hint)


_RESNET = "https://github.com/qubvel/classification_models/releases/download/0.0.1/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


def _rows(*rows):
    return MappingProxyType({row.name: row for row in rows})


# The order of the paper's Table 1, the plain U-Net first.
ENCODERS: Mapping[str, Encoder] = _rows(
    Encoder("unet", "U-Net", None, "none", 209_600.0),
    Encoder(
        "mobilenet",
        "MobileNet",
        "mobilenet",
        "tf",
        69_346.5,
        _KERAS + "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        "725ccbd03d61d7ced5b5c4cd17e7d527",
    ),
    Encoder(
        "mobilenetv2",
        "MobileNetV2",
        "mobilenetv2",
        "tf",
        68_608.875,
        _KERAS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "f1a68526548f7541cda07e19ba6c85f4",
    ),
    Encoder(
        "resnet50",
        "ResNet-50",
        "resnet50",
        "none",
        162_528.0,
        _RESNET + "resnet50_imagenet_1000_no_top.h5",
        "db3b217156506944570ac220086f09b6",
    ),
    Encoder(
        "vgg19",
        "VGG-19",
        "vgg19",
        "caffe",
        460_656.0,
        _KERAS + "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
    Encoder(
        "vgg16",
        "VGG-16",
        "vgg16",
        "caffe",
        377_712.0,
        _KERAS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    Encoder(
        "resnet152",
        "ResNet-152",
        "resnet152",
        "none",
        310_496.0,
        _RESNET + "resnet152_imagenet_1000_no_top.h5",
        "5867b94098df4640918941115db93734",
    ),
    Encoder(
        "resnet34",
        "ResNet-34",
        "resnet34",
        "none",
        119_776.0,
        _RESNET + "resnet34_imagenet_1000_no_top.h5",
        "8caaa0ad39d927cb8ba5385bf945d582",
    ),
    Encoder(
        "resnet18",
        "ResNet-18",
        "resnet18",
        "none",
        82_912.0,
        _RESNET + "resnet18_imagenet_1000_no_top.h5",
        "318e3ac0cd98d51e917526c9f62f0b50",
    ),
)

LOSSES: Mapping[str, Loss] = _rows(
    Loss("cross_entropy", "Cross-entropy", "categorical cross-entropy, as the paper calls its eq. (1)"),
    Loss(
        "dice",
        "Dice",
        "eq. (2) of the paper: 1 - (2 sum(y p) + 1) / (sum(y) + sum(p) + 1), per channel over the batch, then mean",
    ),
    Loss("binary_cross_entropy", "Binary cross-entropy", "eq. (1) of the paper as printed, mean over the channels"),
)


def _few_labels(learner: str, title: str, algorithm: str, package: str = "", **fixed: object) -> MethodRow:
    """Return a row of reference 13; a learner of another package is named after the package."""
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


# The order of the paper's references, our own baselines first.
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
        "Khouani 2020, Mask R-CNN",
        "14",
        "Mask R-CNN, 2000 steps from scratch",
        "khouani2020:MaskRcnn",
        True,
        needs="torchvision",
        max_seeds=1,
    ),
)


def loss_title(name: str, in_sentence: bool = False) -> str:
    """Return a loss's name for readers: "Cross-entropy", "Dice loss" ("Dice" alone is the coefficient).

    Args:
        name: key of `LOSSES`.
        in_sentence: whether to use lower case: "cross-entropy".
    """
    if name == "dice":
        return "Dice loss"
    return LOSSES[name].title.lower() if in_sentence else LOSSES[name].title


def network_title(encoder: str) -> str:
    """Return the name of a network with this encoder: "U-Net ResNet-18", "U-Net"."""
    title = ENCODERS[encoder].title
    return title if ENCODERS[encoder].backbone is None else f"U-Net {title}"


def method_title(method: str, part: str = "method") -> str:
    """Return a method's name for readers: "ResNet-18 with Dice loss", "Three-level Otsu".

    Args:
        method: `<encoder>__<loss>`, `<encoder>__<loss>__<start>` or an earlier method's name; any other name is
            returned unchanged.
        part: "encoder", "loss" or "start" for that part of a network's name alone, where the others do not vary.
    """
    parts = split_method(method)
    if parts is None:
        return METHODS[method].title if method in METHODS else method
    encoder, loss, start = parts
    names = {"encoder": ENCODERS[encoder].title, "loss": loss_title(loss, in_sentence=True), "start": start}
    network = f"{names['encoder']} ({start})" if start else names["encoder"]
    return names.get(part, f"{network} with {names['loss']}")


def method_heading(methods: Iterable[str]) -> str:
    """Return the heading of a column of methods: "Encoder and loss", or "Encoder, start and loss"."""
    starts = any((split_method(method) or ("",) * 3)[2] for method in methods)
    return "Encoder, start and loss" if starts else "Encoder and loss"


def split_method(method: str) -> tuple[str, str, str] | None:
    """Split a method's name into encoder, loss and start ('' without one); None for other names."""
    encoder, _, rest = method.partition("__")
    loss, _, start = rest.partition("__")
    return (encoder, loss, start) if encoder in ENCODERS and loss in LOSSES else None


def varying_part(methods: Sequence[str]) -> str:
    """Return what distinguishes methods: "encoder", "loss", "start", or "method" (several, or some are no networks)."""
    parts = [split_method(method) for method in methods]
    if not parts or None in parts:
        return "method" if parts else "encoder"
    encoders, losses, starts = (len(set(names)) for names in zip(*parts, strict=True))
    if losses == starts == 1:
        return "encoder"
    if encoders == starts == 1:
        return "loss"
    return "start" if encoders == losses == 1 else "method"


def run_title(run: str) -> str:
    """Return a run's name for readers: `resnet18__dice__fold1__seed0` is "ResNet-18, Dice loss, fold 1"."""
    method, *numbers = re.split(r"__(?=(?:fold|seed)\d+)", run)
    numbers = [number[:4] + " " + number[4:] for number in numbers if number not in ("fold0", "seed0")]
    parts = ("encoder", "start", "loss") if (split_method(method) or ("",) * 3)[2] else ("encoder", "loss")
    titles = dict.fromkeys(method_title(method, part) for part in parts)
    return ", ".join([*titles, *numbers])
