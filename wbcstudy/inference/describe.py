"""Describe an image by the activations at the deepest level of the network, to compare images with each other."""

from __future__ import annotations

import numpy as np
from PIL import Image

from wbcstudy.data.arrays import resize_image
from wbcstudy.data.colours import measure_colours
from wbcstudy.inference.applying import change_colours
from wbcstudy.inference.network import Network
from wbcstudy.inference.tiling import Tiling, pad_to_tile, tile_corners
from wbcstudy.labels import BACKGROUND


def describe_image(
    image: np.ndarray, network: Network, tiling: Tiling, stain: str, probabilities: np.ndarray
) -> np.ndarray:
    """Describe an image that has been segmented, for the choice of images to annotate.

    As in Yang et al. (2017), the descriptor is the mean activation of each channel at the end of the encoder. Here it
    has two halves: the mean over the image, and the mean over its cells, which may be small. Each has length 1. A
    network without an encoder is described by the colours of the image.

    Args:
        image: uint8 (H, W, 3), RGB.
        network: the network.
        tiling: how the image was shown to it.
        stain: how its colours were changed first: none, reinhard or macenko.
        probabilities: float32 (H, W, 3), its prediction.

    Returns:
        float32 (D,); D is the same for all images of a network. The half of the cells is 0 in an image without cells.
    """
    if network.encode is None:
        return measure_colours(image).ravel().astype(np.float32)
    pixels = pad_to_tile(change_colours(image, network, stain), tiling.tile)
    cell_share = 1 - probabilities[..., BACKGROUND]
    padding = [(0, padded - side) for padded, side in zip(pixels.shape, cell_share.shape, strict=False)]
    cell_share = np.pad(cell_share, padding)
    overall, of_cells = 0.0, 0.0
    for top, left in tile_corners(pixels.shape[:2], tiling):
        part = slice(top, top + tiling.tile[0]), slice(left, left + tiling.tile[1])
        activations = network.encode(resize_image(pixels[part], *tiling.input_px)[None])[0]
        height, width, _ = activations.shape
        weights = Image.fromarray(cell_share[part]).resize((width, height), Image.Resampling.BOX)
        overall = overall + activations.sum(axis=(0, 1))
        of_cells = of_cells + (activations * np.asarray(weights)[..., None]).sum(axis=(0, 1))
    return np.concatenate([_unit(overall), _unit(of_cells)]).astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(values)
    return values / length if length > 0 else values
