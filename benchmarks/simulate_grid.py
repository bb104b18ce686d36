"""Time and memory of the scheduler and the report for thousands of runs, without training them.

    python benchmarks/simulate_grid.py --runs 10000

One run is trained, on a few synthetic images. The others are copies under their own names: the Snakefile is the real
one, but its training command copies a finished run. Appends a row to outputs/reference/simulation/simulation.csv:
jobs at the same time (50 as in profiles/slurm), processor time (user and system, in s) to prepare and to schedule, peak
memory of the scheduler in MB, the same for `wbcstudy status` and the summary, and the size of the report in MB.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import atomic_write, project_root
from wbcstudy.registry import ENCODERS
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import write_record
from wbcstudy.study.plan import prepare, read_plan

LOSSES = ["cross_entropy", "dice"]
STAND_IN = """        "cp -r stand_in/{wildcards.run}/. runs/{wildcards.run}/"
"""


def call(*command: str, folder: Path) -> tuple[float, float]:
    """Run a command; return processor time in s and peak memory in MB, with all child processes."""
    start, peak = processor_s(), 0.0
    with (folder / "output.txt").open("a", encoding="utf-8") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while child.poll() is None:
            peak = max(peak, memory_mb(child.pid))
            time.sleep(0.5)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed; see {folder / 'output.txt'}")
    return processor_s() - start, peak


def processor_s() -> float:
    """Return the processor time of this process and its finished child processes in s."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its children in MB."""
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total / 1e6


def simulate(count: int, jobs: int, root: Path, *, summary: bool) -> dict:
    """Simulate a study; return one row of the table."""
    os.environ["WBCSTUDY_OUTPUTS"] = str(root / "outputs")
    os.environ["WBCSTUDY_ROOT"] = str(project_root())
    wbcstudy = [sys.executable, "-m", "wbcstudy.cli"]
    images = root / "cells"
    if not images.exists():
        write_synthetic_dataset(images, cases=15, seed=3, size_px=64, slides=5)
    settings = {"dataset": str(images), "image_size": 32, "batch_size": 4, "augmented_copies": 1, "epochs": 1}
    seeds = max(1, round(count / (len(ENCODERS) * len(LOSSES))))
    many = {"encoders": list(ENCODERS), "losses": LOSSES, "seeds": list(range(seeds))}
    name = f"runs{count}"
    for stem, more in (("trained", {"encoders": ["mobilenet"], "losses": ["dice"]}), (name, many)):
        (root / f"{stem}.yaml").write_text(yaml.safe_dump(settings | more), encoding="utf-8")
    call(*wbcstudy, "run", str(root / "trained.yaml"), folder=root)
    trained, folder = StudyFolder(root / "outputs" / "trained"), StudyFolder(root / "outputs" / name)

    start = processor_s()
    plan = read_plan(root / f"{name}.yaml")
    prepare(plan)
    row = {"runs": len(plan.runs), "jobs": jobs, "prepare_s": processor_s() - start}

    template = trained.run("mobilenet__dice__fold0__seed0")
    for run in plan.runs:
        stand_in = folder.path / "stand_in" / run.name
        stand_in.mkdir(parents=True)
        for path in template.path.iterdir():
            if path.suffix == ".csv":
                text = path.read_text(encoding="utf-8").replace(template.name, run.name)
                (stand_in / path.name).write_text(text, encoding="utf-8")
        os.link(template.predictions, stand_in / template.predictions.name)
        record = json.loads(template.record.read_text(encoding="utf-8"))
        record |= {"study": run.study, "run": run.name, "seed": run.seed, "config": run.model_dump(mode="json")}
        write_record(RunFolder(stand_in), record)
    shutil.copy(trained.dataset, folder.dataset)
    snakefile = (project_root() / "Snakefile").read_text(encoding="utf-8")
    snakefile = snakefile.replace("Path(workflow.basedir)", f"Path({str(project_root())!r})")
    train = re.compile(r"(rule train:.*?    shell:\n).*?\n\n\n", re.DOTALL)
    (root / "Snakefile").write_text(train.sub(lambda m: m[1] + STAND_IN + "\n\n", snakefile), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--cores", str(jobs)]
    command += ["--directory", str(folder.path), "--rerun-triggers", "mtime", "--nolock", "--ignore-incomplete"]
    command += ["--keep-incomplete", "--scheduler", "greedy", "--until", "train"]
    row["schedule_s"], row["scheduler_mb"] = call(*command, folder=root)
    row["status_s"], _ = call(*wbcstudy, "status", str(root / f"{name}.yaml"), folder=root)
    row |= {"summary_s": float("nan"), "summary_mb": float("nan"), "report_mb": float("nan")}
    if summary:
        row["summary_s"], row["summary_mb"] = call(*wbcstudy, "report", str(root / f"{name}.yaml"), folder=root)
        row["report_mb"] = folder.report.stat().st_size / 1e6
    return {name: round(value, 1) for name, value in row.items()}


def main() -> None:
    """Simulate a study and add its row to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=50, help="copies at the same time")
    parser.add_argument("--no-summary", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="a folder, which is kept and can be used again; default: a temporary folder"
    )
    args = parser.parse_args()
    root = (args.folder or Path(tempfile.mkdtemp(prefix="simulate-"))).resolve()
    root.mkdir(parents=True, exist_ok=True)
    row = simulate(args.runs, args.jobs, root, summary=not args.no_summary)
    target = project_root() / "outputs" / "reference" / "simulation" / "simulation.csv"
    rows = pd.read_csv(target).to_dict("records") if target.exists() else []
    frame = pd.DataFrame([*(other for other in rows if other["runs"] != row["runs"]), row]).sort_values("runs")[
        list(row)
    ]
    with atomic_write(target) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    print(frame.to_string(index=False))
    if not args.folder:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
