"""Simple baseline: three levels of green by Otsu's criterion."""

import numpy as np
from skimage.filters import threshold_multiotsu

from wbcstudy.baselines.base import Method
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


class OtsuLevels(Method):
    """Three-level Otsu on green: the darkest level is nucleus, the middle one cytoplasm, the brightest background.

    Not from the paper: a lower bound for every method. It learns nothing and has no parameters.

    1. Two thresholds on the green channel by Otsu's criterion for three levels (N. Otsu, IEEE Trans. Systems, Man, and
       Cybernetics 9, 1979). An image with fewer than three different values of green is all background.
    """

    def _fit(self, images, masks, rng):
        pass

    def _predict(self, image):
        green = image[..., 1]
        low, high = otsu_thresholds(green, 3)
        return np.where(green <= low, NUCLEUS, np.where(green <= high, CYTOPLASM, BACKGROUND))


def otsu_thresholds(channel: np.ndarray, levels: int, where: np.ndarray | None = None) -> np.ndarray:
    """Compute the thresholds between levels by Otsu's criterion.

    Args:
        channel: numbers, any shape.
        levels: number of levels, 2 to 5.
        where: boolean of the same shape, the pixels to use; None for all.

    Returns:
        float (levels - 1,), rising: a level ends with its threshold (`<=`). Minus infinity if the pixels have fewer
        different values than levels, so that nothing is in a lower level.
    """
    values = channel[where] if where is not None else channel.ravel()
    if values.size and values.min() < values.max():
        try:
            # The search tries all combinations of bins, so more levels use coarser bins.
            return threshold_multiotsu(values[None], classes=levels, nbins=256 if levels <= 3 else 64).astype(float)
        except ValueError:  # fewer different values than levels
            pass
    return np.full(levels - 1, -np.inf)
