"""Measure Dice against the number of annotated images: from random weights, ImageNet weights and the starter.

    WBCSTUDY_THREADS=1 python benchmarks/starter_curve.py train segmentation_wbc_2 --starts random starter
    python benchmarks/starter_curve.py collect

`train` trains one network for each start, number of images and seed. Every finished training is saved in
outputs/starter_curve/<dataset>/ and is not repeated when the command is started again. Several commands can run at the
same time. ImageNet weights are read from data/weights/<encoder>.h5 (docs/guides/pretrained_weights.md); without them,
add `--starts random starter`. `collect` writes the tables of outputs/reference/starter_curve/ and the figure
docs/images/starter_curve.svg. `--encoder mobilenet` measures another encoder than that of the package's starter, with a
starter of that encoder in $WBCSTUDY_STARTER (`wbcstudy starter build --encoder mobilenet`); the names of its folders
and files end with the encoder.

Test images are those of a study with the default split, the same for all networks. The annotated images are drawn from
its training images by the seed, with about the proportions of cell types; 5 images are a part of the 10, and so on.
Every training has one epoch with the same number of steps, and keeps the moving average of the weights at its end:
nothing is chosen by validation images, which someone with 5 annotated images does not have. 0 images: the starter as it
is, with images resized as for the trained networks.

This does not call `wbcstudy run`: all seeds of a study have the same training images. Here each seed has others, since
the choice of five images may decide more than the other random numbers.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.config_io import changed_settings, make_config
from wbcstudy.data.arrays import read_cases, read_training_cases
from wbcstudy.data.datasets import Dataset, load_dataset
from wbcstudy.data.duplicates import merge_groups, read_duplicates
from wbcstudy.data.records import Split
from wbcstudy.data.splits import draw_cases, load_or_make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, project_root, read_json, write_json
from wbcstudy.inference.starter_file import STARTER
from wbcstudy.nets.backend import load_keras, start_training
from wbcstudy.nets.cost import arithmetic, processor_name
from wbcstudy.nets.prediction import predict_masks
from wbcstudy.nets.training import train
from wbcstudy.nets.unet import build_unet
from wbcstudy.nets.weights import find_weights
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.figures.canvas import PAGE_IN, StudyFigure, add_legend, make_axes, styled, write_figure
from wbcstudy.reporting.figures.colours import PALETTE
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.scoring.evaluation import pool_scores, score_masks
from wbcstudy.scoring.intervals import mean_interval
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.network_start import start_from_network
from wbcstudy.study.record import current_commit

NAME = "starter_curve"
TABLES = project_root() / "outputs" / "reference"
IMAGES = project_root() / "docs" / "images"
RANDOM = "random"
# Encoder, loss, size and average are those of the starter; the rest is as in params/paper_protocol_2.yaml.
SETTINGS = {
    "encoder": "resnet18",
    "loss": "dice",
    "image_size": 96,
    "score_at": "native",
    "batch_size": 8,
    "epochs": 1,
    "weight_average": 0.99,
    "batch_norm_momentum": 0.9,
    "precision": "float32",
}
# The learning rate from the starter is that of docs/guides/without_annotations.md. No setting was tuned.
STARTS = {
    "random": {},
    "imagenet": {"encoder_weights": "data/weights/{encoder}.h5"},
    "imagenet-frozen": {"encoder_weights": "data/weights/{encoder}.h5", "freeze_encoder": True},
    "starter": {"start_from": STARTER, "learning_rate": 0.0003},
}
TITLES = {
    "random": "random weights",
    "imagenet": "ImageNet weights, fine-tuned",
    "imagenet-frozen": "ImageNet weights, encoder frozen",
    "starter": "the starter",
}
_DATASETS = {"segmentation_wbc_1": "Dataset 1", "segmentation_wbc_2": "Dataset 2"}
NUMBERS = (5, 10, 20, 40, 64)
STEPS = 120
_KEYS = ["dataset", "start", "images", "steps"]


class Point(NamedTuple):
    """One training, or the untrained starter with 0 images and 0 steps."""

    start: str
    images: int
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its files, from which `scoring` reads method and seed."""
        return f"{_method(self.start, self.images, self.steps)}__fold0__seed{self.seed}"


