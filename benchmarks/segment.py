"""Segment fields of 1024x768 px with our networks and with PyTorch, in turn, in one run.

    .venv/bin/python benchmarks/segment.py --torch-python /path/to/other/bin/python

Networks only, at the size of the field. benchmarks/measure_segment.py also decodes images, separates and measures
cells, and writes results.
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np
import pandas as pd
from machine import describe_machine, describe_threads, write_table
from train_step import CLOCKS, start, take_turns


def main() -> None:
    from wbcstudy.registry import ENCODERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=["mobilenet", "resnet18", "vgg16"], choices=[*ENCODERS])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", help="Python with torch and segmentation-models-pytorch")
    parser.add_argument("--threads", type=int, help="threads per process; default: all cores")
    parser.add_argument("--clock", choices=[*CLOCKS], default="wall", help="cpu: for a machine with other load")
    args = parser.parse_args()
    args.size = 768
    if args.threads:
        os.environ.update({name: str(args.threads) for name in ("WBCSTUDY_THREADS", "OMP_NUM_THREADS")})
    rows, versions = [], {}
    for encoder in args.encoders:
        kinds = ("ours", "torch float32", "torch bfloat16")
        sides = [start(kind, encoder, args, "--segment", "--width", "1024") for kind in kinds]
        timed = take_turns([side for side in sides if side], 2, args.rounds, versions)
        rates = {name: args.batch / side.median for name, side in timed.items()}
        best = max((rate for name, rate in rates.items() if name != "ours"), default=float("nan"))
        rows.append(
            {
                "encoder": encoder,
                "ours_images_per_s": round(rates["ours"], 3),
                "torch_float32_images_per_s": round(rates.get("torch float32", float("nan")), 3),
                "torch_bfloat16_images_per_s": round(rates.get("torch bfloat16", float("nan")), 3),
                "over_torch": round(rates["ours"] / best, 3),
                "peak_mb": timed["ours"].peak_mb,
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    mean = float(np.exp(np.log(frame["over_torch"]).mean()))
    notes = [
        f"Batches of {args.batch}, {describe_threads(args.threads)}, {CLOCKS[args.clock]}; medians of {args.rounds}.",
        "over_torch: images per second of wbcstudy / those of the faster PyTorch precision; geometric mean "
        f"{mean:.2f}.",
        *describe_machine(versions),
    ]
    write_table("segment", "Segmenting fields of 1024x768 px", frame, notes)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
