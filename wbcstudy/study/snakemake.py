"""Run a grid with Snakemake, on this machine or on SLURM, and stop it with every process that it started.

A report of finished runs alone needs no Snakemake.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, data_folder, project_root, short_path, weights_cache
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.cost import find_paces
from wbcstudy.study.environment import child_environment
from wbcstudy.study.machine import THREAD_LIMITS, choose_jobs
from wbcstudy.study.plan import Plan
from wbcstudy.study.progress import Progress
from wbcstudy.study.running import stop_tree, terminate_as_interrupt
from wbcstudy.study.slurm import cancel_left_over, check_slurm, job_prefix
from wbcstudy.wording import count


@dataclass(frozen=True)
class Executor:
    """Where the notebooks of a grid run.

    Args:
        jobs: number of parallel runs; on SLURM, 0 for the number in the profile.
        profile: folder of SLURM settings; None for this machine.
    """

    jobs: int
    profile: Path | None = None

    @property
    def threads(self) -> int:
        """Threads of each training on this machine."""
        from joblib import cpu_count

        return max(1, cpu_count() // max(1, self.jobs))

    def describe(self) -> str:
        """Return one line for the user."""
        if self.profile:
            return f"Each run is a SLURM job with the settings of {short_path(self.profile)} (`squeue` lists the jobs)."
        threads = os.environ.get("WBCSTUDY_THREADS", str(self.threads))
        plural = "" if threads == "1" else "s"
        return f"{count(self.jobs, 'run')} at a time, {threads} thread{plural} each (--jobs changes this)."

    def arguments(self, folder: StudyFolder) -> list[str]:
        """Return the command-line arguments for Snakemake."""
        if not self.profile:
            return ["--cores", str(self.jobs), "--profile", "none"]
        limit = ["--jobs", str(self.jobs)] if self.jobs else []
        prefix = ["--slurm-jobname-prefix", job_prefix(folder)]
        return ["--executor", "slurm", "--profile", str(self.profile), *prefix, *limit]

    def environment(self) -> dict[str, str]:
        """Return the environment variables for Snakemake and its child processes."""
        if self.profile:
            return {"WBCSTUDY_PROFILE": str(self.profile)}
        return {name: os.environ.get(name, str(self.threads)) for name in THREAD_LIMITS}


def choose_executor(executor: str, profile: Path | None, jobs: int | None, configs: list) -> Executor:
    """Check the options of `wbcstudy run` and choose the number of parallel runs.

    Args:
        executor: "local" or "slurm".
        profile: folder of SLURM settings; `profiles/slurm` if None.
        jobs: number of parallel runs; None to fit this machine (`machine.choose_jobs`).
        configs: settings of the runs to do.

    Raises:
        StudyError: unknown executor, a profile without SLURM, or SLURM cannot be used.
    """
    if executor == "slurm":
        return Executor(jobs or 0, check_slurm(profile))
    if executor != "local" or profile:
        option = f"--executor {executor}" if executor != "local" else "--profile without --executor slurm"
        raise StudyError(
            f"{option} cannot be used.",
            expected="--executor local or slurm; --profile only with slurm",
            fix="See `wbcstudy run --help`.",
        )
    return Executor(jobs or choose_jobs(configs))


def run_snakemake(
    plan: Plan, executor: Executor, lock: int, show: Callable[[str], None], *extra: str, verbose: bool = False
) -> int:
    """Run Snakemake and show the progress of the runs until it ends. Its own output goes to logs/snakemake.log.

    Args:
        plan: runs to do; `prepare` has written their files.
        executor: where to run them.
        lock: file descriptor from `lock_study`; Snakemake keeps the lock if this process is killed.
        show: receives one line of progress at a time.
        extra: further arguments for Snakemake.
        verbose: show a line for every epoch.

    Returns:
        Snakemake's exit code, 0 if nothing failed.

    Raises:
        StudyError: the log cannot be written.
        KeyboardInterrupt: stopped by Ctrl-C, SIGTERM or a closed terminal; raised after all child processes ended.
    """
    root = project_root()
    if executor.profile and (cancelled := cancel_left_over(plan.folder)):
        show(f"Cancelled {count(cancelled, 'SLURM job')} left over from an earlier call.")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--directory", str(plan.folder.path), "--keep-going", *executor.arguments(plan.folder)]
    # Otherwise a folder profiles/default here or next to the Snakefile changes the options.
    command += ["--workflow-profile", "none"]
    # Only missing files count: a changed notebook or package never repeats finished runs. Our own lock prevents two
    # calls on one study; unlike Snakemake's, it does not survive a kill.
    command += ["--rerun-triggers", "mtime", "--nolock", "--nocolor"]
    # Notebooks write each output in one step, so an existing output is complete even if Snakemake marked it incomplete.
    command += ["--ignore-incomplete", "--keep-incomplete"]
    # All trainings have equal priority. The default scheduler solves a linear program after each of thousands of jobs.
    command += ["--scheduler", "greedy"]
    # Finish interrupted runs before starting new ones.
    if interrupted := [run.record for run, _ in plan.work.values() if run.read_status() == "unfinished"]:
        command += ["--prioritize", *(str(record.relative_to(plan.folder.path)) for record in interrupted)]
    command += extra
    paces = {} if executor.profile else find_paces(plan, executor.threads)
    progress = Progress(
        plan.folder.logs, plan.work, show, max(1, executor.jobs), plan.transfers(), verbose=verbose, steps=paces
    )
    return _run(plan.folder, executor, command, plan.folder.logs / "snakemake.log", lock, show, progress)


def can_run_summary(plan: Plan) -> bool:
    """Return whether all files that a report needs exist, so that `run_summary` can build it without Snakemake."""
    folders = [*(folder for folder, _ in plan.work.values()), *plan.transfers().values()]
    return plan.folder.dataset.exists() and all(folder.record.exists() for folder in folders)


def run_summary(plan: Plan, lock: int, show: Callable[[str], None]) -> int:
    """Execute notebook 4, as Snakemake's rule `summary` does, without the time that starting Snakemake takes.

    Args:
        plan: runs to report; `prepare` has written their files.
        lock: file descriptor from `lock_study`.
        show: receives one line of progress at a time.

    Returns:
        0 if nothing failed.

    Raises:
        StudyError: the log cannot be written.
        KeyboardInterrupt: as of `run_snakemake`.
    """
    folder, root = plan.folder, project_root()
    names = ("summary.ipynb", "summary_params.yaml", "summary.html")
    command = [sys.executable, "-m", "wbcstudy.cli", "papermill", str(root / "notebooks" / "4_summary.ipynb")]
    command += [*(str(folder.path / name) for name in names), str(root), "--no-save-cells"]
    progress = Progress(folder.logs, plan.work, show, transfers=plan.transfers())
    code = _run(folder, Executor(1), command, folder.logs / "summary.log", lock, show, progress)
    if not code:
        folder.report_done.touch()
    return code


def _run(
    folder: StudyFolder,
    executor: Executor,
    command: list[str],
    log_file: Path,
    lock: int,
    show: Callable[[str], None],
    progress: Progress,
) -> int:
    """Run a program in the environment of a study, show the progress until it ends, and return its exit code."""
    import psutil

    try:
        programs = child_environment(folder.programs)
        log = log_file.open("w", encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder.logs, error) from None
    environment = programs | {
        "WBCSTUDY_ROOT": str(project_root()),
        "WBCSTUDY_OUTPUTS": str(folder.path.parent),
        # Absolute, since the processes run in different folders.
        "WBCSTUDY_DATA": str(data_folder()),
        "WBCSTUDY_WEIGHTS": str(weights_cache()),
        **executor.environment(),
    }
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
            with terminate_as_interrupt():
                progress.follow(child)
        except KeyboardInterrupt:
            # Writing to a closed terminal fails.
            with contextlib.suppress(OSError):
                show("Stopping ...")
            with contextlib.suppress(psutil.NoSuchProcess):
                stop_tree(psutil.Process(child.pid))
            child.wait()
            if executor.profile:
                cancel_left_over(folder)
            with contextlib.suppress(OSError):
                show("Stopped. Finished runs are kept. The same command resumes after the last saved epoch.")
            raise
    return child.returncode
