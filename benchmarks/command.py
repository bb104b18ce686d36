"""Response time of the command line, and the share of Python and of the libraries it imports.

.venv/bin/python benchmarks/command.py params/demo.yaml
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from machine import describe_machine, write_table

LIMIT_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study that has been run")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    python, command = sys.executable, str(Path(sys.executable).with_name("wbcstudy"))
    calls = {
        "python -c pass": [python, "-c", "pass"],
        "python, typer, pydantic and PyYAML": [python, "-c", "import typer, yaml; from pydantic import BaseModel"],
        "wbcstudy --help": [command, "--help"],
        f"wbcstudy status {args.study}": [command, "status", str(args.study)],
    }
    walls, processors = ({name: [] for name in calls} for _ in range(2))
    for turn in range(args.rounds + 1):
        for name, call in calls.items():
            wall, processor = measure(call)
            # The first round reads files into the cache of the system.
            if turn:
                walls[name].append(wall)
                processors[name].append(processor)
    rows = [
        {
            "call": name,
            "median_s": round(statistics.median(walls[name]), 3),
            "fastest_s": round(min(walls[name]), 3),
            "slowest_s": round(max(walls[name]), 3),
            "median_processor_s": round(statistics.median(processors[name]), 3),
        }
        for name in calls
    ]
    notes = [
        f"{args.rounds} rounds, calls in turn. The target is {LIMIT_S} s for the last two.",
        *describe_machine(),
    ]
    write_table("command", "Response time of the command line", pd.DataFrame(rows), notes)


def measure(call: list[str]) -> tuple[float, float]:
    """Return wall time and processor time of a call in s."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(call, stdout=subprocess.DEVNULL, check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
