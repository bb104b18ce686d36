"""One image in; labels, cells, probabilities and measurements out, at the image's own size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wbcstudy.data.arrays import resize_image
from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_overlay, encode_png
from wbcstudy.errors import StudyError
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.tiling import Way, WayName, choose_way, enlarge, tile_weights, tiles_of
from wbcstudy.labels import NUM_LABELS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Segmentation:
    """What a network made of one image.

    Args:
        image: uint8 (H, W, 3) RGB.
        mask: uint8 (H, W), the most probable label of each pixel.
        instances: int32 (H, W), 0 for background and k for the k-th cell, nucleus and cytoplasm together.
        probabilities: float32 (H, W, 3) of `regions.LABELS`; they sum to 1 over the last axis.
        cells: one row per cell, see `cells.measure_cells`.
        way: how the image was shown to the network, and why.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    instances: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    way: Way

    def overlay(self, opacity: float = 0.35) -> np.ndarray:
        """The image with its regions and the outlines of its cells, uint8 (H, W, 3)."""
        return draw_overlay(self.image, self.mask, self.instances, opacity)

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return f"{len(self.cells)} cells in {width}x{height} px ({self.way.name}: {self.way.why})"

    def _repr_png_(self) -> bytes:
        return encode_png(self.overlay())


def segment_image(
    image: np.ndarray | str | Path,
    model: Network | str | Path,
    *,
    way: WayName = "auto",
    scale: float | None = None,
    pixel_um: float | None = None,
) -> Segmentation:
    """Segment one image, tell its cells apart and measure them.

    Args:
        image: a file, or uint8 (H, W, 3) RGB or (H, W) grey.
        model: a run, a study (its best run by validation) or a loaded network; see `networks.load_network`.
        way: "whole" or "tiles" to force it; by default see `ways.choose_way`.
        scale: how many times larger a cell is here, in px, than in the training images.
        pixel_um: side of a pixel in micrometres; adds areas in µm² to the cells, and gives the scale where the training
            images' pixel size is known.

    Raises:
        StudyError: an image or a model that cannot be used.
    """
    network = load_network(model)
    pixels = _as_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
    chosen = choose_way(pixels.shape[:2], network.training, way, scale, pixel_um)
    probabilities = predict_image(pixels, network, chosen)
    return measure(pixels, probabilities, chosen, pixel_um)


def measure(image: np.ndarray, probabilities: np.ndarray, way: Way, pixel_um: float | None = None) -> Segmentation:
    """Labels, cells and measurements from probabilities, float32 (H, W, 3)."""
    from wbcstudy.inference.measure_cells import measure_cells
    from wbcstudy.inference.split_cells import split_cells

    mask = probabilities.argmax(axis=2).astype(np.uint8)
    instances = split_cells(mask)
    cells = measure_cells(image, mask, instances, pixel_um=pixel_um, probabilities=probabilities)
    return Segmentation(image, mask, instances, probabilities, cells, way)


def predict_image(image: np.ndarray, network: Network, way: Way) -> np.ndarray:
    """Probabilities at the image's own size.

    Memory grows with the image's pixels (about 16 bytes for each), not with the number of tiles.

    Args:
        image: uint8 (H, W, 3) RGB.
        network: the network.
        way: from `choose_way`.

    Returns:
        float32 (H, W, 3), which sum to 1 over the last axis.
    """
    tile, (rows, columns) = way.tile, way.seen
    height, width = image.shape[:2]
    padded = enlarge(image, tile)
    places = list(tiles_of(padded.shape[:2], way))
    if len(places) == 1:
        found = resize_probabilities(network.predict(resize_image(padded, rows, columns)[None])[0], tile)
        return found[:height, :width]
    total = np.zeros((*padded.shape[:2], NUM_LABELS), np.float32)
    weight = np.zeros(padded.shape[:2], np.float32)
    window = tile_weights(tile)
    for top, left in places:
        part = slice(top, top + tile[0]), slice(left, left + tile[1])
        found = network.predict(resize_image(padded[part], rows, columns)[None])[0]
        total[part] += resize_probabilities(found, tile) * window[..., None]
        weight[part] += window
    total /= weight[..., None]
    return total[:height, :width]


def resize_probabilities(probabilities: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities at another size, linearly between pixel centres; where that is smaller, every value counts.

    Args:
        probabilities: float32 (H, W, 3).
        shape: height and width to make.

    Returns:
        float32 of that size; they sum to 1 where those given do.
    """
    if probabilities.shape[:2] == tuple(shape):
        return probabilities
    # Not as products of matrices, whose threads get into the way of the network's.
    height, width = shape
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(probabilities, -1, 0))
    return np.stack([np.asarray(one.resize((width, height), Image.Resampling.BILINEAR)) for one in channels], axis=-1)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8 and image.ndim == 2 and image.size:
        return np.repeat(image[..., None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise StudyError(
            f"An array of {image.dtype} and shape {image.shape} is no image.",
            expected="uint8 (H, W, 3), RGB 0-255, or (H, W), grey",
            fix="Convert it, or pass the file: wbcstudy reads BMP, PNG, JPEG and TIFF.",
        )
    return image
