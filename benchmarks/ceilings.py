"""How well can a network score if it makes no error, and how good are the masks that it learns from?

.venv/bin/wbcstudy data fetch segmentation_wbc
.venv/bin/python benchmarks/ceilings.py

Nothing is trained. The table compares the earlier rule (masks resized and rotated by nearest neighbour, predictions
compared at the size of the network) with the present one.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import pandas as pd
from machine import write_table
from PIL import Image

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import (
    label_probabilities,
    read_training_cases,
    resize_labels,
    resize_probabilities,
    resize_shares,
)
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.labels import NUM_LABELS, REGIONS
from wbcstudy.scoring.metrics import count_regions, dice

# Samples per pixel and direction of the ideal target.
_FINE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["segmentation_wbc_1", "segmentation_wbc_2"])
    parser.add_argument("--size", type=int, default=128, help="input size of the network in px")
    args = parser.parse_args()
    rows = [row for name in args.datasets for row in measure(name, args.size)]
    notes = [
        f"Pooled Dice over all images of a dataset, for a network whose input has {args.size} px.",
        "Perfect prediction: the output of a network that knows the expert's mask, brought back to the size of each "
        "image and compared with that mask. Training target: compared with the ideal one, which is the label of most "
        f"of {_FINE**2} points in each pixel of the network, each looked up in the stored mask, after one random "
        "rotation, flip and zoom per image.",
        "The labels of largest shares are a perfect prediction that is certain of every pixel, such as a network "
        "trained on labels gives. Networks are trained on shares.",
    ]
    write_table("ceilings", "Ceilings", pd.DataFrame(rows), notes)


def measure(name: str, size: int) -> list[dict]:
    """Return one row per rule: its Dice for each region."""
    from wbcstudy.nets.augment import augment, make_augmentation

    dataset, config = load_dataset(name), RunConfig(image_size=size)
    case_ids = [case.case_id for case in dataset.cases]
    stored = read_training_cases(dataset, case_ids, size)
    drawn = make_augmentation(len(stored), config, 1, stored.shares.shape[1:3], stored.aspects)
    square = make_augmentation(len(stored), config, 1)
    counts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for index, case_id in enumerate(case_ids):
        mask = read_case(dataset, dataset.case(case_id))[1]
        nearest = resize_nearest(mask, size, size)
        shares = label_probabilities(resize_shares(mask, size, size))
        perfect = {
            "earlier: labels by nearest neighbour, both ways": resize_nearest(nearest, *mask.shape),
            "labels of largest shares": resize_labels(shares.argmax(axis=-1), mask.shape),
            "shares of the labels (score_at: native)": resize_probabilities(shares, mask.shape).argmax(axis=-1),
        }
        one = slice(index, index + 1)
        image = np.zeros((1, *stored.shares.shape[1:3], 3), np.uint8)
        _, target = augment(image, stored.shares[one], size, drawn.transforms[one], drawn.brightness[one])
        for rule, predicted in perfect.items():
            add_counts(counts.setdefault(("perfect prediction", rule), {}), mask, predicted)
        # The earlier rule rotated images after they had been resized to squares.
        targets = {
            "earlier: nearest neighbour twice": (rotate_nearest(nearest, square.transforms[index]), 1.0),
            "shares of the labels": (target.numpy()[0].argmax(axis=-1), stored.aspects[index]),
        }
        for rule, (predicted, aspect) in targets.items():
            ideal = make_ideal(mask, size, index, aspect, config)
            add_counts(counts.setdefault(("training target", rule), {}), ideal, predicted)
    return [
        {"dataset": name, "images": len(case_ids), "what": kind, "rule": rule}
        | {region: round(dice(*sums[region]), 4) for region in REGIONS}
        for (kind, rule), sums in sorted(counts.items())
    ]


def make_ideal(mask: np.ndarray, size: int, index: int, aspect: float, config: RunConfig) -> np.ndarray:
    """Return the label of most points in each pixel of the network, looked up in the stored mask."""
    from wbcstudy.nets.augment import make_augmentation

    # The same draws as for the other targets: the draws of an image depend on its index only.
    a, b, x, c, d, y = make_augmentation(index + 1, config, 1, mask.shape, aspect).transforms[index, :6].astype(float)
    points = (np.arange(size * _FINE) + 0.5) / _FINE - 0.5
    column, row = np.meshgrid(points, points)
    rows, columns = reflect(c * column + d * row + y, mask.shape[0]), reflect(a * column + b * row + x, mask.shape[1])
    labels = np.eye(NUM_LABELS, dtype=np.uint8)[mask[rows, columns]]
    return labels.reshape(size, _FINE, size, _FINE, NUM_LABELS).sum(axis=(1, 3)).argmax(axis=-1).astype(np.uint8)


def reflect(position: np.ndarray, length: int) -> np.ndarray:
    """Return the nearest pixel of an image that is continued by reflection."""
    folded = np.mod(np.rint(position).astype(int), 2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def rotate_nearest(mask: np.ndarray, transform: np.ndarray) -> np.ndarray:
    a, b, x, c, d, y = transform[:6].astype(float)
    row, column = np.indices(mask.shape)
    rows, columns = (reflect(position, len(mask)) for position in (c * column + d * row + y, a * column + b * row + x))
    return mask[rows, columns]


def resize_nearest(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def add_counts(sums: dict[str, np.ndarray], reference: np.ndarray, predicted: np.ndarray) -> None:
    for region, counts in count_regions(reference, predicted.astype(np.uint8)).items():
        sums[region] = sums.get(region, 0) + np.array(counts)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
