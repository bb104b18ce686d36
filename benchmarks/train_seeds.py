"""Train one network several times, with nothing but the seed changed, and score averaged and plain weights.

    WBCSTUDY_THREADS=1 python benchmarks/train_seeds.py --seeds 0 1 2 3 4 5 6 7

Every finished training is saved and is not repeated when the command is started again. Two commands with different
seeds can run at the same time. Both kinds of weights come from the same training, which the moving average does not
change. The length is fixed; of each kind, the epoch with the lowest validation loss is kept. `compare_seeds.py`
evaluates the results.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from wbcstudy.config import RunConfig
from wbcstudy.config_io import make_config
from wbcstudy.data.arrays import read_cases, read_training_cases
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, write_json
from wbcstudy.nets.backend import start_training
from wbcstudy.nets.prediction import predict_masks
from wbcstudy.nets.training import train, validate
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder
from wbcstudy.scoring.boundary import BOUNDARY_METRICS, score_boundaries
from wbcstudy.scoring.evaluation import score_masks

SETTINGS = {"dataset": "segmentation_wbc_1", "image_size": 128, "epochs": 12, "augmented_copies": 1}


def train_once(config: RunConfig, folder: Path) -> None:
    """Train with one seed and write `<run>.scores.csv`, `<run>.epochs.csv`, `<run>.boundary.csv` and `<run>.json`.

    Args:
        config: the settings; `weight_average` above 0, `patience` at least `epochs`.
        folder: where to write; it also holds the split.
    """
    start, cpu = time.perf_counter(), time.process_time()
    start_training(config.seed)
    data = load_dataset(config.dataset)
    split = load_or_make_splits(folder / "split.json", data, config)[config.fold]
    training = read_training_cases(data, split.train, config.image_size)
    parts = {
        part: read_cases(data, cases, config.image_size, config.score_px)
        for part, cases in (("validation", split.validation), ("test", split.test))
    }
    model, plain = build_unet(config), PlainWeights()

    def after_epoch(line: str) -> None:
        print(config.name, line, flush=True)
        plain.add(model, validate(model, parts["validation"], config))

    with tempfile.TemporaryDirectory() as temporary:
        result = train(model, training, parts["validation"], config, RunFolder(Path(temporary)), after_epoch)
    scores = [_score(model, parts, config, "averaged")]
    boundaries = _score_boundaries(model, parts["test"], config)
    model.set_weights(plain.best)
    scores.append(_score(model, parts, config, "plain"))
    averaged = result.history[["epoch", *plain.rows[0]]].assign(weights="averaged")
    epochs = [averaged, pd.DataFrame(plain.rows).assign(epoch=averaged["epoch"], weights="plain")]
    for kind, frames in (("scores", scores), ("epochs", epochs), ("boundary", [boundaries])):
        with atomic_write(folder / f"{config.name}.{kind}.csv") as part:
            pd.concat(frames).to_csv(part, index=False, float_format="%.5f")
    settings = config.model_dump(mode="json", exclude_defaults=True)
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - cpu}
    seconds = {name: round(value, 1) for name, value in seconds.items()}
    # Written last: a training without it is repeated.
    write_json(folder / f"{config.name}.json", settings | {"steps_per_epoch": result.steps_per_epoch} | seconds)


class PlainWeights:
    """The plain weights after each epoch: validation scores, and the weights with the lowest validation loss."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []

    def add(self, model, scores: dict[str, float]) -> None:
        """Add an epoch."""
        if all(scores["val_loss"] < row["val_loss"] for row in self.rows):
            self.best = [weight.copy() for weight in model.get_weights()]
        self.rows.append(scores)


def _score(model, parts, config: RunConfig, weights: str) -> pd.DataFrame:
    frames = []
    for part, cases in parts.items():
        predicted = predict_masks(model, cases, config.batch_size)
        scores = score_masks(config.name, cases.case_ids, cases.cell_types, cases.references, predicted)
        frames.append(scores[["run", "case_id", "region", "dice"]].assign(part=part, weights=weights))
    return pd.concat(frames)


def _score_boundaries(model, cases, config: RunConfig) -> pd.DataFrame:
    predicted = predict_masks(model, cases, config.batch_size)
    frame = score_boundaries(config.name, cases.case_ids, cases.references, predicted)
    return frame[["run", "case_id", "region", *BOUNDARY_METRICS]]


def main() -> None:
    """Train every encoder with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="seeds", help="folder in outputs/ for the results")
    parser.add_argument("--encoders", nargs="+", default=["mobilenet", "resnet18"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*range(8)])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting")
    args = parser.parse_args()
    settings = SETTINGS | {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in args.set)}
    settings |= {"study": args.name, "weight_average": 0.99, "patience": settings["epochs"]}
    folder = outputs_folder() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for encoder in args.encoders:
            config = make_config(RunConfig, settings | {"encoder": encoder, "seed": seed}, "--set")
            if not (folder / f"{config.name}.json").exists():
                train_once(config, folder)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
