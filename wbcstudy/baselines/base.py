"""What every earlier method is: a scikit-learn estimator from images to label masks."""

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from wbcstudy.errors import StudyError
from wbcstudy.labels import LABELS, NUM_LABELS

_NAMES = {label: name for name, label in LABELS.items()}


class Method(BaseEstimator):
    """An earlier method of segmentation.

    A method writes `_fit` and `_predict`; the checks that all methods share are here. Parameters are stored unchanged
    by `__init__`, so that `sklearn.base.clone` and `get_params` work, and what was learnt has a trailing underscore.

    Attributes:
        required_labels: labels without which the method cannot learn; `fit` refuses training masks that lack one.
        labels_: labels that the training masks hold, in rising order (after `fit`).
    """

    required_labels: tuple[int, ...] = ()

    def fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> "Method":
        """Learn from images with their masks.

        Args:
            images: uint8 (H, W, 3) RGB each; sizes may differ from image to image.
            masks: uint8 (H, W) of labels each (`wbcstudy.labels`), as large as its image. Images without a nucleus or
                without any cell are allowed as long as `required_labels` occur somewhere.
            rng: source of all randomness; methods that do not learn at random leave it alone.

        Returns:
            The method itself.

        Raises:
            StudyError: no images, an image or mask of another type or size, a value that is no label, or a label
                missing that the method needs.
        """
        present = check_training(images, masks)
        for label in self.required_labels:
            if label not in present:
                raise StudyError(
                    f"{type(self).__name__} cannot learn: no training mask has a pixel of {_NAMES[label]!r}.",
                    expected="training masks that hold " + ", ".join(_NAMES[one] for one in self.required_labels),
                    fix="Take other or more training cases, or look at the masks with `wbcstudy data check`.",
                )
        self._fit(images, masks, rng)
        self.labels_ = present
        return self

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one image.

        Args:
            image: uint8 (H, W, 3) RGB, of any size.

        Returns:
            uint8 (H, W) of labels; all background where nothing was found.

        Raises:
            NotFittedError: before `fit`.
            StudyError: not such an image.
        """
        if not hasattr(self, "labels_"):
            raise NotFittedError(f"This {type(self).__name__} has not learnt yet: call fit(images, masks, rng) first.")
        check_image(image)
        return np.asarray(self._predict(image), dtype=np.uint8)

    def _fit(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        """Learn; the arguments are checked."""
        raise NotImplementedError

    def _predict(self, image: np.ndarray) -> np.ndarray:
        """Integer labels (H, W) of one image, which is checked."""
        raise NotImplementedError


def check_image(image: np.ndarray) -> None:
    """Raise a `StudyError` unless the argument is a uint8 (H, W, 3) array with at least one pixel."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or not all(shape):
        raise StudyError(
            f"Not an image: {dtype} of shape {shape}.",
            expected="uint8 of shape (height, width, 3): RGB, 0-255",
            fix="Read it with wbcstudy.data.images.read_image, or convert it.",
        )


def check_training(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Check images and masks to learn from.

    Args:
        images: as for `Method.fit`.
        masks: as for `Method.fit`.

    Returns:
        The labels that occur in any mask, in rising order.

    Raises:
        StudyError: see `Method.fit`.
    """
    if len(images) == 0 or len(images) != len(masks):
        raise StudyError(
            f"Cannot learn from {len(images)} images and {len(masks)} masks.",
            expected="at least one image, and one mask for each",
            fix="Pass the training cases' images and masks in the same order.",
        )
    counts = np.zeros(256, np.int64)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        check_image(image)
        mask = np.asarray(mask)
        if mask.shape != image.shape[:2] or mask.dtype != np.uint8:
            raise StudyError(
                f"Training mask {number} is {mask.dtype} of shape {mask.shape}; its image has shape {image.shape}.",
                expected="a uint8 mask as high and wide as its image",
                fix="Read image and mask as one case, with wbcstudy.data.arrays.read_cases.",
            )
        counts += np.bincount(mask.ravel(), minlength=256)
    if counts[NUM_LABELS:].any():
        value = NUM_LABELS + int(np.flatnonzero(counts[NUM_LABELS:])[0])
        raise StudyError(
            f"The training masks hold the value {value}.",
            expected=", ".join(f"{label} ({name})" for name, label in LABELS.items()),
            fix="Read masks with wbcstudy.data.arrays.read_cases, which turns grey levels into labels.",
        )
    return tuple(int(label) for label in np.flatnonzero(counts))


def draw_pixels(mask: np.ndarray, per_label: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as many pixels of each label, without repetition.

    Args:
        mask: integer labels, any shape.
        per_label: how many pixels of each label; a label that has fewer gives all it has.
        rng: source of randomness.

    Returns:
        int64 (N,) indices into `mask.ravel()`, label by label.
    """
    flat = np.ravel(mask)
    drawn = []
    for label in np.unique(flat):
        where = np.flatnonzero(flat == label)
        drawn.append(rng.choice(where, min(per_label, where.size), replace=False, shuffle=False))
    return np.concatenate(drawn) if drawn else np.zeros(0, np.int64)


def draw_training_pixels(images, masks, features, per_label: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw training pixels from all images, as many of each label from each image.

    Args:
        images: as for `Method.fit`.
        masks: as for `Method.fit`.
        features: function from an image to its features, float (H, W, F).
        per_label: how many pixels per label and image.
        rng: source of randomness.

    Returns:
        Features, float32 (N, F), and labels, uint8 (N,).
    """
    rows, labels = [], []
    for image, mask in zip(images, masks, strict=True):
        where = draw_pixels(mask, per_label, rng)
        values = features(image)
        rows.append(values.reshape(-1, values.shape[-1])[where].astype(np.float32))
        labels.append(np.ravel(mask)[where])
    return np.concatenate(rows), np.concatenate(labels)
