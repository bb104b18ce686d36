"""Strong simple baseline: a random forest on the colour of each pixel and its surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from wbcstudy.baselines.base import Method, draw_training_pixels
from wbcstudy.baselines.colour import colour_features


@dataclass(eq=False, repr=False)
class ColourForest(Method):
    """A random forest on the colour of each pixel and of its smoothed surroundings.

    Not from the paper: the result of standard machine learning, in minutes and without a GPU.

    1. Features of each pixel: colour components, and the same after Gaussian smoothing with several widths.
    2. The same number of training pixels of each label from each image.
    3. A random forest (L. Breiman, Machine Learning 45, 2001); a pixel gets the label with the highest mean
       probability.

    Args:
        spaces: colour spaces, keys of `wbcstudy.baselines.colour.COMPONENTS`.
        sigmas_px: widths of the smoothing, in px of the images.
        per_label: training pixels per label and image.
        max_images: maximum number of training images; drawn at random if there are more.
        trees: number of trees.
        min_leaf: minimum number of training pixels in a leaf.

    Attributes:
        forest_: the fitted `sklearn.ensemble.RandomForestClassifier`.
    """

    spaces: Sequence[str] = ("rgb", "hsv", "lab")
    sigmas_px: Sequence[float] = (2, 4, 8)
    per_label: int = 150
    max_images: int = 100
    trees: int = 60
    min_leaf: int = 3

    def _fit(self, images, masks, rng):
        if len(images) > self.max_images:
            chosen = np.sort(rng.choice(len(images), self.max_images, replace=False))
            images, masks = [images[k] for k in chosen], [masks[k] for k in chosen]
        rows, labels = draw_training_pixels(images, masks, self._features, self.per_label, rng)
        self.forest_ = RandomForestClassifier(
            self.trees,
            min_samples_leaf=self.min_leaf,
            class_weight="balanced",
            random_state=int(rng.integers(2**32)),
            n_jobs=1,
        ).fit(rows, labels)

    def _predict(self, image):
        rows = self._features(image)
        labels = self.forest_.predict(rows.reshape(-1, rows.shape[-1]))
        return labels.reshape(image.shape[:2])

    def _features(self, image: np.ndarray) -> np.ndarray:
        return colour_features(image, self.spaces, self.sigmas_px)
