"""Stain normalisation: map the colours of an image to those of the training images, for images with another stain.

The networks contain it as their first layer, with the target measured on the training images: a saved model accepts
images as they are read from files.

The existing libraries (torchstain, staintools) process one image at a time outside a graph, and cannot be part of a
model file. Tests compare this code with scikit-image's colour space (Reinhard) and with NumPy (Macenko).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import empty_like
from wbcstudy.nets.backend import load_keras

# Images per batch, outside the network.
_CHUNK = 16

# CIE 1931, 2 degrees, D65, and sRGB's primaries (IEC 61966-2-1).
WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)
XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32
)
# Lab units squared: below this, a channel of an image is constant.
SMALLEST_VARIANCE = 1e-6
# Macenko: intensity of the light, the optical density below which a pixel is glass, and two percentiles.
_LIGHT = np.float32(240)
_GLASS = 0.15
_ANGLE_PERCENTILE = 1
_STRENGTH_PERCENTILE = 99


@dataclass(frozen=True)
class _StainMethod:
    """One method of normalisation.

    Args:
        shape: shape of the target, float32.
        measure: images, float32 (B, H, W, 3), 0-255 -> values of each image (B, *shape), whose mean is the target; NaN
            for an image without measurable stains.
        apply: images and target -> normalised images, float32 (B, H, W, 3), 0-255.
    """

    shape: tuple[int, ...]
    measure: Callable
    apply: Callable


def find_target(images: np.ndarray, method: str) -> np.ndarray:
    """Measure the target on the training images, the mean over all images.

    Args:
        images: uint8 (N, S, S, 3), N > 0.
        method: a key of `_METHODS`.

    Returns:
        float32, of the method's shape; finite. Zeros, with which the layer changes nothing, if no image has measurable
        stains.
    """
    load_keras()
    import tensorflow as tf

    row = _METHODS[method]
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    values = np.concatenate([row.measure(tf.cast(chunk, tf.float32)).numpy() for chunk in chunks])
    values = values[np.isfinite(values).reshape(len(values), -1).all(axis=1)]
    return values.mean(axis=0).astype(np.float32) if len(values) else np.zeros(row.shape, np.float32)


def normalise_training_images(images: np.ndarray, config: RunConfig) -> np.ndarray:
    """Normalise the training images before they are augmented, with the target measured on them.

    Args:
        images: uint8 (N, S, S, 3).
        config: stain_normalisation is used.

    Returns:
        uint8 (N, S, S, 3); `images` itself for "none".
    """
    if config.stain_normalisation == "none" or not len(images):
        return images
    import tensorflow as tf

    row, target = _METHODS[config.stain_normalisation], find_target(images, config.stain_normalisation)
    normalised = empty_like(images)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        normalised[part] = np.rint(row.apply(tf.cast(images[part], tf.float32), target).numpy())
    return normalised


def normalise_image(image: np.ndarray, method: str, target: np.ndarray) -> np.ndarray:
    """Normalise one image of any size, as the layer does in a network that was trained with it.

    Args:
        image: uint8 (H, W, 3).
        method: "reinhard" or "macenko".
        target: from `find_target`.

    Returns:
        uint8 (H, W, 3).
    """
    load_keras()
    import tensorflow as tf

    changed = _METHODS[method].apply(tf.cast(image[None], tf.float32), np.float32(target))
    return np.rint(changed.numpy()[0]).astype(np.uint8)


def _measure_reinhard(images):
    import tensorflow as tf

    mean, variance = tf.nn.moments(_to_lab(images), axes=[1, 2])
    return tf.stack([mean, tf.sqrt(variance)], axis=1)


def _apply_reinhard(images, target):
    """Reinhard et al. (2001): set mean and standard deviation of each CIE Lab channel to the target's.

    The paper uses the space l-alpha-beta; libraries use Lab. A constant channel becomes the target's mean. Source:
    Reinhard, Ashikhmin, Gooch, Shirley (2001), Color transfer between images, IEEE Computer Graphics and Applications
    21(5), 34-41.
    """
    import tensorflow as tf

    target = tf.convert_to_tensor(target)
    lab = _to_lab(images)
    mean, variance = tf.nn.moments(lab, axes=[1, 2], keepdims=True)
    # A constant channel differs from its mean by rounding only: divided by that, it would be a colour of its own.
    deviation = tf.where(variance > SMALLEST_VARIANCE, tf.sqrt(variance), 0)
    normal = tf.math.divide_no_nan(lab - mean, deviation)
    changed = _from_lab(normal * target[1] + target[0])
    return tf.where(tf.reduce_any(target != 0), changed, images)


def _measure_macenko(images):
    import tensorflow as tf

    stains, strengths, _, measurable = _unmix(images)
    values = tf.concat([tf.transpose(stains, [0, 2, 1]), strengths[..., None]], axis=-1)
    return tf.where(measurable[:, None, None], values, np.float32(np.nan))


def _apply_macenko(images, target):
    """Macenko et al. (2009): measure two stains in each image and replace them by the target's, at its strength.

    In optical density, the two stains are the extreme directions (1st and 99th percentile of the angle) in the plane of
    largest variance; strength is the 99th percentile of a stain's amount. The bluer stain comes first. An image without
    two directions (only glass, one colour) is not changed. Source: Macenko et al. (2009), A
    method for normalizing histology slides for quantitative analysis, ISBI, 1107-1110.
    """
    import tensorflow as tf

    target = tf.convert_to_tensor(target)
    _, strengths, amounts, measurable = _unmix(images)
    scaled = amounts * tf.math.divide_no_nan(target[None, :, 3], strengths)[:, None, :]
    density = tf.einsum("bns,sc->bnc", scaled, target[:, :3])
    changed = tf.clip_by_value(_LIGHT * tf.exp(-density) - 1, 0.0, 255.0)
    measurable &= tf.reduce_any(target != 0)
    return tf.where(measurable[:, None, None, None], tf.reshape(changed, tf.shape(images)), images)


def _unmix(images):
    """Return stains (B, 3, 2), strengths (B, 2), amounts (B, HW, 2), and whether they could be measured (B,)."""
    import tensorflow as tf

    shape = tf.shape(images)
    density = -tf.math.log((tf.reshape(images, [shape[0], -1, 3]) + 1) / _LIGHT)
    stained = tf.reduce_all(density >= _GLASS, axis=-1)
    weight = tf.cast(stained, tf.float32)[..., None]
    count = tf.reduce_sum(weight, axis=1, keepdims=True)
    centred = (density - tf.math.divide_no_nan(tf.reduce_sum(density * weight, axis=1, keepdims=True), count)) * weight
    covariance = tf.math.divide_no_nan(tf.matmul(centred, centred, transpose_a=True), count - 1)
    # The two directions of largest variance, the larger last. Absorption is positive in all channels.
    _, vectors = tf.linalg.eigh(covariance)
    plane = vectors[:, :, 1:]
    signs = tf.where(tf.reduce_sum(plane, axis=1, keepdims=True) < 0, -1.0, 1.0)
    plane *= signs
    flat = tf.matmul(density, plane)
    angle = tf.where(stained, tf.atan2(flat[..., 1], flat[..., 0]), np.float32(np.inf))
    ends = _percentiles(angle, tf.squeeze(count, [1, 2]), (_ANGLE_PERCENTILE, 100 - _ANGLE_PERCENTILE))
    both = tf.stack([tf.cos(ends), tf.sin(ends)], axis=1)
    stains = tf.matmul(plane, both)
    # The bluer stain comes first: it absorbs more red light than blue. The usual code compares red only, which in blood
    # smears both stains can absorb equally; nuclei then became pink.
    bluer = stains[:, :1] - stains[:, 2:]
    swap = bluer[..., :1] < bluer[..., 1:]
    stains = tf.where(swap, stains[:, :, ::-1], stains)
    square = tf.matmul(stains, stains, transpose_a=True)
    spread = tf.linalg.det(square)
    measurable = (tf.squeeze(count, [1, 2]) >= 3) & (spread > 1e-6)
    measurable &= tf.reduce_all(tf.math.is_finite(stains), [1, 2])
    safe = tf.where(measurable[:, None, None], square, tf.eye(2))
    amounts = tf.einsum("bst,bnt->bns", tf.linalg.inv(safe), tf.matmul(density, stains))
    pixels = tf.cast(tf.shape(amounts)[1], tf.float32) * tf.ones([shape[0]])
    strengths = tf.stack([_percentiles(amounts[..., k], pixels, (_STRENGTH_PERCENTILE,))[:, 0] for k in (0, 1)], axis=1)
    return stains, strengths, amounts, measurable & tf.reduce_all(strengths > 0, axis=1)


def _percentiles(values, count, percents):
    """Return np.percentile, linear, of the first `count` sorted values per row: (B, N), (B,) -> (B, len(percents))."""
    import tensorflow as tf

    ordered = tf.sort(values, axis=1)
    position = tf.maximum(count - 1, 0)[:, None] * (np.array(percents, np.float32) / 100)
    low = tf.cast(tf.floor(position), tf.int32)
    high = tf.minimum(low + 1, tf.cast(tf.maximum(count - 1, 0), tf.int32)[:, None])
    share = position - tf.cast(low, tf.float32)
    first, second = tf.gather(ordered, low, batch_dims=1), tf.gather(ordered, high, batch_dims=1)
    return first + tf.where(share > 0, share * (second - first), 0.0)


def _to_lab(images):
    import tensorflow as tf

    values = images / np.float32(255)
    linear = tf.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    ratio = tf.einsum("ij,bhwj->bhwi", XYZ, linear) / WHITE
    root = tf.where(ratio > 0.008856, tf.maximum(ratio, 1e-6) ** (1 / 3), 7.787 * ratio + 16 / 116)
    x, y, z = tf.unstack(root, axis=-1)
    return tf.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _from_lab(lab):
    import tensorflow as tf

    lightness, a, b = tf.unstack(lab, axis=-1)
    y = (lightness + 16) / 116
    root = tf.stack([y + a / 500, y, y - b / 200], axis=-1)
    ratio = tf.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787)
    linear = tf.einsum("ij,bhwj->bhwi", np.linalg.inv(XYZ).astype(np.float32), ratio * WHITE)
    linear = tf.clip_by_value(linear, 0.0, 1.0)
    values = tf.where(linear > 0.0031308, 1.055 * tf.maximum(linear, 1e-6) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return tf.clip_by_value(values * 255, 0.0, 255.0)


_METHODS: Mapping[str, _StainMethod] = MappingProxyType(
    {
        "reinhard": _StainMethod((2, 3), _measure_reinhard, _apply_reinhard),
        "macenko": _StainMethod((2, 4), _measure_macenko, _apply_macenko),
    }
)

LAYER_NAME = "stain_normalisation"


@functools.cache
def register_stain_normalisation() -> type:
    """Register the layer with Keras.

    Returns:
        The class `StainNormalisation(method)`; the methods are "reinhard" and "macenko".
    """
    keras = load_keras()

    @keras.saving.register_keras_serializable("wbcstudy")
    class StainNormalisation(keras.layers.Layer):
        """Map RGB 0-255 to RGB 0-255 in the target's colours; always float32.

        The layer is active in inference only: training images are normalised before they are augmented. Its only
        weight, the target, is not trained.
        """

        def __init__(self, method: str, **kwargs) -> None:
            super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
            self.method = method
            self.row = _METHODS[method]

        def build(self, input_shape):
            self.target = self.add_weight(shape=self.row.shape, initializer="zeros", trainable=False, name="target")

        def call(self, images, training=False):
            return images if training else self.row.apply(images, self.target.value)

        def compute_output_shape(self, input_shape):
            return input_shape

        def get_config(self):
            return super().get_config() | {"method": self.method}

    return StainNormalisation


def set_target(model, images: np.ndarray) -> None:
    """Set the target of a model's stain normalisation, if it has one, from the training images.

    Args:
        model: from `build_unet`.
        images: uint8 (N, S, S, 3), N > 0.
    """
    for layer in model.layers:
        if layer.name == LAYER_NAME:
            layer.target.assign(find_target(images, layer.method))
