"""[9] Pixel classification, grown from points of interest."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from wbcstudy.baselines.pixels import GrowingMethod, check_number, features_of
from wbcstudy.registry import unknown_name


@dataclass(eq=False, repr=False)
class PixelGrowing(GrowingMethod):
    """Region growing over classified neighbours, from the points of ultimate erosion.

    N. Settouti, M. E. A. Bechar, M. El Habib Daho and M. A. Chikh: An optimised pixel-based classification approach for
    automatic white blood cells segmentation. International Journal of Biomedical Engineering and Technology 32,
    144-160 (2020). Reference [9] of the paper.

    1. Pixels of each label are drawn from the training images, and a decision tree or a random forest learns their
       label from their colour. The two classifiers are the reference's; the number of pixels is reconstructed.
    2. The colour is described in seven spaces at once; the choice of spaces and the smoothing before are reconstructed.
    3. Each pixel of an image gets a class. Pixels of the class nucleus, opened, are the rough nucleus (reconstructed).
    4. Points of interest are the result of ultimate erosion of the rough nucleus. The reference names the operator; its
       implementation by h-maxima of the distance transform is reconstructed.
    5. Regions grow from there over classified neighbours: the nucleus first, then the cytoplasm (the order is
       reconstructed).

    In the reference an expert may intervene ("minimal intervention"); here the method is automatic. A cell without a
    point of interest is lost: `fit` counts these nuclei in training cases and logs the number.

    Args:
        classifier: "tree" (one decision tree) or "forest" (random forest).
        trees: number of trees of the forest.
        min_leaf: minimum number of training pixels in a leaf.

    The other parameters are those of `GrowingMethod`; `growing=False` does steps 1 to 3 only.
    """

    classifier: str = "forest"
    trees: int = 30
    min_leaf: int = 10

    def _learn(self, colours: np.ndarray, labels: np.ndarray, random_state: int) -> None:
        check_number("trees", self.trees, 1)
        check_number("min_leaf", self.min_leaf, 1)
        if self.classifier == "tree":
            classifier = DecisionTreeClassifier(min_samples_leaf=self.min_leaf, random_state=random_state)
        elif self.classifier == "forest":
            classifier = RandomForestClassifier(self.trees, min_samples_leaf=self.min_leaf, random_state=random_state)
        else:
            raise unknown_name(self.classifier, ("tree", "forest"), "classifier")
        self.features_ = partial(features_of, spaces=self.spaces)
        self.classifier_ = classifier.fit(self.features_(colours), labels)
