"""Warn about an image that is unlike anything the network has learnt, from the image and its segmentation only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wbcstudy.inference.applying import Prediction
from wbcstudy.inference.round_cells import count_discs
from wbcstudy.inference.tiling import Tiling, TrainingScale
from wbcstudy.labels import NUCLEUS
from wbcstudy.wording import count

# Thresholds, chosen on training images of Dataset 1, half of BCISC, drawn smears, and images of other things.
# docs/results.md has their error rates on other images.
_LOW_CONFIDENCE = 0.85
# A cell is without nucleus if the nucleus has less than this share of its area.
_NUCLEUS_SHARE = 0.05
# Cells per area of a training image, which shows one or two.
_MANY_CELLS = 10
# Cells smaller than this, relative to the training cells.
_SMALL = 0.4
# Even an image of one cell shows some background.
_MOSTLY_CELL = 0.9
# Nuclei are darker than what surrounds cells, by this many grey levels.
_DARKER = 12
# Stained nuclei absorb more green than blue light, compared with their surroundings (natural logarithm): 0.9 and more
# in nine of ten images of BCISC, 0.1 in most inverted ones.
_GREENER = 0.3
# White cells of a field that has more of them than red cells.
_MANY_WHITE = 5
# Bright discs of the size of red cells.
_BRIGHT_DISCS = 2
# How much farther the brightest percent of an image is from its median than the darkest, relative to their distance.
# Smears reach 0.24.
_BRIGHT_ON_DARK = 0.35


def find_doubts(
    image: np.ndarray,
    prediction: Prediction,
    instances: np.ndarray,
    tiling: Tiling,
    training: TrainingScale,
) -> Iterator[str]:
    """Yield the reasons to doubt a segmentation, as clauses; none for an image like the training images.

    Args:
        image: uint8 (H, W, 3), RGB.
        prediction: prediction for the image.
        instances: int32 (H, W), its cells.
        tiling: how the image was shown to the network.
        training: scale of the network's training.
    """
    mask = prediction.probabilities.argmax(axis=2)
    numbers = int(instances.max())
    if not numbers:
        yield "no cell was found"
        return
    if prediction.confidence < _LOW_CONFIDENCE:
        yield f"low confidence ({prediction.confidence:.2f})"
    areas = np.bincount(instances.ravel(), minlength=numbers + 1)[1:]
    nuclei = np.bincount(instances.ravel(), weights=(mask == NUCLEUS).ravel(), minlength=numbers + 1)[1:]
    bare = np.count_nonzero(nuclei < _NUCLEUS_SHARE * areas)
    if 2 * bare > numbers:
        yield f"{bare} of {count(numbers, 'cell')} have no nucleus"
    trained_area = tiling.scale**2 * training.height_px[1] * training.width_px[1]
    if numbers > max(3, _MANY_CELLS * image.shape[0] * image.shape[1] / trained_area):
        yield f"{numbers} cells, where training images of this size show a few"
    diameter = float(np.median(2 * np.sqrt(areas / np.pi)))
    if training.cell_px and diameter < _SMALL * training.cell_px * tiling.scale:
        yield f"cells of {diameter:.0f} px, where {training.cell_px * tiling.scale:.0f} px were learnt"
    if (instances > 0).mean() > _MOSTLY_CELL:
        yield "almost all of the image would be cell"
    yield from _doubt_colours(image, mask == NUCLEUS, instances == 0)
    if training.pixel_size_um is not None:
        dark, bright = count_discs(image, mask, tiling.scale, training)
        if numbers >= _MANY_WHITE and numbers > dark:
            yield f"{numbers} white cells and {count(round(dark), 'red cell')}: no blood smear, or another scale"
        if bright >= _BRIGHT_DISCS and bright > dark:
            yield "round cells are brighter than their surroundings"


def _doubt_colours(image: np.ndarray, nucleus: np.ndarray, outside: np.ndarray) -> Iterator[str]:
    """Yield the doubts from brightness and colour.

    Args:
        image: uint8 (H, W, 3), RGB.
        nucleus: pixels of nuclei, bool (H, W).
        outside: pixels outside cells, bool (H, W).
    """
    grey = image.mean(axis=2)
    darkest, median, brightest = np.percentile(grey, (1, 50, 99))
    if (brightest - median) - (median - darkest) > _BRIGHT_ON_DARK * (brightest - darkest):
        yield "bright objects on a dark background, as in an inverted image"
    if not nucleus.any() or not outside.any():
        return
    if grey[nucleus].mean() > grey[outside].mean() - _DARKER:
        yield "nuclei are not darker than their surroundings"
    inner, outer = (
        np.median(-np.log(np.clip(image[pixels][:, 1:].astype(np.float32), 1, None)), axis=0)
        for pixels in (nucleus, outside)
    )
    green, blue = inner - outer
    if green - blue < _GREENER:
        yield "nuclei are not violet, blue or red as in a stained blood smear"
