"""Superpixels, classified by what a few labelled and many unlabelled images teach (reference 13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.superpixels import describe, superpixel_labels
from wbcstudy.errors import StudyError


def _tree(trees: int, seed: int):
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(min_samples_leaf=5, random_state=seed)


def _forest(trees: int, seed: int):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, n_jobs=1, random_state=seed)


def _coforest(trees: int, seed: int):
    from wbcstudy.baselines.semi_supervised import CoForestClassifier

    return CoForestClassifier(trees, random_state=seed)


def _setred(trees: int, seed: int):
    from wbcstudy.baselines.semi_supervised import SetredClassifier

    return SetredClassifier(_tree(trees, seed), random_state=seed)


def _sslearn_coforest(trees: int, seed: int):
    from sklearn.tree import DecisionTreeClassifier

    # One tree for all would draw its bootstraps from NumPy's global generator: a list of them repeats.
    forest = [DecisionTreeClassifier(max_features="sqrt") for _ in range(trees)]
    return _sslearn().CoForest(forest, n_estimators=trees, random_state=seed)


def _sslearn_setred(trees: int, seed: int):
    # Its graph is a dense matrix over all labelled examples, which grow from round to round: ten rounds are affordable.
    return _sslearn().Setred(_tree(trees, seed), rejection_threshold=0.1, max_iterations=10, random_state=seed)


def _sslearn():
    try:
        import sslearn.wrapper
    except ImportError as error:
        raise StudyError(
            "The comparison with sslearn needs the package 'sslearn', which is not installed.",
            expected="an environment with sslearn 1.1",
            fix="Run `.venv/bin/pip install sslearn`, or take the method out of `baselines`.",
        ) from error
    return sslearn.wrapper


# Name -> function from (number of trees, seed) to a classifier.
LEARNERS: Mapping[str, Callable] = MappingProxyType(
    {
        "tree": _tree,
        "forest": _forest,
        "coforest": _coforest,
        "setred": _setred,
        "sslearn_coforest": _sslearn_coforest,
        "sslearn_setred": _sslearn_setred,
    }
)
_SUPERVISED = ("tree", "forest")


class FewLabelsSuperpixels(Method):
    """Superpixel classification with few labelled images: tree or forest, SETRED or co-Forest.

    Bechar, Settouti, Daho: Semi-supervised Super-pixels classification for White Blood Cells segmentation. 3rd
    International Conference on Pattern Analysis and Intelligent Systems (PAIS), 2018, pp. 1-8.

    1. Some training images keep their masks, the others are used without: whole images, since superpixels of one image
       are alike. How many is reconstructed.
    2. Cut each image into superpixels by SLIC and describe each by its colours. The features are reconstructed: those
       of reference 12, without normalisation, in four colour spaces together.
    3. Train a classifier: supervised, on the labelled superpixels alone, one classifier ("tree") or many ("forest");
       or semi-supervised, one that teaches itself ("setred") or many that teach each other ("coforest"). The pairs are
       the paper's; their settings are in `wbcstudy.baselines.semi_supervised`.

    The four are to be compared with each other, and not with methods that see all masks.

    Args:
        learner: a key of `LEARNERS`; those named sslearn_... are that package's versions, for comparison.
        labelled_images: training images whose masks are used, drawn at random.
        unlabelled_images: further training images, used without their masks, at most.
        superpixels_per_image: superpixels to learn from in each image, at most, drawn at random.
        spaces: colour spaces, keys of `wbcstudy.baselines.colour.COMPONENTS`.
        statistics: a key of `wbcstudy.baselines.superpixels.STATISTICS`.
        segments: wanted superpixels per 256 x 256 px.
        compactness: of SLIC.
        sigma_px: smoothing before SLIC, in px.
        trees: number of trees of the forests.

    Attributes:
        labelled_: int, numbers of the training images whose masks were used.
        unlabelled_: int, numbers of those used without.
        scaler_: `StandardScaler` of the features; distances of SETRED need one scale.
        classifier_: the trained classifier.
    """

    def __init__(
        self,
        learner="coforest",
        labelled_images=8,
        unlabelled_images=32,
        superpixels_per_image=300,
        spaces=("rgb", "hsv", "lab", "ycbcr"),
        statistics="first_order",
        segments=600,
        compactness=10.0,
        sigma_px=1.0,
        trees=50,
    ):
        self.learner = learner
        self.labelled_images = labelled_images
        self.unlabelled_images = unlabelled_images
        self.superpixels_per_image = superpixels_per_image
        self.spaces = spaces
        self.statistics = statistics
        self.segments = segments
        self.compactness = compactness
        self.sigma_px = sigma_px
        self.trees = trees

    def superpixels(self, image: np.ndarray) -> np.ndarray:
        """The superpixels that `predict` labels: uint8 (H, W, 3) image -> int32 (H, W), for the oracle ceiling."""
        return self._describe(image)[0]

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        from sklearn.preprocessing import StandardScaler

        from wbcstudy.baselines.semi_supervised import UNLABELLED

        if self.learner not in LEARNERS:
            raise StudyError(
                f"Unknown learner {self.learner!r}.", expected=", ".join(LEARNERS), fix="Use one of these names."
            )
        if self.labelled_images < 1:
            raise StudyError(
                f"labelled_images = {self.labelled_images!r}: nothing to learn labels from.",
                expected="a whole number, 1 or more",
                fix="Change labelled_images.",
            )
        order = rng.permutation(len(images))
        # Drawn before the learner is looked at: with one seed, all learners learn from the same superpixels.
        classifier_seed, draw_seed = (int(one) for one in rng.integers(2**31, size=2))
        draw = np.random.default_rng(draw_seed)
        self.labelled_ = order[: self.labelled_images]
        self.unlabelled_ = order[self.labelled_images :][: self.unlabelled_images]
        if self.learner in _SUPERVISED:
            self.unlabelled_ = self.unlabelled_[:0]
        rows, labels = [], []
        for k in np.concatenate([self.labelled_, self.unlabelled_]):
            patches, features = self._describe(images[k])
            kept = draw.permutation(len(features))[: self.superpixels_per_image]
            known = len(rows) < len(self.labelled_)
            label = superpixel_labels(masks[k], patches)[kept] if known else np.full(len(kept), UNLABELLED)
            rows.append(features[kept])
            labels.append(label.astype(np.int64))
        self.scaler_ = StandardScaler().fit(np.concatenate(rows))
        learner = LEARNERS[self.learner](self.trees, classifier_seed)
        self.classifier_ = learner.fit(self.scaler_.transform(np.concatenate(rows)), np.concatenate(labels))

    def _predict(self, image: np.ndarray) -> np.ndarray:
        patches, features = self._describe(image)
        return np.asarray(self.classifier_.predict(self.scaler_.transform(features)))[patches]

    def _describe(self, image):
        return describe(
            image,
            normalisation="none",
            spaces=self.spaces,
            statistics=self.statistics,
            segments=self.segments,
            compactness=self.compactness,
            sigma_px=self.sigma_px,
        )
