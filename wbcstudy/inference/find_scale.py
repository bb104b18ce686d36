"""Find the scale of images without a pixel size: by the size of red and white cells.

Red cells are the ruler of a blood smear: they have nearly one size. Round objects of that size are counted at several
scales, without a network, where the network sees no white cell at that scale. At the right scale, the network's white
cells also have the size that its training images have. Both vote; the scale with the most votes is taken. It is a
property of the microscope, so all images of a folder share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wbcstudy.data.arrays import resize_image
from wbcstudy.data.images import read_image, read_shape
from wbcstudy.errors import StudyError
from wbcstudy.inference.applying import Stain, apply_network
from wbcstudy.inference.network import Network
from wbcstudy.inference.round_cells import EDGE_INSIDE, RED_CELL_UM, find_red_cells, input_factor, red_radius_px
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.inference.tiling import TrainingScale, Way, choose_tiling
from wbcstudy.labels import NUCLEUS
from wbcstudy.wording import count

# Scales to try. White cells are found within a factor of about 1.5 of the right scale, red cells of about 1.2.
SCALES = tuple(0.32 * 1.3**step for step in range(-1, 12))
# Images to look at, and parts of them: a few cells are enough.
MOST_IMAGES = 9
# Side of a part of an image, in training images.
_PART = 2.0
# Scales nearer to 1 than this are taken for 1: the same microscope.
_SAME = 1.12
# A white cell has a nucleus of this share of its area, this confidence, and this diameter relative to a training cell.
_NUCLEUS_SHARE, _CONFIDENCE, _LEAST_DIAMETER = 0.1, 0.7, 0.35
# Spread of the diameters of red and white cells, and how far a white cell's diameter may be from that of training cells
# to count in full (natural logarithms).
_RED_SPREAD, _WHITE_SPREAD, _NEAR_TRAINED = 0.06, 0.25, 0.35
# Votes of red cells without any white cell that count as a scale.
_FEWEST_RED_VOTES = 0.6
# Candidate scales, natural logarithms.
_GRID = np.arange(np.log(SCALES[0]) - 0.3, np.log(SCALES[-1]) + 0.3, 0.02)


@dataclass(frozen=True)
class FoundScale:
    """A scale found in images.

    Args:
        scale: size of a cell in px, relative to the training images, rounded.
        cell_px: diameter of a typical white cell in px of the images.
        images: number of images with a cell that was measured.
        red_cells: number of red cells of the size expected at this scale.
        red_px: their diameter in px of the images; None if none was measured.
    """

    scale: float
    cell_px: float
    images: int
    red_cells: int = 0
    red_px: float | None = None

    @property
    def reason(self) -> str:
        """How it was found, for the reader of the results."""
        start, images = "found automatically:", count(self.images, "image")
        if not self.red_cells:
            return f"{start} white cells of about {self.cell_px:.0f} px in {images}"
        red = f"{count(self.red_cells, 'red cell')} of about {self.red_px:.0f} px in {images}"
        return f"{start} {red}, and white cells of about {self.cell_px:.0f} px to go with them"


def needs_scale(training: TrainingScale, shape: tuple[int, int], scale: float | None, pixel_um: float | None) -> bool:
    """Whether the scale of an image has to be found: not given, not known, and not of the training images' size."""
    known = scale is not None or (pixel_um is not None and training.pixel_size_um is not None)
    return not known and bool(training.cell_px) and choose_tiling(shape, training).name == "tiles"


