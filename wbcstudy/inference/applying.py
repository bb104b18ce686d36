"""Apply a network to an image: the one way of `wbcstudy segment`, of the app, and of scores on other datasets.

Colours: an image whose colours are far from the training images is also predicted with its colours brought to theirs
(Reinhard), and the more plausible prediction is kept: confident in its cells, and not most of the image. This needs no
expert's mask. With the starter it gains little on real images (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from wbcstudy.data.arrays import resize_image, resize_probabilities
from wbcstudy.data.colours import colour_distance, measure_colours
from wbcstudy.errors import StudyError
from wbcstudy.inference.network import Network
from wbcstudy.inference.tiling import Tiling, pad_to_tile, tile_corners, tile_weights
from wbcstudy.labels import BACKGROUND, NUM_LABELS

Stain = Literal["auto", "none", "reinhard", "macenko"]
STAINS = get_args(Stain)
# Colours nearer than this are not changed. Training images reach 1.6 (52 drawn ones), other laboratories begin at 3.4.
NEAR = 2.0
# Share of an image that cells usually cover at most, and the weight of what is above it. Chosen on the training images
# of Dataset 1 and on half of BCISC; weights from 0.2 to 1 and shares from 0.3 to 0.5 give nearly the same.
_COVERED, _WEIGHT = 0.4, 0.2


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Args:
        probabilities: float32 (H, W, 3), at the size of the image.
        stain: how the colours were brought to those of the training images: none, reinhard or macenko.
        distance: distance of the image's colours from the training images (`data.colours`), None if these are unknown.
    """

    probabilities: np.ndarray = field(repr=False)
    stain: str = "none"
    distance: float | None = None

    @property
    def confidence(self) -> float:
        """Mean probability of the label in the pixels of cells; 0 without a cell."""
        cells = self.probabilities.argmax(axis=2) != BACKGROUND
        return float(self.probabilities.max(axis=2)[cells].mean()) if cells.any() else 0.0

    @property
    def plausibility(self) -> float:
        """The confidence, reduced where cells would cover most of the image: coloured plasma taken for cytoplasm."""
        covered = float((self.probabilities.argmax(axis=2) != BACKGROUND).mean())
        return self.confidence - _WEIGHT * max(0.0, covered - _COVERED)


def check_stain(stain: str, network: Network) -> None:
    """Check a choice of stain for a network.

    Raises:
        StudyError: an unknown choice, or a second normalisation for a network that contains one.
    """
    if stain not in STAINS:
        raise StudyError(f"Unknown stain {stain!r}.", expected=", ".join(STAINS), fix="Use one of these.")
    own = network.run.config.stain_normalisation
    if stain not in ("auto", "none", own) and own != "none":
        raise StudyError(
            f"The network {network.name} normalises colours itself, by {own}.",
            expected=f"auto, none or {own}",
            fix="Omit the option.",
        )


def apply_network(
    image: np.ndarray, network: Network, tiling: Tiling, stain: Stain = "auto", *, once: bool = False
) -> Prediction:
    """Apply a network to an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        network: the network.
        tiling: how to show the image to the network, from `tiling.choose_tiling`.
        stain: "none", "reinhard" or "macenko" to change the colours so; "auto" to decide by the image. A network that
            normalises colours itself is applied as it is.
        once: predict in one position only, also with `test_time_flips`: eight times as fast, to look for something.

    Raises:
        StudyError: the stain cannot be used, see `check_stain` and `Network.stain_target`.
    """
    check_stain(stain, network)
    distance = _distance(image, network)
    if network.run.config.stain_normalisation != "none":
        stain = "none"
    if stain != "auto":
        return _predict(image, network, tiling, stain, distance, once)
    plain = _predict(image, network, tiling, "none", distance, once)
    if distance is None or distance < NEAR:
        return plain
    changed = _predict(image, network, tiling, "reinhard", distance, once)
    return changed if changed.plausibility > plain.plausibility else plain


def _distance(image: np.ndarray, network: Network) -> float | None:
    if network.colours is None:
        return None
    return round(colour_distance(measure_colours(image), network.colours), 2)


def _predict(image, network: Network, tiling: Tiling, stain: str, distance: float | None, once: bool) -> Prediction:
    return Prediction(predict_image(change_colours(image, network, stain), network, tiling, once), stain, distance)


def change_colours(image: np.ndarray, network: Network, stain: str) -> np.ndarray:
    """Bring an image's colours, uint8 (H, W, 3), to those of the training images by "reinhard", "macenko" or "none"."""
    if stain == "none":
        return image
    from wbcstudy.nets.stain import normalise_image

    return normalise_image(image, stain, network.stain_target(stain))


def predict_image(image: np.ndarray, network: Network, tiling: Tiling, once: bool = False) -> np.ndarray:
    """Predict probabilities, float32 (H, W, 3), at the size of the image, uint8 (H, W, 3); `once` as `apply_network`.

    Memory grows with the image's pixels (about 16 bytes per pixel), not with the number of tiles.
    """
    height, width = image.shape[:2]
    padded = pad_to_tile(image, tiling.tile)

    def predict(pixels: np.ndarray) -> np.ndarray:
        batch = resize_image(pixels, *tiling.input_px)[None]
        probabilities = (network.predict_once(batch) if once else network.predict(batch))[0]
        return resize_probabilities(probabilities, tiling.tile)

    corners = list(tile_corners(padded.shape[:2], tiling))
    if len(corners) == 1:
        return predict(padded)[:height, :width]
    total = np.zeros((*padded.shape[:2], NUM_LABELS), np.float32)
    total_weight = np.zeros((*padded.shape[:2], 1), np.float32)
    weights = tile_weights(tiling.tile)[..., None]
    for top, left in corners:
        part = slice(top, top + tiling.tile[0]), slice(left, left + tiling.tile[1])
        total[part] += predict(padded[part]) * weights
        total_weight[part] += weights
    total /= total_weight
    return total[:height, :width]
