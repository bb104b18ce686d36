"""Measure the memory of a study: of all its processes together, at most.

    python benchmarks/measure_study_memory.py params/demo.yaml

Runs the study with `--jobs auto` in a temporary folder. Memory that processes share is counted once (PSS, Linux only).
Prints the largest sum so far after each minute, and at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a process and its children, in MB."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += each.memory_full_info().pss
    return total / 1e6


def main() -> None:
    """Run the study and watch it."""
    study = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | {"WBCSTUDY_OUTPUTS": f"{name}/outputs", "WBCSTUDY_DATA": f"{name}/data"}
        command = [sys.executable, "-c", "from wbcstudy.cli import main; main()", "run", str(study), "--jobs", "auto"]
        child = psutil.Popen(command, env=environment)
        peak, start, shown = 0.0, time.monotonic(), 0
        while child.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, memory_mb(child))
            if (minutes := int(time.monotonic() - start) // 60) > shown:
                shown = minutes
                print(f"{minutes} min: {peak:.0f} MB at most", flush=True)
            time.sleep(0.5)
        print(f"exit code {child.returncode}, {time.monotonic() - start:.0f} s, {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
