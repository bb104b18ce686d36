"""Write a study of 18 finished runs without training: their masks are the expert's, bent at random.

    .venv/bin/python benchmarks/made_up_runs.py outputs/made_up segmentation_wbc_2
    .venv/bin/python benchmarks/study.py report outputs/made_up --before /path/to/an/earlier/checkout

Test images, split, scores, masks and records are those of an ordinary study, at the images' own size; curves and costs
are made up. The name of the folder is the name of the study.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import yaml
from scipy.ndimage import gaussian_filter, map_coordinates

# The studies of the tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.helpers import fake_study
from wbcstudy.data.arrays import read_scored_case
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.records import split_hash
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.registry import ENCODERS
from wbcstudy.runs.results import write_record
from wbcstudy.scoring.evaluation import score_masks
from wbcstudy.study.plan import prepare, read_plan
from wbcstudy.study.record import describe_dataset, write_dataset_record

# Largest shift of a pixel, about; and the distance in px over which shifts are alike.
_SHIFT, _SMOOTH_PX = 60, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder to write")
    parser.add_argument("dataset", help="name or folder")
    args = parser.parse_args()
    os.environ["WBCSTUDY_OUTPUTS"] = str(args.study.resolve().parent)
    args.study.mkdir(parents=True)
    settings = {"dataset": args.dataset, "encoders": list(ENCODERS), "losses": ["cross_entropy", "dice"]}
    file = args.study / f"{args.study.name}.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    plan = read_plan(file)
    prepare(plan)
    dataset = load_dataset(plan.study.dataset)
    splits = load_or_make_splits(plan.folder.split, dataset, plan.study)
    write_dataset_record(plan.folder.dataset, dataset, {"background": 0.8, "cytoplasm": 0.1, "nucleus": 0.1})
    _use(dataset, splits)
    for run in plan.runs:
        folder = plan.folder.run(run.name)
        folder.params.unlink()
        folder.path.rmdir()
        facts = describe_dataset(dataset)
        fake_study._write_run(plan.folder, run, False, False, facts, len(splits[0].test), {}, False)
        parts = {"train": len(splits[0].train), "validation": len(splits[0].validation), "test": len(splits[0].test)}
        write_record(folder, folder.read_record() | {"split_hash": split_hash(splits), "split": parts})


def _use(dataset, splits) -> None:
    """Let the studies of the tests have the cases of a dataset instead of discs."""
    cases = {case.case_id: case for case in dataset.cases}
    references = {case: read_scored_case(dataset, case, None)[1] for case in (*splits[0].test, *splits[0].validation)}

    def score(run, part, number, empty, generator, share):
        ids = list(getattr(splits[0], part))
        masks = [references[case] for case in ids]
        bent = [bend(mask, generator) for mask in masks]
        return score_masks(run.name, ids, [cases[case].cell_type for case in ids], masks, bent), masks, bent

    fake_study._score = score
    fake_study.test_cases = lambda fold, number: list(splits[0].test)


def bend(mask: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a mask, uint8 (H, W), with its borders moved by some pixels."""
    shifts = [_SHIFT * gaussian_filter(generator.normal(0, 1, mask.shape), _SMOOTH_PX) for _ in mask.shape]
    positions = [grid + shift for grid, shift in zip(np.indices(mask.shape), shifts, strict=True)]
    return map_coordinates(mask, positions, order=0, mode="nearest").astype(np.uint8)


if __name__ == "__main__":
    main()
