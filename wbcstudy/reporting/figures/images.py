"""Figures of images and masks: arrays in, figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from wbcstudy.data.overlays import colour_mask, draw_difference, draw_overlay
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS
from wbcstudy.reporting.figures.canvas import (
    DRAWN,
    PLAIN_COLOUR,
    TILE_IN,
    StudyFigure,
    add_legend,
    make_axes,
    make_blank,
    make_tiles,
    plain,
    region_patches,
    styled,
)

# Opacity of regions drawn over an image: the image's structure must remain visible in print.
_TINT = 0.2


@styled
def fig_label_shares(frame: pd.DataFrame) -> StudyFigure:
    """Draw how much of each case is nucleus, cytoplasm and background, the case with the most background on the right.

    Args:
        frame: one row per case, a column of shares (0-1) per label; other columns are ignored.
    """
    ordered = frame.sort_values("background", ignore_index=True)
    figure, axis = make_axes(1, 1, 7.5, 2.8)
    base = np.zeros(len(ordered))
    for label in (*DRAWN, "background"):
        share = 100 * ordered[label].to_numpy(dtype=float)
        colour = REGION_COLOURS.get(label, PLAIN_COLOUR)
        axis.bar(range(len(ordered)), share, 1.0, base, color=colour, label=label, lw=0)
        base += share
    axis.set(xlabel=f"{len(ordered)} cases", ylabel="% of the pixels", ylim=(0, 100))
    axis.set(xlim=(-0.5, max(len(ordered), 1) - 0.5), xticks=[])
    axis.grid(visible=False)
    add_legend(figure, axis.get_legend_handles_labels()[0])
    return figure


@styled
def fig_samples(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], titles: Sequence[str]) -> StudyFigure:
    """Draw Figure 1: images above their reference masks, six to a row.

    Args:
        images: (H, W, 3), 0-255; sizes may differ.
        masks: labels (H, W).
        titles: one per image.
    """
    cases = list(zip(images, masks, titles, strict=True))
    if not cases:
        return make_blank("No images.")
    width = min(len(cases), 6)
    figure, axes = make_tiles(2 * -(-len(cases) // 6), width)
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
    """Draw one row per case: the image, the expert's regions, the predicted regions, and their differences.

    Args:
        images: (H, W, 3), 0-255; sizes may differ.
        references: labels (H, W).
        predictions: labels (H, W).
        titles: one per case.
    """
    cases = list(zip(images, references, predictions, titles, strict=True))
    if not cases:
        # Scores of a run that was trained elsewhere may have been copied without its masks.
        return make_blank("No predicted masks\n(predictions.npz in the run's folder).")
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
    """Draw one row per case: the image, the expert's regions, and a column per method.

    Args:
        images: (H, W, 3), 0-255.
        references: labels (H, W).
        predictions: title of a method -> labels (H, W), one per case; may be empty.
        titles: one per case.
    """
    if not len(images) or not predictions:
        return make_blank("No earlier method was run.")
    columns = {"Expert": references} | dict(predictions)
    figure, axes = make_tiles(len(images), 1 + len(columns), TILE_IN * 0.75)
    for index, (row, image, title) in enumerate(zip(axes, images, titles, strict=True)):
        row[0].imshow(_to_uint8(image))
        row[0].set_ylabel(plain(title), visible=True)
        for axis, masks in zip(row[1:], columns.values(), strict=True):
            axis.imshow(colour_mask(masks[index], PLAIN_COLOUR), interpolation="nearest")
    for axis, head in zip(axes[0], ("Image", *columns), strict=True):
        # Long names of methods must not overlap.
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
    """Draw training images with their regions above the same images after augmentation.

    Args:
        images: (H, W, 3), 0-255.
        masks: labels (H, W).
        augmented_images: (H, W, 3), one per image.
        augmented_masks: labels (H, W), one per image.
    """
    pairs = list(zip(images, masks, augmented_images, augmented_masks, strict=True))
    if not pairs:
        return make_blank("No images.")
    figure, axes = make_tiles(2, len(pairs))
    for column, (image, mask, new_image, new_mask) in zip(axes.T, pairs, strict=True):
        for axis, pixels, regions in ((column[0], image, mask), (column[1], new_image, new_mask)):
            axis.imshow(draw_overlay(_to_uint8(pixels), regions, opacity=_TINT))
    axes[0, 0].set_ylabel("original", visible=True)
    axes[1, 0].set_ylabel("augmented", visible=True)
    add_legend(figure, region_patches())
    return figure


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8) if image.dtype != np.uint8 else image
