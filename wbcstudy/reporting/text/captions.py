"""Titles and captions of the figures, made from what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbcstudy.reporting.figures.colours import PARETO_FRONT
from wbcstudy.reporting.figures.examples import pick_drawn_runs

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

_DIFFERENCES = (
    "Difference in mean Dice, row minus column, in thousandths. Coloured: significant, adjusted for all pairs and "
    "regions together. White: not significant."
)
_CAPTIONS = {
    "figure1": ("Images and the expert's masks", "Images of the dataset, each above its mask."),
    "figure2": (
        "Test images, expert and prediction",
        "Test images drawn at random. Missed: cell in the expert's mask, background in the prediction. Added: the "
        "opposite. Confused: nucleus predicted as cytoplasm, or the opposite.",
    ),
    "figure3": (
        "The same images, one column per method",
        "Test images drawn at random, segmented by each method without clean-up.",
    ),
    "label_shares": (
        "Share of nucleus, cytoplasm and background",
        "One bar per case, sorted by share of background.",
    ),
    "ranks": (
        "Mean ranks",
        "The methods are ranked by Dice within each image; a point is a method's mean rank. A bar joins methods "
        "without a significant difference in Nemenyi's test, which takes the trained networks as fixed. The rest of "
        "this report compares mean Dice and may detect other differences.",
    ),
    "differences_nucleus": ("Pairwise differences, nucleus", _DIFFERENCES),
    "differences_cytoplasm": ("Pairwise differences, cytoplasm", _DIFFERENCES),
    "scores": (
        "Dice of every test image",
        "A point is an image (mean over the seeds). The box contains the middle half of the images; its line is the "
        "median.",
    ),
    "worst": (
        "Worst test images",
        "Test images with the lowest Dice of the recommended encoder and loss (mean of nucleus and cytoplasm; both are "
        "given), worst first. Look for what they have in common: a rare cell type, a damaged cell, a questionable "
        "mask.",
    ),
    "cost_quality": (
        "Cost and quality",
        f"Along the {PARETO_FRONT[1]} line, no other pair is both cheaper and better on the test images; differences "
        "between points near the line may be due to chance. The ring marks the recommended pair, which was chosen on "
        "the validation images.",
    ),
    "calibration": (
        "Reliability of the recommended network",
        "All test pixels, grouped by predicted probability. On the dashed line, probabilities are correct: of the "
        "pixels with a probability of 70 %, 70 % are correct. Below it, probabilities are too high. For a region, "
        "it is the probability that the pixel belongs to the region. Small points represent few pixels.",
    ),
    "areas": (
        "Error of areas of the recommended network",
        "A point is a test image and training: predicted minus expert's area (or ratio) against the mean of both. "
        "Solid line: bias. Dashed lines: limits of agreement, within which about 95 % of the images are.",
    ),
    "transfer": (
        "Own test images and other datasets",
        "Mean Dice over the images with its 95 % interval. The further a circle is to the left of the square in its "
        "row, the larger the drop.",
    ),
}


def make_captions(results: StudyResults) -> dict[str, tuple[str, str]]:
    """Return file stem in figures/ -> (title, caption)."""
    drawn, complete = len(pick_drawn_runs(results)), len(results.complete)
    panels = "One panel per run."
    if drawn < complete:
        panels = f"One panel per encoder and loss, for its first run ({drawn} of {complete} runs)."
    captions = dict(_CAPTIONS)
    captions["learning_curves"] = (
        "Learning curves",
        f"{panels} If the validation loss still falls at the end, more epochs would help; if it rises while the "
        "training loss falls, the network overfits.",
    )
    for dataset in results.transfer.datasets:
        captions[f"transfer_{dataset.name}"] = (
            f"Images of {results.transfer.title(dataset)}",
            "Images drawn at random, segmented by the first network of the recommended encoder and loss. No network "
            "was trained on them.",
        )
    return captions
