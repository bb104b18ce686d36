"""Segment one image: labels, cells, probabilities and measurements at the image's own size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wbcstudy.data.arrays import resize_image, resize_probabilities
from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_overlay, encode_png
from wbcstudy.errors import StudyError
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.tiling import Tiling, Way, choose_tiling, pad_to_tile, tile_corners, tile_weights
from wbcstudy.labels import NUM_LABELS
from wbcstudy.wording import count

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Segmentation:
    """A segmented image. In a notebook it shows its overlay.

    Args:
        image: RGB, uint8 (H, W, 3).
        mask: the most probable label of each pixel, uint8 (H, W).
        instances: int32 (H, W), 0 for background and k for the k-th cell, nucleus and cytoplasm together.
        probabilities: float32 (H, W, 3) in the order of `labels.LABELS`; they sum to 1 over the last axis.
        cells: one row per cell, see `measure_cells.measure_cells`.
        way: how the image was shown to the network, and why.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    instances: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    way: Tiling

    def overlay(self, opacity: float = 0.35, *, side_px: int | None = None, numbers: bool = False) -> np.ndarray:
        """Draw nucleus, cytoplasm and outlines on the image, uint8 (H, W, 3); see `data.overlays.draw_overlay`."""
        return draw_overlay(self.image, self.mask, self.instances, opacity, side_px=side_px, numbers=numbers)

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return f"{count(len(self.cells), 'cell')} in {width}x{height} px ({self.way.name}: {self.way.reason})"

    def _repr_png_(self) -> bytes:
        return encode_png(self.overlay())


def segment_image(
    image: np.ndarray | str | Path,
    model: Network | str | Path,
    *,
    way: Way = "auto",
    scale: float | None = None,
    pixel_um: float | None = None,
) -> Segmentation:
    """Segment one image as `wbcstudy.segment`, which has the same arguments; `model` may also be a loaded network."""
    from wbcstudy.inference.measure_cells import measure_cells
    from wbcstudy.inference.split_cells import split_cells

    network = load_network(model)
    pixels = _as_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
    tiling = choose_tiling(pixels.shape[:2], network.training, way, scale, pixel_um)
    probabilities = _predict_image(pixels, network, tiling)
    mask = probabilities.argmax(axis=2).astype(np.uint8)
    instances = split_cells(mask)
    cells = measure_cells(pixels, mask, instances, pixel_um=pixel_um, probabilities=probabilities)
    return Segmentation(pixels, mask, instances, probabilities, cells, tiling)


def _predict_image(image: np.ndarray, network: Network, tiling: Tiling) -> np.ndarray:
    """Predict probabilities, float32 (H, W, 3), at the size of the image, uint8 (H, W, 3).

    Memory grows with the image's pixels (about 16 bytes per pixel), not with the number of tiles.
    """
    height, width = image.shape[:2]
    padded = pad_to_tile(image, tiling.tile)

    def predict(pixels: np.ndarray) -> np.ndarray:
        probabilities = network.predict(resize_image(pixels, *tiling.input_px)[None])[0]
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


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8 and image.ndim == 2 and image.size:
        return np.repeat(image[..., None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise StudyError(
            f"An array of {image.dtype} and shape {image.shape} is not an image.",
            expected="uint8 (H, W, 3), RGB 0-255, or (H, W), grey",
            fix="Convert it, or pass the file: wbcstudy reads BMP, PNG, JPEG and TIFF.",
        )
    return image
