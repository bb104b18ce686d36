"""What the methods that classify pixels share: one colour at a time, and regions grown from points of interest."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from wbcstudy.baselines.base import Method, draw_training_pixels
from wbcstudy.baselines.colour import colour_features
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS, NUM_LABELS

_log = logging.getLogger(__name__)

# Training cases on which a fitted method looks for nuclei without a point of interest; more would only cost time.
_SEED_CHECK_CASES = 8


class GrowingMethod(Method):
    """Pixels classified by their colour, and regions grown from the points of interest.

    A subclass writes `_learn`. Its `__init__` stores at least these parameters:

    Args:
        spaces: colour spaces of the features, keys of `colour.COMPONENTS`.
        sigma_px: standard deviation of the Gaussian that smooths the image first, in px of the image; 0 for none.
        pixels_per_label: most training pixels of each label from each image.
        max_pixels: most training pixels of all labels and images; above it, fewer are drawn from each image.
        growing: whether to grow regions; if not, the class of each pixel is the result.
        opening_px: radius of the disk that opens the rough nucleus, in px of the image; 0 for no opening.
        height_px: least height of a point of interest above its surroundings in the distance transform, in px of the
            image. Parts of a nucleus whose depths differ by less share a point.

    Attributes:
        classifier_: fitted scikit-learn classifier of colour features.
        features_: function from colours, uint8 (N, 3), to the features that `classifier_` takes, float32 (N, F).
        nuclei_: connected nuclei in the training masks that were looked at.
        missed_nuclei_: those of them in which no point of interest lies, so that growing does not start there.
    """

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
            images, masks, lambda image: smooth(image, self.sigma_px), min(self.pixels_per_label, share), rng
        )
        self._learn(colours.astype(np.uint8), labels, int(rng.integers(2**31)))
        self._check_seeds(images, masks)

    def _predict(self, image: np.ndarray) -> np.ndarray:
        classes = self._classify(image)
        return grow(classes, self._seeds(classes)) if self.growing else classes

    def _classify(self, image: np.ndarray) -> np.ndarray:
        """The class of each pixel before growing, uint8 (H, W)."""
        return classify_colours(
            smooth(image, self.sigma_px), lambda colours: self.classifier_.predict(self.features_(colours))
        )

    def _seeds(self, classes: np.ndarray) -> np.ndarray:
        return ultimate_erosion(open_region(classes == NUCLEUS, self.opening_px), self.height_px)

    def _check_seeds(self, images, masks) -> None:
        from scipy.ndimage import label

        self.nuclei_ = self.missed_nuclei_ = 0
        chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), _SEED_CHECK_CASES)).astype(int))
        for k in chosen:
            nuclei, count = label(masks[k] == NUCLEUS)
            found = np.unique(nuclei[self._seeds(self._classify(images[k]))])
            self.nuclei_ += count
            self.missed_nuclei_ += count - np.count_nonzero(found)
        level = logging.WARNING if 2 * self.missed_nuclei_ > self.nuclei_ else logging.INFO
        _log.log(
            level,
            "%s: no point of interest in %d of %d nuclei of %d training images",
            type(self).__name__,
            self.missed_nuclei_,
            self.nuclei_,
            len(chosen),
        )


def smooth(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Smooth each channel with a Gaussian and round, so that the image keeps a limited number of colours.

    Args:
        image: uint8 (H, W, 3).
        sigma_px: standard deviation in px; 0 returns the image itself. The border is mirrored.

    Returns:
        uint8 (H, W, 3).
    """
    if sigma_px == 0:
        return image
    from scipy.ndimage import gaussian_filter

    planes = [gaussian_filter(image[..., k].astype(np.float32), sigma_px, truncate=3) for k in range(3)]
    return np.rint(np.stack(planes, axis=-1)).astype(np.uint8)


def features_of(colours: np.ndarray, spaces: Sequence[str]) -> np.ndarray:
    """Colour components of single colours, as `colour_features` gives them for an image.

    Args:
        colours: uint8 (N, 3) RGB, at least one.
        spaces: keys of `colour.COMPONENTS`.

    Returns:
        float32 (N, F).
    """
    return colour_features(colours[:, np.newaxis], spaces)[:, 0]


