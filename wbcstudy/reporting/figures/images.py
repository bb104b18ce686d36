"""Figures of images and masks: arrays in, figure out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from wbcstudy.data.overlays import colour_mask, draw_difference, draw_overlay
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS
from wbcstudy.reporting.figures.canvas import (
    DRAWN,
    PAGE_IN,
    StudyFigure,
    add_legend,
    draw_tiles,
    make_axes,
    make_blank,
    region_patches,
    styled,
)
from wbcstudy.reporting.figures.colours import PLAIN_COLOUR

# Opacity of regions drawn over an image: the image's structure must remain visible in print.
_TINT = 0.2


@styled
def fig_label_shares(frame: pd.DataFrame) -> StudyFigure:
    """Draw how much of each case is nucleus, cytoplasm and background, the case with the most background on the right.

    Args:
        frame: one row per case, a column of shares (0-1) per label; other columns are ignored.
    """
    ordered = frame.sort_values("background", ignore_index=True)
    figure, axis = make_axes(1, 1, PAGE_IN, 2.4)
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
    tiles, all_titles = [], []
    for start in range(0, len(cases), 6):
        block = cases[start : start + 6]
        tiles.append([_to_uint8(image) for image, _, _ in block])
        tiles.append([colour_mask(mask, PLAIN_COLOUR) for _, mask, _ in block])
        all_titles += [[title for _, _, title in block], [""] * len(block)]
    handles = [*region_patches(), Patch(color=PLAIN_COLOUR, label="background")]
    return draw_tiles(tiles, titles=all_titles, handles=handles)


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
    tiles = []
    for image, reference, prediction, _ in cases:
        image = _to_uint8(image)
        expert, predicted = (draw_overlay(image, mask, opacity=_TINT) for mask in (reference, prediction))
        tiles.append([image, expert, predicted, draw_difference(image, reference, prediction)])
    handles = [*region_patches(), *(Patch(color=colour, label=name) for name, colour in DIFFERENCE_COLOURS.items())]
    return draw_tiles(tiles, ("Image", "Expert", "Prediction", "Difference"), titles, handles=handles)


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
    tiles = [
        [_to_uint8(image), *(colour_mask(masks[index], PLAIN_COLOUR) for masks in columns.values())]
        for index, image in enumerate(images)
    ]
    # Long names of methods must not overlap.
    letters = 14 if len(columns) < 6 else 10
    heads = ["\n".join(textwrap.wrap(title, letters)) for title in ("Image", *columns)]
    handles = [*region_patches(), Patch(color=PLAIN_COLOUR, label="background")]
    return draw_tiles(tiles, heads, titles, handles=handles)


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
    tiles = [
        [draw_overlay(_to_uint8(image), mask, opacity=_TINT) for image, mask, _, _ in pairs],
        [draw_overlay(_to_uint8(image), mask, opacity=_TINT) for _, _, image, mask in pairs],
    ]
    return draw_tiles(tiles, labels=("original", "augmented"), handles=region_patches())


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8) if image.dtype != np.uint8 else image
