"""Figures: one pure function each, arrays or frames in, a matplotlib figure out. Nothing is read or kept.

Figures are made without pyplot, so none stays open, and work without a display. Those of images are here, those of
numbers in `charts`; all are imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from wbcstudy.labels import BACKGROUND, DIFFERENCE_COLOURS, LABELS, REGION_COLOURS
from wbcstudy.reporting.figures.canvas import (
    DRAWN,
    PLAIN_COLOUR,
    RIM,
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
from wbcstudy.reporting.figures.charts import fig_history, fig_label_shares, fig_learning_curves, fig_scores, run_title

__all__ = [
    "colour_mask",
    "fig_augmentation",
    "fig_history",
    "fig_label_shares",
    "fig_learning_curves",
    "fig_methods",
    "fig_predictions",
    "fig_samples",
    "fig_scores",
    "run_title",
    "write_figure",
]


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
        axes[row + 1, column].imshow(colour_mask(mask), interpolation="nearest")
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
        for axis in row:
            axis.imshow(_to_uint8(image))
        row[0].set_ylabel(plain(title), visible=True)
        _draw_regions(row[1], reference)
        _draw_regions(row[2], prediction)
        _draw_differences(row[3], image, reference, prediction)
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
            axis.imshow(colour_mask(masks[place]), interpolation="nearest")
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
            axis.imshow(_to_uint8(shown))
            _draw_regions(axis, regions)
    axes[0, 0].set_ylabel("as read", visible=True)
    axes[1, 0].set_ylabel("augmented", visible=True)
    add_legend(figure, region_patches())
    return figure


def colour_mask(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) of labels as a picture, float RGB (H, W, 3) in 0-1."""
    picture = np.empty((*mask.shape, 3))
    picture[:] = to_rgb(PLAIN_COLOUR)
    for label in DRAWN:
        picture[mask == LABELS[label]] = to_rgb(REGION_COLOURS[label])
    return picture


def _draw_regions(axis, mask: np.ndarray) -> None:
    tint = np.zeros((*mask.shape, 4))
    for label in DRAWN:
        tint[mask == LABELS[label]] = (*to_rgb(REGION_COLOURS[label]), 0.22)
    axis.imshow(tint, interpolation="nearest")
    # The outer line first, so that the nucleus lies on top of its cell.
    for inside, label in ((mask != BACKGROUND, "cytoplasm"), (mask == LABELS["nucleus"], "nucleus")):
        if inside.any() and not inside.all():
            # A margin closes the lines of cells that are cut by the border.
            lines = axis.contour(
                np.arange(-1, mask.shape[1] + 1),
                np.arange(-1, mask.shape[0] + 1),
                np.pad(inside.astype(float), 1),
                levels=[0.5],
                colors=[REGION_COLOURS[label]],
                linewidths=1.3,
            )
            lines.set_path_effects(RIM)
    axis.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))


def _draw_differences(axis, image: np.ndarray, reference: np.ndarray, prediction: np.ndarray) -> None:
    """The differing pixels in colour on a pale grey image."""
    grey = _to_uint8(image).mean(axis=-1, keepdims=True).repeat(3, axis=-1) / 255
    picture = 0.55 + 0.45 * grey
    inside, found = reference != BACKGROUND, prediction != BACKGROUND
    where = {
        "missed": inside & ~found,
        "added": ~inside & found,
        "confused": inside & found & (reference != prediction),
    }
    for name, pixels in where.items():
        picture[pixels] = to_rgb(DIFFERENCE_COLOURS[name])
    axis.imshow(picture, interpolation="nearest")


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8) if image.dtype != np.uint8 else image
