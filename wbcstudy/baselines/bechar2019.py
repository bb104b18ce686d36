"""Superpixels of a normalised image, classified by a random forest (reference 12)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.superpixels import describe, superpixel_labels
from wbcstudy.labels import BACKGROUND


class SuperpixelForest(Method):
    """Colour normalisation, SLIC, colour space, first-order statistics, random forest.

    Bechar, Settouti, Daho, Adel, Chikh: Influence of normalization and color features on super-pixel classification:
    application to cytological image segmentation. Australasian Physical & Engineering Sciences in Medicine 42, 2019,
    pp. 427-441.

    1. Normalise the colours (`wbcstudy.baselines.normalisation`). Of eight normalisations the authors prefer the
       comprehensive grey-world; the other seven here are reconstructed.
    2. Cut the image into superpixels by SLIC. Number and compactness are reconstructed.
    3. Convert to a colour space. The authors prefer RGB among four; the other three are not known.
    4. Describe each superpixel by first-order statistics of each channel (mean, standard deviation, skewness,
       kurtosis). The authors compare four techniques and prefer this one; the other three here are reconstructed.
    5. Classify superpixels with a random forest. The training label of a superpixel, the label most of its pixels have,
       and the thinning of the background are reconstructed.

    Most normalisations go by the whole image's mean or range. They make images alike that show about the same share of
    white cells: trained on crops around one cell, the method fails on whole fields; trained on fields, it does not.

    A superpixel gets one label, so the scores have a ceiling: `wbcstudy.baselines.superpixels.oracle_ceiling`.

    Args:
        normalisation: a key of `wbcstudy.baselines.normalisation.NORMALISATIONS`.
        spaces: one or more colour spaces, keys of `wbcstudy.baselines.colour.COMPONENTS`.
        statistics: a key of `wbcstudy.baselines.superpixels.STATISTICS`.
        segments: wanted superpixels per 256 x 256 px.
        compactness: of SLIC.
        sigma_px: smoothing before SLIC, in px.
        background_per_image: background superpixels to learn from, at most, in each image.
        max_images: training images to learn from, at most, drawn at random.
        trees: number of trees.
        min_leaf: smallest leaf, in superpixels.

    Attributes:
        forest_: the trained `RandomForestClassifier`.
    """

    def __init__(
        self,
        normalisation="comprehensive",
        spaces=("rgb",),
        statistics="first_order",
        segments=600,
        compactness=10.0,
        sigma_px=1.0,
        background_per_image=200,
        max_images=120,
        trees=50,
        min_leaf=3,
    ):
        self.normalisation = normalisation
        self.spaces = spaces
        self.statistics = statistics
        self.segments = segments
        self.compactness = compactness
        self.sigma_px = sigma_px
        self.background_per_image = background_per_image
        self.max_images = max_images
        self.trees = trees
        self.min_leaf = min_leaf

    def superpixels(self, image: np.ndarray) -> np.ndarray:
        """The superpixels that `predict` labels: uint8 (H, W, 3) image -> int32 (H, W), for the oracle ceiling."""
        return self._describe(image)[0]

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        from sklearn.ensemble import RandomForestClassifier

        rows, labels = [], []
        for k in rng.permutation(len(images))[: self.max_images]:
            patches, features = self._describe(images[k])
            label = superpixel_labels(masks[k], patches)
            background = rng.permutation(np.flatnonzero(label == BACKGROUND))[: self.background_per_image]
            kept = np.concatenate([np.flatnonzero(label != BACKGROUND), background])
            rows.append(features[kept])
            labels.append(label[kept])
        self.forest_ = RandomForestClassifier(
            self.trees, min_samples_leaf=self.min_leaf, n_jobs=1, random_state=int(rng.integers(2**31))
        ).fit(np.concatenate(rows), np.concatenate(labels))

    def _predict(self, image: np.ndarray) -> np.ndarray:
        patches, features = self._describe(image)
        return self.forest_.predict(features)[patches]

    def _describe(self, image):
        return describe(
            image,
            normalisation=self.normalisation,
            spaces=self.spaces,
            statistics=self.statistics,
            segments=self.segments,
            compactness=self.compactness,
            sigma_px=self.sigma_px,
        )
