"""Kill a running grid at random moments, run it again, and check that nothing is lost, repeated or left behind.

    python benchmarks/interrupt_grid.py --kills 20        # some tens of minutes

A small grid of synthetic images runs once without a disturbance. Then, for every kill, a fresh one is started, killed
in one of its phases in one of four ways, and run again to its end, which must give the same scores and history. Writes
outputs/reference/interruption/interruption.csv after each kill, and goes on there when it was interrupted itself
(`--anew` starts over); exits with 1 if anything differed.
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
# What is killed, and how: everything; everything but the notebooks' processes; or the command that the user started.
WAYS = ("SIGKILL to all", "SIGKILL to all but notebooks", "SIGTERM", "Ctrl-C")
# Phase -> what is there once it has begun, and about how long it lasts, in s. A moment is drawn in each.
PHASES = {
    "images": ("logs/dataset.log", 8),
    "start of training": ("logs/mobilenet__*.log", 10),
    "training": ("runs/*/history.csv", 2),
    "checkpoint": ("runs/*/checkpoint/best-*.npz", 0.3),
    "scoring": ("runs/*/model.keras", 4),
    "report": ("logs/summary.log", 10),
}
# The machine may be busy with other things.
PATIENCE_S = 3600


@dataclass
class Grid:
    """One study of a folder of images, and its command."""

    place: Path
    images: Path

    @property
    def folder(self) -> StudyFolder:
        """Where its results are."""
        return StudyFolder(self.place / "outputs" / STUDY)

    def start(self) -> subprocess.Popen:
        """`wbcstudy run`, in a session of its own."""
        self.place.mkdir(parents=True, exist_ok=True)
        params = self.place / f"{STUDY}.yaml"
        params.write_text(yaml.safe_dump(SETTINGS | {"dataset": str(self.images)}), encoding="utf-8")
        environment = os.environ | {
            "WBCSTUDY_ROOT": str(project_root()),
            "WBCSTUDY_OUTPUTS": str(self.place / "outputs"),
            "WBCSTUDY_THREADS": "1",
        }
        with (self.place / "said.txt").open("a", encoding="utf-8") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "wbcstudy.cli", "run", str(params)],
                stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, cwd=self.place,
                start_new_session=True,
            )  # fmt: skip

    def scores(self) -> dict[str, bytes]:
        """Everything that must not depend on whether there was an interruption."""
        found = {str(path.relative_to(self.folder.path)): path.read_bytes() for path in self._all("scores*.csv")}
        for path in self._all("history.csv"):
            frame = pd.read_csv(path).drop(columns="seconds")
            found[str(path.relative_to(self.folder.path))] = frame.to_csv().encode()
        for name in ("table1.csv", "table2.csv"):
            found[name] = (self.folder.tables / name).read_bytes()
        return found

    def finished(self) -> dict[Path, int]:
        """run.json of each finished run, and when it was written, in ns."""
        return {path: path.stat().st_mtime_ns for path in self._all("run.json")}

    def processes(self) -> list[psutil.Process]:
        """Whatever still works for this grid."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("WBCSTUDY_OUTPUTS") == str(self.place / "outputs"):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _all(self, name: str) -> list[Path]:
        return sorted([*self.folder.runs.glob(f"*/{name}"), *self.folder.baselines.glob(f"*/{name}")])


def wait_for(grid: Grid, phase: str, child: subprocess.Popen, rng: random.Random) -> None:
    """Return at a random moment of a phase, or when the grid has ended."""
    pattern, seconds = PHASES[phase]
    while child.poll() is None and not list(grid.folder.path.glob(pattern)):
        time.sleep(0.02)
    until = time.monotonic() + rng.uniform(0, seconds)
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def kill(child: subprocess.Popen, way: str) -> None:
    """Stop a grid in one of `WAYS`, and wait for the command's end."""
    try:
        tree = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    if way in ("SIGTERM", "Ctrl-C"):
        child.send_signal(signal.SIGTERM if way == "SIGTERM" else signal.SIGINT)
    for process in tree if way.startswith("SIGKILL") else ():
        try:
            if way == "SIGKILL to all" or "ipykernel_launcher" not in process.cmdline():
                process.kill()
        except psutil.Error:
            continue
    child.wait(PATIENCE_S)


def interrupt(grid: Grid, phase: str, way: str, expected: dict[str, bytes], rng: random.Random) -> dict:
    """One grid, killed and run again: what was seen."""
    child = grid.start()
    wait_for(grid, phase, child, rng)
    in_time = child.poll() is None
    before = grid.finished()
    epochs = [len(pd.read_csv(path)) for path in sorted(grid.folder.runs.glob("*/history.csv"))]
    kill(child, way)
    # At once: an orphan may still be there.
    again = grid.start()
    code = again.wait(PATIENCE_S)
    after = grid.finished()
    differing = [name for name, value in expected.items() if code == 0 and grid.scores().get(name) != value]
    # A notebook's process goes a moment after the command.
    time.sleep(3)
    return {
        "phase": phase,
        "way": way,
        "killed_in_time": in_time,
        "finished_before": len(before),
        "epochs_before": "+".join(map(str, epochs)),
        "exit_code": code,
        "equal_results": code == 0 and not differing,
        "repeated": sum(after.get(path) != written and complete(path) for path, written in before.items()),
        "left_running": len(grid.processes()),
    }


def complete(record: Path) -> bool:
    """Whether a run.json tells of a finished run."""
    return (read_json(record) or {}).get("status") == "complete"


def run_all(kills: int, seed: int, place: Path, rows: list[dict], keep) -> None:
    """Append one row per kill, phases and ways in turn; `keep` is called with all rows after each."""
    images = write_synthetic_dataset(place / "cells", cases=15, seed=3, size_px=64, slides=5)
    undisturbed = Grid(place / "undisturbed", images)
    if code := undisturbed.start().wait(PATIENCE_S):
        raise SystemExit(f"the grid fails without being killed ({code}): see {undisturbed.place}")
    expected = undisturbed.scores()
    plan = [(phase, WAYS[(k + turn) % len(WAYS)]) for turn in range(len(WAYS)) for k, phase in enumerate(PHASES)]
    for k in range(len(rows), kills):
        grid = Grid(place / f"kill{k}", images)
        rows.append(interrupt(grid, *plan[k % len(plan)], expected, random.Random(f"{seed} {k}")))
        keep(rows)
        if is_good(rows[-1]):
            shutil.rmtree(grid.place)


def is_good(row) -> bool:
    """Whether the kill did no harm."""
    return row["equal_results"] and not row["repeated"] and not row["left_running"]


def main() -> None:
    """Kill, write and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", type=Path, help="an empty folder, kept; else a temporary one")
    parser.add_argument("--anew", action="store_true", help="forget what earlier calls saw")
    args = parser.parse_args()
    place = args.place or Path(tempfile.mkdtemp(prefix="interrupt-"))
    target = project_root() / "outputs" / "reference" / "interruption" / "interruption.csv"

    def keep(rows: list[dict]) -> None:
        print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
        with atomic_write(target) as part:
            pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")

    known = target.exists() and not args.anew
    rows = pd.read_csv(target, dtype={"epochs_before": str}).fillna("").to_dict("records") if known else []
    run_all(args.kills, args.seed, place, rows, keep)
    bad = sum(not is_good(row) for row in rows)
    print(f"{len(rows)} kills, {bad} with a difference" + (f"; see {place}" if bad else ""))
    if not args.place and not bad:
        shutil.rmtree(place)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