def _method(start: str, images: int, steps: int) -> str:
    return f"{start}-{images}-{steps}"


def list_points(starts: Sequence[str], numbers: Sequence[int], seeds: Sequence[int], steps: int) -> Iterator[Point]:
    """List the trainings, one seed after the other, so that an unfinished curve has whole seeds."""
    if STARTER in starts:
        yield Point(STARTER, 0, 0, 0)
    for seed in seeds:
        for images in numbers:
            yield from (Point(start, images, steps, seed) for start in starts)


def name_of(encoder: str) -> str:
    """Return the name of folders and files of an encoder."""
    return NAME if encoder == SETTINGS["encoder"] else f"{NAME}_{encoder}"


def make_settings(point: Point, dataset: str, encoder: str | None = None) -> RunConfig:
    """Return the settings of a training.

    Raises:
        StudyError: the number of steps is not reached with whole passes over the images.
    """
    encoder = encoder or SETTINGS["encoder"]
    seen = point.steps * SETTINGS["batch_size"]
    if point.images and (not seen or seen % point.images):
        raise StudyError(
            f"{point.steps} steps are {seen} images, which {point.images} images do not fill in whole passes.",
            expected="the same number of steps for every number of images",
            fix=f"Change --steps or --images, for example --steps {STEPS} with --images {' '.join(map(str, NUMBERS))}.",
        )
    copies = seen // point.images if point.images else 1
    start = {
        name: value.format(encoder=encoder) if isinstance(value, str) else value
        for name, value in STARTS[point.start].items()
    }
    values = SETTINGS | start | {"encoder": encoder, "augmented_copies": copies, "seed": point.seed}
    return make_config(RunConfig, values | {"dataset": dataset, "study": NAME}, "starter_curve.py")


def run_point(point: Point, config: RunConfig, dataset: Dataset, study: StudyFolder, splits: Sequence[Split]) -> None:
    """Draw the images of a training, and train on them as `train_on`."""
    types = {case.case_id: case.cell_type or "" for case in dataset.cases}
    drawn = draw_cases(splits[0].train, types, point.images, point.seed) if point.images else ()
    if len(drawn) < point.images:
        raise StudyError(
            f"{dataset.name} has {len(drawn)} training images, not {point.images}.",
            expected="at most this number of annotated images",
            fix=f"Lower --images to at most {len(drawn)}.",
        )
    train_on(drawn, point.name, point._asdict(), config, dataset, study, splits)


def train_on(
    drawn: Sequence[str],
    name: str,
    facts: dict[str, Any],
    config: RunConfig,
    dataset: Dataset,
    study: StudyFolder,
    splits: Sequence[Split],
) -> None:
    """Train a network on some images, and write its scores of the test images, `<name>.csv`, then `<name>.json`.

    Args:
        drawn: ids of the training images; the network is not trained where there are none.
        name: name of the training, with seed and fold as in the name of a run.
        facts: facts for `<name>.json`.
        config: settings of the training.
        dataset: dataset of the images.
        study: folder to write.
        splits: the splits of the dataset; the test images of the first are scored.
    """
    # Not the time on a clock: other work may share the processor.
    begin = time.process_time()
    load_keras().backend.clear_session()
    gc.collect()
    start_training(config.seed)
    model = start_from_network(build_unet(config), config, study, dataset, splits)
    if drawn:
        training = read_training_cases(dataset, drawn, config.image_size)
        # A training has validation images. With one epoch these choose nothing; no further image is used.
        validation = read_cases(dataset, drawn, config.image_size)
        with tempfile.TemporaryDirectory() as folder:
            train(model, training, validation, config, RunFolder(Path(folder)), lambda line: None)
    test = read_cases(dataset, splits[0].test, config.image_size, config.score_px)
    predicted = predict_masks(model, test, config.batch_size)
    scores = score_masks(name, test.case_ids, test.cell_types, test.references, predicted)
    own = {case.case_id: case.group for case in dataset.cases if case.group is not None}
    groups = merge_groups(own, [pair.case_ids for pair in read_duplicates(study.duplicates, dataset.name)])
    with atomic_write(study.path / f"{name}.csv") as part:
        scores.assign(group=scores["case_id"].map(groups)).to_csv(part, index=False, lineterminator="\n")
    facts = facts | {"dataset": dataset.name, "settings": config.model_dump(mode="json")}
    facts |= {"drawn": list(drawn), "network_start": getattr(model, "network_start", None)}
    facts |= {"processor_seconds": round(time.process_time() - begin, 1), "processor": processor_name()}
    facts |= {"arithmetic": arithmetic(model), "commit": current_commit()}
    # Written last: a training without it is repeated.
    write_json(study.path / f"{name}.json", facts)


