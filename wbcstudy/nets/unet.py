"""Build the nine networks: from RGB 0-255 to probabilities of the three labels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wbcstudy.config import RunConfig
from wbcstudy.labels import NUM_LABELS
from wbcstudy.nets.backend import load_keras, resolve_precision, set_seed
from wbcstudy.nets.fast_layers import fast_layers, fold_padding, sum_images_first
from wbcstudy.nets.keras_compat import build_backbone, build_decoder
from wbcstudy.nets.preprocessing import register_preprocessing
from wbcstudy.nets.stain import LAYER_NAME, register_stain_normalisation
from wbcstudy.nets.weights import find_weights, load_weights
from wbcstudy.registry import ENCODERS

# Half the width of Ronneberger et al. (2015), 64 to 1024: a quarter of the operations, and sufficient for three labels
# and a few dozen images.
_WIDTHS = (32, 64, 128, 256, 512)


def build_unet(config: RunConfig):
    """Build the network of one run with its initial weights, not compiled.

    Equal settings give equal weights: all generators are seeded with `config.seed`, and TensorFlow's operations are
    deterministic from then on. Height and width of the input are any multiples of 32.

    With `freeze_encoder`, the encoder's weights are not trained and its batch norms are in inference mode: they use the
    statistics of the weights file, and keep them while the decoder is trained.

    Args:
        config: encoder, encoder_weights, freeze_encoder, dropout, batch_norm_momentum, precision, stain_normalisation
            and seed are used.

    Returns:
        keras.Model: RGB images (B, H, W, 3), 0-255, any number type -> float32 (B, H, W, 3), probabilities of
        `labels.LABELS`, which sum to 1 over the last axis. The first layer is the stain normalisation, if any, whose
        target is set by `training.train`; the next is the preprocessing.

    Raises:
        StudyError: the encoder's weights cannot be found, or belong to another network.
    """
    keras = load_keras()
    set_seed(config.seed)
    loaded = None
    encoder = ENCODERS[config.encoder]
    with _precision(config.precision), fast_layers():
        image = keras.Input((None, None, 3), name="image", dtype="float32")
        normalised = image
        if config.stain_normalisation != "none":
            normalised = register_stain_normalisation()(config.stain_normalisation, name=LAYER_NAME)(image)
        prepared = register_preprocessing()(encoder.preprocessing, name="preprocessing")(normalised)
        if encoder.backbone is None:
            features = _plain_unet(prepared, config.dropout)
        else:
            backbone = build_backbone(encoder.backbone, prepared)
            fold_padding(backbone)
            sum_images_first(backbone)
            features = build_decoder(encoder.backbone, backbone, NUM_LABELS).get_layer("final_conv").input
            if config.encoder_weights != "none":
                loaded = load_weights(backbone, find_weights(config))
            if config.freeze_encoder:
                # Keras runs a batch norm that is not trainable in inference mode.
                for layer in backbone.layers:
                    layer.trainable = False
        features = keras.layers.Dropout(config.dropout, name="head_dropout")(features)
        logits = keras.layers.Conv2D(NUM_LABELS, 3, padding="same", name="head")(features)
        output = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    model = keras.Model(image, output, name=config.encoder)
    # For `training.training_facts`.
    model.encoder_start = loaded
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = config.batch_norm_momentum
    return model


def _plain_unet(images, dropout: float):
    """Build the U-Net of Ronneberger et al. (2015), with padded convolutions, batch norm before each, and dropout.

    The first batch norm also scales 0-255 to a range suitable for random weights.
    """
    layers = load_keras().layers

    def convolve(x, width: int, name: str):
        for part in "ab":
            x = layers.BatchNormalization(name=f"{name}{part}_bn")(x)
            x = layers.Conv2D(width, 3, padding="same", kernel_initializer="he_normal", name=f"{name}{part}_conv")(x)
            x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
        return x

    x, skips = images, []
    for level, width in enumerate(_WIDTHS[:-1]):
        x = convolve(x, width, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    x = convolve(x, _WIDTHS[-1], "bottom")
    x = layers.Dropout(dropout, name="bottom_dropout")(x)
    for level, width in reversed(list(enumerate(_WIDTHS[:-1]))):
        x = layers.UpSampling2D(2, name=f"up{level}_upsampling")(x)
        x = layers.Conv2D(width, 2, padding="same", kernel_initializer="he_normal", name=f"up{level}_conv")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = convolve(x, width, f"up{level}")
    return x


@contextlib.contextmanager
def _precision(precision: str) -> Iterator[None]:
    """Set Keras' precision for the layers built in the block; the global setting is restored."""
    keras = load_keras()
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if resolve_precision(precision) == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
