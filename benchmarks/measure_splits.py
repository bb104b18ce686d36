"""How much scores depend on which cases are tested: two fast methods over several splits of the same images.

    python benchmarks/measure_splits.py segmentation_wbc_1 segmentation_wbc_2

A study has one split, so its scores depend on this split, however many seeds it has. Each row is one split: the mean
Dice over its test cases, cleaned up, of a method without training (three-level Otsu) and of the smoothed-colour forest
trained on all other cases. Writes outputs/reference/splits/<dataset>.csv.
"""

import argparse
import sys

import numpy as np
import pandas as pd

from wbcstudy.baselines.methods import build_method
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.splits import make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.scoring.cleanup import clean_up
from wbcstudy.scoring.evaluation import score_masks

METHODS = ("otsu_levels", "forest")
SPLITS = range(10)
IMAGE_SIZE = 256


def measure(name: str) -> pd.DataFrame:
    """Return one row per split: split_seed, test_cases, and the mean Dice of each method and region."""
    dataset = load_dataset(name)
    cases = read_cases(dataset, [case.case_id for case in dataset.cases], IMAGE_SIZE)
    images, masks = np.asarray(cases.images), np.asarray(cases.masks)
    duplicates = [duplicate.case_ids for duplicate in find_duplicates(dataset, near=False)]
    rows = []
    for seed in SPLITS:
        (split,) = make_splits(
            dataset.cases, folds=1, test_fraction=0.2, validation_fraction=0.2, seed=seed, duplicates=duplicates
        )
        tested = np.isin(cases.case_ids, split.test)
        row = {"split_seed": seed, "test_cases": int(tested.sum())}
        for method_name in METHODS:
            method = build_method(method_name)
            method.fit(list(images[~tested]), list(masks[~tested]), np.random.default_rng(0))
            predicted = [clean_up(method.predict(image)) for image in images[tested]]
            ids = [case_id for case_id, is_tested in zip(cases.case_ids, tested, strict=True) if is_tested]
            scores = score_masks(method_name, ids, [None] * len(ids), masks[tested], predicted)
            mean = scores.groupby("region").dice.mean()
            row |= {f"{method_name}_{region}": round(mean[region], 4) for region in ("nucleus", "cytoplasm")}
        rows.append(row)
        print(name, *row.values(), flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure the given datasets and write a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", help="names (`wbcstudy data list`) or paths of dataset.yaml files")
    for name in parser.parse_args().datasets:
        frame = measure(name)
        with atomic_write(
            project_root() / "outputs" / "reference" / "splits" / f"{load_dataset(name).name}.csv"
        ) as part:
            frame.to_csv(part, index=False, lineterminator="\n")


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
