"""A complete training in wbcstudy and in PyTorch: same images, split, order, augmentation and number of epochs.

    .venv/bin/python benchmarks/fit.py segmentation_wbc_2 --torch-python /path/to/other/bin/python

Both test the epoch with the lowest validation loss. wbcstudy can be run in several precisions. The two U-Nets are not
the same in everything; `--like-pytorch` trains ours with the settings of PyTorch's, see `make_like_pytorch`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from machine import RESULTS, describe_machine, write_table

HERE = Path(__file__).parent
LIKE_PYTORCH = "ours with PyTorch's settings"
# As in torch_side.py, which runs in another Python.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="synthetic")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--seeds", nargs="*", type=int, default=[0], help="without any, --append only rewrites the notes"
    )
    parser.add_argument("--dropout", type=float, default=0.2, help="of both networks, before the last layer")
    parser.add_argument("--precisions", nargs="+", default=["auto"], help="of wbcstudy")
    parser.add_argument("--torch-python", help="Python with torch and segmentation-models-pytorch")
    parser.add_argument("--torch-precisions", nargs="+", default=["bfloat16"])
    parser.add_argument("--torch-only", action="store_true")
    parser.add_argument("--like-pytorch", action="store_true", help="train ours with the settings of PyTorch's")
    parser.add_argument("--threads", type=int, help="threads per training; default: all cores")
    parser.add_argument(
        "--together",
        action="store_true",
        help="run all trainings of a seed at the same time, so that other load affects all of them",
    )
    parser.add_argument("--name", default="fit", help="name of the files in results/")
    parser.add_argument("--append", action="store_true", help="keep the rows of earlier calls")
    args = parser.parse_args()
    if args.threads:
        # Read by TensorFlow (through wbcstudy) and PyTorch in the child processes.
        os.environ.update({name: str(args.threads) for name in ("WBCSTUDY_THREADS", "OMP_NUM_THREADS")})
    rows = []
    for seed in args.seeds:
        from wbcstudy.config import RunConfig

        config = RunConfig(
            study="benchmark", dataset=args.dataset, encoder=args.encoder, image_size=args.size, epochs=args.epochs,
            patience=args.epochs, seed=seed, dropout=args.dropout,
        )  # fmt: skip
        kind = LIKE_PYTORCH if args.like_pytorch else "ours"
        fits = [] if args.torch_only else [partial(call_ours, config, precision, kind) for precision in args.precisions]
        if args.torch_python:
            fits += [partial(fit_torch, config, precision, args.torch_python) for precision in args.torch_precisions]
        with ThreadPoolExecutor(len(fits) if args.together else 1) as pool:
            for row in pool.map(lambda fit: fit(), fits):
                facts = {"dataset": args.dataset, "size": args.size, "dropout": args.dropout}
                rows.append(row | facts | {"threads": args.threads or "all"})
                rows[-1]["together"] = args.together
                print(row, file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows).assign(sitting=1)
    kept = RESULTS / f"{args.name}.csv"
    if args.append and kept.exists():
        # Read now, not at the start: two calls may run at the same time.
        earlier = pd.read_csv(kept)
        later = [frame.assign(sitting=earlier["sitting"].max() + 1)] if rows else []
        frame = pd.concat([earlier, *later], ignore_index=True)
    notes = [
        "Cross-entropy, 4 augmented copies, batch 8, no early stopping. The epoch with the lowest validation loss is "
        "tested.",
        "fit_s: all epochs with validation, without reading images and building the network. Dice: mean over the test "
        "images.",
        "Compare times only within one sitting and seed. together: all trainings of a seed ran at the same time.",
        *(line for _, part in frame.groupby(["dataset", "encoder", "size", "epochs"]) for line in compare(part)),
        *describe_machine(),
    ]
    write_table(args.name, "A complete training", frame, notes)


def compare(frame: pd.DataFrame) -> list[str]:
    """Describe the Dice of each library and precision over the seeds, and the ratio of times in the same sitting."""
    from scipy.stats import ttest_ind

    lines, kinds = [], dict(list(frame.groupby(["kind", "precision"])))
    for (kind, precision), rows in kinds.items():
        dice = [
            f"{region} {rows[f'{region}_dice'].mean():.3f} ({rows[f'{region}_dice'].min():.3f} to "
            f"{rows[f'{region}_dice'].max():.3f})"
            for region in ("nucleus", "cytoplasm")
        ]
        lines.append(f"{kind}, {precision}, {len(rows)} seeds, mean (range): {', '.join(dice)}.")
    for (first_name, first), (second_name, second) in itertools.combinations(kinds.items(), 2):
        if min(len(first), len(second)) > 1:
            differences = []
            for column in ("nucleus_dice", "cytoplasm_dice"):
                gain = first[column].mean() - second[column].mean()
                p = ttest_ind(first[column], second[column], equal_var=False).pvalue
                differences.append(f"{column.removesuffix('_dice')} {gain:+.4f} (p = {p:.2f})")
            names = f"{' '.join(first_name)} minus {' '.join(second_name)}"
            lines.append(f"{names}, Welch's t-test over seeds: {', '.join(differences)}.")
    times = frame.pivot_table(index=["sitting", "seed"], columns=["kind", "precision"], values="fit_s")
    for ours in [column for column in times if column[0].startswith("ours")]:
        for other in [column for column in times if not column[0].startswith("ours")]:
            ratios = (times[ours] / times[other]).dropna()
            if len(ratios):
                name = ours[0].replace("ours", "wbcstudy", 1)
                lines.append(
                    f"{name} in {ours[1]} takes {ratios.median():.2f} times as long as {other[0]} in {other[1]} "
                    f"(median of {len(ratios)}: {', '.join(f'{ratio:.2f}' for ratio in ratios)})."
                )
    return lines


def call_ours(config, precision: str, kind: str) -> dict:
    """Train in a separate process, as a study does."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import fit; fit.fit_ours(*sys.argv[2:])"
    command = [sys.executable, "-c", code, str(HERE), config.model_dump_json(), precision, kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def fit_ours(settings: str, precision: str, kind: str) -> None:
    from wbcstudy.config import RunConfig
    from wbcstudy.nets.backend import resolve_precision, start_training
    from wbcstudy.nets.cost import peak_memory_mb
    from wbcstudy.nets.prediction import predict_masks
    from wbcstudy.nets.training import train
    from wbcstudy.nets.unet import build_unet
    from wbcstudy.runs.folders import RunFolder

    config = RunConfig(**json.loads(settings) | {"precision": precision})
    start_training(config.seed)
    training, validation, test = read_parts(config)
    with tempfile.TemporaryDirectory() as folder:
        model = build_unet(config)
        if kind == LIKE_PYTORCH:
            make_like_pytorch(model, training, validation)
        start = time.perf_counter()
        train(model, training, validation, config, RunFolder(Path(folder)), lambda line: print(line, file=sys.stderr))
        seconds = time.perf_counter() - start
        predicted = predict_masks(model, test)
    library = f"tensorflow {importlib.metadata.version('tensorflow')}"
    used = resolve_precision(precision)
    print(json.dumps(describe(kind, config, used, seconds, test, predicted, peak_memory_mb(), library)))


def make_like_pytorch(model, *parts) -> None:
    """Give a network and its images the settings of `torch_side.py`.

    One label for each pixel instead of the labels' shares; images normalised by fixed means and spreads instead of
    those of the batch (the first layer of segmentation_models' ResNets); 1e-5 instead of 1e-3 or 2e-5 in batch norms;
    1e-8 instead of 1e-7 in Adam.
    """
    from wbcstudy.data.arrays import majority
    from wbcstudy.nets import training
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.fast_layers import fast_adam

    for part in parts:
        labels = majority(part.shares)
        for channel in range(part.shares.shape[-1]):
            part.shares[..., channel] = 255 * (labels == channel + 1)
    for layer in model.layers:
        if isinstance(layer, load_keras().layers.BatchNormalization):
            # 1e-5, but above the smallest value of TensorFlow's fused kernel, which trainings use.
            layer.epsilon = 1.0011e-5
        if layer.name == "bn_data":
            layer.trainable = False
            layer.moving_mean.assign(MEAN)
            layer.moving_variance.assign(np.square(STD))

    def build_adam(learning_rate):
        adam = fast_adam(learning_rate)
        adam.epsilon = 1e-8
        return adam

    training.fast_adam = build_adam


def fit_torch(config, precision: str, python: str) -> dict:
    from wbcstudy.nets.augment import make_augmentation
    from wbcstudy.nets.batches import make_order

    training, validation, test = read_parts(config)
    orders = [make_order(len(training), config, epoch + 1) for epoch in range(config.epochs)]
    plans = [make_augmentation(len(orders[0]), config, epoch + 1) for epoch in range(config.epochs)]
    steps = -(-len(orders[0]) // config.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "fit.npz"
        np.savez(
            source,
            train_images=training.images,
            train_masks=training.masks,
            validation_images=validation.images,
            validation_masks=validation.masks,
            test_images=test.images,
            orders=np.stack(orders),
            bounds=np.arange(steps + 1) * len(orders[0]) // steps,
            transforms=np.stack([plan.transforms for plan in plans]),
            brightness=np.stack([plan.brightness for plan in plans]),
        )
        command = [python, str(HERE / "torch_side.py"), config.encoder, "--precision", precision, "--fit", str(source)]
        command += ["--seed", str(config.seed), "--dropout", str(config.dropout)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        facts, result = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
        predicted = np.load(source.with_suffix(".torch.npy"))
    library = ", ".join(f"{name} {value}" for name, value in facts.items() if "torch" in name)
    return describe("PyTorch", config, precision, result["seconds"], test, predicted, result["peak_mb"], library)


def read_parts(config):
    from wbcstudy.data.arrays import read_cases
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.data.splits import load_or_make_splits

    dataset = load_dataset(config.dataset)
    with tempfile.TemporaryDirectory() as folder:
        split = load_or_make_splits(Path(folder) / "split.json", dataset, config)[0]
    # Both are scored at the size of the network: torch_side.py does not resize its predictions.
    return [read_cases(dataset, part, config.image_size, config.image_size) for part in split.parts]


def describe(kind: str, config, precision, seconds: float, test, predicted, peak_mb: float, library: str) -> dict:
    from wbcstudy.scoring.evaluation import score_masks

    scores = score_masks(kind, test.case_ids, test.cell_types, test.references, predicted)
    dice = scores.groupby("region")["dice"].mean()
    return {
        "kind": kind,
        "encoder": config.encoder,
        "precision": precision,
        "seed": config.seed,
        "epochs": config.epochs,
        "fit_s": round(seconds, 1),
        "nucleus_dice": round(float(dice["nucleus"]), 4),
        "cytoplasm_dice": round(float(dice["cytoplasm"]), 4),
        "peak_mb": round(peak_mb),
        "library": library,
    }


if __name__ == "__main__":
    main()