def is_finished(path: Path, config: RunConfig) -> bool:
    """Return whether a training has its `<name>.json`.

    Raises:
        StudyError: it has, but with other settings.
    """
    facts = read_json(path)
    if facts is not None and changed_settings(facts["settings"], config):
        raise StudyError(
            f"{path} is a training with other settings.",
            expected="the same settings for all trainings of a curve",
            fix=f"Move {path.parent} to another folder, to start again.",
        )
    return facts is not None


def train_all(options: argparse.Namespace) -> None:
    """Run the trainings of a dataset that are not finished."""
    # TensorFlow warns that each network has its own graph.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    dataset = load_dataset(options.dataset)
    study = StudyFolder(outputs_folder() / name_of(options.encoder) / dataset.name)
    points = list(list_points(options.starts, options.images, options.seeds, options.steps))
    settings = {point: make_settings(point, options.dataset, options.encoder) for point in points}
    for config in settings.values():
        find_weights(config)
    splits = load_or_make_splits(study.split, dataset, next(iter(settings.values())))
    for number, (point, config) in enumerate(settings.items(), 1):
        path = study.path / f"{point.name}.json"
        if not is_finished(path, config):
            run_point(point, config, dataset, study, splits)
            seconds = read_json(path)["processor_seconds"]
            print(f"{number} of {len(points)}: {point.name}, {seconds:.0f} s", flush=True)
    print(f"{dataset.name}: all {len(points)} trainings are finished.")


