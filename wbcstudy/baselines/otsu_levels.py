"""Yardstick: what two thresholds reach."""

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


class OtsuLevels(Method):
    """Three-level Otsu on green: dark is nucleus, middling is cytoplasm, bright is background.

    Not from the paper: the least that any method must beat. It learns nothing and has no parameter.

    1. Two thresholds on the green channel by Otsu's criterion for three levels (N. Otsu, IEEE Trans. Systems, Man, and
       Cybernetics 9, 1979). An image with fewer than three different values of green is all background.
    """

    def _fit(self, images, masks, rng):
        pass

    def _predict(self, image):
        low, high = otsu_thresholds(image[..., 1], 3)
        green = image[..., 1]
        return np.where(green <= low, NUCLEUS, np.where(green <= high, CYTOPLASM, BACKGROUND))


def otsu_thresholds(channel: np.ndarray, levels: int, where: np.ndarray | None = None) -> np.ndarray:
    """Thresholds between levels by Otsu's criterion.

    Args:
        channel: numbers, any shape.
        levels: how many levels, 2 to 5.
        where: boolean of the same shape, to look at these pixels only; None for all.

    Returns:
        float (levels - 1,), rising: a level ends with its threshold (`<=`). Minus infinity where the pixels have too
        few different values to tell the levels apart, so that nothing is in a lower level.
    """
    from skimage.filters import threshold_multiotsu

    values = channel[where] if where is not None else channel.ravel()
    nothing = np.full(levels - 1, -np.inf)
    if values.size == 0 or not values.min() < values.max():
        return nothing
    try:
        # The search tries all combinations of bins, so more levels get coarser bins.
        found = threshold_multiotsu(values[None], classes=levels, nbins=256 if levels <= 3 else 64)
    except ValueError:  # fewer different values than levels
        return nothing
    return np.asarray(found, float)
