"""How the scheduler and the summary bear thousands of runs: a grid whose trainings only put finished results in place.

    python benchmarks/simulate_grid.py --runs 10000

One run is really trained, on a few synthetic images. The others are copies of it under their own names, and the plan
(the Snakefile) is the real one but for the training's command, which copies. Appends a row to
outputs/reference/simulation/simulation.csv: how many are put in place at a time (`jobs`; 50 as in profiles/slurm),
seconds of the processor (user and system, so that what else the machine does plays no part) to prepare and to schedule,
the scheduler's peak memory in MB, those of `wbcstudy status` and of the summary, and the size of the report in MB.
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
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.plan import prepare, read_plan

LOSSES = ["cross_entropy", "dice"]
STAND_IN = """        "cp -r stand_in/{wildcards.run}/. runs/{wildcards.run}/"
"""


def call(*words: str, place: Path) -> tuple[float, float]:
    """Seconds of the processor and peak memory, in MB, of a command and all that it starts."""
    start, peak = processor_s(), 0.0
    with (place / "said.txt").open("a", encoding="utf-8") as said:
        child = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        while child.poll() is None:
            peak = max(peak, memory_mb(child.pid))
            time.sleep(0.5)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} failed; see {place / 'said.txt'}")
    return processor_s() - start, peak


def processor_s() -> float:
    """Seconds of the processor that this process and all that it has started and seen end have taken."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def memory_mb(pid: int) -> float:
    """Of a process and its children, in MB."""
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


def simulate(count: int, jobs: int, place: Path, *, summary: bool) -> dict:
    """One row of the table."""
    os.environ["WBCSTUDY_OUTPUTS"] = str(place / "outputs")
    os.environ["WBCSTUDY_ROOT"] = str(project_root())
    wbcstudy = [sys.executable, "-m", "wbcstudy.cli"]
    images = place / "cells"
    if not images.exists():
        write_synthetic_dataset(images, cases=15, seed=3, size_px=64, slides=5)
    settings = {"dataset": str(images), "image_size": 32, "batch_size": 4, "augmented_copies": 1, "epochs": 1}
    seeds = max(1, round(count / (len(ENCODERS) * len(LOSSES))))
    many = {"encoders": list(ENCODERS), "losses": LOSSES, "seeds": list(range(seeds))}
    name = f"runs{count}"
    for stem, more in (("one", {"encoders": ["mobilenet"], "losses": ["dice"]}), (name, many)):
        (place / f"{stem}.yaml").write_text(yaml.safe_dump(settings | more), encoding="utf-8")
    call(*wbcstudy, "run", str(place / "one.yaml"), place=place)
    one, folder = StudyFolder(place / "outputs" / "one"), StudyFolder(place / "outputs" / name)

    start = processor_s()
    plan = read_plan(place / f"{name}.yaml")
    prepare(plan)
    row = {"runs": len(plan.runs), "jobs": jobs, "prepare_s": processor_s() - start}

    template = one.run("mobilenet__dice__fold0__seed0")
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
        (stand_in / "run.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copy(one.dataset, folder.dataset)
    snakefile = (project_root() / "Snakefile").read_text(encoding="utf-8")
    snakefile = snakefile.replace("Path(workflow.basedir)", f"Path({str(project_root())!r})")
    train = re.compile(r"(rule train:.*?    shell:\n).*?\n\n\n", re.DOTALL)
    (place / "Snakefile").write_text(train.sub(lambda m: m[1] + STAND_IN + "\n\n", snakefile), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(place / "Snakefile"), "--cores", str(jobs)]
    command += ["--directory", str(folder.path), "--rerun-triggers", "mtime", "--nolock", "--ignore-incomplete"]
    command += ["--keep-incomplete", "--scheduler", "greedy", "--until", "train"]
    row["schedule_s"], row["scheduler_mb"] = call(*command, place=place)
    row["status_s"], _ = call(*wbcstudy, "status", str(place / f"{name}.yaml"), place=place)
    row |= {"summary_s": float("nan"), "summary_mb": float("nan"), "report_mb": float("nan")}
    if summary:
        row["summary_s"], row["summary_mb"] = call(*wbcstudy, "report", str(place / f"{name}.yaml"), place=place)
        row["report_mb"] = folder.report.stat().st_size / 1e6
    return {name: round(value, 1) for name, value in row.items()}


def main() -> None:
    """Simulate, and write a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=50, help="copies at a time")
    parser.add_argument("--no-summary", action="store_true")
    parser.add_argument(
        "--place", type=Path, help="a folder, kept, also for other numbers of runs; else a temporary one"
    )
    args = parser.parse_args()
    place = (args.place or Path(tempfile.mkdtemp(prefix="simulate-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    row = simulate(args.runs, args.jobs, place, summary=not args.no_summary)
    target = project_root() / "outputs" / "reference" / "simulation" / "simulation.csv"
    rows = pd.read_csv(target).to_dict("records") if target.exists() else []
    frame = pd.DataFrame([*(one for one in rows if one["runs"] != row["runs"]), row]).sort_values("runs")[list(row)]
    with atomic_write(target) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    print(frame.to_string(index=False))
    if not args.place:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