def pick_evenly(values: list, most: int = MOST_IMAGES) -> list:
    """Pick at most `most` values, evenly spread."""
    step = max(1, -(-len(values) // most))
    return values[::step]


def share_scale(
    paths: Sequence[Path], network: Network, way: Way, scale: float | None, pixel_um: float | None, stain: Stain
) -> FoundScale | float | None:
    """Return the scale that the images of a folder share: as given, or found in some of them.

    Args:
        paths: image files. Those that cannot be read are left out.
        network: the network.
        way: as in `tiling.choose_tiling`, as the next two.
        scale: the scale, None if it is not given.
        pixel_um: side of a pixel in micrometres, or None.
        stain: as in `applying.apply_network`.

    Returns:
        The scale; 1 if it was searched and not found; None if no image needs it.
    """
    if way != "auto" or scale is not None or not network.training.cell_px:
        return scale
    needing = []
    for path in pick_evenly(list(paths)):
        # Images that cannot be read are reported later.
        with contextlib.suppress(Exception):
            if needs_scale(network.training, read_shape(path), None, pixel_um):
                needing.append(path)
    return (find_scale(_read_images(needing), network, stain) or 1.0) if needing else None


def _read_images(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        with contextlib.suppress(StudyError, OSError, MemoryError):
            yield read_image(path)


class _Votes(NamedTuple):
    """The votes of an image for the candidate scales of `_GRID`.

    Args:
        red: of its red cells, float64 (n,).
        white: of its white cells, at most 1.
        red_scales: for each of `SCALES`, the scale that each red cell gives. Most are seen in two of them.
    """

    red: np.ndarray
    white: np.ndarray
    red_scales: list[np.ndarray]

    def count_red(self, scale: float) -> int:
        """Count the red cells that agree with a scale."""
        return max(int((np.abs(np.log(scales / scale)) <= 2 * _RED_SPREAD).sum()) for scales in self.red_scales)


def find_scale(images: Iterable[np.ndarray], network: Network, stain: Stain = "auto") -> FoundScale | None:
    """Find the scale of images of one microscope.

    Args:
        images: uint8 (H, W, 3), few; each is read once.
        network: the network; the cell size of its training images is known. Red cells are measured only if their
            pixel size is known, too.
        stain: as in `applying.apply_network`.

    Returns:
        The scale, None if no white cell and too few red cells were found.
    """
    training = network.training
    votes = [_vote(image, network, stain) for image in images]
    red, white = (sum((getattr(vote, name) for vote in votes), np.zeros(len(_GRID))) for name in ("red", "white"))
    if not white.any() and red.max() < _FEWEST_RED_VOTES:
        return None
    best = int((red + white).argmax())
    scale = float(np.exp(_GRID[best]))
    rounded = 1.0 if 1 / _SAME <= scale <= _SAME else float(f"{scale:.2g}")
    seen = sum(bool(vote.red[best] + vote.white[best] > _FEWEST_RED_VOTES / 2) for vote in votes)
    red_cells = sum(vote.count_red(scale) for vote in votes)
    red_px = scale * RED_CELL_UM / training.pixel_size_um if red_cells else None
    return FoundScale(rounded, scale * training.cell_px, seen, red_cells, red_px)


def _vote(image: np.ndarray, network: Network, stain: Stain) -> _Votes:
    """Measure the cells of an image at all scales."""
    red, white = np.zeros(len(_GRID)), np.zeros(len(_GRID))
    red_scales = []
    for scale in SCALES:
        diameters, circles = _measure(image, network, scale, stain)
        for diameter in diameters:
            # Fragments of a cell are many, but small: cells vote by area.
            weight = (diameter * scale) ** 2 * _bell(np.log(diameter) / _NEAR_TRAINED)
            white += weight * _bell((_GRID - np.log(diameter * scale)) / _WHITE_SPREAD)
        for size, edge in circles:
            red += edge**2 * _bell((_GRID - np.log(size * scale)) / _RED_SPREAD)
        red_scales.append(np.array([size * scale for size, _ in circles]))
    return _Votes(red, white / white.max() if white.any() else white, red_scales)


def _bell(values: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * values**2)


def _measure(
    image: np.ndarray, network: Network, scale: float, stain: Stain
) -> tuple[list[float], list[tuple[float, float]]]:
    """Measure a part of an image at a scale.

    Returns:
        Diameters of the white cells with a nucleus that are not cut by the border, relative to training cells at this
        scale; and for each red cell its diameter, relative to red cells at this scale, and its share of edge.
    """
    training = network.training
    part = _darkest_part(image, round(_PART * scale * max(training.height_px[1], training.width_px[1])))
    factor = input_factor(training)
    shape = tuple(max(1, round(side / (scale * factor))) for side in part.shape[:2])
    # At the resolution of the input, all scales cost about the same.
    part = resize_image(part, *shape)
    tiling = choose_tiling(shape, training, "tiles", 1 / factor)
    prediction = apply_network(part, network, tiling, stain, once=True)
    mask = prediction.probabilities.argmax(axis=2).astype(np.uint8)
    confidence = prediction.probabilities.max(axis=2)
    diameters = [diameter * factor / training.cell_px for diameter in _white_diameters(mask, confidence)]
    diameters = [diameter for diameter in diameters if diameter >= _LEAST_DIAMETER]
    if training.pixel_size_um is None:
        return diameters, []
    radius = red_radius_px(training)
    circles = find_red_cells(part, mask, radius)
    return diameters, [(cell.radius_px / radius * float(np.exp(EDGE_INSIDE)), cell.edge) for cell in circles]


def _white_diameters(mask: np.ndarray, confidence: np.ndarray) -> Iterator[float]:
    """Yield the diameters in px of the white cells that are whole, have a nucleus and are confident."""
    instances = split_cells(mask)
    numbers = instances.ravel()
    areas = np.bincount(numbers)
    nuclei = np.bincount(numbers, weights=(mask == NUCLEUS).ravel())
    confident = np.bincount(numbers, weights=confidence.ravel())
    cut = {0, *instances[[0, -1]].ravel().tolist(), *instances[:, [0, -1]].ravel().tolist()}
    for number in range(1, len(areas)):
        area = areas[number]
        if number not in cut and nuclei[number] >= _NUCLEUS_SHARE * area and confident[number] >= _CONFIDENCE * area:
            yield float(2 * np.sqrt(area / np.pi))


def _darkest_part(image: np.ndarray, side: int) -> np.ndarray:
    """Return the part of a large image that is likely to show a white cell.

    Nuclei absorb red light and red cells do not: the part is centred on the darkest spot in red.
    """
    from scipy.ndimage import uniform_filter

    height, width = image.shape[:2]
    if height <= side and width <= side:
        return image
    size = max(3, side // 8)
    dark = uniform_filter(image[..., 0].astype(np.float32), size, mode="nearest")
    # A spot at the border would be cut.
    inset = min(side // 4, height // 4, width // 4)
    inner = dark[inset : height - inset, inset : width - inset]
    row, column = np.unravel_index(inner.argmin(), inner.shape)
    top = int(np.clip(row + inset - side // 2, 0, max(0, height - side)))
    left = int(np.clip(column + inset - side // 2, 0, max(0, width - side)))
    return image[top : top + side, left : left + side]
