"""Images per second of the input pipeline, compared with the fastest network.

.venv/bin/python benchmarks/pipeline.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from machine import describe_machine, write_table
from train_step import HERE, Side


def main() -> None:
    from wbcstudy.registry import ENCODERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--encoders", nargs="+", default=["mobilenet", "mobilenetv2", "resnet18"], choices=list(ENCODERS)
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = [*measure_reading(args), *measure_batches(args)]
    alone = rows[-2]["images_per_s"]
    for encoder in args.encoders:
        side = Side("ours", [sys.executable, str(HERE / "keras_side.py"), "ours", encoder, *shape_of(args)])
        for turn in range(args.rounds + 2):
            side.step(count=turn >= 2)
        side.close()
        rows.append(make_row(f"{encoder} trains", args.batch / side.median))
    fastest = max(row["images_per_s"] for row in rows if row["stage"].endswith("trains"))
    for row in rows:
        row["times_the_fastest_network"] = round(row["images_per_s"] / fastest, 2)
    notes = [
        f"{args.size} px, batch {args.batch}; median of {args.rounds}, all threads of the machine.",
        "Files are read once, before the first epoch. Batches are made in every epoch, in parallel with training.",
        f"Batches are made {alone / fastest:.1f} times as fast as the fastest of these networks uses them.",
        *describe_machine(),
    ]
    write_table("pipeline", "The input pipeline", pd.DataFrame(rows), notes)


def shape_of(args) -> list[str]:
    return ["--size", str(args.size), "--batch", str(args.batch)]


def make_row(stage: str, rate: float) -> dict:
    return {"stage": stage, "images_per_s": round(rate, 1)}


def measure_reading(args):
    """Measure `read_cases` (decode and resize) on images of 300 px."""
    from wbcstudy.data.arrays import read_cases
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

    with tempfile.TemporaryDirectory() as folder:
        write_synthetic_dataset(Path(folder) / "cells", cases=args.cases, seed=0, size_px=300)
        dataset = load_dataset(str(Path(folder) / "cells"))
        ids = [case.case_id for case in dataset.cases]
        times = []
        for _ in range(args.rounds):
            start = time.perf_counter()
            read_cases(dataset, ids, args.size)
            times.append(time.perf_counter() - start)
    return [make_row("decode and resize a case", len(ids) / statistics.median(times))]


def measure_batches(args):
    from wbcstudy.config import RunConfig
    from wbcstudy.data.arrays import DiskArray
    from wbcstudy.nets.batches import make_batches

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.cases, args.size, args.size, 3), dtype=np.uint8)
    shares = rng.integers(0, 128, (*images.shape[:3], 2), dtype=np.uint8)
    stored = DiskArray(images.shape), DiskArray(shares.shape)
    for target, source in zip(stored, (images, shares), strict=True):
        target[:] = source
    config = RunConfig(image_size=args.size, batch_size=args.batch, augmented_copies=4)
    for name, pair in (("from memory", (images, shares)), ("from the disk", stored)):
        times = []
        for epoch in range(1, args.rounds + 2):
            start = time.perf_counter()
            for batch in make_batches(*pair, config, epoch):
                assert batch[0].shape[1] == args.size
            times.append(time.perf_counter() - start)
        yield make_row(f"augment and batch, {name}", args.cases * 4 / statistics.median(times[1:]))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