def classify_colours(image: np.ndarray, classify: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Classify pixels by colour, each distinct colour once.

    The result is that of classifying every pixel; images have a third as many colours as pixels, or fewer.

    Args:
        image: uint8 (H, W, 3).
        classify: function from colours, uint8 (N, 3), to labels (N,).

    Returns:
        uint8 (H, W) of labels.
    """
    codes = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    distinct, where = np.unique(codes, return_inverse=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=-1).astype(np.uint8)
    return np.asarray(classify(colours), dtype=np.uint8)[where].reshape(image.shape[:2])


def open_region(region: np.ndarray, radius_px: float) -> np.ndarray:
    """Open a region with a disk; what lies beyond the image counts as region, so that cut cells keep their edge.

    Args:
        region: bool (H, W).
        radius_px: radius of the disk; below 1 the region is returned as it is.
    """
    if radius_px < 1 or not region.any() or region.all():
        return region
    from scipy.ndimage import distance_transform_edt

    # By distance transforms, since their cost does not grow with the radius.
    eroded = distance_transform_edt(region) > radius_px
    return distance_transform_edt(~eroded) <= radius_px if eroded.any() else eroded


def ultimate_erosion(region: np.ndarray, height_px: float) -> np.ndarray:
    """Points of interest: what is left of each part of a region just before erosion would take it away.

    These are the regional maxima of the Euclidean distance to the outside; those that rise less than `height_px` over
    the saddle to a deeper one are left out, since every ragged edge makes some.

    Args:
        region: bool (H, W).
        height_px: least height in px; pieces nowhere as deep as that get no point. 0 for all regional maxima.

    Returns:
        bool (H, W): one connected spot, often of a few px, for each point.
    """
    from scipy.ndimage import distance_transform_edt, find_objects, label
    from skimage.morphology import h_maxima, local_maxima

    seeds = np.zeros(region.shape, bool)
    # Without any outside (all of the image is region) distances would be undefined; the frame is the outside.
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] if region.all() else distance_transform_edt(region)
    pieces, _ = label(region, structure=np.ones((3, 3)))
    # Piece by piece, since finding maxima takes long in large images of few nuclei.
    for number, box in enumerate(find_objects(pieces), start=1):
        # A frame of outside keeps maxima at the box's edge apart from the box's border.
        piece = np.pad(np.where(pieces[box] == number, depth[box], 0), 1)
        if piece.max() >= height_px:
            spots = h_maxima(piece, height_px) if height_px > 0 else local_maxima(piece)
            seeds[box] |= spots[1:-1, 1:-1].astype(bool) & (pieces[box] == number)
    return seeds


def grow(classes: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Grow nuclei from seeds over neighbours classified as nucleus, then cells over those classified as cytoplasm.

    Neighbours share a side. Taking in neighbours until none is left ends with the connected pieces that hold a seed,
    whatever the order; that is also the morphological reconstruction of the class map from the seeds.

    Args:
        classes: integer labels (H, W), one for each pixel.
        seeds: bool (H, W); seeds on pixels of another class than nucleus do not grow.

    Returns:
        uint8 (H, W) of labels; all background where no seed lies on a nucleus. Pixels classified as nucleus that no
        nucleus reaches are background.
    """
    nucleus = _pieces_touched(classes == NUCLEUS, seeds)
    cell = _pieces_touched(nucleus | (classes == CYTOPLASM), nucleus)
    grown = np.where(cell, CYTOPLASM, BACKGROUND).astype(np.uint8)
    grown[nucleus] = NUCLEUS
    return grown


def _pieces_touched(region: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    from scipy.ndimage import label

    pieces, count = label(region)
    touched = np.zeros(count + 1, bool)
    touched[pieces[seeds]] = True
    touched[0] = False
    return touched[pieces]


def check_number(name: str, value: object, least: float, most: float = np.inf) -> None:
    """Raise a `StudyError` unless a parameter is a number from `least` to `most`."""
    try:
        inside = least <= value <= most
    except TypeError:
        inside = False
    if not inside:
        limits = f"{least:g} or more" if most == np.inf else f"from {least:g} to {most:g}"
        raise StudyError(f"The parameter {name} is {value!r}.", expected=f"a number, {limits}", fix=f"Change `{name}`.")
