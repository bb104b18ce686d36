"""[6] Otsu for the nucleus, region growing for the cytoplasm."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure, morphology
from skimage.color import rgb2lab

from wbcstudy.baselines.base import Method, region_dice
from wbcstudy.baselines.otsu_levels import otsu_thresholds
from wbcstudy.labels import BACKGROUND, CYTOPLASM, IGNORED, NUCLEUS

# Candidate numbers of Otsu's levels. On a crop, three levels are plasma, cytoplasm with red cells, and nucleus. On a
# whole field one pixel in a hundred belongs to a nucleus, and more levels are needed to separate it.
_LEVELS = (3, 4, 5)


@dataclass(eq=False, repr=False)
class OtsuGrowing(Method):
    """Nuclei by Otsu's thresholds on green; cytoplasm grown from each nucleus by similarity in colour.

    After M. Benazzouz, I. Baghli and M. A. Chikh, "Microscopic image segmentation based on pixel classification and
    dimensionality reduction", Int. J. Imaging Systems and Technology 23, 2013, pp. 22-28 ([6] in the paper). Only the
    paper's sentence about this method was available. It describes Otsu's thresholding with region growing, which the
    title does not mention. The description is implemented, and all details are reconstructed:

    1. (reconstructed) Green, smoothed with a Gaussian; the darkest of Otsu's levels is nucleus. Two levels would be
       plasma and everything else. The number of levels (three or more) is chosen on training images, by nucleus Dice.
    2. (reconstructed) Nuclei: opening, filling of holes, removal of pieces below `min_nucleus_px`.
    3. (reconstructed) Cytoplasm colour of each nucleus: median and covariance, in Lab, of a ring around it.
    4. (described) The nucleus grows through neighbours (4) of similar colour, within `max_reach_px` of the nucleus: a
       pixel joins if the Mahalanobis distance of its smoothed colour is below `max_distance`, or if it is nearer than
       the ring, where the colours of nucleus and cytoplasm blend.
    5. (reconstructed) Holes in the grown cells are filled.

    Nothing else is learnt; `max_distance` and `max_reach_px` are tuned on validation cases.

    Args:
        sigma_px: width of the smoothing, in px of the image.
        opening_px: radius of the opening disk, in px of the image.
        min_nucleus_px: minimum area of a nucleus, in px of the image.
        ring_px: inner and outer distance of the ring from the nucleus, in px of the image.
        max_distance: maximum Mahalanobis distance in colour.
        max_reach_px: maximum distance from the nucleus, in px of the image.

    Attributes:
        levels_: the chosen number of Otsu's levels.
    """

    sigma_px: float = 2.0
    opening_px: int = 2
    min_nucleus_px: int = 100
    ring_px: tuple[float, float] = (2, 8)
    max_distance: float = 3.0
    max_reach_px: float = 40

    def _fit(self, images, masks, rng):
        self.levels_ = choose_levels(images, masks, self.sigma_px, self.opening_px, self.min_nucleus_px)

    def _predict(self, image):
        nucleus = dark_nuclei(image, self.sigma_px, self.opening_px, self.min_nucleus_px, self.levels_)
        smooth = ndimage.gaussian_filter(image.astype(np.float32), (self.sigma_px / 2, self.sigma_px / 2, 0))
        lab = rgb2lab(smooth / 255)
        pieces = measure.label(nucleus, connectivity=2)
        cell = nucleus.copy()
        margin = int(np.ceil(max(self.max_reach_px, self.ring_px[1]))) + 1
        for piece in measure.regionprops(pieces):
            top, left, bottom, right = piece.bbox
            # A window as large as growth can reach: the cost depends on the cells, not on the image.
            window = slice(max(top - margin, 0), bottom + margin), slice(max(left - margin, 0), right + margin)
            cell[window] |= self._grow(pieces[window] == piece.label, nucleus[window], lab[window])
        mask = np.where(ndimage.binary_fill_holes(cell), CYTOPLASM, BACKGROUND)
        mask[nucleus] = NUCLEUS
        return mask

    def _grow(self, own: np.ndarray, nuclei: np.ndarray, lab: np.ndarray) -> np.ndarray:
        distance_px = ndimage.distance_transform_edt(~own)
        ring = (distance_px > self.ring_px[0]) & (distance_px <= self.ring_px[1]) & ~nuclei
        colours = lab[ring]
        if len(colours) < 4:  # no room around the nucleus, and too few pixels for a covariance in three dimensions
            return own
        # One unit of Lab is about the smallest visible difference; it keeps the covariance of flat colours invertible.
        covariance = np.cov(colours, rowvar=False) + np.eye(3)
        offset = lab - np.median(colours, axis=0)
        distance = np.sqrt(np.einsum("...i,ij,...j->...", offset, np.linalg.inv(covariance), offset))
        # Nearer than the ring, colours blend with the nucleus; by their colour, these pixels would stop the growth.
        similar = (distance < self.max_distance) | (distance_px <= self.ring_px[0])
        return ndimage.binary_propagation(own, mask=similar & (distance_px <= self.max_reach_px))


def dark_nuclei(
    image: np.ndarray, sigma_px: float, opening_px: float, min_nucleus_px: float, levels: int = 3
) -> np.ndarray:
    """Segment nuclei, bool (H, W), as the darkest of Otsu's levels of smoothed green, with holes filled.

    Sizes are in px of the image; pieces (8 neighbours) smaller than `min_nucleus_px` are removed. No pixel is nucleus
    if green has fewer values than levels.
    """
    green = ndimage.gaussian_filter(image[..., 1].astype(np.float32), sigma_px)
    dark = green <= otsu_thresholds(green, levels)[0]
    filled = ndimage.binary_fill_holes(morphology.opening(dark, morphology.disk(opening_px)))
    return morphology.remove_small_objects(filled, max_size=min_nucleus_px - 1, connectivity=2)


def choose_levels(
    images, masks, sigma_px: float, opening_px: float, min_nucleus_px: float, max_images: int = 40
) -> int:
    """Choose the number of Otsu's levels (3, 4 or 5) whose darkest level agrees best with the training nuclei.

    It has the largest mean Dice over the images with a nucleus, of at most `max_images` at equal steps; the smallest
    number if tied, or if no image has a nucleus. Images and masks are those of `Method.fit`, sizes those of
    `dark_nuclei`.
    """
    step = -(-len(images) // max_images)
    scores = dict.fromkeys(_LEVELS, 0.0)
    for image, mask in zip(images[::step], masks[::step], strict=True):
        reference = mask == NUCLEUS
        if reference.any():
            for levels in _LEVELS:
                dark = dark_nuclei(image, sigma_px, opening_px, min_nucleus_px, levels)
                scores[levels] += region_dice(reference, dark & (mask != IGNORED))
    return max(scores, key=scores.get)
