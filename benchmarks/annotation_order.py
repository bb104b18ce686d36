"""Measure whether images chosen by `wbcstudy annotate-next` teach the starter more than images chosen at random.

    WBCSTUDY_THREADS=1 python benchmarks/annotation_order.py train segmentation_wbc_1
    WBCSTUDY_THREADS=1 python benchmarks/annotation_order.py train segmentation_wbc_2
    python benchmarks/annotation_order.py collect

`train` trains the starter further on ten training images of a dataset: the ten that `annotate-next` lists first, with
one training for each seed, and ten drawn at random, other ones for each seed. Split, settings and scores are those of
`starter_curve.py`. Every finished training is saved in outputs/annotation_order/<dataset>/ and is not repeated.
`annotate-next` gets all training images and no mask; scale and colours are found as usual. The random images are drawn
without regard to cell types, which are not known before annotation. `collect` writes the tables of
outputs/reference/annotation_order/.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from starter_curve import (
    STEPS,
    Point,
    is_finished,
    make_settings,
    read_points,
    summarise_curve,
    summarise_points,
    train_on,
)

from wbcstudy.config import RunConfig
from wbcstudy.data.datasets import Dataset, load_dataset
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, project_root, read_json, write_json
from wbcstudy.inference.annotate_next import NEXT_FILE, annotate_next
from wbcstudy.inference.inputs import DRAFTS_FILE
from wbcstudy.inference.starter_file import STARTER
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.record import current_commit

NAME = "annotation_order"
TABLES = project_root() / "outputs" / "reference" / NAME
NEXT, RANDOM = CHOICES = ("annotate-next", "random")
IMAGES = 10
SEEDS = (0, 1, 2, 3, 4)


def choose_next(dataset: Dataset, case_ids: Sequence[str], count: int, network: str, path: Path) -> tuple[str, ...]:
    """Return the ids of the images that `annotate-next` lists, in its order.

    Args:
        dataset: dataset of the images.
        case_ids: ids of the images to choose from.
        count: number of images.
        network: network as for `annotate-next --model`.
        path: file that keeps the list and how the network was applied; read where it exists.
    """
    if (saved := read_json(path)) is None:
        cases = {case.image_path.resolve(): case.case_id for case in dataset.cases if case.case_id in set(case_ids)}
        with tempfile.TemporaryDirectory() as folder:
            drafts = Path(folder) / "drafts"
            annotate_next(list(cases), network, drafts, wanted=count)
            with (drafts / NEXT_FILE).open(newline="", encoding="utf-8") as file:
                chosen = [cases[Path(row["file"])] for row in csv.DictReader(file)]
            saved = read_json(drafts / DRAFTS_FILE)
        # Not the paths of this machine.
        saved = {name: saved[name] for name in ("model", "model_sha256", "scale", "stain", "code_version")}
        write_json(path, saved | {"commit": current_commit(), "chosen": chosen})
        return tuple(chosen)
    return tuple(saved["chosen"])


def draw_random(case_ids: Sequence[str], count: int, seed: int) -> tuple[str, ...]:
    """Draw images at random, without regard to cell types."""
    return tuple(np.random.default_rng(seed).permutation(sorted(case_ids))[:count].tolist())


def settings_of(point: Point, dataset: str) -> RunConfig:
    """Return the settings of a training, those of the starter's curve."""
    return make_settings(point._replace(start=STARTER), dataset).model_copy(update={"study": NAME})


def train_all(options: argparse.Namespace) -> None:
    """Run the trainings of a dataset that are not finished."""
    # TensorFlow warns that each network has its own graph.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    dataset = load_dataset(options.dataset)
    study = StudyFolder(outputs_folder() / NAME / dataset.name)
    points = [Point(choice, IMAGES, options.steps, seed) for seed in options.seeds for choice in CHOICES]
    settings = {point: settings_of(point, options.dataset) for point in points}
    splits = load_or_make_splits(study.split, dataset, settings[points[0]])
    network = settings[points[0]].start_from
    listed = choose_next(dataset, splits[0].train, IMAGES, network, study.path / "chosen.json")
    for number, (point, config) in enumerate(settings.items(), 1):
        path = study.path / f"{point.name}.json"
        if not is_finished(path, config):
            chosen = listed if point.start == NEXT else draw_random(splits[0].train, IMAGES, point.seed)
            train_on(chosen, point.name, point._asdict(), config, dataset, study, splits)
            print(f"{number} of {len(points)}: {point.name}", flush=True)
    print(f"{dataset.name}: all {len(points)} trainings are finished.")


def compare_choices(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare the images of `annotate-next` with the random ones.

    Returns:
        One row per dataset and region: difference of the mean Dice (annotate-next minus random) and its interval over
        test images and trainings, see `paired_differences`. The intervals of one dataset hold together. A random
        training varies by its images too, one of annotate-next by its seed only.
    """
    rows = []
    for dataset, part in scores.groupby("dataset", sort=False):
        groups = dict(part.dropna(subset="group")[["case_id", "group"]].itertuples(index=False)) or None
        names = [part.loc[part["start"] == choice, "run"].iloc[0].partition("__")[0] for choice in CHOICES]
        for pair in paired_differences(part, TABLE_REGIONS, groups=groups, planned=[tuple(names)]).itertuples():
            sign = 1 if pair.method_a == names[0] else -1
            low, high = sorted((sign * pair.ci_low, sign * pair.ci_high))
            row = {"dataset": dataset, "region": pair.region, "units": pair.n, "difference": sign * pair.difference}
            rows.append(row | {"low": low, "high": high, "p_adjusted": pair.p_adjusted})
    return pd.DataFrame(rows, columns=["dataset", "region", "units", "difference", "low", "high", "p_adjusted"])


def count_types(folder: Path) -> pd.DataFrame:
    """Return one row per dataset and training: ids of the training images and their number of cell types."""
    rows = []
    for path in sorted(folder.glob("*/*__seed*.json")):
        facts = read_json(path)
        types = {case.case_id: case.cell_type for case in load_dataset(facts["settings"]["dataset"]).cases}
        row = {"dataset": facts["dataset"], "choice": facts["start"], "seed": facts["seed"]}
        row |= {"cell_types": len({types[case_id] for case_id in facts["drawn"]})}
        rows.append(row | {"images": " ".join(facts["drawn"])})
    return pd.DataFrame(rows)


def collect(options: argparse.Namespace) -> None:
    """Write the tables from all finished trainings."""
    folder = outputs_folder() / NAME
    facts, scores = read_points(folder, CHOICES)
    points = summarise_points(facts, scores)
    summary = summarise_curve(points, scores)
    TABLES.mkdir(parents=True, exist_ok=True)
    tables = {"trainings": points, "scores": summary}
    tables = {name: frame.rename(columns={"start": "choice"}) for name, frame in tables.items()}
    for name, frame in (tables | {"differences": compare_choices(scores), "images": count_types(folder)}).items():
        with atomic_write(TABLES / f"{name}.csv") as part:
            frame.to_csv(part, index=False, float_format="%.5f", lineterminator="\n")
        print(TABLES / f"{name}.csv")


def main() -> None:
    """Train, or collect what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train the networks of a dataset that are not finished")
    training.add_argument("dataset", help="name or dataset.yaml")
    training.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    training.add_argument("--steps", type=int, default=STEPS, help="steps of each training, of 8 images")
    training.set_defaults(run=train_all)
    commands.add_parser("collect", help="write the tables").set_defaults(run=collect)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
