"""What else is on a smear: damaged white cells, basket cells, nucleated red cells, clumps of platelets, debris.

Damaged white cells keep their labels. A basket cell is the spread nucleus of a destroyed white cell: experts disagree
whether to draw it, so its pixels have no label. The others are background.
"""

from __future__ import annotations

import numpy as np

from wbcstudy.data.synthetic.cells import Outline, coverage, make_outline, soft
from wbcstudy.data.synthetic.field import Field, draw_platelet
from wbcstudy.data.synthetic.slide import Slide, smooth_noise


def damage_white_cell(
    rng: np.random.Generator,
    kind: str,
    outline: Outline,
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    pixel_size_um: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Damage a white cell from `cells.draw_white_cell`.

    Args:
        rng: random generator.
        kind: "smudged" (pale, blurred, swollen nucleus) or "ruptured" (parts of the cytoplasm are gone).
        outline: outline of the cell.
        drawn: signed distances to cell and nucleus, float32 (h, w), and optical density, float32 (h, w, 3).
        x: micrometres from the cell's centre to the right, float32 (h, w).
        y: micrometres from the cell's centre downwards, float32 (h, w).
        pixel_size_um: side of a pixel.

    Returns:
        The same three arrays.
    """
    from scipy.ndimage import gaussian_filter

    cell, nucleus, density = drawn
    if kind == "smudged":
        sigma = rng.uniform(0.3, 0.8) / pixel_size_um
        swollen = np.maximum(nucleus - np.float32(rng.uniform(0.1, 0.5)), cell + np.float32(0.2))
        spread = soft(swollen, 0.6)[..., None] * gaussian_filter(density, (2 * sigma, 2 * sigma, 0))
        blurred = np.maximum(gaussian_filter(density, (sigma, sigma, 0)), spread)
        return cell, swollen, (blurred * rng.uniform(0.6, 1.0)).astype(np.float32)
    torn = cell
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(1, 4)):
        radius = outline.radius_um * rng.uniform(0.2, 0.5)
        away = outline.radius_at(angle) + radius * rng.uniform(0.0, 0.6)
        bite = np.hypot(x - np.float32(away * np.cos(angle)), y - np.float32(away * np.sin(angle))) - np.float32(radius)
        torn = np.maximum(torn, -(bite + np.float32(0.15) * smooth_noise(rng, x.shape, max(0.5, 0.5 / pixel_size_um))))
    # The nucleus stays whole, with a rim.
    return np.minimum(torn, np.maximum(nucleus - np.float32(0.1), cell)), nucleus, density


def draw_basket_cell(rng: np.random.Generator, field: Field, slide: Slide, centre, density: np.ndarray) -> np.ndarray:
    """Draw a net of spread chromatin; change `density` and return where it is, bool (H, W)."""
    covered = np.zeros(density.shape[:2], bool)
    outline = make_outline(rng, rng.uniform(4.5, 8.5), 0.14)
    patch = field.patch(centre, outline.reach_um + 0.5)
    if patch is None:
        return covered
    where, x, y = patch
    distance = outline.distance(x, y) + np.float32(0.5) * smooth_noise(
        rng, x.shape, max(0.6, 1.2 / field.pixel_size_um)
    )
    net = np.exp(-((smooth_noise(rng, x.shape, max(0.6, 0.8 / field.pixel_size_um)) / 0.45) ** 2))
    amount = rng.uniform(0.3, 0.7) * soft(distance, 1.5) * (0.45 + 0.75 * net)
    density[where] += amount[..., None] * slide.stains["violet"]
    covered[where] = distance < 0.2
    return covered


def draw_nucleated_red_cell(rng: np.random.Generator, field: Field, slide: Slide, centre, density: np.ndarray) -> None:
    """Draw an erythroblast: red or grey-blue cytoplasm around a small, dense, round nucleus."""
    outline = make_outline(rng, rng.uniform(3.6, 5.0), 0.03, waves=4)
    patch = field.patch(centre, outline.reach_um + 0.5)
    if patch is None:
        return
    where, x, y = patch
    cell = outline.distance(x, y)
    blue = rng.uniform(0, 1)
    body = rng.uniform(0.7, 1.1) * slide.stains["haemoglobin"] * (1 - 0.5 * blue) + 0.7 * blue * slide.stains["azure"]
    radius = rng.uniform(1.5, 2.6)
    shift = rng.normal(0, 0.25, 2) * (outline.radius_um - radius)
    nucleus = np.hypot(x - np.float32(shift[0]), y - np.float32(shift[1])) - np.float32(radius)
    nucleus += np.float32(0.08) * smooth_noise(rng, x.shape, max(0.5, 0.6 / field.pixel_size_um))
    texture = 1 + 0.08 * smooth_noise(rng, x.shape, max(0.5, 0.5 / field.pixel_size_um))
    dense = (rng.uniform(0.95, 1.4) * soft(nucleus - np.float32(0.1), 0.35) * texture)[..., None]
    drawn = soft(cell, 0.4)[..., None] * body * (1 - 0.5 * np.clip(dense, 0, 1)) + dense * slide.stains["violet"]
    cover = coverage(cell, field.pixel_size_um)[..., None]
    density[where] = density[where] * (1 - cover) + drawn * cover


def draw_platelet_clump(rng: np.random.Generator, field: Field, slide: Slide, centre, density: np.ndarray) -> None:
    """Draw 4 to 20 platelets close together, or one giant platelet."""
    giant = rng.random() < 0.3
    spread, number = (0.0, 1) if giant else (rng.uniform(1.0, 3.5), rng.integers(4, 21))
    for _ in range(number):
        outline = make_outline(rng, rng.uniform(2.0, 3.5) if giant else rng.uniform(0.8, 1.5), 0.10, waves=5)
        patch = field.patch(centre + rng.normal(0, spread, 2), outline.reach_um + 0.3)
        if patch is not None:
            where, x, y = patch
            azure, violet = draw_platelet(rng, outline.distance(x, y), field.pixel_size_um)
            added = azure[..., None] * slide.stains["azure"] + violet[..., None] * slide.stains["violet"]
            density[where] = np.maximum(density[where], added)


def draw_debris(rng: np.random.Generator, field: Field, slide: Slide, centre, density: np.ndarray) -> None:
    """Draw precipitated stain: a heap of dark grains, or an irregular flake."""
    if rng.random() < 0.5:
        for _ in range(rng.integers(8, 60)):
            radius = rng.uniform(0.12, 0.6)
            patch = field.patch(centre + rng.normal(0, rng.uniform(1, 4), 2), radius + 0.3)
            if patch is not None:
                where, x, y = patch
                grain = soft(np.hypot(x, y) - np.float32(radius), 0.25)
                density[where] += rng.uniform(0.4, 1.0) * grain[..., None] * slide.stains["basophil_granule"]
        return
    outline = make_outline(rng, rng.uniform(1.5, 5.0), 0.2)
    patch = field.patch(centre, outline.reach_um + 0.5)
    if patch is not None:
        where, x, y = patch
        distance = outline.distance(x, y) + np.float32(0.4) * smooth_noise(
            rng, x.shape, max(0.5, 0.5 / field.pixel_size_um)
        )
        dye = slide.stains[str(rng.choice(["violet", "azure", "eosin", "basophil_granule"]))]
        density[where] += rng.uniform(0.3, 1.0) * soft(distance, 0.4)[..., None] * dye
