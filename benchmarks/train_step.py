"""One training step of each encoder: ours, the paper-era way and PyTorch, interleaved, in one run.

    .venv/bin/python benchmarks/train_step.py --torch-python /path/to/other/bin/python

Every kind runs in a process of its own and takes its steps in turn, so that a disturbance of the machine meets all.
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
from machine import RESULTS, describe_machine, onednn_by_default, product_ceiling, tell_threads, write_table

HERE = Path(__file__).parent
# A kind that is this much slower than the fastest in its first step after the warm-up takes no more steps.
GIVE_UP = 3.0


CLOCKS = {"wall": "time on the wall", "cpu": "processor time, since others used the machine too"}


class Side:
    """A process that takes a training step when it is told to."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name, self.seconds, self.peak_mb = name, [], 0.0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts = self._read()

    def step(self, count: bool = True) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told = self._read()
        self.peak_mb = told["peak_mb"]
        if count:
            self.seconds.append(told["seconds"])
        return told["seconds"]

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
    parser.add_argument("--torch-python", help="an interpreter with torch and segmentation-models-pytorch")
    parser.add_argument("--threads", type=int, help="of each process; all cores without it")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: where others use the machine too"
    )
    parser.add_argument("--torch-precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--paper-onednn", action="store_true", help="the paper-era way with oneDNN's kernels as well")
    parser.add_argument("--name", default="train_step", help="of the files in results/")
    parser.add_argument("--append", action="store_true", help="keep what an earlier call measured of other encoders")
    args = parser.parse_args()
    if args.threads:
        # Read by TensorFlow (through wbcstudy) and by PyTorch, here and in the processes that are started.
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
    # One ceiling for all rows: a disturbed measurement of it makes shares too large.
    best = frame.groupby("precision")["ceiling_gflops"].transform("max")
    frame["share_of_ceiling"] = (frame["share_of_ceiling"] * frame["ceiling_gflops"] / best).round(3)
    frame["ceiling_gflops"] = best
    frame = frame.set_index("encoder").reindex([name for name in ENCODERS if name in set(frame["encoder"])])
    summarise(frame.reset_index(), args, versions)


def measure(encoder: str, args, ceiling: dict[str, float], versions: dict[str, str]) -> dict:
    kinds = ["ours", "paper"] + ["paper-onednn"] * args.paper_onednn
    kinds += [f"torch {precision}" for precision in args.torch_precisions]
    sides = [start(kind, encoder, args) for kind in kinds]
    found = take_turns([side for side in sides if side], args.warmup, args.rounds, versions)
    ours = found["ours"]
    torch = {name: side.median for name, side in found.items() if name.startswith("torch")}
    best = min(torch.values()) if torch else float("nan")
    # Forward, and twice as much backward: by weights and by inputs.
    work = 3 * 2 * ours.facts["multiply_adds"] * args.batch
    return {
        "encoder": encoder,
        "ours_s": round(ours.median, 4),
        "precision": ours.facts["precision"],
        "paper_s": round(found["paper"].median, 4),
        "paper_onednn_s": round(found["paper-onednn"].median, 4) if args.paper_onednn else float("nan"),
        "torch_float32_s": round(torch.get("torch float32", float("nan")), 4),
        "torch_bfloat16_s": round(torch.get("torch bfloat16", float("nan")), 4),
        "over_paper": round(found["paper"].median / ours.median, 3),
        "over_torch": round(best / ours.median, 3),
        "share_of_ceiling": round(work / ours.median / 1e9 / ceiling[ours.facts["precision"]], 3),
        "ceiling_gflops": round(ceiling[ours.facts["precision"]]),
        "peak_mb": ours.peak_mb,
        "steps": len(ours.seconds),
    }


def take_turns(sides: list[Side], warmup: int, rounds: int, versions: dict[str, str]) -> dict[str, Side]:
    """Steps of all, interleaved; the sides by name."""
    for side in sides:
        for _ in range(warmup):
            side.step(count=False)
    fastest = min(side.step() for side in sides)
    slow = {side.name for side in sides if side.seconds[0] > GIVE_UP * fastest}
    for turn in range(1, rounds):
        # Nobody always comes first.
        for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
            if side.name not in slow:
                side.step()
    for side in sides:
        side.close()
        versions.update({name: value for name, value in side.facts.items() if "torch" in name})
    return {side.name: side for side in sides}


def start(kind: str, encoder: str, args, *more: str) -> Side | None:
    shape = ["--size", str(args.size), "--batch", str(args.batch), "--clock", args.clock, *more]
    if not kind.startswith("torch"):
        return Side(kind, [sys.executable, str(HERE / "keras_side.py"), kind, encoder, *shape])
    if encoder == "unet" or not args.torch_python:
        return None
    command = [args.torch_python, str(HERE / "torch_side.py"), encoder, *shape, "--precision", kind.split()[1]]
    return Side(kind, command)


def summarise(frame: pd.DataFrame, args, versions: dict[str, str]) -> None:
    def mean(column: str) -> str:
        values = frame[column].dropna()
        return f"{np.exp(np.log(values).mean()):.2f} (of {len(values)} encoders)" if len(values) else "not measured"

    notes = [
        f"Median seconds of a training step, batch {args.batch}, {args.size} px; interleaved, a process for each kind, "
        f"each with {tell_threads(args.threads)}; {CLOCKS[args.clock]}.",
        f"over_paper: the paper-era way's time over ours; geometric mean {mean('over_paper')}.",
        "paper_onednn_s: the paper-era way with oneDNN's kernels (TF_ENABLE_ONEDNN_OPTS=1), which TensorFlow itself "
        f"{'takes' if onednn_by_default() else 'does not take'} on this processor.",
        f"over_torch: the better of PyTorch's two times over ours; geometric mean {mean('over_torch')}.",
        "share_of_ceiling: multiplications and additions per second, over those of a 2048x2048 matrix product in the "
        "same precision (ceiling_gflops: the best of the calls that made this table).",
        f"A kind {GIVE_UP:g} times slower than the fastest in its first step takes that step only.",
        "PyTorch: channels-last, eager, Adam; the plain U-Net is not among its encoders.",
        *describe_machine(versions),
    ]
    write_table(args.name, "A training step", frame, notes)


if __name__ == "__main__":
    main()
