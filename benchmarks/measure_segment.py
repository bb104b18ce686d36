"""Speed and memory of `wbcstudy segment` on a folder of many fields.

    python benchmarks/measure_segment.py demo --images 1000       # after `make study`

Draws some fields of 1024 x 768 px, copies them under many names, segments the folder in a separate process, and
watches this process. Writes outputs/reference/segment/<name>.csv: one row for each share of finished images, with the
memory in use (resident set size), its maximum so far, and the processor time so far (user and system, all threads).
Wall time is left out, since it depends on other load. The table also has panoptic quality and count error of the drawn
fields.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from instances import count_instances, score_instances, sum_counts
from PIL import Image

from wbcstudy.data.images import read_instances
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.inference.network import find_run

SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 1.0)
FIELD = {"height_px": 768, "width_px": 1024, "white_cells": (8, 14), "touching": 0.7}
_FIRST_SEED = 30_000
_INTERVAL_S = 0.2


def draw_folder(folder: Path, images: int, distinct: int) -> dict[str, np.ndarray]:
    """Fill a folder with fields: `distinct` drawn ones, the others are copies.

    Returns:
        Name -> cells of the drawn fields, integer (H, W).
    """
    folder.mkdir()
    cells = {}
    for k in range(images):
        path = folder / f"field{k:05d}.png"
        if k < distinct:
            seed = _FIRST_SEED + k
            field = make_smear(seed, slide=seed, **FIELD)
            cells[path.stem] = field.instances
            Image.fromarray(field.image).save(path)
        else:
            os.link(folder / f"field{k % distinct:05d}.png", path)
    return cells


def watch(command: list[str], records: Path, images: int) -> list[dict]:
    """Run a command, and return one row per share of finished images: memory and processor time."""
    pending = [(share, max(1, round(share * images))) for share in SHARES]
    rows, peak, done = [], 0.0, 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                memory, times = process.memory_info().rss / 1e6, process.cpu_times()
            except psutil.NoSuchProcess:
                break
            peak = max(peak, memory)
            done = len(list(records.iterdir())) if records.is_dir() else 0
            while pending and done >= pending[0][1]:
                spent = times.user + times.system
                rows.append({"share": pending.pop(0)[0], "images": done, "memory_mb": round(memory)})
                rows[-1] |= {"most_mb": round(peak), "processor_s": round(spent, 1)}
            time.sleep(_INTERVAL_S)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    if process.returncode != 0 or pending:
        sys.exit(f"`{' '.join(command[2:])}` ended with {process.returncode} after {done} of {images} images.")
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as for `wbcstudy segment --model`")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--distinct", type=int, default=20, help="number of drawn fields; the others are copies")
    parser.add_argument("--way", default="auto", help="as for `wbcstudy segment`")
    parser.add_argument("--name", help="name of the CSV file; default: the model's")
    options = parser.parse_args()
    # On SIGTERM, end the child process and delete the folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run, _ = find_run(options.model)
    with tempfile.TemporaryDirectory() as folder:
        fields, out = Path(folder) / "fields", Path(folder) / "out"
        known = draw_folder(fields, options.images, min(options.distinct, options.images))
        arguments = ["segment", str(fields), "--model", options.model, "--out", str(out), "--way", options.way]
        rows = watch([sys.executable, "-m", "wbcstudy.cli", *arguments], out / "records", options.images)
        cells = len(pd.read_csv(out / "cells.csv"))
        counts = [
            count_instances(expected, read_instances(out / "instances" / f"{name}.png").astype(int))
            for name, expected in known.items()
        ]
        ways = pd.read_csv(out / "images.csv")["way"].unique()
    frame = pd.DataFrame(rows)
    # Without start-up and loading of the network.
    first, last = frame.iloc[0], frame.iloc[-1]
    rate = (last["images"] - first["images"]) / (last["processor_s"] - first["processor_s"])
    frame.insert(0, "network", run.config.encoder)
    frame.insert(1, "way", " ".join(ways))
    scores = score_instances(sum_counts(counts))
    frame["cells_found"], frame["fields_drawn"] = cells, len(known)
    frame["pq"], frame["count_error"] = round(scores["pq"], 4), round(scores["count_error"], 4)
    frame["images_per_processor_s"] = round(float(rate), 3)
    path = project_root() / "outputs" / "reference" / "segment" / f"{options.name or Path(options.model).name}.csv"
    with atomic_write(path) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    print(frame.to_string(index=False), f"\nWritten: {path}")


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
