"""Names of the changes that make a training step faster than with plain Keras, so that each can be switched off."""

from __future__ import annotations

import os

from wbcstudy.errors import StudyError

# Environment variable with the names to switch off, separated by commas.
WITHOUT = "WBCSTUDY_WITHOUT"
LEVERS = {
    "batch_norm": "batch normalisation with TensorFlow's fused kernel",
    "upsampling": "upsampling as a broadcast, with the gradient of average pooling",
    "dropout": "dropout with 16 random bits per value",
    "adam": "Adam with one kernel per update",
    "fold_padding": "convolutions that pad with zeros themselves, without a separate layer",
    "sum_images_first": "the gradient of a normalised input for the sum of the images",
    "small_images": "the gradient of the weights for images of at most 16x16 px as a matrix product",
    "one_pixel": "convolutions of one pixel as matrix products",
    "upsampled": "convolution before upsampling in the decoder",
    "depthwise": "the gradient of strided depthwise convolutions without strides",
}


def is_on(lever: str) -> bool:
    """Whether a lever of `LEVERS` is used, as all are that `$WBCSTUDY_WITHOUT` does not name.

    Raises:
        StudyError: as `switched_off`.
    """
    return lever not in switched_off()


def switched_off() -> set[str]:
    """Return the levers that `$WBCSTUDY_WITHOUT` names.

    Raises:
        StudyError: the variable has an unknown name.
    """
    names = {name for part in os.environ.get(WITHOUT, "").split(",") if (name := part.strip())}
    if unknown := names - LEVERS.keys():
        raise StudyError(
            f"{WITHOUT} names {sorted(unknown)[0]!r}.",
            expected=f"names separated by commas, of: {', '.join(LEVERS)}",
            fix="Correct the name, or unset the variable.",
        )
    return names
