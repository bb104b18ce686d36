"""An earlier method that predicts one label, for tests of the shared code."""

from dataclasses import dataclass

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.labels import NUCLEUS

IMAGE = np.full((8, 9, 3), 200, np.uint8)
MASK = np.zeros((8, 9), np.uint8)


@dataclass(eq=False, repr=False)
class ConstantMethod(Method):
    """Predicts one label, and records the arguments of `fit`: number of images, a random number."""

    label: int = NUCLEUS

    required_labels = (NUCLEUS,)

    def _fit(self, images, masks, rng):
        self.fit_arguments_ = (len(images), int(rng.integers(2**32)))

    def _predict(self, image):
        return np.full(image.shape[:2], self.label)


def nucleus_mask():
    mask = MASK.copy()
    mask[2:5, 2:5] = NUCLEUS
    return mask
