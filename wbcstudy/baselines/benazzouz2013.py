"""[6] Otsu for the nucleus, region growing for the cytoplasm."""

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.growing import grow
from wbcstudy.baselines.otsu_levels import otsu_thresholds
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

#: Numbers of Otsu's levels to choose from. On a crop, three are plasma, cytoplasm with red cells, and nucleus. On a
#: whole field nuclei are one pixel in a hundred, and it takes more levels until one is theirs.
LEVELS = (3, 4, 5)


class OtsuGrowing(Method):
    """Nuclei by Otsu's thresholds on green; cytoplasm grown from each nucleus by likeness in colour.

    After M. Benazzouz, I. Baghli and M. A. Chikh, "Microscopic image segmentation based on pixel classification and
    dimensionality reduction", Int. J. Imaging Systems and Technology 23, 2013, pp. 22-28 ([6] in the paper). Only the
    paper's sentence about it was at hand: it describes Otsu's thresholding with region growing, which that title does
    not say. So the description is implemented, and all details are reconstructed:

    1. (reconstructed) Green, smoothed with a Gaussian; the darkest of Otsu's levels is nucleus. Two levels would be
       plasma and everything else; whether there are three or more is chosen on training images, by nucleus Dice.
    2. (reconstructed) Nuclei: an opening, holes filled, pieces below `min_nucleus_px` dropped.
    3. (reconstructed) Each nucleus has its cytoplasm's colour: median and covariance, in Lab, of a ring around it.
    4. (described) The nucleus grows through neighbours (4) of like colour: a pixel may join if the Mahalanobis distance
       of its smoothed colour is below `max_distance`, or it is nearer than the ring, where colours blend, and it lies
       within `max_reach_px` of that nucleus.
    5. (reconstructed) Holes in what has grown are filled.

    Nothing else is learnt; `max_distance` and `max_reach_px` are tuned on validation cases.

    Args:
        sigma_px: width of the smoothing, in px of the image.
        opening_px: radius of the opening disk, in px of the image.
        min_nucleus_px: least area of a nucleus, in px of the image.
        ring_px: inner and outer distance of the ring from the nucleus, in px of the image.
        max_distance: largest Mahalanobis distance in colour.
        max_reach_px: largest distance from the nucleus, in px of the image.

    Attributes:
        levels_: the chosen number of Otsu's levels.
    """

    def __init__(
        self, sigma_px=2.0, opening_px=2, min_nucleus_px=100, ring_px=(2, 8), max_distance=3.0, max_reach_px=40
    ):
        self.sigma_px = sigma_px
        self.opening_px = opening_px
        self.min_nucleus_px = min_nucleus_px
        self.ring_px = ring_px
        self.max_distance = max_distance
        self.max_reach_px = max_reach_px

    def _fit(self, images, masks, rng):
        self.levels_ = choose_levels(images, masks, self.sigma_px, self.opening_px, self.min_nucleus_px)

    def _predict(self, image):
        from scipy.ndimage import binary_fill_holes, gaussian_filter
        from skimage.color import rgb2lab
        from skimage.measure import label, regionprops

        nucleus = dark_nuclei(image, self.sigma_px, self.opening_px, self.min_nucleus_px, self.levels_)
        smooth = gaussian_filter(image.astype(np.float32), (self.sigma_px / 2, self.sigma_px / 2, 0))
        lab = rgb2lab(smooth / 255)
        pieces = label(nucleus, connectivity=2)
        cell = nucleus.copy()
        margin = int(np.ceil(max(self.max_reach_px, self.ring_px[1]))) + 1
        for piece in regionprops(pieces):
            top, left, bottom, right = piece.bbox
            # A window as large as growth may reach: the cost follows the cells, not the image.
            window = slice(max(top - margin, 0), bottom + margin), slice(max(left - margin, 0), right + margin)
            cell[window] |= self._grow(pieces[window] == piece.label, nucleus[window], lab[window])
        mask = np.where(binary_fill_holes(cell), CYTOPLASM, BACKGROUND)
        mask[nucleus] = NUCLEUS
        return mask

    def _grow(self, own: np.ndarray, nuclei: np.ndarray, lab: np.ndarray) -> np.ndarray:
        from scipy.ndimage import distance_transform_edt

        away = distance_transform_edt(~own)
        ring = (away > self.ring_px[0]) & (away <= self.ring_px[1]) & ~nuclei
        colours = lab[ring]
        if len(colours) < 4:  # no room around the nucleus: no covariance in three dimensions either
            return own
        middle = np.median(colours, axis=0)
        # One unit of Lab is about what an eye can tell apart; it keeps the covariance of flat colours invertible.
        spread = np.cov(colours, rowvar=False) + np.eye(3)
        offset = lab - middle
        distance = np.sqrt(np.einsum("...i,ij,...j->...", offset, np.linalg.inv(spread), offset))
        # Nearer than the ring, colours blend with the nucleus'; were they judged, they would wall growth off.
        return grow(own, ((distance < self.max_distance) | (away <= self.ring_px[0])) & (away <= self.max_reach_px))


def dark_nuclei(
    image: np.ndarray, sigma_px: float, opening_px: float, min_nucleus_px: float, levels: int = 3
) -> np.ndarray:
    """Nuclei as the darkest level of smoothed green.

    Args:
        image: uint8 (H, W, 3) RGB.
        sigma_px: width of the Gaussian, in px of the image.
        opening_px: radius of the opening disk, in px of the image.
        min_nucleus_px: least area of a piece (8 neighbours), in px of the image.
        levels: number of Otsu's levels.

    Returns:
        Boolean (H, W), holes filled; no pixel where green has fewer values than levels.
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter
    from skimage.morphology import disk, opening, remove_small_objects

    green = gaussian_filter(image[..., 1].astype(np.float32), sigma_px)
    dark = green <= otsu_thresholds(green, levels)[0]
    filled = binary_fill_holes(opening(dark, disk(opening_px)))
    return remove_small_objects(filled, max_size=min_nucleus_px - 1, connectivity=2)


def choose_levels(
    images, masks, sigma_px: float, opening_px: float, min_nucleus_px: float, max_images: int = 40
) -> int:
    """The number of Otsu's levels whose darkest is most like the nuclei of training images.

    Args:
        images: as for `Method.fit`.
        masks: as for `Method.fit`.
        sigma_px: as for `dark_nuclei`.
        opening_px: as for `dark_nuclei`.
        min_nucleus_px: as for `dark_nuclei`.
        max_images: most images to look at, taken at equal steps.

    Returns:
        One of `LEVELS`, by mean Dice over the images that have a nucleus; the fewest of equals, and where none has one.
    """
    step = -(-len(images) // max_images)
    scores = dict.fromkeys(LEVELS, 0.0)
    for image, mask in zip(images[::step], masks[::step], strict=True):
        reference = mask == NUCLEUS
        if not reference.any():
            continue
        for levels in LEVELS:
            dark = dark_nuclei(image, sigma_px, opening_px, min_nucleus_px, levels)
            scores[levels] += 2 * np.count_nonzero(dark & reference) / (np.count_nonzero(dark) + reference.sum())
    return max(scores, key=scores.get)
