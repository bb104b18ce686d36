"""A synthetic slide: stains, light and camera.

Images are composed as optical density, in which overlapping stains add up (Beer-Lambert law), and converted to
intensities in `expose`. This alone gives the dark overlap of two red cells and the stain variation between slides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Optical density (natural logarithm) in red, green and blue of a typical amount of each dye in a May-Grünwald-Giemsa
# smear. Azure B and eosin together give the violet of chromatin; haemoglobin is coloured itself and takes up eosin.
MGG_STAINS = {
    "haemoglobin": (0.11, 0.46, 0.40),
    "eosin": (0.13, 0.34, 0.21),
    "eosin_granule": (0.14, 0.66, 0.66),
    "azure": (0.42, 0.33, 0.07),
    "violet": (1.12, 1.72, 0.60),
    "basophil_granule": (1.55, 1.75, 0.72),
}

# Light transmitted through plasma, RGB: from a warm lamp to a white-balanced camera.
_LIGHTS = np.array([(251, 233, 203), (248, 236, 218), (240, 232, 232), (250, 240, 232), (243, 228, 212)], np.float32)


@dataclass(frozen=True)
class Slide:
    """The common properties of all images of a slide.

    Args:
        stains: dye -> optical density in R, G, B of a typical amount, float32 (3,).
        light: intensity behind empty plasma, R, G, B in 0-255, float32 (3,).
        vignette: how much darker the corners are, as a fraction.
        tilt: relative change of the light from top to bottom and from left to right.
        focus_um: standard deviation of the microscope's blur.
        noise: standard deviation of the camera's noise in grey levels at full light.
        red_cover: fraction of the plasma that red cells cover.
        red_overlap: probability that a red cell may overlap another.
        pallor: how pale the red cells' centres are, 0-1.
        platelets: platelets per red cell.
        dirt: specks of dried stain per 1000 square micrometres.
        between_granules: dye between the granules of eosinophils, relative to that of granules.
        over_nucleus: granules above or below the nucleus of eosinophils, relative to the rest of the cell.
        chromatin: dye in nuclei, relative to `cells.LOOKS`.
        cytoplasm: dye in the cytoplasm, relative to `cells.LOOKS`.
        patches: contrast of darker and paler parts of the cytoplasm, of about 1.6 µm.
        edge: optical density of the dark line that refraction makes at the border of a cell.
    """

    stains: Mapping[str, np.ndarray]
    light: np.ndarray
    vignette: float
    tilt: tuple[float, float]
    focus_um: float
    noise: float
    red_cover: float
    red_overlap: float
    pallor: float
    platelets: float
    dirt: float
    between_granules: float = 0.0
    over_nucleus: float = 0.25
    chromatin: float = 1.0
    cytoplasm: float = 1.0
    edge: float = 0.0
    patches: float = 0.16


def make_slide(number: int) -> Slide:
    """Make the slide with a number, 0 or more; equal numbers give equal slides."""
    rng = np.random.default_rng(np.random.SeedSequence([number, 0x51DE]))
    # The pH of the buffer affects all dyes: alkaline slides are bluer, acid slides redder.
    ph = rng.uniform(-1, 1)
    blue = {"haemoglobin": -0.05, "eosin": -0.20, "eosin_granule": -0.10}
    stains = {}
    for name, density in MGG_STAINS.items():
        strength = np.exp(rng.normal(0, 0.09) + ph * blue.get(name, 0.14))
        hue = np.exp(rng.normal(0, 0.05, 3))
        stains[name] = np.float32(np.array(density) * strength * hue)
    # Red cells take up some blue stain: they are salmon on one slide, mauve on another.
    stains["haemoglobin"] = stains["haemoglobin"] + np.float32(rng.beta(1.2, 3.0) * 0.6) * stains["azure"]
    first, second = rng.choice(len(_LIGHTS), 2, replace=False)
    mix = rng.uniform(0, 1)
    light = (mix * _LIGHTS[first] + (1 - mix) * _LIGHTS[second]) * rng.uniform(0.93, 1.0)
    return Slide(
        stains=stains,
        light=np.float32(light + rng.normal(0, 1.5, 3)),
        vignette=rng.uniform(0.03, 0.13),
        tilt=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
        focus_um=rng.uniform(0.08, 0.15),
        noise=rng.uniform(1.5, 3.5),
        red_cover=rng.uniform(0.25, 0.60),
        red_overlap=rng.uniform(0.05, 0.35),
        pallor=rng.uniform(0.25, 0.95),
        platelets=rng.uniform(0.05, 0.15),
        dirt=max(0.0, rng.uniform(-1.5, 0.8)),
    )


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> np.ndarray:
    """Return smooth Gaussian noise, float32, with mean 0 and standard deviation of about 1.

    `sigma_px` is the standard deviation of the Gaussian that smooths white noise.
    """
    from scipy.ndimage import gaussian_filter, zoom

    # A wide Gaussian is computed on a coarse grid, in a fraction of the time.
    step = max(1.0, sigma_px / 2)
    sigma = sigma_px / step
    coarse = [int(np.ceil(length / step)) + 3 for length in shape]
    noise = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), sigma, mode="wrap")
    # Smoothing white noise with a normalised Gaussian leaves this standard deviation (Parseval).
    noise *= max(1.0, 2 * np.sqrt(np.pi) * sigma)
    if step > 1:
        noise = zoom(noise, step, order=1, grid_mode=True, mode="nearest")
    return noise[: shape[0], : shape[1]]


def expose(density: np.ndarray, slide: Slide, rng: np.random.Generator, pixel_size_um: float) -> np.ndarray:
    """Photograph a field: uint8 (H, W, 3) RGB, from the optical density of its cells, float32 (H, W, 3)."""
    from scipy.ndimage import gaussian_filter

    height, width = density.shape[:2]
    # Dried plasma is a film of uneven thickness with a fine grain.
    film = 0.12 + 0.05 * smooth_noise(rng, (height, width), 9 / pixel_size_um)
    film += 0.025 * smooth_noise(rng, (height, width), max(0.8, 0.35 / pixel_size_um))
    density = density + film[..., None] * (slide.stains["eosin"] * np.float32(0.8))

    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    light = 1 - slide.vignette * (rows**2 + columns**2) / 2 + (slide.tilt[0] * rows + slide.tilt[1] * columns) / 2
    image = np.exp(-density) * light[..., None] * slide.light

    # The focus of the objective differs slightly between the colours.
    sigma = max(0.45, slide.focus_um / pixel_size_um)
    for channel, factor in enumerate((1.0, 0.92, 1.12)):
        image[..., channel] = gaussian_filter(image[..., channel], sigma * factor)

    # Photon noise grows with the square root of the light; interpolation of the colour filter smooths it.
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise = gaussian_filter(noise, (0.5, 0.5, 0)) * np.float32(1.4)
    image += noise * slide.noise * np.sqrt(np.clip(image, 1, None) / 255)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
