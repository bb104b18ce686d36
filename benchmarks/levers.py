"""What each lever of a training step gains: steps without one lever each, in turn, in one process.

    WBCSTUDY_THREADS=1 python benchmarks/levers.py resnet18 mobilenetv2 --size 128
    WBCSTUDY_THREADS=1 python benchmarks/levers.py resnet18 --size 256

The levers are those of `wbcstudy/nets/levers.py`, which `WBCSTUDY_WITHOUT` switches off; `none` leaves all on, and
`all` switches all off. Rows of the same encoder and size are replaced.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time

import numpy as np
import pandas as pd
from machine import RESULTS, describe_machine, write_table

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import resolve_precision, start_training
from wbcstudy.nets.fast_convolutions import fast_convolutions
from wbcstudy.nets.fast_layers import fast_adam
from wbcstudy.nets.levers import LEVERS, WITHOUT
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.unet import build_unet
from wbcstudy.registry import ENCODERS


def prepare(config: RunConfig, without: str, images: np.ndarray, masks: np.ndarray):
    """Return a function that takes one step without a lever, after two steps."""
    os.environ[WITHOUT] = ",".join(LEVERS) if without == "all" else without if without in LEVERS else ""
    model = build_unet(config)
    model.compile(fast_adam(config.learning_rate), build_loss("dice"), jit_compile=False)

    def step() -> float:
        start = time.process_time()
        with fast_convolutions(model):
            model.train_on_batch(images, masks)
        return time.process_time() - start

    for _ in range(2):
        step()
    return step


def measure(encoder: str, args) -> list[dict]:
    config = RunConfig(encoder=encoder, image_size=args.size, batch_size=args.batch, precision=args.precision)
    generator = np.random.default_rng(0)
    shape = (args.batch, args.size, args.size)
    images = generator.uniform(0, 255, (*shape, 3)).astype(np.float32)
    masks = generator.integers(0, 3, shape, dtype=np.uint8)
    variants = {name: prepare(config, name, images, masks) for name in args.without}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(args.rounds):
        names = list(variants)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds[name].append(variants[name]())
    rows = []
    for name, times in seconds.items():
        ratios = [own / base for own, base in zip(times, seconds["none"], strict=True)]
        row = {"encoder": encoder, "size": args.size, "precision": resolve_precision(args.precision), "without": name}
        row |= {"step_s": round(statistics.median(times), 4), "over_none": round(statistics.median(ratios), 3)}
        low, high = np.quantile(ratios, [0.25, 0.75])
        rows.append(row | {"low": round(low, 3), "high": round(high, 3), "rounds": args.rounds})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    names = ["none", *LEVERS, "all"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", choices=list(ENCODERS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--without", nargs="+", choices=names, default=names)
    parser.add_argument("--name", default="levers", help="name of the files in results/")
    args = parser.parse_args()
    args.without = list(dict.fromkeys(["none", *args.without]))
    start_training(0)
    rows = []
    for encoder in args.encoders:
        rows += measure(encoder, args)
        gc.collect()
    frame = pd.DataFrame(rows)
    keys = ["encoder", "size", "precision", "without"]
    if (kept := RESULTS / f"{args.name}.csv").exists():
        frame = pd.concat([pd.read_csv(kept), frame]).drop_duplicates(keys, keep="last")
    notes = [
        f"Processor seconds of a training step without one lever each, batch {args.batch}, "
        f"WBCSTUDY_THREADS={os.environ.get('WBCSTUDY_THREADS', '')}; medians, all variants in turn.",
        "over_none: median of the ratios to the step with all levers of the same round; low and high: its quartiles.",
        *describe_machine(),
    ]
    write_table(args.name, "Levers of a training step", frame.sort_values(keys[:3], kind="stable"), notes)


if __name__ == "__main__":
    main()
