"""Try training settings on the validation cases of a dataset. Its test cases are never read.

    python benchmarks/try_settings.py --dataset segmentation_wbc_1 --encoder mobilenet --training-images 64 \
        --set epochs=20 --set learning_rate_schedule=cosine

Every trial adds one row to outputs/reference/settings/trials.csv, whether it helped or not. Two trials can run at the
same time (`WBCSTUDY_THREADS=1`).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_config
from wbcstudy.data.arrays import read_cases, read_training_cases
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import project_root
from wbcstudy.nets.backend import ONEDNN, start_training
from wbcstudy.nets.training import train
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder

TRIALS = project_root() / "outputs" / "reference" / "settings" / "trials.csv"


def try_settings(config: RunConfig, training_images: int | None) -> dict:
    """Train once and score the validation cases.

    Args:
        config: the settings.
        training_images: number of training cases, the first of the split; None for all.

    Returns:
        One row: the settings, and number, loss and pooled Dice of the best epoch (lowest validation loss). The means
        over the last three epochs show how much these depend on the choice of the epoch.
    """
    start_training(config.seed)
    data = load_dataset(config.dataset)
    with tempfile.TemporaryDirectory() as folder:
        split = load_or_make_splits(Path(folder) / "split.json", data, config)[config.fold]
        training = read_training_cases(data, split.train[:training_images], config.image_size)
        validation = read_cases(data, split.validation, config.image_size)
        result = train(build_unet(config), training, validation, config, RunFolder(Path(folder)))
    best = result.history.iloc[result.best_epoch - 1]
    last = result.history.tail(3).mean()
    settings = config.model_dump(mode="json", exclude_defaults=True)
    names = ("val_loss", "val_dice_nucleus", "val_dice_cytoplasm")
    return {
        "dataset": config.dataset,
        "encoder": config.encoder,
        "loss": config.loss,
        "training_images": len(training.images),
        "settings": json.dumps({k: v for k, v in settings.items() if k not in ("dataset", "encoder", "loss", "study")}),
        "images_seen": result.epochs * result.steps_per_epoch * config.batch_size,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        **{name: round(float(best[name]), 4) for name in names},
        **{f"last_{name}": round(float(last[name]), 4) for name in names},
        "onednn": os.environ[ONEDNN],
    }


def main() -> None:
    """Train with the given settings and add a row to the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="segmentation_wbc_1")
    parser.add_argument("--encoder", default="mobilenet")
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--training-images", type=int, default=None)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    args = parser.parse_args()
    if args.training_images is not None and args.training_images < 1:
        parser.error(f"--training-images {args.training_images}: give a number from 1 on, or leave it out for all")
    values = {"dataset": args.dataset, "encoder": args.encoder, "loss": args.loss, "image_size": 128}
    for text in args.changes:
        name, equals, value = text.partition("=")
        try:
            values[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            parser.error(f"--set {text}: give NAME=VALUE, for example --set epochs=20")
    config = make_config(RunConfig, values, "--set")
    row = pd.DataFrame([try_settings(config, args.training_images)])
    TRIALS.parent.mkdir(parents=True, exist_ok=True)
    # Append one line only: another trial may end at the same time.
    with TRIALS.open("a", encoding="utf-8") as file:
        file.write(row.to_csv(index=False, header=not file.tell()))
    print(row.to_string(index=False))


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
