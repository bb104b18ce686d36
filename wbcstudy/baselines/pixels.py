"""Shared base of the methods that classify pixels by colour and grow regions from points of interest."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import morphology

from wbcstudy.baselines.base import Method, draw_training_pixels
from wbcstudy.baselines.colour import SPACES, colour_features
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS, NUM_LABELS

_log = logging.getLogger(__name__)

# Training cases in which nuclei without a point of interest are counted after fitting; more would only cost time.
_SEED_CHECK_CASES = 8


@dataclass(eq=False, repr=False, kw_only=True)
class GrowingMethod(Method):
    """Classify pixels by their colour, and grow regions from points of interest. A subclass implements `_learn`.

    Args:
        spaces: colour spaces of the features, keys of `colour.COMPONENTS`.
        sigma_px: standard deviation of the Gaussian that smooths the image first, in px of the image; 0 for none.
        pixels_per_label: maximum number of training pixels of each label from each image.
        max_pixels: maximum number of training pixels of all labels and images; fewer are drawn from each image if
            necessary.
        growing: whether to grow regions; otherwise the class of each pixel is the result.
        opening_px: radius of the disk that opens the rough nucleus, in px of the image; 0 for no opening.
        height_px: minimum height of a point of interest above its surroundings in the distance transform, in px of the
            image. Parts of a nucleus whose depths differ by less share a point.

    Attributes:
        classifier_: fitted scikit-learn classifier of colour features.
        features_: function from colours, uint8 (N, 3), to the features of `classifier_`, float32 (N, F).
        nuclei_: number of connected nuclei in the training masks that were checked.
        missed_nuclei_: number of these nuclei without a point of interest, in which growing does not start.
    """

    spaces: Sequence[str] = SPACES
    sigma_px: float = 0.0
    pixels_per_label: int = 200
    max_pixels: int = 36_000
    growing: bool = True
    opening_px: float = 3.0
    height_px: float = 2.0

    required_labels = (NUCLEUS,)

    def _learn(self, colours: np.ndarray, labels: np.ndarray, random_state: int) -> None:
        """Set `classifier_` and `features_` from training pixels: uint8 (N, 3) and uint8 (N,)."""
        raise NotImplementedError

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        check_number("pixels_per_label", self.pixels_per_label, 1)
        check_number("max_pixels", self.max_pixels, NUM_LABELS)
        for name in ("sigma_px", "opening_px", "height_px"):
            check_number(name, getattr(self, name), 0)
        share = max(1, self.max_pixels // (NUM_LABELS * len(images)))
        colours, labels = draw_training_pixels(
            images, masks, lambda image: _smooth(image, self.sigma_px), min(self.pixels_per_label, share), rng
        )
        self._learn(colours.astype(np.uint8), labels, int(rng.integers(2**31)))
        self._count_missed_nuclei(images, masks)

    def _predict(self, image: np.ndarray) -> np.ndarray:
        classes = self._classify(image)
        return _grow_cells(classes, self._seeds(classes)) if self.growing else classes

    def _classify(self, image: np.ndarray) -> np.ndarray:
        """Return the class of each pixel before growing, uint8 (H, W)."""
        return _classify_colours(
            _smooth(image, self.sigma_px), lambda colours: self.classifier_.predict(self.features_(colours))
        )

    def _seeds(self, classes: np.ndarray) -> np.ndarray:
        return _ultimate_erosion(_open_region(classes == NUCLEUS, self.opening_px), self.height_px)

    def _count_missed_nuclei(self, images, masks) -> None:
        self.nuclei_ = self.missed_nuclei_ = 0
        chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), _SEED_CHECK_CASES)).astype(int))
        for k in chosen:
            nuclei, count = ndimage.label(masks[k] == NUCLEUS)
            with_seed = np.unique(nuclei[self._seeds(self._classify(images[k]))])
            self.nuclei_ += count
            self.missed_nuclei_ += count - np.count_nonzero(with_seed)
        level = logging.WARNING if 2 * self.missed_nuclei_ > self.nuclei_ else logging.INFO
        _log.log(
            level,
            "%s: no point of interest in %d of %d nuclei of %d training images",
            type(self).__name__,
            self.missed_nuclei_,
            self.nuclei_,
            len(chosen),
        )


def features_of(colours: np.ndarray, spaces: Sequence[str]) -> np.ndarray:
    """Compute the components, float32 (N, F), of colours, uint8 (N, 3), as `colour_features` does for an image."""
    return colour_features(colours[:, np.newaxis], spaces)[:, 0]


def check_number(name: str, value: object, low: float, high: float = np.inf) -> None:
    """Raise a `StudyError` unless a parameter is a number from `low` to `high`."""
    try:
        inside = low <= value <= high
    except TypeError:
        inside = False
    if not inside:
        limits = f"{low:g} or more" if high == np.inf else f"from {low:g} to {high:g}"
        raise StudyError(f"The parameter {name} is {value!r}.", expected=f"a number, {limits}", fix=f"Change `{name}`.")


def _smooth(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Smooth each channel of a uint8 image with a Gaussian and round, which keeps the number of colours small."""
    if sigma_px == 0:
        return image
    planes = [ndimage.gaussian_filter(image[..., k].astype(np.float32), sigma_px, truncate=3) for k in range(3)]
    return np.rint(np.stack(planes, axis=-1)).astype(np.uint8)


