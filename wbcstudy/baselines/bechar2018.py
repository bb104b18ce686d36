"""[13] Superpixels, classified from a few labelled and many unlabelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from wbcstudy.baselines.semi_supervised import UNLABELLED, CoForestClassifier, SetredClassifier
from wbcstudy.baselines.superpixels import SuperpixelMethod, superpixel_labels
from wbcstudy.errors import StudyError
from wbcstudy.labels import IGNORED
from wbcstudy.registry import unknown_name

_SUPERVISED = ("tree", "forest")
_LEARNERS = (*_SUPERVISED, "coforest", "setred", "sslearn_coforest", "sslearn_setred")


def _build_learner(name: str, trees: int, seed: int):
    """Build a classifier, one of `_LEARNERS`."""
    tree = DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)
    if name == "tree":
        return tree
    if name == "forest":
        return RandomForestClassifier(trees, n_jobs=1, random_state=seed)
    if name == "coforest":
        return CoForestClassifier(trees, random_state=seed)
    if name == "setred":
        return SetredClassifier(tree, random_state=seed)
    try:
        from sslearn import wrapper
    except ImportError as error:
        raise StudyError(
            "The comparison with sslearn needs the package 'sslearn', which is not installed.",
            expected="an environment with sslearn 1.1",
            fix="Run `.venv/bin/pip install sslearn`, or remove the method from `baselines`.",
        ) from error
    if name == "sslearn_coforest":
        # A list of trees: with a single tree, sslearn would draw the bootstraps from NumPy's global generator.
        forest = [DecisionTreeClassifier(max_features="sqrt") for _ in range(trees)]
        return wrapper.CoForest(forest, n_estimators=trees, random_state=seed)
    # Its graph is a dense matrix over all labelled examples, which grows in each round: ten rounds are affordable.
    return wrapper.Setred(tree, rejection_threshold=0.1, max_iterations=10, random_state=seed)


@dataclass(eq=False, repr=False)
class FewLabelsSuperpixels(SuperpixelMethod):
    """Superpixel classification with few labelled images: tree or forest, SETRED or co-Forest.

    Bechar, Settouti, Daho: Semi-supervised Super-pixels classification for White Blood Cells segmentation. 3rd
    International Conference on Pattern Analysis and Intelligent Systems (PAIS), 2018, pp. 1-8.

    1. Some training images keep their masks, the others are used without: whole images, since superpixels of one image
       are similar. The numbers are reconstructed.
    2. Cut each image into superpixels by SLIC and describe each by its colours. The features are reconstructed: those
       of reference 12, without normalisation, in four colour spaces together.
    3. Train a classifier: supervised, on the labelled superpixels only, one classifier ("tree") or many ("forest");
       or semi-supervised, one that teaches itself ("setred") or many that teach each other ("coforest"). The pairs are
       the paper's; their settings are in `wbcstudy.baselines.semi_supervised`.

    Compare the four with each other, not with methods that use all masks.

    Args:
        learner: "tree", "forest", "coforest" or "setred"; "sslearn_coforest" and "sslearn_setred" are the versions of
            the package sslearn, for comparison.
        labelled_images: number of training images whose masks are used, drawn at random.
        unlabelled_images: maximum number of further training images, used without their masks.
        superpixels_per_image: maximum number of superpixels for training in each image, drawn at random.
        trees: number of trees of the forests.

    The other parameters are those of `SuperpixelMethod`.

    Attributes:
        labelled_: int, positions of the training images whose masks were used.
        unlabelled_: int, positions of the images used without masks.
        scaler_: `StandardScaler` of the features; the distances of SETRED need a common scale.
        classifier_: the trained classifier.
    """

    learner: str = "coforest"
    labelled_images: int = 8
    unlabelled_images: int = 32
    superpixels_per_image: int = 300
    trees: int = 50

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        if self.learner not in _LEARNERS:
            raise unknown_name(self.learner, _LEARNERS, "learner")
        if self.labelled_images < 1:
            raise StudyError(
                f"labelled_images = {self.labelled_images!r}: no labels to learn from.",
                expected="a whole number, 1 or more",
                fix="Change labelled_images.",
            )
        order = rng.permutation(len(images))
        # Drawn independently of the learner: with one seed, all learners use the same superpixels.
        classifier_seed, draw_seed = (int(seed) for seed in rng.integers(2**31, size=2))
        draw = np.random.default_rng(draw_seed)
        self.labelled_ = order[: self.labelled_images]
        self.unlabelled_ = order[self.labelled_images :][: self.unlabelled_images]
        if self.learner in _SUPERVISED:
            self.unlabelled_ = self.unlabelled_[:0]
        rows, labels = [], []
        for k in np.concatenate([self.labelled_, self.unlabelled_]):
            patches, features = self._describe(images[k])
            kept = draw.permutation(len(features))[: self.superpixels_per_image]
            labelled = len(rows) < len(self.labelled_)
            label = superpixel_labels(masks[k], patches)[kept] if labelled else np.full(len(kept), UNLABELLED)
            rows.append(features[kept])
            labels.append(np.where(label == IGNORED, UNLABELLED, label.astype(np.int64)))
        self.scaler_ = StandardScaler().fit(np.concatenate(rows))
        learner = _build_learner(self.learner, self.trees, classifier_seed)
        self.classifier_ = learner.fit(self.scaler_.transform(np.concatenate(rows)), np.concatenate(labels))

    def _predict(self, image: np.ndarray) -> np.ndarray:
        patches, features = self._describe(image)
        return np.asarray(self.classifier_.predict(self.scaler_.transform(features)))[patches]
