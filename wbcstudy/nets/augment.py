"""Augment images and masks: flips, rotation, zoom and brightness as in the paper, and colour.

Keras' layers (RandomFlip, RandomRotation, RandomZoom, RandomBrightness) took 17 ms for a batch of 8 at 128 px, this
code 8 ms. They resample three times, and one composed transform once. Their random state changes with every call, but a
resumed training must repeat the same augmentations. Here NumPy draws the random numbers from (seed, epoch), and
TensorFlow applies them.

The same transform also brings image and mask from their stored size to the size of the network. The mask is resampled
as shares of labels, not by nearest neighbour: a pixel on a border belongs to both regions (benchmarks/ceilings.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras

# Streams of random numbers for one (seed, epoch); stream 0 is the order of the images. Colours have their own stream,
# so that the other draws do not depend on them.
_STREAM = 1
_COLOUR_STREAM = 2

# Luma and the two colour axes of NTSC, from RGB (FCC 1953, as in scikit-image).
_YIQ = np.array([[0.299, 0.587, 0.114], [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]])


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of N images.

    Args:
        transforms: float32 (N, 8), output pixel -> input pixel, the first 8 values of a 3x3 projective matrix.
        brightness: float32 (N,), added to the image, in units of 0-255.
        colours: float32 (N, 3, 3), multiplied from the left with each pixel's RGB; None for no change of colour.
    """

    transforms: np.ndarray
    brightness: np.ndarray
    colours: np.ndarray | None = None

    @property
    def values(self) -> tuple[np.ndarray, ...]:
        """The arguments of `augment` after images and masks."""
        return tuple(array for array in (self.transforms, self.brightness, self.colours) if array is not None)


def make_augmentation(
    count: int,
    config: RunConfig,
    epoch: int,
    shape: tuple[int, int] | None = None,
    aspects: np.ndarray | float = 1.0,
) -> Augmentation:
    """Draw the augmentations of one epoch; equal arguments give equal augmentations.

    Each flip has a probability of 1/2. Angle, zoom, brightness, hue and saturation are uniform within the limits of
    `config`, and independent for each image.

    Args:
        count: number of images N; may be 0.
        config: image_size, seed, rotation_degrees, zoom, brightness and colour_augmentation are used.
        epoch: from 1.
        shape: height and width of the input images in px; image_size if None. The output is a square of image_size.
        aspects: height / width of the images as stored, (N,) or one number. An image is rotated as stored, and then
            resized to a square.
    """
    draw = np.random.default_rng((config.seed, epoch, _STREAM)).random((count, 5))
    flip_x, flip_y = np.where(draw[:, :2].T < 0.5, -1.0, 1.0)
    angle = np.deg2rad(config.rotation_degrees) * (2 * draw[:, 2] - 1)
    scale = 1 + config.zoom * (2 * draw[:, 3] - 1)
    brightness = 255 * config.brightness * (2 * draw[:, 4] - 1)

    # Around the image's centre: flip after rotation and zoom. Height and width are 1 here.
    a, b = flip_x * scale * np.cos(angle), -flip_x * scale * np.sin(angle) * aspects
    c, d = flip_y * scale * np.sin(angle) / aspects, flip_y * scale * np.cos(angle)
    # In px. Pixel centres are whole numbers, so the image's centre is at (side - 1) / 2.
    size = config.image_size
    height, width = shape or (size, size)
    a, b, c, d = a * width / size, b * width / size, c * height / size, d * height / size
    centre, zero = (size - 1) / 2, np.zeros(count)
    x, y = (width - 1) / 2 - (a + b) * centre, (height - 1) / 2 - (c + d) * centre
    rows = [a, b, x, c, d, y, zero, zero]
    colours = _make_colours(count, config, epoch) if config.colour_augmentation else None
    return Augmentation(np.stack(rows, axis=1).astype(np.float32), brightness.astype(np.float32), colours)


def _make_colours(count: int, config: RunConfig, epoch: int) -> np.ndarray:
    """Rotate hue by up to `colour_augmentation` * 180 degrees, scale saturation by up to 1 +- `colour_augmentation`.

    In YIQ both are linear: a rotation and a scaling of the two colour axes, which do not change the luma Y and greys.
    Two constant 3x3 matrices convert them to RGB.
    """
    draw = 2 * np.random.default_rng((config.seed, epoch, _COLOUR_STREAM)).random((count, 2)) - 1
    angle, scale = np.pi * config.colour_augmentation * draw[:, 0], 1 + config.colour_augmentation * draw[:, 1]
    inner = np.zeros((count, 3, 3))
    inner[:, 0, 0] = 1
    inner[:, 1, 1] = inner[:, 2, 2] = scale * np.cos(angle)
    inner[:, 1, 2], inner[:, 2, 1] = -scale * np.sin(angle), scale * np.sin(angle)
    return (np.linalg.inv(_YIQ) @ inner @ _YIQ).astype(np.float32)


def augment(images, shares, size: int, transforms, brightness, colours=None):
    """Augment a batch, inside or outside of a TensorFlow graph.

    Outside of its borders, an image and its mask are continued by reflection.

    Args:
        images: (B, h, w, 3), RGB 0-255, any number type.
        shares: uint8 (B, h, w, 2) or (B, h, w, 3), see `Arrays.shares`.
        size: side S of the output in px.
        transforms: float32 (B, 8), see `Augmentation`.
        brightness: float32 (B,).
        colours: float32 (B, 3, 3), or None.

    Returns:
        float32 (B, S, S, 3), 0-255; float32 (B, S, S, 3), the shares of all labels, which sum to 1, or (B, S, S, 4)
        with the share without label. Both bilinear.
    """
    load_keras()
    import tensorflow as tf

    def transform(tensor):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(tensor, tf.float32),
            transforms=transforms,
            output_shape=(size, size),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )

    moved = transform(images)
    if colours is not None:
        moved = tf.einsum("bij,bhwj->bhwi", colours, moved)
    moved += brightness[:, None, None, None]
    labels = transform(shares) / 255.0
    background = tf.maximum(1.0 - tf.reduce_sum(labels, axis=-1, keepdims=True), 0.0)
    return tf.clip_by_value(moved, 0.0, 255.0), tf.concat([background, labels], axis=-1)
