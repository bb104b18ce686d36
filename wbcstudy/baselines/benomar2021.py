"""[8] Decorrelation stretch, Otsu and watershed."""

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.benazzouz2013 import choose_levels, dark_nuclei
from wbcstudy.baselines.growing import grow
from wbcstudy.baselines.otsu_levels import otsu_thresholds
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

#: Channels in which white cells may stand out: weights of red, green and blue. Cells are the low end of each.
CHANNELS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "luma": (0.299, 0.587, 0.114),
    "red - blue": (1, 0, -1),
    "green - blue": (0, 1, -1),
}
#: How a channel is cut: number of Otsu's levels, and which of the thresholds ends the cells.
CUTS = ((2, 0), (3, 0), (3, 1))


class StretchWatershed(Method):
    """White cells by Otsu on a stretched colour channel, parted by watershed from clusters of nuclei.

    After M. L. Benomar, A. Chikh, X. Descombes and M. Benazzouz, "Multi-feature-based approach for white blood cells
    segmentation and classification in peripheral blood and bone marrow images", Int. J. Biomedical Engineering and
    Technology 35, 2021, pp. 223-241 ([8] in the paper). Its front page and the paper's sentence about it were at hand:

    1. (described) Decorrelation stretch: the colours' principal components get equal variance and are turned back.
       (reconstructed) It is estimated on training pixels and then kept; image by image it made results worse.
    2. (reconstructed) Channel and cut: of `CHANNELS`, stretched and plain, and `CUTS`, the pair with the best mean Dice
       on training images between the cells and the pieces that step 3 cuts out around nuclei; at half the size.
    3. (described) Otsu's threshold on the channel gives cells; nuclei are the darkest of three or more levels of green,
       as many as suit the training images best.
    4. (described; markers reconstructed) Watershed on the distance to the cells' edge. Markers are clusters of nuclei
       (lobes less than 2 `cluster_px` apart are of one cell) and, further than `stray_px` from any nucleus, other
       objects' own centres.
    5. (described) Objects without a nucleus are dropped.
    6. (described; rule reconstructed) Within cells, nucleus and cytoplasm are told apart by colour: Otsu on green
       inside each cell, opened, holes filled.

    Args:
        sigma_px: width of the smoothing, in px of the image.
        opening_px: radius of the opening disk, in px of the image.
        min_nucleus_px: least area of a nucleus, in px of the image.
        cluster_px: half the distance that lobes of one nucleus may be apart, in px of the image.
        stray_px: distance from all nuclei beyond which another object may have its centre, in px of the image.
        max_images: most training images to choose channel and cut on, taken at equal steps.

    Attributes:
        stretch_: float64 (4, 3): colours 0-255 with a 1 appended, times this, are stretched colours.
        channel_: the chosen key of `CHANNELS`, with " (stretched)" where it is taken after the stretch.
        cut_: the chosen row of `CUTS`.
        levels_: the chosen number of Otsu's levels for nuclei.
        choices_: cell Dice on training images of each (channel, cut) that was tried.
    """

    required_labels = (NUCLEUS,)

    def __init__(self, sigma_px=1.5, opening_px=4, min_nucleus_px=100, cluster_px=8, stray_px=20.0, max_images=80):
        self.sigma_px = sigma_px
        self.opening_px = opening_px
        self.min_nucleus_px = min_nucleus_px
        self.cluster_px = cluster_px
        self.stray_px = stray_px
        self.max_images = max_images

    def _fit(self, images, masks, rng):
        self.stretch_ = decorrelation_stretch(np.concatenate([image[::4, ::4].reshape(-1, 3) for image in images]))
        self.levels_ = choose_levels(images, masks, self.sigma_px, self.opening_px, self.min_nucleus_px)
        step = -(-len(images) // self.max_images)
        options = [(f"{name}{kind}", cut) for kind in (" (stretched)", "") for name in CHANNELS for cut in CUTS]
        scores = {option: [] for option in options}
        for image, mask in zip(images[::step], masks[::step], strict=True):
            reference, nuclei = (mask != BACKGROUND)[::2, ::2], self._nuclei(image)[::2, ::2]
            if not reference.any():
                continue
            for name, cut in options:
                channel = self._channel(image, name)[::2, ::2]
                cell = grow(nuclei, channel <= otsu_thresholds(channel, cut[0])[cut[1]])
                overlap = 2 * np.count_nonzero(cell & reference) / (np.count_nonzero(cell) + reference.sum())
                scores[name, cut].append(overlap)
        self.choices_ = {option: float(np.mean(values)) for option, values in scores.items() if values}
        # Masks with a nucleus exist, but perhaps in none of the images looked at: then the first option.
        self.channel_, self.cut_ = max(self.choices_, key=self.choices_.get, default=options[0])

    def _predict(self, image):
        from scipy.ndimage import binary_fill_holes
        from skimage.measure import label, regionprops
        from skimage.morphology import disk, opening

        nuclei = self._nuclei(image)
        cell = self._cells(self._channel(image, self.channel_), self.cut_, nuclei)
        green = _smooth(image[..., 1], self.sigma_px)
        dark = np.zeros_like(cell)
        for piece in regionprops(label(cell, connectivity=2)):
            inside, values = piece.image, green[piece.slice]
            dark[piece.slice] |= inside & (values <= otsu_thresholds(values, 2, where=inside)[0])
        # Granules are as dark as a nucleus, but small: an opening takes them out of it.
        nucleus = binary_fill_holes(opening(cell & dark, disk(self.opening_px)))
        mask = np.where(cell, CYTOPLASM, BACKGROUND)
        mask[cell & nucleus] = NUCLEUS
        return mask

    def _nuclei(self, image: np.ndarray) -> np.ndarray:
        return dark_nuclei(image, self.sigma_px, self.opening_px, self.min_nucleus_px, self.levels_)

    def _channel(self, image: np.ndarray, name: str) -> np.ndarray:
        plain = name.removesuffix(" (stretched)")
        weights = np.array(CHANNELS[plain], np.float32)
        offset = 0.0
        if plain != name:
            # Stretching is linear, so a channel of the stretched image is one product of the plain one.
            offset, weights = self.stretch_[3] @ weights, (self.stretch_[:3] @ weights).astype(np.float32)
        return _smooth(image.astype(np.float32) @ weights + np.float32(offset), self.sigma_px)

    def _cells(self, channel: np.ndarray, cut: tuple[int, int], nuclei: np.ndarray) -> np.ndarray:
        """Cells (H, W), as far as they hold one of the nuclei."""
        from scipy.ndimage import binary_fill_holes, distance_transform_edt
        from skimage.measure import label
        from skimage.morphology import disk, opening
        from skimage.segmentation import watershed

        if not nuclei.any():
            return np.zeros_like(nuclei)
        levels, which = cut
        low = channel <= otsu_thresholds(channel, levels)[which]
        objects = opening(binary_fill_holes(low | nuclei), disk(self.opening_px)) | nuclei
        depth = _smooth(distance_transform_edt(objects), 2)
        away = distance_transform_edt(~nuclei)
        clusters = label(away <= self.cluster_px, connectivity=2) * nuclei
        others = label(_peaks(depth) & objects & (away > self.stray_px), connectivity=2)
        markers = np.where(others > 0, others + clusters.max(), clusters)
        return np.isin(watershed(-depth, markers, mask=objects), np.arange(1, clusters.max() + 1))


def _smooth(channel: np.ndarray, sigma_px: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(channel.astype(np.float32), sigma_px)


def _peaks(depth: np.ndarray) -> np.ndarray:
    """Maxima that rise 2 px or more above their surroundings."""
    from skimage.morphology import reconstruction

    return depth - reconstruction(depth - 2, depth) >= 2 - 1e-4


def decorrelation_stretch(colours: np.ndarray) -> np.ndarray:
    """The decorrelation stretch of some colours, as an affine map.

    The principal components get the same standard deviation, the root mean square of the channels' own; then they
    are turned back, so that colours keep their direction. Mean colours stay.

    Args:
        colours: (N, 3) RGB, 0-255, N of 1 or more.

    Returns:
        float64 (4, 3): `np.append(colour, 1) @ map` is the stretched colour.
    """
    colours = np.asarray(colours, float)
    mean = colours.mean(axis=0)
    offset = colours - mean
    covariance = offset.T @ offset / len(colours)
    variances, axes = np.linalg.eigh(covariance)
    # Below a tenth of a grey level there is only rounding, which must not be blown up.
    gain = np.sqrt(variances.mean()) / np.sqrt(np.maximum(variances, 1e-2))
    matrix = axes @ np.diag(gain) @ axes.T if variances.mean() > 1e-2 else np.eye(3)
    return np.vstack([matrix, mean - mean @ matrix])
