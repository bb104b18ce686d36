"""Pixel classification, grown from points of interest [9]."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from wbcstudy.baselines.colour import SPACES
from wbcstudy.baselines.pixels import GrowingMethod, check_number, features_of
from wbcstudy.errors import StudyError


class PixelGrowing(GrowingMethod):
    """Region growing by classified neighbours, from the points of ultimate erosion.

    N. Settouti, M. E. A. Bechar, M. El Habib Daho and M. A. Chikh: An optimised pixel-based classification approach for
    automatic white blood cells segmentation. International Journal of Biomedical Engineering and Technology 32,
    144-160 (2020). Reference [9] of the paper.

    1. Pixels of each label are drawn from the training images, and a decision tree or a random forest learns their
       label from their colour. The two classifiers are the reference's; the number of pixels is reconstructed.
    2. The colour is described in seven spaces at once; the choice of spaces and the smoothing before are reconstructed.
    3. Each pixel of an image gets a class. Pixels of the class nucleus, opened, are the rough nucleus (reconstructed).
    4. Points of interest are what ultimate erosion leaves of the rough nucleus. The reference names the operator; that
       it is the h-maxima of the distance transform is reconstructed.
    5. Regions grow from there by taking in classified neighbours: the nucleus first, then the cytoplasm (the order is
       reconstructed).

    The reference lets an expert step in ("minimal intervention"); here nobody does. A cell without a point of interest
    is lost: `fit` counts such nuclei among training cases and logs them.

    Args:
        classifier: "tree" (one decision tree) or "forest" (random forest).
        trees: number of trees of the forest.
        min_leaf: fewest training pixels in a leaf.
        spaces: see `GrowingMethod`, as for the parameters below.
        sigma_px: in px of the image.
        pixels_per_label: from each image.
        max_pixels: from all images.
        growing: False for steps 1 to 3 alone.
        opening_px: in px of the image.
        height_px: in px of the image.
    """

    def __init__(
        self,
        classifier: str = "forest",
        trees: int = 30,
        min_leaf: int = 10,
        spaces: Sequence[str] = SPACES,
        sigma_px: float = 0.0,
        pixels_per_label: int = 200,
        max_pixels: int = 36_000,
        growing: bool = True,
        opening_px: float = 3.0,
        height_px: float = 2.0,
    ) -> None:
        self.classifier = classifier
        self.trees = trees
        self.min_leaf = min_leaf
        self.spaces = spaces
        self.sigma_px = sigma_px
        self.pixels_per_label = pixels_per_label
        self.max_pixels = max_pixels
        self.growing = growing
        self.opening_px = opening_px
        self.height_px = height_px

    def _learn(self, colours: np.ndarray, labels: np.ndarray, random_state: int) -> None:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.tree import DecisionTreeClassifier

        check_number("trees", self.trees, 1)
        check_number("min_leaf", self.min_leaf, 1)
        if self.classifier == "tree":
            classifier = DecisionTreeClassifier(min_samples_leaf=self.min_leaf, random_state=random_state)
        elif self.classifier == "forest":
            classifier = RandomForestClassifier(self.trees, min_samples_leaf=self.min_leaf, random_state=random_state)
        else:
            raise StudyError(
                f"Unknown classifier {self.classifier!r}.", expected="tree or forest", fix="Change `classifier`."
            )
        self.features_ = partial(features_of, spaces=self.spaces)
        self.classifier_ = classifier.fit(self.features_(colours), labels)
