"""The nine networks: one builder, RGB 0-255 in, probabilities of the three labels out."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wbcstudy.backend import load_keras, set_seed
from wbcstudy.config import RunConfig
from wbcstudy.nets.keras_compat import build_backbone, build_decoder
from wbcstudy.nets.layers import fast_layers, fold_padding, register_fast_layers, sum_images_first
from wbcstudy.nets.stain import LAYER, register_stain
from wbcstudy.regions import NUM_LABELS
from wbcstudy.registry import ENCODERS

# Half the width of Ronneberger et al. (2015), whose network has 64 to 1024: a quarter of the arithmetic, and ample for
# three labels on some dozens of images.
UNET_WIDTHS = (32, 64, 128, 256, 512)

# Channel means of ImageNet in the order blue, green, red, as Caffe's VGG was trained with.
_CAFFE_MEANS = (103.939, 116.779, 123.68)


def build_unet(config: RunConfig):
    """The network of one run, with its first weights, not compiled.

    The same `config` gives the same weights: all generators are seeded with `config.seed` first, and TensorFlow's
    operations are deterministic from then on. The input may have any height and width that are multiples of 32.

    With `freeze_encoder`, no weight of the encoder is trained and its batch norms are in inference mode: they use and
    keep the stored statistics of the weights file, also while the decoder is trained.

    Args:
        config: encoder, encoder_weights, freeze_encoder, dropout, batch_norm_momentum, precision, stain_normalisation
            and seed are used.

    Returns:
        keras.Model: RGB images (B, H, W, 3) with values 0-255, any number type -> float32 (B, H, W, 3), the
        probabilities of `regions.LABELS`, summing to 1 over the last axis. The first layer is the preprocessing,
        after that of the stain normalisation if there is one; its target is set by `training.train`.

    Raises:
        StudyError: the encoder's weights are not at hand or belong to another network.
    """
    keras = load_keras()
    set_seed(config.seed)
    encoder = ENCODERS[config.encoder]
    with _precision(config.precision), fast_layers():
        image = keras.Input((None, None, 3), name="image", dtype="float32")
        stained = image
        if config.stain_normalisation != "none":
            stained = register_stain()(config.stain_normalisation, name=LAYER)(image)
        prepared = register_layers()(encoder.preprocessing, name="preprocessing")(stained)
        if encoder.backbone is None:
            features = _plain_unet(prepared, config.dropout)
        else:
            backbone = build_backbone(encoder.backbone, prepared)
            fold_padding(backbone)
            sum_images_first(backbone)
            features = build_decoder(encoder.backbone, backbone, NUM_LABELS).get_layer("final_conv").input
            if config.encoder_weights != "none":
                from wbcstudy.nets.weights import find_weights, load_weights

                load_weights(backbone, find_weights(config))
            if config.freeze_encoder:
                # Keras runs a batch norm that is not trainable in inference mode.
                for layer in backbone.layers:
                    layer.trainable = False
        features = keras.layers.Dropout(config.dropout, name="head_dropout")(features)
        logits = keras.layers.Conv2D(NUM_LABELS, 3, padding="same", name="head")(features)
        output = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    model = keras.Model(image, output, name=config.encoder)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    return model


@functools.cache
def register_layers() -> type:
    """Make the preprocessing layer known to Keras.

    Returns:
        The class `Preprocessing(kind)`, see `registry.Encoder.preprocessing` for its kinds.
    """
    keras = load_keras()
    ops = keras.ops

    @keras.saving.register_keras_serializable("wbcstudy")
    class Preprocessing(keras.layers.Layer):
        """RGB 0-255 to what an encoder's ImageNet weights expect; no weights, always float32."""

        def __init__(self, kind: str, **kwargs) -> None:
            super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
            self.kind = kind

        def call(self, images):
            if self.kind == "tf":
                return images / 127.5 - 1.0
            if self.kind == "caffe":
                return images[..., ::-1] - ops.array(_CAFFE_MEANS, dtype="float32")
            return images

        def compute_output_shape(self, input_shape):
            return input_shape

        def get_config(self):
            return super().get_config() | {"kind": self.kind}

    return Preprocessing


