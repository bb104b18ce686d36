"""The parts of a study's time, and how time and memory grow with images, image size and runs.

    .venv/bin/python benchmarks/study.py parts params/demo.yaml
    .venv/bin/python benchmarks/study.py finished outputs/segmentation_wbc_2
    .venv/bin/python benchmarks/study.py growth
    .venv/bin/python benchmarks/study.py summary
    .venv/bin/python benchmarks/study.py report outputs/segmentation_wbc_2 --before /path/to/an/earlier/checkout

Times are those that papermill records in the executed notebooks of ordinary studies. `report` measures whole commands,
with the processor time of all their processes, the two versions in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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

from wbcstudy.files import data_folder, project_root

# Headings of notebooks/2_train.ipynb -> part of a run. All other cells are "figures and record".
HEADINGS = {
    "Where are the results written?": "imports",
    "Which cases are in training, validation and test?": "images",
    "What is the network?": "network",
    "Training": "training",
    "How good is it on the test images?": "scoring",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measurements = parser.add_subparsers(dest="measurement", required=True)
    parts = measurements.add_parser("parts", help="parts of the time of one study")
    parts.add_argument("params", nargs="?", type=Path, default=Path("params/demo.yaml"))
    parts.add_argument("--jobs", nargs="+", default=["1", "auto"], help="run the study once with each value")
    growth = measurements.add_parser("growth", help="studies with different numbers of images, image sizes and runs")
    growth.add_argument("--cases", nargs="+", type=int, default=[100, 500, 1000, 5000])
    growth.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 192])
    growth.add_argument("--runs", nargs="+", type=int, default=[1, 2, 4])
    growth.add_argument("--cache-mb", type=float, default=10, help="larger datasets are read from a file")
    summary = measurements.add_parser("summary", help="time of the summary and report of 18 finished runs")
    summary.add_argument("--encoders", nargs="+", help="default: all nine")
    finished = measurements.add_parser("finished", help="parts of the time of a finished study, per training")
    finished.add_argument("study", type=Path, help="folder of the study in outputs/")
    finished.add_argument("--least", type=float, default=300, help="shortest run to include, in s")
    report = measurements.add_parser("report", help="time of the report of a finished study, before and now")
    report.add_argument("study", type=Path, help="folder of the study in outputs/; its report is written again")
    report.add_argument("--before", type=Path, help="checkout of an earlier version, which runs in this environment")
    report.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    measure = {"parts": measure_parts, "finished": measure_finished, "growth": measure_growth}
    (measure | {"summary": measure_summary, "report": measure_report})[args.measurement](args)


def measure_parts(args) -> None:
    settings = yaml.safe_load(args.params.read_text(encoding="utf-8"))
    rows, walls, notes = [], {}, []
    for jobs in args.jobs:
        with tempfile.TemporaryDirectory() as folder:
            walls[jobs], outputs = run_study(Path(folder), settings, jobs=jobs)
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
            f"--jobs {jobs}: {len(frame)} runs of {total / len(frame):.0f} s. The study took {walls[jobs]:.0f} s, "
            f"including {around['dataset']:.0f} s for the dataset notebook and {around['summary']:.0f} s for the "
            f"summary and report. Time outside training: {100 * other:.0f} % of a run."
        )
    if len(walls) == 2:
        first, second = walls.values()
        notes.append(
            f"Throughput with --jobs {args.jobs[1]}: {first / second:.2f} times that with --jobs {args.jobs[0]}."
        )
    name = "study_parts" if args.params.stem == "demo" else f"study_parts_{args.params.stem}"
    frame = pd.DataFrame(rows)
    frame["share"] = frame["share"].round(3)
    write_table(name, f"Parts of the time of {args.params.name}", frame, [*notes, *describe_machine()])


def measure_finished(args) -> None:
    rows = []
    for path in sorted(args.study.glob("runs/*/train.ipynb")):
        if not path.with_name("run.json").exists():
            continue
        record = json.loads(path.with_name("run.json").read_text(encoding="utf-8"))
        # The notebook of a resumed training has only its last part.
        if record["status"] == "complete" and record["wall_seconds"] >= max(args.least, record["fit_seconds"]):
            parts = split_run(path)
            seconds = sum(parts.values())
            around = seconds - parts["training"]
            rows.append({"run": record["run"], "seconds": round(seconds), "all_but_training_s": round(around, 1)})
            rows[-1]["share"] = round(around / seconds, 3)
    if not rows:
        raise SystemExit(f"{args.study} has no finished run of {args.least:g} s or more without an interruption.")
    frame = pd.DataFrame(rows)
    notes = [
        f"Runs of {args.least:g} s or more that were not interrupted. The machine also had other load.",
        f"Time outside training: {100 * frame['share'].median():.1f} % of a run (median), at most "
        f"{100 * frame['share'].max():.1f} %.",
        *describe_machine(),
    ]
    write_table(f"study_finished_{args.study.name}", f"Time outside training, {args.study.name}", frame, notes)


def measure_growth(args) -> None:
    base = {"dataset": "", "encoders": ["mobilenet"], "losses": ["cross_entropy"], "batch_size": 8}
    base |= {"augmented_copies": 1, "epochs": 2, "patience": 2, "image_size": args.sizes[0]}
    plan = [("images", count, {"cases": count}) for count in args.cases]
    plan += [("image size", size, {"image_size": size}) for size in args.sizes]
    plan += [("runs", count, {"seeds": list(range(count))}) for count in args.runs]
    rows = []
    for factor, value, change in plan:
        change = dict(change)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            make_images(folder / "cells", change.pop("cases", args.cases[0]))
            settings = base | {"dataset": str(folder / "cells")} | change
            wall, outputs = run_study(folder, settings, jobs="1", cache_mb=args.cache_mb)
            records = [json.loads(path.read_text()) for path in outputs.glob("runs/*/run.json")]
            epochs = [pd.read_csv(path)["seconds"].iloc[-1] for path in outputs.glob("runs/*/history.csv")]
        rows.append(
            {
                "grows": factor,
                "value": value,
                "study_s": round(wall, 1),
                "run_s": round(float(np.mean([record["wall_seconds"] for record in records])), 1),
                "second_epoch_s": round(float(np.mean(epochs)), 2),
                "peak_mb": round(max(record["peak_memory_mb"] for record in records)),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
        notes = [
            f"Unless the row says otherwise: MobileNet, two epochs, {args.cases[0]} images of {args.sizes[0]} px, one "
            f"run at a time. More than {args.cache_mb:g} MB of resized images are read from a file.",
            "second_epoch_s: training and validation of one epoch, without tracing.",
            *describe_machine(),
        ]
        write_table("study_growth", "Growth of a study", pd.DataFrame(rows), notes)


def measure_summary(args) -> None:
    """Measure the report of 18 runs of one epoch; their records have the same size as those of long runs."""
    from wbcstudy.registry import ENCODERS

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_images(folder / "cells", 30)
        settings = {"dataset": str(folder / "cells"), "encoders": args.encoders or list(ENCODERS), "epochs": 1}
        settings |= {"losses": ["cross_entropy", "dice"], "image_size": 64, "augmented_copies": 1}
        run_study(folder, settings, jobs="auto")
        again = [run_study(folder, settings, jobs="auto", command="report") for _ in range(3)]
        runs = len(list(again[0][1].glob("runs/*/run.json")))
    row = {"runs": runs, "report_s": round(float(np.median([wall for wall, _ in again])), 1)}
    notes = ["`wbcstudy report` of a finished study: notebook 4, tables, figures and HTML; median of three."]
    write_table("study_summary", "Summary and report", pd.DataFrame([row]), [*notes, *describe_machine()])


def measure_report(args) -> None:
    versions = {"before": args.before, "now": project_root()} if args.before else {"now": project_root()}
    times = {name: [] for name in versions}
    for _ in range(args.repeats):
        for name, checkout in versions.items():
            times[name].append(report_times(args.study.resolve(), checkout.resolve()))
            print(name, times[name][-1], file=sys.stderr, flush=True)
    medians = {name: pd.DataFrame(rows).median() for name, rows in times.items()}
    rows = [{"version": name} | {key: round(value, 1) for key, value in row.items()} for name, row in medians.items()]
    runs = len(list(args.study.glob("runs/*/run.json")))
    notes = [f"`wbcstudy report` of {runs} finished runs ({args.study.name}); medians of {args.repeats}, in turn."]
    if args.before:
        factor = medians["now"] / medians["before"]
        notes.append(
            f"Now / before: {factor['processor_s']:.2f} of the processor time, {factor['wall_s']:.2f} of the wall time."
        )
    write_table(
        f"study_report_{args.study.name}", "Report of finished runs", pd.DataFrame(rows), [*notes, *describe_machine()]
    )


def report_times(study: Path, checkout: Path) -> dict[str, float]:
    """Return processor time of all processes and wall time, in s, of one report."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "WBCSTUDY_ROOT": str(checkout)}
    environment |= {"WBCSTUDY_OUTPUTS": str(study.parent), "WBCSTUDY_DATA": str(data_folder().resolve())}
    begin, start = child_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "wbcstudy.cli", "report", str(study / f"{study.name}.yaml")]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:])
    return {"processor_s": child_seconds() - begin, "wall_s": time.perf_counter() - start}


def child_seconds() -> float:
    """Return the processor time of all child processes that have ended, with their children, in s."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def make_images(folder: Path, cases: int) -> None:
    from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

    write_synthetic_dataset(folder, cases=cases, seed=0, size_px=64)


def run_study(folder: Path, settings: dict, *, jobs: str, cache_mb: float | None = None, command: str = "run"):
    """Run a study in a folder; return its wall time in s and the folder of its results."""
    params = folder / "benchmark.yaml"
    params.write_text(yaml.safe_dump(settings), encoding="utf-8")
    environment = os.environ | {"WBCSTUDY_OUTPUTS": str(folder / "outputs"), "TF_CPP_MIN_LOG_LEVEL": "3"}
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
    return time.perf_counter() - start, folder / "outputs" / "benchmark"


def split_run(path: Path) -> dict[str, float]:
    """Return the seconds of each part of a run: kernel start-up, then the cells by the heading above them."""
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
