"""[8] Decorrelation stretch, Otsu and watershed."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes, binary_propagation, distance_transform_edt, gaussian_filter
from skimage.measure import label, regionprops
from skimage.morphology import disk, opening, reconstruction
from skimage.segmentation import watershed

from wbcstudy.baselines.base import Method, region_dice
from wbcstudy.baselines.benazzouz2013 import choose_levels, dark_nuclei
from wbcstudy.baselines.otsu_levels import otsu_thresholds
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, NUCLEUS, region_mask

# Candidate channels: weights of red, green and blue. White cells are dark in each.
_CHANNELS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "luma": (0.299, 0.587, 0.114),
    "red - blue": (1, 0, -1),
    "green - blue": (0, 1, -1),
}
# Candidate cuts of a channel: number of Otsu's levels, and position of the threshold; cells are below it.
_CUTS = ((2, 0), (3, 0), (3, 1))


@dataclass(eq=False, repr=False)
class StretchWatershed(Method):
    """White cells by Otsu on a stretched colour channel, separated by a watershed from clusters of nuclei.

    After M. L. Benomar, A. Chikh, X. Descombes and M. Benazzouz, "Multi-feature-based approach for white blood cells
    segmentation and classification in peripheral blood and bone marrow images", Int. J. Biomedical Engineering and
    Technology 35, 2021, pp. 223-241 ([8] in the paper). Its front page and the paper's sentence about it were
    available:

    1. (described) Decorrelation stretch: rotate the colours to their principal components, give these equal variance,
       and rotate back. (reconstructed) It is estimated once, on training pixels; per image the results were worse.
    2. (reconstructed) Channel and cut: of six channels, stretched and plain, and three cuts by Otsu's thresholds, the
       pair with the best mean Dice on training images between the reference cells and the pieces of the cut that
       touch nuclei, at half the size.
    3. (described) Otsu's threshold on the channel gives cells; nuclei are the darkest of three or more levels of green,
       the number that fits the training images best.
    4. (described; markers reconstructed) Watershed on the distance to the cells' edge. Markers are clusters of nuclei
       (lobes less than 2 `cluster_px` apart belong to one cell) and, further than `stray_px` from any nucleus, the
       centres of other objects.
    5. (described) Objects without a nucleus are removed.
    6. (described; rule reconstructed) Within cells, nucleus and cytoplasm are separated by colour: Otsu on green
       inside each cell, opening, filling of holes.

    Args:
        sigma_px: width of the smoothing, in px of the image.
        opening_px: radius of the opening disk, in px of the image.
        min_nucleus_px: minimum area of a nucleus, in px of the image.
        cluster_px: half the maximum distance between lobes of one nucleus, in px of the image.
        stray_px: minimum distance of another object's centre from all nuclei, in px of the image.
        max_images: maximum number of training images for the choice of channel and cut, taken at equal steps.

    Attributes:
        stretch_: float64 (4, 3): a colour 0-255 with a 1 appended, times this matrix, is the stretched colour.
        channel_: the chosen channel ("red", "green - blue", ...), with " (stretched)" if it is taken after the stretch.
        cut_: the chosen cut: number of Otsu's levels, and position of the threshold.
        levels_: the chosen number of Otsu's levels for nuclei.
        choices_: cell Dice on training images of each (channel, cut) that was tried.
    """

    sigma_px: float = 1.5
    opening_px: int = 4
    min_nucleus_px: int = 100
    cluster_px: float = 8
    stray_px: float = 20.0
    max_images: int = 80

    required_labels = (NUCLEUS,)

    def _fit(self, images, masks, rng):
        self.stretch_ = _decorrelation_stretch(np.concatenate([image[::4, ::4].reshape(-1, 3) for image in images]))
        self.levels_ = choose_levels(images, masks, self.sigma_px, self.opening_px, self.min_nucleus_px)
        step = -(-len(images) // self.max_images)
        options = [(f"{name}{suffix}", cut) for suffix in (" (stretched)", "") for name in _CHANNELS for cut in _CUTS]
        scores = {option: [] for option in options}
        for image, mask in zip(images[::step], masks[::step], strict=True):
            reference, nuclei = region_mask(mask, "cell")[::2, ::2], self._nuclei(image)[::2, ::2]
            counted = (mask != IGNORED)[::2, ::2]
            if not reference.any():
                continue
            for name, cut in options:
                cell = binary_propagation(nuclei, mask=_dark(self._channel(image, name)[::2, ::2], cut))
                scores[name, cut].append(region_dice(reference, cell & counted))
        self.choices_ = {option: float(np.mean(values)) for option, values in scores.items() if values}
        # If none of the images used has a cell, take the first option.
        self.channel_, self.cut_ = max(self.choices_, key=self.choices_.get, default=options[0])

    def _predict(self, image):
        nuclei = self._nuclei(image)
        cell = self._cells(self._channel(image, self.channel_), self.cut_, nuclei)
        green = _smooth(image[..., 1], self.sigma_px)
        dark = np.zeros_like(cell)
        for piece in regionprops(label(cell, connectivity=2)):
            inside, values = piece.image, green[piece.slice]
            dark[piece.slice] |= inside & (values <= otsu_thresholds(values, 2, where=inside)[0])
        # Granules are as dark as a nucleus but small: an opening removes them.
        nucleus = binary_fill_holes(opening(cell & dark, disk(self.opening_px)))
        mask = np.where(cell, CYTOPLASM, BACKGROUND)
        mask[cell & nucleus] = NUCLEUS
        return mask

    def _nuclei(self, image: np.ndarray) -> np.ndarray:
        return dark_nuclei(image, self.sigma_px, self.opening_px, self.min_nucleus_px, self.levels_)

    def _channel(self, image: np.ndarray, name: str) -> np.ndarray:
        plain = name.removesuffix(" (stretched)")
        weights = np.array(_CHANNELS[plain], np.float32)
        offset = 0.0
        if plain != name:
            # The stretch is linear, so a stretched channel is one weighted sum of the plain channels.
            offset, weights = self.stretch_[3] @ weights, (self.stretch_[:3] @ weights).astype(np.float32)
        return _smooth(image.astype(np.float32) @ weights + np.float32(offset), self.sigma_px)

    def _cells(self, channel: np.ndarray, cut: tuple[int, int], nuclei: np.ndarray) -> np.ndarray:
        """Return the cells (H, W) that contain a nucleus."""
        if not nuclei.any():
            return np.zeros_like(nuclei)
        objects = opening(binary_fill_holes(_dark(channel, cut) | nuclei), disk(self.opening_px)) | nuclei
        depth = _smooth(distance_transform_edt(objects), 2)
        distance = distance_transform_edt(~nuclei)
        clusters = label(distance <= self.cluster_px, connectivity=2) * nuclei
        others = label(_peaks(depth) & objects & (distance > self.stray_px), connectivity=2)
        markers = np.where(others > 0, others + clusters.max(), clusters)
        return np.isin(watershed(-depth, markers, mask=objects), np.arange(1, clusters.max() + 1))


def _dark(channel: np.ndarray, cut: tuple[int, int]) -> np.ndarray:
    """Return the pixels below the threshold of a cut."""
    levels, position = cut
    return channel <= otsu_thresholds(channel, levels)[position]


def _smooth(channel: np.ndarray, sigma_px: float) -> np.ndarray:
    return gaussian_filter(channel.astype(np.float32), sigma_px)


def _peaks(depth: np.ndarray) -> np.ndarray:
    """Return the maxima that rise 2 px or more above their surroundings."""
    return depth - reconstruction(depth - 2, depth) >= 2 - 1e-4


def _decorrelation_stretch(colours: np.ndarray) -> np.ndarray:
    """Compute the decorrelation stretch of colours, (N, 3) RGB 0-255, as an affine map, float64 (4, 3).

    `np.append(colour, 1) @ map` is the stretched colour. The principal components get equal standard deviations, the
    root mean square of the channels' own; the rotation back keeps the direction of the colours. The mean colour does
    not change.
    """
    mean = colours.mean(axis=0)
    offset = colours - mean
    variances, axes = np.linalg.eigh(offset.T @ offset / len(colours))
    # A variance below 0.01 (a tenth of a grey level) is rounding, which must not be amplified.
    gain = np.sqrt(variances.mean()) / np.sqrt(np.maximum(variances, 1e-2))
    matrix = axes @ np.diag(gain) @ axes.T if variances.mean() > 1e-2 else np.eye(3)
    return np.vstack([matrix, mean - mean @ matrix])
