"""Base class of the earlier methods: scikit-learn estimators that map images to label masks."""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from wbcstudy.errors import StudyError
from wbcstudy.labels import IGNORED, LABELS, NUM_LABELS

_NAMES = {label: name for name, label in LABELS.items()}


class Method(BaseEstimator):
    """An earlier segmentation method.

    A subclass is a dataclass whose fields are its parameters, and implements `_fit` and `_predict`; this class checks
    their input. `__init__` stores parameters unchanged, as `sklearn.base.clone` and `get_params` need it. Fitted
    attributes have a trailing underscore.

    Attributes:
        required_labels: labels that the training masks must contain.
        labels_: labels in the training masks, in rising order (after `fit`).
    """

    required_labels: tuple[int, ...] = ()

    def fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> "Method":
        """Fit the method to images with their masks.

        Args:
            images: uint8 (H, W, 3) RGB each; sizes may differ.
            masks: uint8 (H, W) of labels each (`wbcstudy.labels`), of the same size as the image. Images without a
                nucleus or any cell are allowed if the `required_labels` occur in other images.
            rng: source of all randomness; deterministic methods do not use it.

        Returns:
            The fitted method.

        Raises:
            StudyError: no images, an image or mask of another type or size, a value that is no label, or a missing
                required label.
        """
        present = _check_training(images, masks)
        for label in self.required_labels:
            if label not in present:
                raise StudyError(
                    f"Cannot fit {type(self).__name__}: no training mask has a pixel of {_NAMES[label]!r}.",
                    expected="training masks with " + ", ".join(_NAMES[label] for label in self.required_labels),
                    fix="Use more or other training cases, or inspect the masks with `wbcstudy data check`.",
                )
        self._fit(images, masks, rng)
        self.labels_ = present
        return self

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one image.

        Args:
            image: uint8 (H, W, 3) RGB, of any size.

        Returns:
            uint8 (H, W) of labels; all background if no cell was found.

        Raises:
            NotFittedError: before `fit`.
            StudyError: not an RGB image.
        """
        if not hasattr(self, "labels_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet: call fit(images, masks, rng) first.")
        check_image(image)
        return np.asarray(self._predict(image), dtype=np.uint8)

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        """Fit to checked images and masks."""
        raise NotImplementedError

    def _predict(self, image: np.ndarray) -> np.ndarray:
        """Return integer labels (H, W) of one checked image."""
        raise NotImplementedError


def check_image(image: np.ndarray) -> None:
    """Check that an image is a uint8 (H, W, 3) array with at least one pixel; raise a `StudyError` otherwise."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or not all(shape):
        raise StudyError(
            f"Not an image: {dtype} of shape {shape}.",
            expected="uint8 of shape (height, width, 3): RGB, 0-255",
            fix="Read it with wbcstudy.data.images.read_image, or convert it.",
        )


def region_dice(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return the Dice coefficient of two boolean masks; NaN if both are empty."""
    total = np.count_nonzero(reference) + np.count_nonzero(prediction)
    return 2 * np.count_nonzero(reference & prediction) / total if total else float("nan")


def _check_training(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Check the training cases as `Method.fit` documents it, and return the labels that occur, in rising order."""
    if len(images) == 0 or len(images) != len(masks):
        raise StudyError(
            f"Cannot fit to {len(images)} images and {len(masks)} masks.",
            expected="at least one image, and one mask per image",
            fix="Pass the images and masks of the training cases in the same order.",
        )
    counts = np.zeros(256, np.int64)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        check_image(image)
        mask = np.asarray(mask)
        if mask.shape != image.shape[:2] or mask.dtype != np.uint8:
            raise StudyError(
                f"Training mask {number} is {mask.dtype} of shape {mask.shape}; its image has shape {image.shape}.",
                expected="a uint8 mask of the size of its image",
                fix="Read image and mask as one case, with wbcstudy.data.arrays.read_cases.",
            )
        counts += np.bincount(mask.ravel(), minlength=256)
    counts[IGNORED] = 0
    if counts[NUM_LABELS:].any():
        value = NUM_LABELS + int(np.flatnonzero(counts[NUM_LABELS:])[0])
        raise StudyError(
            f"The training masks have the value {value}.",
            expected=", ".join(f"{label} ({name})" for name, label in LABELS.items()),
            fix="Read masks with wbcstudy.data.arrays.read_cases, which turns grey levels into labels.",
        )
    return tuple(int(label) for label in np.flatnonzero(counts))


def draw_training_pixels(images, masks, features, per_label: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same number of pixels of each label from each image, without repetition; all if a label has fewer.

    Args:
        images: as for `Method.fit`.
        masks: as for `Method.fit`.
        features: function from an image to its features, float (H, W, F).
        per_label: number of pixels per label and image.
        rng: random generator.

    Returns:
        Features, float32 (N, F), and labels, uint8 (N,).
    """
    rows, labels = [], []
    for image, mask in zip(images, masks, strict=True):
        values, flat = features(image), np.ravel(mask)
        for label in np.unique(flat[flat != IGNORED]):
            positions = np.flatnonzero(flat == label)
            drawn = rng.choice(positions, min(per_label, positions.size), replace=False, shuffle=False)
            rows.append(values.reshape(-1, values.shape[-1])[drawn].astype(np.float32))
            labels.append(flat[drawn])
    return np.concatenate(rows), np.concatenate(labels)
