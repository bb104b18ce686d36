"""[7] Watershed regions, classified by evidence from three colour spaces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.special import softmax
from skimage.segmentation import watershed
from sklearn.mixture import GaussianMixture

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.colour import colour_features
from wbcstudy.baselines.superpixels import superpixel_labels
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

_LABELS = (BACKGROUND, CYTOPLASM, NUCLEUS)


@dataclass(eq=False, repr=False)
class EvidenceWatershed(Method):
    """Watershed regions, whose colours in three spaces are three sources of evidence, combined by Dempster's rule.

    After I. Baghli, A. Nakib, E. Sellam, M. Benazzouz, A. Chikh and E. Petit, "Hybrid framework based on evidence
    theory for blood cell image segmentation", Medical Imaging 2014: Biomedical Applications in Molecular, Structural,
    and Functional Imaging, SPIE 9038, 2014, pp. 314-321 ([7] in the paper). Only the paper's sentence about it
    was available:

    1. (described; markers reconstructed) Watershed of the colour gradient, from a regular grid of markers.
    2. (reconstructed) Per label and colour space, a Gaussian of the regions' mean colours. The background is plasma and
       red cells, so it has a mixture of Gaussians.
    3. (reconstructed) Each space is a source: label c gets the mass `reliability` * L(c) / sum of L; the rest goes to
       all labels together ("unknown").
    4. (described) Dempster's rule combines the sources.
    5. (reconstructed) A region gets the label with the largest pignistic probability; neighbours with equal labels are
       merged.

    Args:
        region_px: mean area of a watershed region, in px of the image (94 makes 700 regions of 256 x 256 px).
        sigma_px: width of the smoothing before the gradient, in px of the image.
        spaces: colour spaces, one source each.
        reliability: share of a source's mass that is not on "unknown", above 0 and below 1.
        background_components: number of Gaussians in the background's mixture.

    Attributes:
        models_: per colour space, one fitted `sklearn.mixture.GaussianMixture` per label.
    """

    region_px: float = 94
    sigma_px: float = 1.0
    spaces: Sequence[str] = ("rgb", "lab", "hsv")
    reliability: float = 0.95
    background_components: int = 3

    required_labels = _LABELS

    def _fit(self, images, masks, rng):
        colours, labels = [], []
        for image, mask in zip(images, masks, strict=True):
            regions = self._regions(image)
            colours.append(self._colours(image, regions))
            labels.append(superpixel_labels(mask, regions))
        colours, labels = np.concatenate(colours), np.concatenate(labels)
        self.models_ = [
            [self._model(source[labels == label], label, rng) for label in _LABELS] for source in _split_spaces(colours)
        ]

    def _predict(self, image):
        regions = self._regions(image)
        likelihoods = np.stack(
            [
                np.stack([model.score_samples(source) for model in models], axis=-1)
                for models, source in zip(self.models_, _split_spaces(self._colours(image, regions)), strict=True)
            ]
        )
        combined = _combine_evidence(_masses(likelihoods, self.reliability))
        return np.array(_LABELS)[_pignistic(combined).argmax(axis=-1)][regions]

    def _model(self, colours: np.ndarray, label: int, rng: np.random.Generator):
        components = self.background_components if label == BACKGROUND else 1
        if len(colours) < 2:
            # The label is the majority of fewer than two regions: use one wide Gaussian.
            colours = np.concatenate([colours, colours + 1e-2, colours - 1e-2]) if len(colours) else np.zeros((2, 3))
        mixture = GaussianMixture(min(components, len(colours)), reg_covar=1e-4, random_state=int(rng.integers(2**32)))
        return mixture.fit(colours)

    def _regions(self, image: np.ndarray) -> np.ndarray:
        """Return watershed regions, numbered from 0."""
        lab = colour_features(image, ("lab",))
        gradient = sum(gaussian_gradient_magnitude(lab[..., k], self.sigma_px) for k in range(3))
        regions = watershed(gradient, markers=max(1, round(gradient.size / self.region_px)))
        return np.unique(regions, return_inverse=True)[1].reshape(regions.shape)

    def _colours(self, image: np.ndarray, regions: np.ndarray) -> np.ndarray:
        """Return the mean colours of the regions, scaled to about 0-1: float (regions, 3 * spaces)."""
        values = colour_features(image, self.spaces)
        scale = np.concatenate([np.full(3, 1.0 if space in ("rgb", "hsv") else 100.0) for space in self.spaces])
        flat, areas = regions.ravel(), np.bincount(regions.ravel())
        sums = [np.bincount(flat, values[..., k].ravel()) for k in range(values.shape[-1])]
        return np.stack(sums, axis=-1) / areas[:, None] / scale


def _split_spaces(colours: np.ndarray) -> list[np.ndarray]:
    return [colours[:, k : k + 3] for k in range(0, colours.shape[1], 3)]


def _masses(log_likelihoods: np.ndarray, reliability: float) -> np.ndarray:
    """Convert log-likelihoods of C labels, float (..., C), to masses of evidence, float64 (..., C + 1) with sum 1.

    The share `reliability` of the mass is divided among the labels by likelihood; the last mass is that of "unknown".
    """
    singles = reliability * softmax(np.asarray(log_likelihoods, float), axis=-1)
    return np.concatenate([singles, np.full((*singles.shape[:-1], 1), 1 - reliability)], axis=-1)


def _combine_evidence(sources: np.ndarray) -> np.ndarray:
    """Apply Dempster's rule to masses on single labels and on "unknown".

    The rule multiplies commonalities (G. Shafer, A Mathematical Theory of Evidence, 1976); for these masses the
    commonality of a label is its mass plus that of "unknown".

    Args:
        sources: float (S, ..., C + 1), masses of S independent sources; the last is the mass of "unknown".

    Returns:
        float64 (..., C + 1), masses with sum 1. If the sources contradict each other completely, the rule is undefined,
        and all mass is on "unknown".
    """
    sources = np.asarray(sources, float)
    unknown = sources[..., -1:].prod(axis=0)
    joint = np.concatenate([(sources[..., :-1] + sources[..., -1:]).prod(axis=0) - unknown, unknown], axis=-1)
    total = joint.sum(axis=-1, keepdims=True)
    all_unknown = np.zeros_like(joint)
    all_unknown[..., -1] = 1
    return np.divide(joint, total, out=all_unknown, where=total > 0)


def _pignistic(combined: np.ndarray) -> np.ndarray:
    """Convert masses, float (..., C + 1), to probabilities, float64 (..., C) with sum 1.

    The last mass, that of "unknown", is shared equally (P. Smets and R. Kennes, 1994).
    """
    combined = np.asarray(combined, float)
    return combined[..., :-1] + combined[..., -1:] / (combined.shape[-1] - 1)
