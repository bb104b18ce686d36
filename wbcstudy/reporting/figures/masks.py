"""Figures: one pure function each, arrays or frames in, a matplotlib figure out. Nothing is read or kept.

Figures are made without pyplot, so none stays open, and work without a display. Those of images are here, those of
numbers in `charts`; all are imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Patch

from wbcstudy.data.overlays import colour_mask, draw_difference, draw_overlay
from wbcstudy.labels import DIFFERENCE_COLOURS
from wbcstudy.reporting.figures.canvas import (
    PLAIN_COLOUR,
    TILE_IN,
    StudyFigure,
    add_legend,
    make_blank,
    make_tiles,
    plain,
    region_patches,
    styled,
    write_figure,
)
from wbcstudy.reporting.figures.charts import fig_history, fig_label_shares, fig_learning_curves, fig_scores

__all__ = [
    "fig_augmentation",
    "fig_history",
    "fig_label_shares",
    "fig_learning_curves",
    "fig_methods",
    "fig_predictions",
    "fig_samples",
    "fig_scores",
    "write_figure",
]

# Opacity of regions drawn over an image: the image's structure must remain visible in print.
_TINT = 0.2


@styled
def fig_samples(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], titles: Sequence[str]) -> StudyFigure:
    """Figure 1: images above their reference masks, six to a row.

    Args:
        images: (H, W, 3), 0-255; sizes may differ.
        masks: (H, W) of labels.
        titles: one per image.
    """
    cases = list(zip(images, masks, titles, strict=True))
    if not cases:
        return make_blank("No images.")
    width = min(len(cases), 6)
    blocks = -(-len(cases) // 6)
    figure, axes = make_tiles(2 * blocks, width)
    for index, (image, mask, title) in enumerate(cases):
        row, column = 2 * (index // 6), index % 6
        axes[row, column].imshow(_to_uint8(image))
        axes[row, column].set_title(plain(title))
        axes[row + 1, column].imshow(colour_mask(mask, PLAIN_COLOUR), interpolation="nearest")
    add_legend(figure, [*region_patches(), Patch(color=PLAIN_COLOUR, label="background")])
    return figure


@styled
def fig_predictions(
    images: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    titles: Sequence[str],
) -> StudyFigure:
    """Figure 2: one row per case: the image, the expert's regions, the predicted regions, and where they differ.

    Missed is the expert's cell called background, added is background called cell, confused is nucleus called
    cytoplasm or the reverse.

    Args:
        images: (H, W, 3), 0-255; sizes may differ.
        references: (H, W) of labels.
        predictions: (H, W) of labels.
        titles: one per case.
    """
    cases = list(zip(images, references, predictions, titles, strict=True))
    if not cases:
        # Scores of a run that was trained elsewhere may have come without them.
        return make_blank("No predicted masks are here\n(predictions.npz in the run's folder).")
    figure, axes = make_tiles(len(cases), 4, TILE_IN * 1.2)
    for row, (image, reference, prediction, title) in zip(axes, cases, strict=True):
        image = _to_uint8(image)
        drawn = (draw_overlay(image, mask, opacity=_TINT) for mask in (reference, prediction))
        for axis, pixels in zip(row, (image, *drawn, draw_difference(image, reference, prediction)), strict=True):
            axis.imshow(pixels)
        row[0].set_ylabel(plain(title), visible=True)
    for axis, head in zip(axes[0], ("Image", "Expert", "Prediction", "Difference"), strict=True):
        axis.set_title(head, fontweight="bold")
    add_legend(figure, [*region_patches(), *(Patch(color=c, label=name) for name, c in DIFFERENCE_COLOURS.items())])
    return figure


@styled
def fig_methods(
    images: Sequence[np.ndarray],
    references: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    titles: Sequence[str],
) -> StudyFigure:
    """One row per case, one column per method: the image, the expert's regions, and what each method makes of it.

    Args:
        images: (H, W, 3), 0-255.
        references: (H, W) of labels.
        predictions: method's title -> (H, W) of labels, one per case; may be empty.
        titles: one per case.
    """
    if not len(images) or not predictions:
        return make_blank("No other method was run.")
    columns = {"Expert": references} | dict(predictions)
    figure, axes = make_tiles(len(images), 1 + len(columns), TILE_IN * 0.75)
    for place, (row, image, title) in enumerate(zip(axes, images, titles, strict=True)):
        row[0].imshow(_to_uint8(image))
        row[0].set_ylabel(plain(title), visible=True)
        for axis, masks in zip(row[1:], columns.values(), strict=True):
            axis.imshow(colour_mask(masks[place], PLAIN_COLOUR), interpolation="nearest")
    for axis, head in zip(axes[0], ("Image", *columns), strict=True):
        # Long names of methods must not run into each other.
        axis.set_title("\n".join(plain(head).split(", ")), fontsize=7.5)
    add_legend(figure, [*region_patches(), Patch(color=PLAIN_COLOUR, label="background")])
    return figure


@styled
def fig_augmentation(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    augmented_images: Sequence[np.ndarray],
    augmented_masks: Sequence[np.ndarray],
) -> StudyFigure:
    """Training images (above) and what augmentation made of them (below), each with its regions drawn over it.

    Args:
        images: (H, W, 3), 0-255.
        masks: (H, W) of labels.
        augmented_images: as `images`, one per image.
        augmented_masks: as `masks`.
    """
    pairs = list(zip(images, masks, augmented_images, augmented_masks, strict=True))
    if not pairs:
        return make_blank("No images.")
    figure, axes = make_tiles(2, len(pairs))
    for column, (image, mask, new_image, new_mask) in zip(axes.T, pairs, strict=True):
        for axis, shown, regions in ((column[0], image, mask), (column[1], new_image, new_mask)):
            axis.imshow(draw_overlay(_to_uint8(shown), regions, opacity=_TINT))
    axes[0, 0].set_ylabel("as read", visible=True)
    axes[1, 0].set_ylabel("augmented", visible=True)
    add_legend(figure, region_patches())
    return figure


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8) if image.dtype != np.uint8 else image
