"""The nine networks: one builder, RGB 0-255 in, probabilities of the three labels out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wbcstudy.config import RunConfig
from wbcstudy.labels import NUM_LABELS
from wbcstudy.nets.backend import load_keras, resolve_precision, set_seed
from wbcstudy.nets.fast_layers import fast_layers, fold_padding, sum_images_first
from wbcstudy.nets.keras_compat import build_backbone, build_decoder
from wbcstudy.nets.preprocessing import register_layers
from wbcstudy.nets.stain import LAYER, register_stain
from wbcstudy.registry import ENCODERS

# Half the width of Ronneberger et al. (2015), whose network has 64 to 1024: a quarter of the arithmetic, and ample for
# three labels on some dozens of images.
UNET_WIDTHS = (32, 64, 128, 256, 512)


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
