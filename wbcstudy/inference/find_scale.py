"""Find the scale of images without a pixel size: a first pass over several scales.

At the right scale, a network finds cells of the size that its training images have. At a scale that is too small, cells
are found too large, and the reverse: the scale at which both sizes agree is taken. It is a property of the microscope,
so all images of a folder share it; single cells of different types would give different scales.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbcstudy.data.images import read_image, read_shape
from wbcstudy.errors import StudyError
from wbcstudy.inference.applying import Stain, apply_network
from wbcstudy.inference.network import Network
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.inference.tiling import TrainingScale, Way, choose_tiling
from wbcstudy.labels import NUCLEUS
from wbcstudy.wording import count

# Scales to try. Cells are found within a factor of about 1.5 of the right scale, so larger steps would do, too.
SCALES = tuple(0.32 * 1.3**step for step in range(10))
# Images to look at, and parts of them: a median of a few cells is enough.
MOST_IMAGES = 9
# Side of a part of an image, in training images.
_PART = 2.0
# Scales nearer to 1 than this are taken for 1: the same microscope.
_SAME = 1.12
# A cell has a nucleus of this share of its area, this confidence, and this diameter relative to a training cell.
_NUCLEUS_SHARE, _CONFIDENCE, _LEAST_DIAMETER = 0.1, 0.7, 0.35


@dataclass(frozen=True)
class FoundScale:
    """A scale found in images.

    Args:
        scale: size of a cell in px, relative to the training images, rounded.
        cell_px: diameter of a typical cell in px of the images.
        images: number of images with a cell that was measured.
    """

    scale: float
    cell_px: float
    images: int

    @property
    def reason(self) -> str:
        """How it was found, for the reader of the results."""
        return f"found automatically: cells of about {self.cell_px:.0f} px in {count(self.images, 'image')}"


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


def find_scale(images: Iterable[np.ndarray], network: Network, stain: Stain = "auto") -> FoundScale | None:
    """Find the scale of images of one microscope.

    Args:
        images: uint8 (H, W, 3), few; each is read once.
        network: the network; the cell size of its training images is known.
        stain: as in `applying.apply_network`.

    Returns:
        The scale, None if no cell was found at two neighbouring scales.
    """
    cell_px = network.training.cell_px
    # Per scale: (diameter, index of the image) of each cell.
    cells: list[list[tuple[float, int]]] = [[] for _ in SCALES]
    for index, image in enumerate(images):
        for listed, scale in zip(cells, SCALES, strict=True):
            listed += [(diameter, index) for diameter in _measure(image, network, scale, stain)]
    excess = [
        np.log(_median(listed) / (cell_px * scale)) if listed else None
        for listed, scale in zip(cells, SCALES, strict=True)
    ]
    best: tuple[int, float, int] | None = None
    for step, (low, high) in enumerate(itertools.pairwise(excess)):
        if low is not None and high is not None and low >= 0 > high:
            share = low / (low - high)
            crossing = float(np.exp((1 - share) * np.log(SCALES[step]) + share * np.log(SCALES[step + 1])))
            support = len(cells[step]) + len(cells[step + 1])
            if best is None or support > best[0]:
                seen = {image for _, image in cells[step] + cells[step + 1]}
                best = support, crossing, len(seen)
    if best is None:
        return None
    _, crossing, seen = best
    rounded = 1.0 if 1 / _SAME <= crossing <= _SAME else float(f"{crossing:.2g}")
    return FoundScale(rounded, crossing * cell_px, seen)


def _median(cells: list[tuple[float, int]]) -> float:
    """Return the median diameter, weighted by area: fragments of a cell are many, but small."""
    diameters = np.sort([diameter for diameter, _ in cells])
    weights = np.cumsum(diameters**2)
    return float(diameters[np.searchsorted(weights, weights[-1] / 2)])


def _measure(image: np.ndarray, network: Network, scale: float, stain: Stain) -> Iterator[float]:
    """Yield the diameters in px of the cells with a nucleus, not cut by the border, in a part of an image."""
    training = network.training
    side = round(_PART * scale * max(training.height_px[1], training.width_px[1]))
    part = _darkest_part(image, side)
    prediction = apply_network(part, network, choose_tiling(part.shape[:2], training, "tiles", scale), stain)
    mask = prediction.probabilities.argmax(axis=2).astype(np.uint8)
    confidence = prediction.probabilities.max(axis=2).ravel()
    instances = split_cells(mask)
    numbers = instances.ravel()
    areas = np.bincount(numbers)
    nuclei = np.bincount(numbers, weights=(mask == NUCLEUS).ravel())
    confident = np.bincount(numbers, weights=confidence)
    cut = {0, *instances[[0, -1]].ravel().tolist(), *instances[:, [0, -1]].ravel().tolist()}
    for number in range(1, len(areas)):
        area = areas[number]
        diameter = 2 * np.sqrt(area / np.pi)
        good = nuclei[number] >= _NUCLEUS_SHARE * area and confident[number] >= _CONFIDENCE * area
        if number not in cut and good and diameter >= _LEAST_DIAMETER * training.cell_px * scale:
            yield float(diameter)


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
