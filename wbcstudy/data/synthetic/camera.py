"""Photograph a field with one of many cameras: light, focus, sampling, noise, sharpening, tone curve and JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from wbcstudy.data.synthetic.domains import Camera
from wbcstudy.data.synthetic.slide import Slide, smooth_noise


def photograph(
    density: np.ndarray, slide: Slide, camera: Camera, rng: np.random.Generator, pixel_size_um: float
) -> np.ndarray:
    """Photograph a field, and resample the photograph to the pixels of the field.

    A camera with larger pixels than the field blurs; one with smaller pixels has less noise after resampling.

    Args:
        density: optical density of the cells, float32 (H, W, 3).
        slide: light, focus and noise are used.
        camera: the camera.
        rng: random generator of film and noise.
        pixel_size_um: side of a pixel of the field.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    from scipy.ndimage import gaussian_filter, shift

    height, width = density.shape[:2]
    film = 1 + 0.35 * smooth_noise(rng, (height, width), 9 / pixel_size_um)
    film += 0.15 * smooth_noise(rng, (height, width), max(0.8, 0.35 / pixel_size_um))
    density = density + np.clip(film, 0, None)[..., None] * (camera.plasma + np.float32(0.02))

    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    light = 1 - slide.vignette * (rows**2 + columns**2) / 2 + (slide.tilt[0] * rows + slide.tilt[1] * columns) / 2
    image = np.exp(-density) * light[..., None] * slide.light
    sigma = max(0.4, slide.focus_um / pixel_size_um)
    for channel, factor in enumerate((1.0, 0.92, 1.12)):
        image[..., channel] = gaussian_filter(image[..., channel], sigma * factor)
    # Masks belong to the green channel.
    for channel, side in ((0, -1), (2, 1)):
        offset = side * np.array(camera.lateral_um) / pixel_size_um
        image[..., channel] = shift(image[..., channel], offset, order=1, mode="nearest")

    zoom = pixel_size_um / camera.pixel_um
    sampled = _resize(image, max(8, round(height * zoom)), max(8, round(width * zoom)))
    noise = gaussian_filter(rng.standard_normal(sampled.shape, dtype=np.float32), (0.5, 0.5, 0)) * np.float32(1.4)
    sampled += noise * slide.noise * np.sqrt(np.clip(sampled, 1, None) / 255)
    if camera.sharpening:
        sampled += camera.sharpening * (sampled - gaussian_filter(sampled, (1.2, 1.2, 0)))
    sampled = 255 * (np.clip(sampled, 0, 255) / 255) ** np.float32(camera.gamma)
    if camera.jpeg is not None:
        sampled = _compress(np.rint(sampled).astype(np.uint8), camera.jpeg).astype(np.float32)
    return np.clip(np.rint(_resize(sampled, height, width)), 0, 255).astype(np.uint8)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample float32 (H, W, 3) channel by channel, over the area of a pixel where it becomes smaller."""
    if image.shape[:2] == (height, width):
        return image
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., channel])).resize((width, height), Image.Resampling.BILINEAR)
        for channel in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