def read_points(folder: Path, starts: Sequence[str] = tuple(STARTS)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all finished trainings.

    Args:
        folder: folder with one folder for each dataset.
        starts: values of `start`, in the order of the rows.

    Returns:
        Facts: one row per training. Scores: one row per training, test image and region, with the columns of facts.

    Raises:
        StudyError: there is none.
    """
    rows, frames = [], []
    for path in sorted(folder.glob("*/*__seed*.json")):
        facts = read_json(path)
        row = {name: facts[name] for name in (*_KEYS, "seed", "processor_seconds", "processor", "arithmetic", "commit")}
        rows.append(row)
        scores = pd.read_csv(path.with_suffix(".csv"), dtype={"case_id": str, "group": str})
        frames.append(scores.assign(**{name: row[name] for name in (*_KEYS, "seed")}))
    if not rows:
        raise StudyError(
            f"{folder} has no finished training.",
            expected="results of `starter_curve.py train`",
            fix="Run `python benchmarks/starter_curve.py train segmentation_wbc_2` first.",
        )
    # In the order of the list of starts, not of file names.
    order = sorted(range(len(rows)), key=lambda i: _order(rows[i], starts))
    return pd.DataFrame(rows).iloc[order], pd.concat([frames[i] for i in order], ignore_index=True)


def _order(row: dict[str, Any], starts: Sequence[str]) -> tuple:
    return row["dataset"], starts.index(row["start"]), row["steps"], row["images"], row["seed"]


def summarise_points(facts: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per training and region: pooled and mean Dice, seconds, processor and commit."""
    keys = [*_KEYS, "seed"]
    pooled = pool_scores(scores, [*keys, "region"])[[*keys, "region", "dice", "cases"]]
    means = scores.groupby([*keys, "region"], sort=False)["dice"].mean().rename("dice_mean").reset_index()
    points = pooled.merge(means, on=[*keys, "region"]).rename(columns={"cases": "test_images"})
    return points.merge(facts, on=keys)


def summarise_curve(points: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per dataset, start, number of images, steps and region.

    dice: pooled over all pixels, mean over the seeds. dice_mean: mean over images and seeds, with its 95 % interval
    over the test images. low_seed, high_seed: the lowest and highest dice_mean of a seed.
    """
    rows, trainings = [], points.groupby([*_KEYS, "region"])
    for keys, part in scores.groupby([*_KEYS, "region"], sort=False):
        own = trainings.get_group(keys)
        # A case that is undefined for one seed is left out, as in the differences.
        means = part.groupby("case_id")["dice"].agg(lambda dice: dice.mean(skipna=False))
        groups = part.drop_duplicates("case_id").set_index("case_id")["group"].reindex(means.index)
        interval = mean_interval(means, groups)
        row = dict(zip([*_KEYS, "region"], keys, strict=True)) | {"seeds": len(own), "test_images": len(means)}
        row |= {"dice": own["dice"].mean(), "dice_mean": interval.estimate}
        row |= {"low": interval.low, "high": interval.high}
        rows.append(row | {"low_seed": own["dice_mean"].min(), "high_seed": own["dice_mean"].max()})
    return pd.DataFrame(rows)


def compare_with_random(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare the starter with the most annotated images from random weights, for each number of steps of these.

    Returns:
        One row per dataset, region, images and steps from the starter, and steps from random weights: difference of the
        mean Dice (starter minus random weights) and its interval over test images and seeds. The starter has the usual
        steps, or as many as the random weights. The intervals of one dataset and number of steps from random weights
        hold together, see `paired_differences`.
    """
    rows = []
    for dataset, part in scores.groupby("dataset", sort=False):
        random, starter = part[part["start"] == RANDOM], part[part["start"] == STARTER]
        if random.empty or starter.empty:
            continue
        most, usual = random["images"].max(), usual_steps(part)
        groups = dict(part.dropna(subset="group")[["case_id", "group"]].itertuples(index=False)) or None
        for steps, goal in random[random["images"] == most].groupby("steps"):
            name = _method(RANDOM, most, steps)
            compared = starter[starter["steps"].isin((0, usual, steps))]
            counts = compared[["images", "steps"]].drop_duplicates().itertuples(index=False)
            methods = {_method(STARTER, *row): row for row in counts}
            planned = [(method, name) for method in methods]
            frame = pd.concat([compared, goal])
            pairs = paired_differences(frame, TABLE_REGIONS, groups=groups, planned=planned)
            for pair in pairs[pairs["method_b"] == name].itertuples():
                row = {"dataset": dataset, "region": pair.region} | methods[pair.method_a]._asdict()
                row |= {"goal_images": most, "goal_steps": steps, "units": pair.n, "difference": pair.difference}
                rows.append(row | {"low": pair.ci_low, "high": pair.ci_high, "p_adjusted": pair.p_adjusted})
    names = ("dataset", "region", "images", "steps", "goal_images", "goal_steps", "units", "difference", "low", "high")
    return pd.DataFrame(rows, columns=[*names, "p_adjusted"])


def usual_steps(rows: pd.DataFrame) -> int:
    """Return the steps of most trainings; trainings with other steps are further references."""
    trained = rows[rows["steps"] > 0].drop_duplicates([*_KEYS, "seed"] if "seed" in rows else _KEYS)
    return int(trained["steps"].mode().iloc[0]) if len(trained) else 0


@styled
def draw_curve(curve: pd.DataFrame) -> StudyFigure:
    """Draw mean Dice against the number of annotated images: one column per dataset, one row per region.

    Args:
        curve: rows as `summarise_curve` returns them.
    """
    datasets, numbers = list(dict.fromkeys(curve["dataset"])), sorted(curve["images"].unique())
    figure, axes = make_axes(len(TABLE_REGIONS), len(datasets), PAGE_IN, 4.6, sharex=True, sharey="row", squeeze=False)
    colours = dict(zip(TITLES, PALETTE, strict=False))
    shown: dict[str, Any] = {}
    for row, region in zip(axes, TABLE_REGIONS, strict=True):
        for axis, dataset in zip(row, datasets, strict=True):
            part = curve[(curve["dataset"] == dataset) & (curve["region"] == region)]
            usual = usual_steps(part)
            for (start, steps), points in part.groupby(["start", "steps"], sort=False):
                if start == STARTER and not steps:
                    continue
                further = steps != usual
                if not further:
                    points = part[(part["start"] == start) & part["steps"].isin((0, usual))].sort_values("images")
                title = f"{TITLES[start]}, {steps} steps" if further else TITLES[start]
                # Shifted, so that the intervals do not hide each other.
                x = np.array([numbers.index(number) for number in points["images"]])
                x = x + 0.06 * ([*TITLES].index(start) - 1.5) + 0.12 * further
                ends = np.abs(points[["low", "high"]].to_numpy().T - points["dice_mean"].to_numpy())
                style = {"color": colours[start], "lw": 1.2, "ms": 4, "capsize": 1.5, "elinewidth": 0.8}
                shown[title] = axis.errorbar(x, points["dice_mean"], ends, fmt="*" if further else "o-", **style)
                seeds = points[["low_seed", "high_seed"]].to_numpy()
                axis.vlines(x, seeds[:, 0], seeds[:, 1], color=colours[start], lw=3.5, alpha=0.35)
            goal = part[(part["start"] == RANDOM) & (part["images"] == numbers[-1]) & (part["steps"] == usual)]
            for value in goal["dice_mean"]:
                axis.axhline(value, color=colours[RANDOM], lw=0.8, ls=":")
            if region == TABLE_REGIONS[0]:
                axis.set_title(_DATASETS.get(dataset, dataset))
            axis.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        row[0].set_ylabel(f"mean Dice, {region}")
    for axis in axes[-1]:
        axis.set_xlabel("annotated images")
    for title, handle in shown.items():
        handle.set_label(title)
    add_legend(figure, shown.values())
    return figure


def collect(options: argparse.Namespace) -> None:
    """Write the tables and the figure from all finished trainings."""
    own = name_of(options.encoder)
    facts, scores = read_points(outputs_folder() / own)
    points = summarise_points(facts, scores)
    curve = summarise_curve(points, scores)
    tables = TABLES / own
    tables.mkdir(parents=True, exist_ok=True)
    for name, frame in (("points", points), ("curve", curve), ("differences", compare_with_random(scores))):
        with atomic_write(tables / f"{name}.csv") as part:
            frame.to_csv(part, index=False, float_format="%.5f", lineterminator="\n")
        print(tables / f"{name}.csv")
    with tempfile.TemporaryDirectory() as folder:
        svg = write_figure(draw_curve(curve), Path(folder), own)[-1]
        with atomic_write(IMAGES / svg.name) as part:
            part.write_bytes(svg.read_bytes())
    print(IMAGES / svg.name)


def main() -> None:
    """Train, or collect what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train the networks of a dataset that are not finished")
    training.add_argument("dataset", help="name or dataset.yaml")
    training.add_argument("--starts", nargs="+", choices=STARTS, default=["random", "imagenet", "starter"])
    training.add_argument("--images", nargs="+", type=int, default=list(NUMBERS), help="numbers of annotated images")
    training.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    training.add_argument("--steps", type=int, default=STEPS, help="steps of each training, of 8 images")
    training.set_defaults(run=train_all)
    collecting = commands.add_parser("collect", help="write tables and figure")
    collecting.set_defaults(run=collect)
    for command in (training, collecting):
        command.add_argument("--encoder", choices=ENCODERS, default=SETTINGS["encoder"], help="encoder of all networks")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
