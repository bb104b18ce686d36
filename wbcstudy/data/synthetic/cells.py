"""Draw white cells: shape, stain and texture.

Shapes are signed distances to an outline in micrometres, negative inside, sampled at pixel centres. The sign gives the
mask; within half a pixel of the outline, the value gives the coverage of the pixel. So masks are exact, edges smooth.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wbcstudy.data.synthetic.slide import Slide, smooth_noise


class Look(NamedTuple):
    """The appearance of a cell type; pairs are ranges, amounts are relative to the typical amount of a dye.

    Args:
        share: relative frequency (rare types are more frequent than in blood).
        radius_um: radius of the cell.
        wobble: deviation of the outline from a circle, relative to the radius.
        cytoplasm: dye -> amount in the cytoplasm.
        grain: size, in micrometres, and contrast of the cytoplasm's fine granules.
        nucleus: amount of violet in the nucleus.
        chromatin: size, in micrometres, and contrast of the chromatin's clumps.
    """

    share: float
    radius_um: tuple[float, float]
    wobble: float
    cytoplasm: Mapping[str, tuple[float, float]]
    grain: tuple[float, float]
    nucleus: tuple[float, float]
    chromatin: tuple[float, float]


# share, radius_um, wobble, cytoplasm, grain, nucleus, chromatin
LOOKS = {
    "neutrophil": Look(
        0.36, (5.9, 7.0), 0.035, {"eosin": (0.45, 0.85), "azure": (0.1, 0.28)}, (0.17, 0.4), (0.75, 0.98), (0.45, 0.3)
    ),
    "lymphocyte": Look(
        0.28, (4.3, 5.6), 0.03, {"azure": (0.65, 1.3), "eosin": (0.05, 0.15)}, (0.35, 0.12), (0.68, 0.9), (0.55, 0.24)
    ),
    "monocyte": Look(
        0.15, (7.3, 8.8), 0.055, {"azure": (0.45, 0.85), "eosin": (0.2, 0.45)}, (0.22, 0.22), (0.52, 0.7), (0.33, 0.26)
    ),
    "eosinophil": Look(
        0.12, (6.1, 7.1), 0.035, {"eosin": (0.45, 0.75), "azure": (0.0, 0.1)}, (0.25, 0.15), (0.68, 0.88), (0.45, 0.26)
    ),
    "basophil": Look(
        0.09, (5.3, 6.4), 0.04, {"eosin": (0.35, 0.6), "azure": (0.25, 0.5)}, (0.3, 0.2), (0.55, 0.72), (0.55, 0.14)
    ),
}
CELL_TYPES = tuple(LOOKS)
# Further types, of `varied.make_varied_smear` only; the shares of `LOOKS` must not change, or `synthetic` would.
MORE_LOOKS = {
    "blast": Look(
        0.14, (5.5, 9.0), 0.05, {"azure": (0.65, 1.3), "eosin": (0.05, 0.15)}, (0.3, 0.10), (0.45, 0.75), (0.3, 0.14)
    ),
    "dense_lymphocyte": Look(
        0.14, (3.6, 4.8), 0.03, {"azure": (0.4, 1.2), "eosin": (0.05, 0.2)}, (0.35, 0.10), (0.95, 1.35), (0.6, 0.06)
    ),
}
ALL_LOOKS = LOOKS | MORE_LOOKS
# Radius of a round nucleus, relative to that of the cell.
_ROUND = {"blast": (0.80, 0.94), "dense_lymphocyte": (0.80, 0.95)}


@dataclass(frozen=True)
class Outline:
    """A closed curve around the origin: radius(angle) = radius * (1 + Re sum of c_k e^(ik angle)).

    Args:
        radius_um: mean radius.
        waves: the complex c_2, c_3, ...; none is a circle.
    """

    radius_um: float
    waves: tuple[complex, ...]

    @property
    def reach_um(self) -> float:
        """Upper bound of the distance of the curve from the origin."""
        return self.radius_um * (1 + sum(abs(wave) for wave in self.waves))

    def radius_at(self, angle: float) -> float:
        """Return the distance of the curve from the origin in a direction (radians, from the x axis towards y)."""
        waves = sum(wave * np.exp(1j * k * angle) for k, wave in enumerate(self.waves, 2))
        return self.radius_um * (1 + float(np.real(waves)))

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the signed distance along the ray from the origin, float32, negative inside."""
        z = (x + 1j * y).astype(np.complex64)
        rho = np.abs(z)
        z /= np.maximum(rho, np.float32(1e-6))
        turn = z.copy()
        radius = np.ones_like(rho)
        for wave in self.waves:
            turn *= z
            radius += (np.complex64(wave) * turn).real
        return rho - np.float32(self.radius_um) * radius


