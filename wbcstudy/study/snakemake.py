"""Snakemake as the scheduler of a grid: where it runs, one call at a time, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, data_folder, project_root, short_path, weights_cache
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.machine import choose_jobs, count_cores
from wbcstudy.study.plan import Plan
from wbcstudy.study.progress import Progress
from wbcstudy.study.slurm import cancel_left_over, check_slurm, job_prefix

GRACE_S = 15
# Each training gets its share of the cores, in TensorFlow and in NumPy.
THREAD_LIMITS = ("WBCSTUDY_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Executor:
    """Where a grid's notebooks run.

    Args:
        jobs: how many at the same time; on SLURM, 0 for what the profile says.
        profile: None for this machine; else the folder of SLURM settings.
    """

    jobs: int
    profile: Path | None = None

    @property
    def threads(self) -> int:
        """Threads of each training on this machine."""
        return max(1, count_cores() // max(1, self.jobs))

    def in_words(self) -> str:
        """One line for a person."""
        if self.profile:
            return f"Every run is a SLURM job, with the settings of {short_path(self.profile)} (squeue lists them)."
        threads = os.environ.get("WBCSTUDY_THREADS", str(self.threads))
        many = "1 run" if self.jobs == 1 else f"{self.jobs} runs"
        return f"{many} at a time, each with {threads} {'thread' if threads == '1' else 'threads'} (--jobs changes it)."

    def arguments(self, folder: StudyFolder) -> list[str]:
        """Of Snakemake."""
        if not self.profile:
            return ["--cores", str(self.jobs)]
        limit = ["--jobs", str(self.jobs)] if self.jobs else []
        return [
            "--executor",
            "slurm",
            "--profile",
            str(self.profile),
            "--slurm-jobname-prefix",
            job_prefix(folder),
            *limit,
        ]

    def environment(self) -> dict[str, str]:
        """For Snakemake and all that it starts."""
        if self.profile:
            return {"WBCSTUDY_PROFILE": str(self.profile)}
        return {name: os.environ.get(name, str(self.threads)) for name in THREAD_LIMITS}


def choose_executor(executor: str, profile: Path | None, jobs: int | None, waiting: list) -> Executor:
    """Where a grid runs.

    Args:
        executor: "local" or "slurm".
        profile: folder of SLURM settings; `profiles/slurm` if None.
        jobs: notebooks at the same time; None for what suits this machine (`machine.choose_jobs`).
        waiting: settings of what is to be done.

    Raises:
        StudyError: another executor, a profile without SLURM, or SLURM cannot be used.
    """
    if executor == "slurm":
        return Executor(jobs or 0, check_slurm(profile))
    if executor != "local" or profile:
        told = f"--executor {executor}" if executor != "local" else "--profile without --executor slurm"
        raise StudyError(
            f"{told} cannot be used.", expected="--executor local or slurm, and --profile for slurm", fix="See --help."
        )
    return Executor(jobs or choose_jobs(waiting))


def run_snakemake(plan: Plan, place: Executor, lock: int, show: Callable[[str], None], *extra: str) -> int:
    """Call Snakemake and show the runs' progress until it ends; its own words go to logs/snakemake.log.

    Args:
        plan: what to run; `prepare` has written its files.
        place: where.
        lock: what `lock_study` gave; Snakemake holds it on if this process is killed.
        show: gets one line of progress at a time.
        extra: arguments of Snakemake.

    Returns:
        Snakemake's exit code, 0 if nothing failed.

    Raises:
        StudyError: the log cannot be written.
        KeyboardInterrupt: stopped by Ctrl-C, SIGTERM or a terminal that was closed, after everything that was started
            has ended.
    """
    root = project_root()
    if place.profile and (count := cancel_left_over(plan.folder)):
        show(f"{count} jobs of an earlier call that was killed are cancelled.")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--directory", str(plan.folder.path), "--keep-going", *place.arguments(plan.folder)]
    # Results are never made again because a notebook or this package changed; only missing files count. Two calls on
    # one study are kept apart by our own lock, which no kill leaves behind.
    command += ["--rerun-triggers", "mtime", "--nolock", "--nocolor"]
    # Every output is written in one step by its notebook, so one that is there is whole, whatever Snakemake noted.
    command += ["--ignore-incomplete", "--keep-incomplete"]
    # All trainings are alike to it. The default solves a linear programme, again after each job of thousands.
    command += ["--scheduler", "greedy"]
    # What was begun is finished before anything new is: a grid done in several sittings has few runs half-way.
    if begun := [run.record for run, _ in plan.work.values() if run.status == "unfinished"]:
        command += ["--prioritize", *(str(record.relative_to(plan.folder.path)) for record in begun)]
    command += extra
    environment = os.environ | {
        "WBCSTUDY_ROOT": str(root),
        "WBCSTUDY_OUTPUTS": str(plan.folder.path.parent),
        # The same folders for every process, whatever its current folder.
        "WBCSTUDY_DATA": str(data_folder()),
        "WBCSTUDY_WEIGHTS": str(weights_cache()),
        **place.environment(),
        "PYTHONUNBUFFERED": "1",
        # Debugger checks that frozen standard modules make the kernel print about.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    try:
        log = (plan.folder.logs / "snakemake.log").open("w", encoding="utf-8")
    except OSError as error:
        raise cannot_write(plan.folder.logs, error) from None
    with log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            with _terminate_as_interrupt():
                Progress(plan.folder.logs, plan.work, show, max(1, place.jobs), plan.transfers()).follow(child)
        except KeyboardInterrupt:
            # A terminal that was closed takes no words.
            with contextlib.suppress(OSError):
                show("Stopping ...")
            _stop(child)
            if place.profile:
                cancel_left_over(plan.folder)
            with contextlib.suppress(OSError):
                show("Stopped. Finished runs are kept; the same command continues from the last finished epochs.")
            raise
    return child.returncode


def _stop(child: subprocess.Popen) -> None:
    """End Snakemake and everything that it started, notebook kernels in sessions of their own included."""
    import psutil

    # A second Ctrl-C must not leave half of them running.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        tree = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=GRACE_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    child.wait()


def _signal(process, number: int) -> None:
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a scheduler, `kill`) and a terminal that closes end the grid as Ctrl-C does.

    Outside the main thread nothing can be changed. What `nohup` started goes on ignoring the terminal's end.
    """

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = {}
    # Windows has no SIGHUP.
    for number in filter(None, (signal.SIGTERM, getattr(signal, "SIGHUP", None))):
        if signal.getsignal(number) != signal.SIG_IGN:
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
