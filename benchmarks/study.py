"""Where a grid's time goes, and how time and memory grow with images, their size and the number of runs.

    .venv/bin/python benchmarks/study.py parts params/demo.yaml
    .venv/bin/python benchmarks/study.py finished outputs/segmentation_wbc_2
    .venv/bin/python benchmarks/study.py growth
    .venv/bin/python benchmarks/study.py summary

The times are those that papermill notes in the executed notebooks, so nothing is measured but what a user runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import yaml
from machine import RESULTS, describe_machine, write_table

# Headings of notebooks/2_train.ipynb -> part of a run. What is under no heading here is "figures and record".
HEADINGS = {
    "Where does this run write to?": "imports",
    "Which images does it learn from, and which does it never see?": "images",
    "What is the network?": "network",
    "Training": "training",
    "How good is it on images that it has never seen?": "scoring",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    parts = kinds.add_parser("parts", help="where the time of one study goes")
    parts.add_argument("params", nargs="?", type=Path, default=Path("params/demo.yaml"))
    parts.add_argument("--jobs", nargs="+", default=["1", "auto"], help="the study once with each")
    growth = kinds.add_parser("growth", help="studies of several numbers of images, sizes and runs")
    growth.add_argument("--cases", nargs="+", type=int, default=[100, 500, 1000, 5000])
    growth.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 192])
    growth.add_argument("--runs", nargs="+", type=int, default=[1, 2, 4])
    growth.add_argument("--cache-mb", type=float, default=10, help="images past this are read from a file")
    summary = kinds.add_parser("summary", help="how long the summary and report of 18 finished runs take")
    summary.add_argument("--encoders", nargs="+", help="all nine without it")
    finished = kinds.add_parser("finished", help="where the time went of a study that was run, per training")
    finished.add_argument("study", type=Path, help="its folder in outputs/")
    finished.add_argument("--least", type=float, default=300, help="only runs of so many seconds or more")
    args = parser.parse_args()
    measure = {"parts": measure_parts, "finished": measure_finished, "growth": measure_growth}
    (measure | {"summary": measure_summary})[args.kind](args)


def measure_parts(args) -> None:
    settings = yaml.safe_load(args.params.read_text(encoding="utf-8"))
    rows, walls, notes = [], {}, []
    for jobs in args.jobs:
        with tempfile.TemporaryDirectory() as place:
            walls[jobs], outputs = run_study(Path(place), settings, jobs=jobs)
            shares = [split_run(path) for path in sorted(outputs.glob("runs/*/train.ipynb"))]
            around = {name: duration(outputs / f"{name}.ipynb") for name in ("dataset", "summary")}
        frame = pd.DataFrame(shares)
        total = frame.sum().sum()
        rows += [
            {"jobs": jobs, "part": part, "seconds_per_run": round(seconds / len(frame), 2), "share": seconds / total}
            for part, seconds in frame.sum().items()
        ]
        other = 1 - frame[["training"]].sum().sum() / total
        notes.append(
            f"--jobs {jobs}: {len(frame)} runs of {total / len(frame):.0f} s; the study took {walls[jobs]:.0f} s, "
            f"of which the dataset notebook {around['dataset']:.0f} s, summary and report {around['summary']:.0f} s. "
            f"All but training: {100 * other:.0f} % of a run."
        )
    if len(walls) == 2:
        one, several = walls.values()
        notes.append(f"--jobs {args.jobs[1]} against --jobs {args.jobs[0]}: {one / several:.2f} times the throughput.")
    name = "study_parts" if args.params.stem == "demo" else f"study_parts_{args.params.stem}"
    frame = pd.DataFrame(rows)
    frame["share"] = frame["share"].round(3)
    write_table(name, f"Where the time of {args.params.name} goes", frame, [*notes, *describe_machine()])


def measure_finished(args) -> None:
    rows = []
    for path in sorted(args.study.glob("runs/*/train.ipynb")):
        if not path.with_name("run.json").exists():
            continue
        record = json.loads(path.with_name("run.json").read_text(encoding="utf-8"))
        # Of a training that was taken up again, the notebook has the last sitting only.
        if record["status"] == "complete" and record["wall_seconds"] >= max(args.least, record["fit_seconds"]):
            parts = split_run(path)
            seconds = sum(parts.values())
            around = seconds - parts["training"]
            rows.append({"run": record["run"], "seconds": round(seconds), "all_but_training_s": round(around, 1)})
            rows[-1]["share"] = round(around / seconds, 3)
    if not rows:
        raise SystemExit(f"{args.study} has no finished run of {args.least:g} s or more in one sitting.")
    frame = pd.DataFrame(rows)
    notes = [
        f"Runs of {args.least:g} s or more that were trained in one sitting; whatever else the machine did meanwhile.",
        f"All but training: {100 * frame['share'].median():.1f} % of a run (median), at most "
        f"{100 * frame['share'].max():.1f} %.",
        *describe_machine(),
    ]
    write_table(f"study_finished_{args.study.name}", f"All but training, of {args.study.name}", frame, notes)


def measure_growth(args) -> None:
    base = {"dataset": "", "encoders": ["mobilenet"], "losses": ["cross_entropy"], "batch_size": 8}
    base |= {"augmented_copies": 1, "epochs": 2, "patience": 2, "image_size": args.sizes[0]}
    plan = [("images", count, {"cases": count}) for count in args.cases]
    plan += [("image size", size, {"image_size": size}) for size in args.sizes]
    plan += [("runs", count, {"seeds": list(range(count))}) for count in args.runs]
    rows = []
    for what, value, change in plan:
        change = dict(change)
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            make_images(place / "cells", change.pop("cases", args.cases[0]))
            settings = base | {"dataset": str(place / "cells")} | change
            wall, outputs = run_study(place, settings, jobs="1", cache_mb=args.cache_mb)
            records = [json.loads(path.read_text()) for path in outputs.glob("runs/*/run.json")]
            epochs = [pd.read_csv(path)["seconds"].iloc[-1] for path in outputs.glob("runs/*/history.csv")]
        rows.append(
            {
                "grows": what,
                "value": value,
                "study_s": round(wall, 1),
                "run_s": round(float(np.mean([record["wall_seconds"] for record in records])), 1),
                "second_epoch_s": round(float(np.mean(epochs)), 2),
                "peak_mb": round(max(record["peak_memory_mb"] for record in records)),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
        notes = [
            f"MobileNet, two epochs, {args.cases[0]} images of {args.sizes[0]} px, one run, one at a time, unless the "
            f"row says otherwise. More than {args.cache_mb:g} MB of resized images are read from a file.",
            "second_epoch_s: an epoch's training and validation, without tracing.",
            *describe_machine(),
        ]
        write_table("study_growth", "How a study grows", pd.DataFrame(rows), notes)


def measure_summary(args) -> None:
    """Eighteen runs of one short epoch have records of the same size as eighteen long ones."""
    from wbcstudy.registry import ENCODERS

    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        make_images(place / "cells", 30)
        settings = {"dataset": str(place / "cells"), "encoders": args.encoders or list(ENCODERS), "epochs": 1}
        settings |= {"losses": ["cross_entropy", "dice"], "image_size": 64, "augmented_copies": 1}
        run_study(place, settings, jobs="auto")
        again = [run_study(place, settings, jobs="auto", command="report") for _ in range(3)]
        found = len(list(again[0][1].glob("runs/*/run.json")))
    row = {"runs": found, "report_s": round(float(np.median([wall for wall, _ in again])), 1)}
    notes = ["`wbcstudy report` of a finished study: notebook 4, tables, figures, HTML; median of three."]
    write_table("study_summary", "Summary and report", pd.DataFrame([row]), [*notes, *describe_machine()])


def make_images(folder: Path, cases: int) -> None:
    from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

    write_synthetic_dataset(folder, cases=cases, seed=0, size_px=64)


def run_study(place: Path, settings: dict, *, jobs: str, cache_mb: float | None = None, command: str = "run"):
    """Seconds on the wall of a study in a folder of its own, and the folder of its results."""
    params = place / "benchmark.yaml"
    params.write_text(yaml.safe_dump(settings), encoding="utf-8")
    environment = os.environ | {"WBCSTUDY_OUTPUTS": str(place / "outputs"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if cache_mb is not None:
        environment["WBCSTUDY_CACHE_MB"] = str(cache_mb)
    options = ["--jobs", jobs] if command == "run" and jobs != "auto" else []
    start = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("wbcstudy")), command, str(params), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout[-3000:])
    return time.perf_counter() - start, place / "outputs" / "benchmark"


def split_run(path: Path) -> dict[str, float]:
    """Seconds of each part of a run: kernel start-up, then the cells by the heading above them."""
    notebook = nbformat.read(path, 4)
    parts = dict.fromkeys(["start-up", *HEADINGS.values(), "tracing", "figures and record"], 0.0)
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        elif cell.cell_type == "code":
            parts[HEADINGS.get(heading, "figures and record")] += cell.metadata.papermill["duration"] or 0.0
    parts["start-up"] = notebook.metadata.papermill["duration"] - sum(parts.values())
    seconds = pd.read_csv(path.with_name("history.csv"))["seconds"]
    parts["tracing"] = max(0.0, seconds.iloc[0] - seconds.iloc[1:].median())
    parts["training"] -= parts["tracing"]
    return parts


def duration(path: Path) -> float:
    return nbformat.read(path, 4).metadata.papermill["duration"]


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    main()