def make_outline(rng: np.random.Generator, radius_um: float, wobble: float, waves: int = 6) -> Outline:
    """Make a random smooth outline, with weaker higher waves."""
    size = wobble * rng.normal(0, 1, waves) * np.arange(2, waves + 2) ** -0.8
    angle = rng.uniform(0, 2 * np.pi, waves)
    # A rare strong wave would make the radius negative.
    size = np.clip(size, -0.12, 0.12)
    return Outline(radius_um, tuple(complex(wave) for wave in 1.4 * size * np.exp(1j * angle)))


def coverage(distance: np.ndarray, pixel_size_um: float) -> np.ndarray:
    """Return the share of each pixel that a shape covers, 0-1, from its signed distance."""
    return np.clip(0.5 - distance / np.float32(pixel_size_um), 0, 1)


def soft(distance: np.ndarray, width_um: float) -> np.ndarray:
    """Return a smooth step: 0 outside, 1 deeper than `width_um` inside."""
    t = np.clip(-distance / np.float32(width_um), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Nucleus:
    """A nucleus as a chain of circles: `centres_um` (n, 2) as x, y and `radii_um` (n,)."""

    centres_um: np.ndarray
    radii_um: np.ndarray

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the signed distance to the union of the circles, float32."""
        distance = np.full(x.shape, np.inf, np.float32)
        for (cx, cy), radius in zip(self.centres_um.astype(np.float32), self.radii_um.astype(np.float32), strict=True):
            np.minimum(distance, np.hypot(x - cx, y - cy) - radius, out=distance)
        return distance


def _lobes(rng, points, radius, strand, stretch) -> Nucleus:
    """Make elongated lobes at points (n, 2), joined in order by strands of random thickness."""
    centres, radii = [], []
    for point in points:
        size = radius * rng.uniform(0.80, 1.18)
        angle = rng.uniform(0, np.pi)
        long = rng.uniform(*stretch)
        axis = np.array([np.cos(angle), np.sin(angle)]) * size * long
        taper = rng.uniform(-0.35, 0.35)
        for t in np.linspace(-0.6, 0.6, 8):
            centres.append(point + t * axis)
            radii.append(size * (1 - 0.5 * t * t + taper * t) / (1 + 0.18 * long))
    for start, end in itertools.pairwise(points):
        thick = rng.uniform(*strand)
        for t in np.linspace(0, 1, 14):
            centres.append(start + t * (end - start))
            radii.append(thick * (1 + 0.8 * (2 * t - 1) ** 2))
    return Nucleus(np.array(centres), np.array(radii))


def _arc(rng, count, radius, span) -> np.ndarray:
    """Return roughly evenly spaced points on an arc around the origin, (count, 2)."""
    angle = rng.uniform(0, 2 * np.pi) + np.linspace(0, span, count)
    angle[1:-1] += rng.normal(0, 0.12, max(count - 2, 0))
    reach = radius * rng.uniform(0.85, 1.15, count)
    return np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=1)


def _make_nucleus(rng: np.random.Generator, cell_type: str, radius_um: float) -> Nucleus:
    """Make a nucleus typical of a cell type, for a cell of a given radius around the origin."""
    if cell_type == "neutrophil":
        if rng.random() < 0.12:  # a band form: one bent rod
            points = _arc(rng, 13, 0.45 * radius_um, rng.uniform(3.2, 4.3))
            return Nucleus(points, 1.15 * rng.uniform(0.9, 1.15) * (1 + 0.12 * rng.normal(0, 1, 13)))
        count = rng.choice([3, 4, 5], p=[0.5, 0.37, 0.13])
        radius = radius_um * {3: 0.31, 4: 0.275, 5: 0.24}[count] * rng.uniform(0.93, 1.08)
        span = {3: 3.3, 4: 4.2, 5: 4.8}[count] * rng.uniform(0.85, 1.15)
        return _lobes(rng, _arc(rng, count, 0.5 * radius_um, span), radius, (0.2, 0.75), (0.3, 1.3))
    if cell_type == "eosinophil":
        count = rng.choice([2, 3], p=[0.85, 0.15])
        radius = radius_um * (0.36 if count == 2 else 0.29) * rng.uniform(0.92, 1.08)
        span = rng.uniform(1.7, 2.4) if count == 2 else rng.uniform(2.6, 3.2)
        return _lobes(rng, _arc(rng, count, 0.47 * radius_um, span), radius, (0.35, 0.8), (0.2, 0.8))
    if cell_type == "basophil":
        count = rng.choice([2, 3])
        points = _arc(rng, count, 0.33 * radius_um, rng.uniform(2.0, 3.4))
        return _lobes(rng, points, radius_um * 0.37 * rng.uniform(0.9, 1.1), (1.2, 1.6), (0.2, 0.8))
    if cell_type == "monocyte":
        count = 17
        bend = radius_um * rng.uniform(0.34, 0.48)
        points = _arc(rng, count, bend, rng.uniform(2.0, 4.2))
        points -= points.mean(axis=0) * rng.uniform(0.5, 1.0)
        thick = 1 + 0.16 * np.cos(np.linspace(0, 2 * np.pi, count)) + 0.05 * rng.normal(0, 1, count)
        return Nucleus(points, radius_um * rng.uniform(0.25, 0.33) * thick)
    # The nucleus of a lymphocyte is round, often with a shallow notch: two nearly equal circles.
    size = radius_um * rng.uniform(*_ROUND.get(cell_type, (0.74, 0.86)))
    angle = rng.uniform(0, 2 * np.pi)
    push = np.array([np.cos(angle), np.sin(angle)]) * (radius_um - size) * rng.uniform(0.2, 0.8)
    turn = rng.uniform(0, np.pi)
    apart = np.array([np.cos(turn), np.sin(turn)]) * size * rng.uniform(0.04, 0.24)
    return Nucleus(np.array([push - apart, push + apart]), np.array([1.0, rng.uniform(0.9, 1.0)]) * size * 0.93)


def draw_white_cell(
    rng: np.random.Generator,
    cell_type: str,
    outline: Outline,
    x: np.ndarray,
    y: np.ndarray,
    slide: Slide,
    pixel_size_um: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a white cell on a part of the field.

    Args:
        rng: random generator of the cell.
        cell_type: a key of `ALL_LOOKS`.
        outline: its outline.
        x: micrometres from the cell's centre to the right, float32 (h, w).
        y: micrometres from the cell's centre downwards, float32 (h, w).
        slide: the slide with its stains.
        pixel_size_um: side of a pixel, in micrometres.

    Returns:
        Signed distances in micrometres to the outlines of the cell and of the nucleus inside it, float32 (h, w), and
        the optical density, float32 (h, w, 3).
    """
    look = ALL_LOOKS[cell_type]
    (grain_um, grain_contrast), (chromatin_um, chromatin_contrast) = look.grain, look.chromatin

    def grain(size_um):
        return smooth_noise(rng, x.shape, max(0.45, size_um / pixel_size_um))

    cell = outline.distance(x, y) + np.float32(0.07) * grain(0.45) + np.float32(0.10) * grain(1.1)
    shape = _make_nucleus(rng, cell_type, outline.radius_um)
    bend = np.float32(0.12 if cell_type == "lymphocyte" else 0.24)
    nucleus = shape.distance(x + bend * grain(1.1), y + bend * grain(1.1))
    nucleus = np.maximum(nucleus + np.float32(0.07) * grain(0.4), cell + np.float32(0.38))

    stains = slide.stains
    # The cell is a dried drop: thin at its edge, with a fine darker border, and even inside.
    body = 0.30 + 0.70 * soft(cell, 0.5 * outline.radius_um)
    border = np.exp(-(((cell + 0.2) / 0.22) ** 2))
    texture = 1 + np.float32(slide.patches) * grain(1.6) + grain_contrast * np.clip(grain(grain_um), -1.2, 2.5)
    amount = np.clip((0.35 + 0.65 * body + 0.35 * border) * texture, 0.12, None)
    if cell_type == "lymphocyte":  # paler next to the nucleus
        amount *= 1 - 0.25 * np.exp(-((nucleus / 0.55) ** 2))
    if cell_type == "monocyte":
        amount *= 1 - 0.8 * _vacuoles(rng, outline, nucleus, x, y)
    density = np.zeros((*x.shape, 3), np.float32)
    for name, (low, high) in look.cytoplasm.items():
        density += (slide.cytoplasm * amount * rng.uniform(low, high))[..., None] * stains[name]
    if cell_type == "neutrophil":  # fine granules, lilac
        density += (0.05 * np.clip(grain(0.15) - 0.6, 0, 2.5))[..., None] * stains["violet"]

    chromatin = grain(chromatin_um) - 0.35 * grain(2.2 * chromatin_um)
    membrane = np.exp(-(((nucleus + 0.16) / 0.2) ** 2))
    # At the edge of the mask, the colour has half its strength.
    ramp = max(0.3, 1.5 * pixel_size_um)
    inside = soft(nucleus - np.float32(ramp / 2), ramp)
    violet = (
        slide.chromatin
        * rng.uniform(*look.nucleus)
        * (1 + chromatin_contrast * np.clip(chromatin, -2.2, 2.2) + 0.16 * membrane)
    )
    if cell_type == "monocyte":  # folds
        violet *= 1 + 0.22 * np.exp(-((grain(1.1) / 0.14) ** 2))
    cover = inside[..., None]
    density = density * (1 - 0.55 * cover) + cover * violet[..., None] * stains["violet"]

    if cell_type == "eosinophil":
        balls = _granules(rng, outline, cell, x, y, spacing_um=0.95, radius_um=(0.40, 0.56), keep=0.96)
        if slide.between_granules:
            balls = np.maximum(balls, slide.between_granules * soft(cell + 0.15, 0.4))
        balls *= 1 - (1 - slide.over_nucleus) * inside
        density = density * (1 - 0.45 * balls[..., None]) + balls[..., None] * stains["eosin_granule"]
    if cell_type == "basophil":
        balls = _granules(rng, outline, cell, x, y, spacing_um=1.05, radius_um=(0.30, 0.62), keep=0.64)
        density = density * (1 - 0.5 * balls[..., None]) + 0.95 * balls[..., None] * stains["basophil_granule"]
    if slide.edge:
        density += edge_line(cell, slide)[..., None]
    return cell, nucleus, density.astype(np.float32)


def edge_line(distance: np.ndarray, slide: Slide) -> np.ndarray:
    """Return the optical density of the line at the border of a cell, from the signed distance, same shape."""
    return np.float32(slide.edge) * np.exp(-(((distance + np.float32(0.2)) / np.float32(0.25)) ** 2))


def _vacuoles(rng, outline, nucleus, x, y) -> np.ndarray:
    """Return bubbles in the cytoplasm, 0-1."""
    bubbles = np.zeros(x.shape, np.float32)
    for _ in range(rng.integers(0, 9)):
        angle, reach = rng.uniform(0, 2 * np.pi), outline.radius_um * np.sqrt(rng.uniform(0.1, 0.75))
        radius = rng.uniform(0.3, 0.75)
        bubble = np.hypot(x - reach * np.cos(angle), y - reach * np.sin(angle)) - np.float32(radius)
        np.maximum(bubbles, soft(bubble, 0.25), out=bubbles)
    return bubbles * (nucleus > 0.1)


def _granules(rng, outline, cell, x, y, *, spacing_um, radius_um, keep) -> np.ndarray:
    """Return round granules that fill the cell, 0-1: dark in the middle, pale at their edges."""
    from scipy.spatial import cKDTree

    reach = outline.reach_um
    rows = np.arange(-reach, reach, spacing_um * 0.87)
    columns = np.arange(-reach, reach, spacing_um)
    grid_y, grid_x = np.meshgrid(rows, columns, indexing="ij")
    grid_x = grid_x + (np.arange(len(rows)) % 2)[:, None] * spacing_um / 2
    points = np.stack([grid_x.ravel(), grid_y.ravel()], axis=1)
    points += rng.normal(0, 0.18 * spacing_um, points.shape)
    points = points[rng.random(len(points)) < keep]
    sizes = rng.uniform(*radius_um, len(points)).astype(np.float32)
    shades = rng.uniform(0.7, 1.1, len(points)).astype(np.float32)
    away, nearest = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], axis=1))
    away = np.float32(away.reshape(x.shape)) / sizes[nearest].reshape(x.shape)
    balls = np.clip(1.25 - away * away, 0, 1) * shades[nearest].reshape(x.shape)
    # Granules stay inside the cell's border.
    return balls * soft(cell + 0.15, 0.4)
