"""Shared by the benchmarks: the results table as CSV and Markdown, with the machine and the versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import time
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tensorflow", "keras", "numpy", "segmentation-models")


def describe_machine(extra: dict[str, str] | None = None) -> list[str]:
    """Return processor, cores, versions and load as lines; `extra` adds versions."""
    from joblib import cpu_count

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    processor = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(processor.get("flags", "").split())
    units = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    versions += [f"{name} {value}" for name, value in (extra or {}).items()]
    return [
        f"{processor.get('model name', platform.machine())}, {cpu_count()} cores, {', '.join(units)}",
        f"TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS', '(not set: 1 in our trainings)')}",
        f"Python {platform.python_version()}, {', '.join(versions)}",
        f"{datetime.date.today():%Y-%m-%d}; load at the end: {os.getloadavg()[0]:.1f}",
    ]


def describe_threads(count: int | None) -> str:
    return f"{count} thread{'s' * (count > 1)}" if count else "all threads"


def onednn_by_default() -> bool:
    """Return whether TensorFlow uses oneDNN kernels by default on this processor (its util.cc)."""
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    return bool(flags & {"avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"})


def write_table(name: str, title: str, frame: pd.DataFrame, notes: list[str]) -> None:
    """Write results/<name>.csv and results/<name>.md, and print the Markdown."""
    RESULTS.mkdir(exist_ok=True)
    frame.to_csv(RESULTS / f"{name}.csv", index=False, lineterminator="\n")
    cells = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    rows = [list(frame.columns), ["---"] * len(frame.columns), *cells]
    text = "\n".join(
        [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in rows), "", *(f"- {note}" for note in notes), ""]
    )
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def product_ceiling(clock=time.perf_counter, size: int = 2048, rounds: int = 7) -> dict[str, float]:
    """Return the GFLOP/s of a large matrix product in float32 and bfloat16, the upper limit of this machine."""
    from wbcstudy.nets.backend import load_keras

    load_keras()
    import tensorflow as tf

    rates = {}
    for dtype in ("float32", "bfloat16"):
        a = tf.cast(tf.random.normal((size, size)), dtype)
        times = []
        for _ in range(rounds):
            start = clock()
            tf.linalg.matmul(a, a).numpy()
            times.append(clock() - start)
        rates[dtype] = 2 * size**3 / statistics.median(times) / 1e9
    return rates


def _cell(value) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return str(value)
