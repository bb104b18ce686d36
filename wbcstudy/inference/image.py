"""Segment one image: labels, cells, probabilities and measurements at the image's own size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_overlay, encode_png
from wbcstudy.errors import StudyError
from wbcstudy.inference.applying import Prediction, Stain, apply_network, check_stain
from wbcstudy.inference.doubts import find_doubts
from wbcstudy.inference.find_scale import FoundScale, find_scale, needs_scale
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.tiling import Tiling, Way, choose_tiling
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
        stain: how its colours were changed first: none, reinhard or macenko.
        doubts: reasons to doubt the result, as clauses.
    """

    image: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    instances: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    cells: pd.DataFrame = field(repr=False)
    way: Tiling
    stain: str = "none"
    doubts: tuple[str, ...] = ()

    def overlay(self, opacity: float = 0.35, *, side_px: int | None = None, numbers: bool = False) -> np.ndarray:
        """Draw nucleus, cytoplasm and outlines on the image, uint8 (H, W, 3); see `data.overlays.draw_overlay`."""
        return draw_overlay(self.image, self.mask, self.instances, opacity, side_px=side_px, numbers=numbers)

    def __repr__(self) -> str:
        height, width = self.mask.shape
        doubts = "".join(f"; check: {doubt}" for doubt in self.doubts)
        return f"{count(len(self.cells), 'cell')} in {width}x{height} px ({self.way.name}: {self.way.reason}){doubts}"

    def _repr_png_(self) -> bytes:
        return encode_png(self.overlay())


def segment_image(
    image: np.ndarray | str | Path,
    model: Network | str | Path,
    *,
    way: Way = "auto",
    scale: float | None = None,
    pixel_um: float | None = None,
    stain: Stain = "auto",
) -> Segmentation:
    """Segment one image as `wbcstudy.segment`, which has the same arguments; `model` may also be a loaded network."""
    from wbcstudy.inference.measure_cells import measure_cells
    from wbcstudy.inference.split_cells import split_cells

    network = load_network(model)
    pixels = _as_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
    tiling, prediction = predict_with(pixels, network, way, scale, pixel_um, stain)
    mask = prediction.probabilities.argmax(axis=2).astype(np.uint8)
    instances = split_cells(mask)
    cells = measure_cells(pixels, mask, instances, pixel_um=pixel_um, probabilities=prediction.probabilities)
    doubts = tuple(find_doubts(pixels, prediction, instances, tiling, network.training))
    probabilities = prediction.probabilities
    return Segmentation(pixels, mask, instances, probabilities, cells, tiling, prediction.stain, doubts)


def predict_with(
    image: np.ndarray,
    network: Network,
    way: Way = "auto",
    scale: float | FoundScale | None = None,
    pixel_um: float | None = None,
    stain: Stain = "auto",
) -> tuple[Tiling, Prediction]:
    """Choose scale and colours for an image, and predict it. All predictions at an image's own size come from here.

    Args:
        image: uint8 (H, W, 3), RGB.
        network: the network.
        way: as in `tiling.choose_tiling`.
        scale: the scale, also one that `find_scale` found in this and other images; None to find it in this image,
            unless it follows from the pixel sizes or from an image size like that of the training images.
        pixel_um: side of a pixel in micrometres, or None.
        stain: as in `applying.apply_network`.

    Raises:
        StudyError: an argument cannot be used.
    """
    check_stain(stain, network)
    shape, training = image.shape[:2], network.training
    shared = scale if isinstance(scale, FoundScale) else None
    # Also checks the arguments.
    tiling = choose_tiling(shape, training, way, None if shared else scale, pixel_um)
    if way == "auto" and needs_scale(training, shape, None if shared else scale, pixel_um):
        shared = shared or find_scale([image], network, stain)
        if shared is not None:
            tiling = choose_tiling(shape, training, way, shared.scale, pixel_um)
            tiling = replace(tiling, reason=f"{tiling.reason} ({shared.reason})")
    return tiling, apply_network(image, network, tiling, stain)


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
