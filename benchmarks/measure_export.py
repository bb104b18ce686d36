"""Peak memory and time of `wbcstudy export` in each format.

    .venv/bin/python benchmarks/measure_export.py outputs/demo/runs/resnet18__dice__fold0__seed0
    .venv/bin/python benchmarks/measure_export.py RUN --before /path/to/an/earlier/checkout

Each export is a process of its own. Memory is the largest resident set size; processor time is that of all threads,
since wall time depends on other load.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from machine import describe_machine, write_table

from wbcstudy.files import project_root

FORMATS = {"keras": "net.keras", "savedmodel": "net", "onnx": "net.onnx", "bioimageio": "net.zip"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument(
        "--before", type=Path, help="checkout of an earlier version, which runs in the same environment"
    )
    args = parser.parse_args()
    rows = []
    for form in FORMATS:
        row = {"format": form}
        for prefix, checkout in (("before_", args.before), ("", project_root())):
            if checkout:
                row |= {f"{prefix}{name}": value for name, value in measure(form, args.run, checkout).items()}
        rows.append(row)
    notes = [f"{args.run.name}; the target for ONNX and bioimageio is 1500 MB and 20 s.", *describe_machine()]
    write_table("export", "Memory and time of an export", pd.DataFrame(rows), notes)


def measure(form: str, run: Path, checkout: Path) -> dict[str, float]:
    """Return peak memory in MB, processor time and wall time in s of one export, and the size of its files in MB."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / FORMATS[form]
        call = [sys.executable, "-m", "wbcstudy.cli", "export", str(run.resolve()), "--format", form, "--out", str(out)]
        start = time.perf_counter()
        # `python -m` would import from the current folder first.
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "PYTHONSAFEPATH": "1"}
        process = os.posix_spawn(call[0], call, environment)
        _, status, usage = os.wait4(process, 0)
        if status:
            raise SystemExit(f"{form} failed")
        files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
        return {
            "peak_mb": round(usage.ru_maxrss / 1e3),
            "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
            "wall_s": round(time.perf_counter() - start, 1),
            "file_mb": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        }


if __name__ == "__main__":
    main()