def make_plain_layer(layer):
    """A layer that does in inference what a layer of our networks does, but is one of Keras' own, in float32.

    For `keras.models.clone_model`: the result reads without this package, unless it normalises stains.

    Args:
        layer: a layer of `build_unet`'s network.

    Returns:
        keras.layers.Layer of the same name. The weights are not copied; a preprocessing's are its own.
    """
    keras = load_keras()
    if isinstance(layer, register_stain()):
        # No layer of Keras normalises stains; formats that keep the operations and not the layers can hold it.
        return type(layer).from_config(layer.get_config())
    if isinstance(layer, register_layers()):
        if layer.kind == "caffe":
            # Red and blue change places and lose their means: a convolution of one pixel.
            order, means = np.eye(3, dtype=np.float32)[::-1], -np.array(_CAFFE_MEANS, np.float32)
            constant = keras.initializers.Constant
            return keras.layers.Conv2D(
                3,
                1,
                kernel_initializer=constant(order[None, None].tolist()),
                bias_initializer=constant(means.tolist()),
                trainable=False,
                name=layer.name,
                dtype="float32",
            )
        scale, offset = (1 / 127.5, -1.0) if layer.kind == "tf" else (1.0, 0.0)
        return keras.layers.Rescaling(scale, offset, name=layer.name, dtype="float32")
    kind = type(layer)
    for fast in register_fast_layers():
        if isinstance(layer, fast):
            kind = getattr(keras.layers, fast.__name__)
    return kind.from_config(layer.get_config() | {"dtype": "float32"})


def _plain_unet(images, dropout: float):
    """Ronneberger et al. (2015) with padded convolutions, batch normalisation before each and dropout at the bottom.

    The first batch normalisation also brings 0-255 to a range in which random weights can learn.
    """
    layers = load_keras().layers

    def convolve(x, width: int, name: str):
        for part in "ab":
            x = layers.BatchNormalization(name=f"{name}{part}_bn")(x)
            x = layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{name}{part}_conv")(x)
            x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
        return x

    x, skips = images, []
    for level, width in enumerate(UNET_WIDTHS[:-1]):
        x = convolve(x, width, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = convolve(x, UNET_WIDTHS[-1], "bottom")
    x = layers.Dropout(dropout, name="bottom_dropout")(x)
    for level, width in reversed(list(enumerate(UNET_WIDTHS[:-1]))):
        x = layers.UpSampling2D(2, name=f"up{level}_upsampling")(x)
        x = layers.Conv2D(width, 2, padding="same", kernel_initializer="he_normal", name=f"up{level}_conv")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = convolve(x, width, f"up{level}")
    return x


@contextlib.contextmanager
def _precision(precision: str) -> Iterator[None]:
    """Keras' mixed precision for the layers that are made in the block; the global setting is put back."""
    keras = load_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if resolve_precision(precision) == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def resolve_precision(precision: str) -> str:
    """What `precision: auto` is on this machine.

    Args:
        precision: "float32", "bfloat16" or "auto".

    Returns:
        "float32" or "bfloat16"; auto is bfloat16 where the GPU (of NVIDIA's compute capability 8.0, Ampere, or later)
        or the processor's AMX units compute in it.
    """
    if precision != "auto":
        return precision
    load_keras()
    import tensorflow as tf

    if cards := tf.config.list_physical_devices("GPU"):
        # Older cards can, but have no units for it. One whose capability is not told is not NVIDIA's.
        able = [tf.config.experimental.get_device_details(card).get("compute_capability", (0, 0)) for card in cards]
        return "bfloat16" if min(able) >= (8, 0) else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        # Not Linux.
        return "float32"
    return "bfloat16" if "amx_bf16" in flags else "float32"
