"""What a study can choose by name: encoders and losses. One row is everything about the thing.

The table has no TensorFlow in it, so that a misspelt name is refused in milliseconds, before anything is started.
The addresses of the ImageNet weights are those that `segmentation-models` loads (ResNets) and that Keras publishes (the
rest);
the MD5 sums are the publishers', and for the two MobileNets, which come without one, those that mirrors list.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wbcstudy.errors import StudyError, show_value


@dataclass(frozen=True)
class Encoder:
    """One encoder.

    Args:
        name: as in `params/*.yaml` and in run names.
        title: as in tables.
        backbone: the name in `segmentation-models`; None for the plain U-Net, which is built here.
        preprocessing: what its ImageNet weights expect: "none" (RGB 0-255), "tf" (scaled to -1..1) or "caffe" (BGR,
            channel means subtracted).
        weights_url: where the public ImageNet weights without the classification head are.
        weights_md5: their MD5 sum.
    """

    name: str
    title: str
    backbone: str | None
    preprocessing: str
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


def pick(table: Mapping, name: str, kind: str):
    """One row of a registry.

    Args:
        table: the registry.
        name: the key that was asked for.
        kind: what the rows are, in words, for the error ("encoder").

    Raises:
        StudyError: unknown name; the message lists the known ones and the nearest.
    """
    if name in table:
        return table[name]
    raise unknown_name(name, table, kind)


def unknown_name(name: str, known: Iterable[str], kind: str) -> StudyError:
    """The error for a name that is not in a table, with the nearest one suggested."""
    known = list(known)
    near = difflib.get_close_matches(str(name)[:100], known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Use one of these {kind} names."
    return StudyError(f"Unknown {kind} {show_value(name)}.", expected=", ".join(known), fix=hint)


_RESNET = "https://github.com/qubvel/classification_models/releases/download/0.0.1/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


def _rows(*rows):
    return MappingProxyType({row.name: row for row in rows})


# In the order of the paper's Table 1, the plain U-Net first.
ENCODERS: Mapping[str, Encoder] = _rows(
    Encoder("unet", "U-Net", None, "none"),
    Encoder(
        "mobilenet",
        "MobileNet",
        "mobilenet",
        "tf",
        _KERAS + "mobilenet/mobilenet_1_0_224_tf_no_top.h5",
        "725ccbd03d61d7ced5b5c4cd17e7d527",
    ),
    Encoder(
        "mobilenetv2",
        "MobileNetV2",
        "mobilenetv2",
        "tf",
        _KERAS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "f1a68526548f7541cda07e19ba6c85f4",
    ),
    Encoder(
        "resnet50",
        "ResNet-50",
        "resnet50",
        "none",
        _RESNET + "resnet50_imagenet_1000_no_top.h5",
        "db3b217156506944570ac220086f09b6",
    ),
    Encoder(
        "vgg19",
        "VGG-19",
        "vgg19",
        "caffe",
        _KERAS + "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "253f8cb515780f3b799900260a226db6",
    ),
    Encoder(
        "vgg16",
        "VGG-16",
        "vgg16",
        "caffe",
        _KERAS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    Encoder(
        "resnet152",
        "ResNet-152",
        "resnet152",
        "none",
        _RESNET + "resnet152_imagenet_1000_no_top.h5",
        "5867b94098df4640918941115db93734",
    ),
    Encoder(
        "resnet34",
        "ResNet-34",
        "resnet34",
        "none",
        _RESNET + "resnet34_imagenet_1000_no_top.h5",
        "8caaa0ad39d927cb8ba5385bf945d582",
    ),
    Encoder(
        "resnet18",
        "ResNet-18",
        "resnet18",
        "none",
        _RESNET + "resnet18_imagenet_1000_no_top.h5",
        "318e3ac0cd98d51e917526c9f62f0b50",
    ),
)

LOSSES: Mapping[str, Loss] = _rows(
    Loss("cross_entropy", "Cross-entropy", "categorical cross-entropy, the name of eq. (1)"),
    Loss(
        "dice", "Dice", "eq. (2): 1 - (2 sum(y p) + 1) / (sum(y) + sum(p) + 1), per channel over the batch, then mean"
    ),
    Loss("binary_cross_entropy", "Binary cross-entropy", "eq. (1) as printed, mean over the channels"),
)