def _classify_colours(image: np.ndarray, classify: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Classify the pixels of an image, uint8 (H, W, 3), by a function from colours, uint8 (N, 3), to labels (N,).

    Each distinct colour is classified once: images have at most a third as many colours as pixels.
    """
    codes = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    distinct, inverse = np.unique(codes, return_inverse=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=-1).astype(np.uint8)
    return np.asarray(classify(colours), dtype=np.uint8)[inverse].reshape(image.shape[:2])


def _open_region(region: np.ndarray, radius_px: float) -> np.ndarray:
    """Open with a disk. Outside the image counts as region, so that a cell at the border keeps its edge."""
    if radius_px < 1 or not region.any() or region.all():
        return region
    eroded = morphology.isotropic_erosion(region, radius_px)
    return morphology.isotropic_dilation(eroded, radius_px) if eroded.any() else eroded


def _ultimate_erosion(region: np.ndarray, height_px: float) -> np.ndarray:
    """Find the points of interest of a region, bool (H, W): the last pixels of each part that erosion would remove.

    These are the regional maxima of the Euclidean distance to the outside: connected spots, often of a few px. Maxima
    that rise less than `height_px` above the saddle to a deeper one are left out, since ragged edges cause many of
    them; pieces of a smaller depth get no point.
    """
    seeds = np.zeros(region.shape, bool)
    # If the region fills the image, distances are undefined; the frame is the outside then.
    depth = ndimage.distance_transform_edt(np.pad(region, 1) if region.all() else region)
    depth = depth[1:-1, 1:-1] if region.all() else depth
    pieces, _ = ndimage.label(region, structure=np.ones((3, 3)))
    # Piece by piece, since maxima of large images with few nuclei take long.
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        # The frame separates maxima at the edge of the box from its border.
        piece = np.pad(np.where(pieces[box] == number, depth[box], 0), 1)
        if piece.max() >= height_px:
            spots = morphology.h_maxima(piece, height_px) if height_px > 0 else morphology.local_maxima(piece)
            seeds[box] |= spots[1:-1, 1:-1].astype(bool) & (pieces[box] == number)
    return seeds


def _grow_cells(classes: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Grow nuclei from seeds over neighbours (4) of the class nucleus, then cells over those of the class cytoplasm.

    Seeds on pixels of another class do not grow; nucleus pixels that are not reached become background.
    """
    nucleus = ndimage.binary_propagation(seeds & (classes == NUCLEUS), mask=classes == NUCLEUS)
    cell = ndimage.binary_propagation(nucleus, mask=classes == CYTOPLASM)
    grown = np.where(cell, CYTOPLASM, BACKGROUND).astype(np.uint8)
    grown[nucleus] = NUCLEUS
    return grown
