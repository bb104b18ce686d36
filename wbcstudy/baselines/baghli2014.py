"""[7] Watershed regions, classified by evidence from three colour spaces."""

import numpy as np

from wbcstudy.baselines.base import Method
from wbcstudy.baselines.colour import colour_features
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

_LABELS = (BACKGROUND, CYTOPLASM, NUCLEUS)


class EvidenceWatershed(Method):
    """Watershed regions, whose colours in three spaces are three pieces of evidence, combined by Dempster's rule.

    After I. Baghli, A. Nakib, E. Sellam, M. Benazzouz, A. Chikh and E. Petit, "Hybrid framework based on evidence
    theory for blood cell image segmentation", Medical Imaging 2014: Biomedical Applications in Molecular, Structural,
    and Functional Imaging, SPIE 9038, 2014, pp. 314-321 ([7] in the paper). Only the paper's sentence about it
    was at hand:

    1. (described; markers reconstructed) Watershed of the colour gradient, from a regular grid of markers.
    2. (reconstructed) Per label and colour space, a Gaussian of the regions' mean colours. The background is plasma and
       red cells, so it has a mixture of Gaussians.
    3. (reconstructed) Each space is a source: label c gets the mass `reliability` * L(c) / sum of L, the rest is on
       the whole frame ("unknown").
    4. (described) Dempster's rule combines the sources.
    5. (reconstructed) A region gets the label of the largest pignistic probability; neighbours alike become one.

    Args:
        region_px: mean area of a watershed region, in px of the image (94 makes 700 regions of 256 x 256 px).
        sigma_px: width of the smoothing before the gradient, in px of the image.
        spaces: colour spaces, one source each.
        reliability: the share of a source's mass that is not on "unknown", above 0 and below 1.
        background_components: Gaussians in the background's mixture.

    Attributes:
        models_: per colour space, one fitted `sklearn.mixture.GaussianMixture` per label.
    """

    required_labels = _LABELS

    def __init__(
        self, region_px=94, sigma_px=1.0, spaces=("rgb", "lab", "hsv"), reliability=0.95, background_components=3
    ):
        self.region_px = region_px
        self.sigma_px = sigma_px
        self.spaces = spaces
        self.reliability = reliability
        self.background_components = background_components

    def _fit(self, images, masks, rng):
        colours, labels = [], []
        for image, mask in zip(images, masks, strict=True):
            regions = self._regions(image)
            colours.append(self._colours(image, regions))
            labels.append(majority_labels(regions, mask))
        colours, labels = np.concatenate(colours), np.concatenate(labels)
        self.models_ = [
            [self._model(source[labels == label], label, rng) for label in _LABELS] for source in _split(colours)
        ]

    def _predict(self, image):
        regions = self._regions(image)
        logs = np.stack(
            [
                np.stack([model.score_samples(source) for model in models], axis=-1)
                for models, source in zip(self.models_, _split(self._colours(image, regions)), strict=True)
            ]
        )
        combined = combine_evidence(masses(logs, self.reliability))
        return np.array(_LABELS)[pignistic(combined).argmax(axis=-1)][regions]

    def _model(self, colours: np.ndarray, label: int, rng: np.random.Generator):
        from sklearn.mixture import GaussianMixture

        wanted = self.background_components if label == BACKGROUND else 1
        if len(colours) < 2:
            # A label that is nowhere the majority of two regions: one wide Gaussian stands for it.
            colours = np.concatenate([colours, colours + 1e-2, colours - 1e-2]) if len(colours) else np.zeros((2, 3))
        return GaussianMixture(min(wanted, len(colours)), reg_covar=1e-4, random_state=int(rng.integers(2**32))).fit(
            colours
        )

    def _regions(self, image: np.ndarray) -> np.ndarray:
        """Watershed regions, numbered from 0."""
        from scipy.ndimage import gaussian_gradient_magnitude
        from skimage.segmentation import watershed

        lab = colour_features(image, ("lab",))
        gradient = sum(gaussian_gradient_magnitude(lab[..., k], self.sigma_px) for k in range(3))
        regions = watershed(gradient, markers=max(1, round(gradient.size / self.region_px)))
        return np.unique(regions, return_inverse=True)[1].reshape(regions.shape)

    def _colours(self, image: np.ndarray, regions: np.ndarray) -> np.ndarray:
        """Mean colours of the regions, scaled to about 0-1: float (regions, 3 * spaces)."""
        values = colour_features(image, self.spaces)
        scale = np.concatenate([np.full(3, 1.0 if space in ("rgb", "hsv") else 100.0) for space in self.spaces])
        flat, areas = regions.ravel(), np.bincount(regions.ravel())
        sums = [np.bincount(flat, values[..., k].ravel()) for k in range(values.shape[-1])]
        return np.stack(sums, axis=-1) / areas[:, None] / scale


def _split(colours: np.ndarray) -> list[np.ndarray]:
    return [colours[:, k : k + 3] for k in range(0, colours.shape[1], 3)]


def majority_labels(regions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The label that most pixels of each region have.

    Args:
        regions: integers (H, W) from 0, each number up to the largest in use.
        mask: labels (H, W).

    Returns:
        int64 (number of regions,); the smaller label of two as frequent.
    """
    counts = np.stack([np.bincount(regions[mask == label], minlength=regions.max() + 1) for label in _LABELS], axis=-1)
    return np.array(_LABELS)[counts.argmax(axis=-1)]


def masses(log_likelihoods: np.ndarray, reliability: float) -> np.ndarray:
    """Masses of evidence from likelihoods.

    Args:
        log_likelihoods: float (..., C), of C labels.
        reliability: the share of the mass that goes to the labels, by likelihood; the rest goes to "unknown".

    Returns:
        float64 (..., C + 1), 0 to 1 with sum 1; the last is the mass of "unknown", that is of all labels together.
    """
    from scipy.special import softmax

    singles = reliability * softmax(np.asarray(log_likelihoods, float), axis=-1)
    return np.concatenate([singles, np.full((*singles.shape[:-1], 1), 1 - reliability)], axis=-1)


def combine_evidence(sources: np.ndarray) -> np.ndarray:
    """Dempster's rule for masses on single labels and on "unknown".

    The rule multiplies commonalities (G. Shafer, A Mathematical Theory of Evidence, 1976), and for such masses the
    commonality of a label is its mass plus that of "unknown".

    Args:
        sources: float (S, ..., C + 1), masses of S independent sources; the last is the mass of "unknown".

    Returns:
        float64 (..., C + 1), masses with sum 1. Where the sources contradict each other wholly, the rule is undefined
        and all mass is on "unknown".
    """
    sources = np.asarray(sources, float)
    unknown = sources[..., -1:].prod(axis=0)
    joint = np.concatenate([(sources[..., :-1] + sources[..., -1:]).prod(axis=0) - unknown, unknown], axis=-1)
    total = joint.sum(axis=-1, keepdims=True)
    nothing_known = np.zeros_like(joint)
    nothing_known[..., -1] = 1
    return np.divide(joint, total, out=nothing_known, where=total > 0)


def pignistic(combined: np.ndarray) -> np.ndarray:
    """Probabilities to decide by: the mass of "unknown" is shared equally (P. Smets and R. Kennes, 1994).

    Args:
        combined: float (..., C + 1), masses; the last is the mass of "unknown".

    Returns:
        float64 (..., C), 0 to 1 with sum 1.
    """
    combined = np.asarray(combined, float)
    return combined[..., :-1] + combined[..., -1:] / (combined.shape[-1] - 1)
