"""Kill a running study at random times, resume it, and check that no result is lost, repeated or changed.

    python benchmarks/interrupt_grid.py --kills 20        # 20 to 60 minutes

A small study of synthetic images runs once without interruption. Then, for every kill, a new study is started, killed
in one of its phases in one of four ways, and resumed, which must give the same scores and history. Writes
outputs/reference/interruption/interruption.csv after each kill; the next call continues there (`--restart` starts
over). Exits with 1 if a result differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import yaml

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import atomic_write, project_root, read_json
from wbcstudy.runs.folders import StudyFolder

STUDY = "interrupted"
SETTINGS = {
    "encoders": ["mobilenet"],
    "losses": ["cross_entropy", "dice"],
    "image_size": 32,
    "batch_size": 4,
    "augmented_copies": 1,
    "epochs": 4,
}
# SIGKILL to all processes, or to all except notebook kernels; SIGTERM or Ctrl-C to the command.
WAYS = ("SIGKILL to all", "SIGKILL to all but notebooks", "SIGTERM", "Ctrl-C")
# Phase -> a file that exists once it has started, and its approximate duration in s; the time of the kill is random.
PHASES = {
    "images": ("logs/dataset.log", 8),
    "start of training": ("logs/mobilenet__*.log", 10),
    "training": ("runs/*/history.csv", 2),
    "checkpoint": ("runs/*/checkpoint/best-*.npz", 0.3),
    "scoring": ("runs/*/model.keras", 4),
    "report": ("logs/summary.log", 10),
}
# Long, since the machine may have other load.
TIMEOUT_S = 3600


@dataclass
class Grid:
    """One study in a folder, and its command."""

    root: Path
    images: Path

    @property
    def folder(self) -> StudyFolder:
        """The folder of its results."""
        return StudyFolder(self.root / "outputs" / STUDY)

    def start(self) -> subprocess.Popen:
        """Start `wbcstudy run` in a new session."""
        self.root.mkdir(parents=True, exist_ok=True)
        params = self.root / f"{STUDY}.yaml"
        params.write_text(yaml.safe_dump(SETTINGS | {"dataset": str(self.images)}), encoding="utf-8")
        environment = os.environ | {
            # Each epoch is saved: these trainings take seconds.
            "WBCSTUDY_CHECKPOINT_SECONDS": "0",
            "WBCSTUDY_ROOT": str(project_root()),
            "WBCSTUDY_OUTPUTS": str(self.root / "outputs"),
            "WBCSTUDY_THREADS": "1",
        }
        with (self.root / "output.txt").open("a", encoding="utf-8") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "wbcstudy.cli", "run", str(params)],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, cwd=self.root,
                start_new_session=True,
            )  # fmt: skip

    def scores(self) -> dict[str, bytes]:
        """Return file name -> content of all results that must not depend on interruptions."""
        contents = {str(path.relative_to(self.folder.path)): path.read_bytes() for path in self._all("scores*.csv")}
        for path in self._all("history.csv"):
            frame = pd.read_csv(path).drop(columns="seconds")
            contents[str(path.relative_to(self.folder.path))] = frame.to_csv().encode()
        for name in ("table1.csv", "table2.csv"):
            contents[name] = (self.folder.tables / name).read_bytes()
        return contents

    def finished(self) -> dict[Path, int]:
        """Return the run.json of each finished run -> its time of change in ns."""
        return {path: path.stat().st_mtime_ns for path in self._all("run.json")}

    def processes(self) -> list[psutil.Process]:
        """Return the processes of this study that are still running."""
        processes = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("WBCSTUDY_OUTPUTS") == str(self.root / "outputs"):
                    processes.append(process)
            except psutil.Error:
                continue
        return processes

    def _all(self, name: str) -> list[Path]:
        return sorted([*self.folder.runs.glob(f"*/{name}"), *self.folder.baselines.glob(f"*/{name}")])


def wait_for(grid: Grid, phase: str, child: subprocess.Popen, rng: random.Random) -> None:
    """Return at a random time within a phase, or when the study has ended."""
    pattern, seconds = PHASES[phase]
    while child.poll() is None and not list(grid.folder.path.glob(pattern)):
        time.sleep(0.02)
    until = time.monotonic() + rng.uniform(0, seconds)
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def kill(child: subprocess.Popen, way: str) -> None:
    """Stop a study in one of `WAYS`, and wait until the command has ended."""
    try:
        tree = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    if way in ("SIGTERM", "Ctrl-C"):
        child.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGINT)
    for process in tree if way.startswith("SIGKILL") else ():
        try:
            if way == "SIGKILL to all" or "ipykernel" not in process.cmdline():
                process.kill()
        except psutil.Error:
            continue
    child.wait(TIMEOUT_S)


def interrupt(grid: Grid, phase: str, way: str, expected: dict[str, bytes], rng: random.Random) -> dict:
    """Kill and resume one study; return one row of the table."""
    child = grid.start()
    wait_for(grid, phase, child, rng)
    in_time = child.poll() is None
    before = grid.finished()
    epochs = [len(pd.read_csv(path)) for path in sorted(grid.folder.runs.glob("*/history.csv"))]
    kill(child, way)
    # At once, while orphaned processes may still be running.
    again = grid.start()
    code = again.wait(TIMEOUT_S)
    after = grid.finished()
    differing = [name for name, value in expected.items() if code == 0 and grid.scores().get(name) != value]
    # Notebook kernels end shortly after the command.
    time.sleep(3)
    return {
        "phase": phase,
        "way": way,
        "killed_in_time": in_time,
        "finished_before": len(before),
        "epochs_before": "+".join(map(str, epochs)),
        "exit_code": code,
        "equal_results": code == 0 and not differing,
        "repeated": sum(after.get(path) != written and is_complete(path) for path, written in before.items()),
        "left_running": len(grid.processes()),
    }


def is_complete(record: Path) -> bool:
    """Return whether a run.json is of a finished run."""
    return (read_json(record) or {}).get("status") == "complete"


def run_all(kills: int, seed: int, folder: Path, rows: list[dict], keep) -> None:
    """Append one row per kill, with phases and ways in turn; call `keep` with all rows after each."""
    images = write_synthetic_dataset(folder / "cells", cases=15, seed=3, size_px=64, slides=5)
    uninterrupted = Grid(folder / "uninterrupted", images)
    if code := uninterrupted.start().wait(TIMEOUT_S):
        raise SystemExit(f"The study fails without a kill (exit code {code}): see {uninterrupted.root}")
    expected = uninterrupted.scores()
    plan = [(phase, WAYS[(k + turn) % len(WAYS)]) for turn in range(len(WAYS)) for k, phase in enumerate(PHASES)]
    for k in range(len(rows), kills):
        grid = Grid(folder / f"kill{k}", images)
        rows.append(interrupt(grid, *plan[k % len(plan)], expected, random.Random(f"{seed} {k}")))
        keep(rows)
        if is_good(rows[-1]):
            shutil.rmtree(grid.root)


def is_good(row) -> bool:
    """Return whether no result was lost, changed or repeated, and no process left."""
    return row["equal_results"] and not row["repeated"] and not row["left_running"]


def main() -> None:
    """Run all kills and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty folder, which is kept; default: a temporary folder")
    parser.add_argument("--restart", action="store_true", help="ignore the rows of earlier calls")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="interrupt-"))
    target = project_root() / "outputs" / "reference" / "interruption" / "interruption.csv"

    def keep(rows: list[dict]) -> None:
        print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
        with atomic_write(target) as part:
            pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")

    known = target.exists() and not args.restart
    rows = pd.read_csv(target, dtype={"epochs_before": str}).fillna("").to_dict("records") if known else []
    run_all(args.kills, args.seed, folder, rows, keep)
    bad = sum(not is_good(row) for row in rows)
    print(f"{len(rows)} kills, {bad} with a difference" + (f"; see {folder}" if bad else ""))
    if not args.folder and not bad:
        shutil.rmtree(folder)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
