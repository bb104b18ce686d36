"""One training step of each encoder: wbcstudy, the paper's method and PyTorch, in turn, in one run.

    .venv/bin/python benchmarks/train_step.py --torch-python /path/to/other/bin/python

Each variant runs in a separate process and takes its steps in turn, so that other load affects all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from machine import RESULTS, describe_machine, describe_threads, onednn_by_default, product_ceiling, write_table

HERE = Path(__file__).parent
# A variant that is this many times slower than the fastest in its first step after the warm-up takes no more steps.
GIVE_UP = 3.0


CLOCKS = {"wall": "wall time", "cpu": "processor time, since the machine had other load"}


class Side:
    """A process that takes one training step per call of `step`."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name, self.seconds, self.peak_mb = name, [], 0.0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._read()

    def step(self, count: bool = True) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        result = self._read()
        self.peak_mb = result["peak_mb"]
        if count:
            self.seconds.append(result["seconds"])
        return result["seconds"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else float("nan")

    def _read(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended with {self.process.wait()}")


def main() -> None:
    from wbcstudy.registry import ENCODERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--torch-python", help="Python with torch and segmentation-models-pytorch")
    parser.add_argument("--threads", type=int, help="threads per process; default: all cores")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine with other load")
    parser.add_argument("--torch-precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--paper-onednn", action="store_true", help="also the paper's method with oneDNN kernels")
    parser.add_argument("--name", default="train_step", help="name of the files in results/")
    parser.add_argument("--append", action="store_true", help="keep the other encoders of earlier calls")
    args = parser.parse_args()
    if args.threads:
        # Read by TensorFlow (through wbcstudy) and PyTorch, here and in the child processes.
        os.environ.update({name: str(args.threads) for name in ("WBCSTUDY_THREADS", "OMP_NUM_THREADS")})
    versions, rows = {}, []
    ceiling = product_ceiling(time.perf_counter if args.clock == "wall" else time.process_time)
    for encoder in args.encoders:
        rows.append(measure(encoder, args, ceiling, versions))
        print(rows[-1], file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    kept = RESULTS / f"{args.name}.csv"
    if args.append and kept.exists():
        old = pd.read_csv(kept)
        frame = pd.concat([old[~old["encoder"].isin(frame["encoder"])], frame], ignore_index=True)
    # One ceiling for all rows: other load during its measurement would make shares too large.
    best = frame.groupby("precision")["ceiling_gflops"].transform("max")
    frame["share_of_ceiling"] = (frame["share_of_ceiling"] * frame["ceiling_gflops"] / best).round(3)
    frame["ceiling_gflops"] = best
    frame = frame.set_index("encoder").reindex([name for name in ENCODERS if name in set(frame["encoder"])])
    summarise(frame.reset_index(), args, versions)


def measure(encoder: str, args, ceiling: dict[str, float], versions: dict[str, str]) -> dict:
    variants = ["ours", "paper"] + ["paper-onednn"] * args.paper_onednn
    variants += [f"torch {precision}" for precision in args.torch_precisions]
    sides = [start(variant, encoder, args) for variant in variants]
    timed = take_turns([side for side in sides if side], args.warmup, args.rounds, versions)
    ours = timed["ours"]
    torch = {name: side.median for name, side in timed.items() if name.startswith("torch")}
    best = min(torch.values()) if torch else float("nan")
    # Forward, and twice as much backward: for weights and for inputs.
    work = 3 * 2 * ours.facts["multiply_adds"] * args.batch
    return {
        "encoder": encoder,
        "ours_s": round(ours.median, 4),
        "precision": ours.facts["precision"],
        "paper_s": round(timed["paper"].median, 4),
        "paper_onednn_s": round(timed["paper-onednn"].median, 4) if args.paper_onednn else float("nan"),
        "torch_float32_s": round(torch.get("torch float32", float("nan")), 4),
        "torch_bfloat16_s": round(torch.get("torch bfloat16", float("nan")), 4),
        "over_paper": round(timed["paper"].median / ours.median, 3),
        "over_torch": round(best / ours.median, 3),
        "share_of_ceiling": round(work / ours.median / 1e9 / ceiling[ours.facts["precision"]], 3),
        "ceiling_gflops": round(ceiling[ours.facts["precision"]]),
        "peak_mb": ours.peak_mb,
        "steps": len(ours.seconds),
    }


def take_turns(sides: list[Side], warmup: int, rounds: int, versions: dict[str, str]) -> dict[str, Side]:
    """Let all processes take their steps in turn; return name -> process."""
    for side in sides:
        for _ in range(warmup):
            side.step(count=False)
    fastest = min(side.step() for side in sides)
    slow = {side.name for side in sides if side.seconds[0] > GIVE_UP * fastest}
    for turn in range(1, rounds):
        # Another process is first in each round.
        for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            if side.name not in slow:
                side.step()
    for side in sides:
        side.close()
        versions.update({name: value for name, value in side.facts.items() if "torch" in name})
    return {side.name: side for side in sides}


def start(variant: str, encoder: str, args, *more: str) -> Side | None:
    shape = ["--size", str(args.size), "--batch", str(args.batch), "--clock", args.clock, *more]
    if not variant.startswith("torch"):
        return Side(variant, [sys.executable, str(HERE / "keras_side.py"), variant, encoder, *shape])
    if encoder == "unet" or not args.torch_python:
        return None
    command = [args.torch_python, str(HERE / "torch_side.py"), encoder, *shape, "--precision", variant.split()[1]]
    return Side(variant, command)


def summarise(frame: pd.DataFrame, args, versions: dict[str, str]) -> None:
    def mean(column: str) -> str:
        values = frame[column].dropna()
        return f"{np.exp(np.log(values).mean()):.2f} (of {len(values)} encoders)" if len(values) else "not measured"

    notes = [
        f"Median seconds of a training step, batch {args.batch}, {args.size} px. Each variant is a process with "
        f"{describe_threads(args.threads)}, and steps are taken in turn; {CLOCKS[args.clock]}.",
        f"over_paper: time of the paper's method / time of wbcstudy; geometric mean {mean('over_paper')}.",
        "paper_onednn_s: the paper's method with oneDNN kernels (TF_ENABLE_ONEDNN_OPTS=1), which TensorFlow "
        f"{'uses' if onednn_by_default() else 'does not use'} by default on this processor.",
        f"over_torch: time of PyTorch in its faster precision / time of wbcstudy; geometric mean {mean('over_torch')}.",
        "share_of_ceiling: multiplications and additions per second, as a share of those of a 2048x2048 matrix product "
        "in the same precision (ceiling_gflops: the highest of all calls for this table).",
        f"A variant {GIVE_UP:g} times slower than the fastest in its first step takes only this step.",
        "PyTorch: channels-last, eager, Adam. It has no plain U-Net.",
        *describe_machine(versions),
    ]
    write_table(args.name, "A training step", frame, notes)


if __name__ == "__main__":
    main()
