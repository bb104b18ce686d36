"""A grid that runs: find it, follow it after the command that started it was killed, and stop it.

Snakemake has its own session. A kill of `wbcstudy run` with its process group (`kill -9`, the kernel when memory runs
out) leaves Snakemake and its trainings running, and they hold the study's lock.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.runs.find_study import unknown_study
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.locks import is_alive, is_locked, is_snakemake, read_holder
from wbcstudy.study.plan import Plan
from wbcstudy.study.progress import Progress
from wbcstudy.study.slurm import cancel_left_over

# Time for processes to end after SIGTERM, before they are killed.
_GRACE_S = 15
_POLL_S = 0.2


class Grid:
    """Snakemake of a study on this machine; `poll` and `wait` as of `subprocess.Popen`.

    Args:
        process: psutil.Process of Snakemake.
    """

    def __init__(self, process) -> None:
        self.process = process

    def poll(self) -> int | None:
        """Return None while it runs."""
        return None if is_alive(self.process) else 0

    def wait(self, timeout: float) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it runs for longer.
        """
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() >= until:
                raise subprocess.TimeoutExpired("snakemake", timeout)
            time.sleep(_POLL_S)
        return 0


def find_grid(folder: StudyFolder) -> Grid | None:
    """Return Snakemake of a study, if it runs on this machine."""
    import psutil

    grids = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            # Its jobs on a cluster have the same folder, and a mode.
            if is_snakemake(process) and "--keep-going" in command and "--mode" not in command:
                position = command.index("--directory") if "--directory" in command else -1
                if position >= 0 and Path(command[position + 1]).resolve() == folder.path.resolve():
                    grids.append(process)
    return Grid(min(grids, key=lambda process: process.create_time())) if grids else None


def follow_left_over(plan: Plan, show: Callable[[str], None], verbose: bool = False) -> bool:
    """Show the progress of a grid whose `wbcstudy run` was killed, until it ends.

    Args:
        plan: the study.
        show: receives one line of progress at a time.
        verbose: show a line for every epoch.

    Returns:
        Whether there was such a grid.

    Raises:
        KeyboardInterrupt: stopped by Ctrl-C, SIGTERM, a closed terminal or `wbcstudy stop`; the grid has ended.
    """
    begin, grid = time.time(), find_grid(plan.folder)
    if grid is None or _starter(plan.folder, grid):
        return False
    show(f"Study {plan.folder.name} is still running; the command that started it was killed. Following it:")
    try:
        with terminate_as_interrupt():
            Progress(plan.folder.logs, plan.work, show, transfers=plan.transfers(), verbose=verbose).follow(grid)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            show("Stopping ...")
        _end(plan.folder, grid)
        with contextlib.suppress(OSError):
            show("Stopped. Finished runs are kept. The same command resumes after the last saved epoch.")
        raise
    stopped = plan.folder.stopped
    if stopped.exists() and stopped.stat().st_mtime >= begin:
        raise KeyboardInterrupt
    return True


def stop_study(source: str | Path, show: Callable[[str], None] = print) -> None:
    """End a running study with all its processes; finished runs and epochs are kept.

    Args:
        source: file, folder or name of the study.
        show: receives one line.

    Raises:
        StudyError: there is no such study, or it runs on another machine.
    """
    path = Path(source)
    folder = StudyFolder.of(path.stem if path.suffix in (".yaml", ".yml") else path.name)
    if not path.name or not folder.path.is_dir():
        raise unknown_study(source)
    grid = find_grid(folder)
    holder, node = read_holder(folder)
    if grid is None and not is_locked(folder):
        show(f"Study {folder.name} is not running.")
        return
    if grid is None and holder is None:
        raise StudyError(
            f"The study {folder.name} runs on {node or 'another machine'}.",
            expected="a study that runs on this machine",
            fix=f"Log in to {node or 'that machine'} and run the same command there.",
        )
    # Calls of `wbcstudy run` that follow the grid would start it again.
    folder.logs.mkdir(parents=True, exist_ok=True)
    folder.stopped.touch()
    if holder is not None and (grid is None or _starter(folder, grid)):
        # It ends its Snakemake by itself.
        holder.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            Grid(holder).wait(2 * _GRACE_S)
    if grid is not None and grid.poll() is None:
        _end(folder, grid)
    show(f"Stopped {folder.name}. Finished runs are kept; `wbcstudy run` resumes after the last saved epoch.")


def _starter(folder: StudyFolder, grid: Grid) -> bool:
    """Whether the `wbcstudy run` that started a grid is still running."""
    import psutil

    holder, _ = read_holder(folder)
    with contextlib.suppress(psutil.Error):
        return holder is not None and grid.process.ppid() == holder.pid and is_alive(holder)
    return False


def _end(folder: StudyFolder, grid: Grid) -> None:
    import psutil

    try:
        on_cluster = "slurm" in grid.process.cmdline()
    except psutil.Error:
        on_cluster = False
    stop_tree(grid.process)
    if on_cluster:
        cancel_left_over(folder)


def stop_tree(process) -> None:
    """End a psutil.Process and all its child processes, including notebook kernels, which have separate sessions."""
    import psutil

    # Ignore a second Ctrl-C, which would leave some of them running.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        tree = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in tree:
        _signal(each, signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=_GRACE_S)
    for each in filter(is_alive, alive):
        _signal(each, signal.SIGKILL)


def _signal(process, number: int) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM (a scheduler, `kill`) and SIGHUP (a closed terminal) into Ctrl-C.

    Has no effect outside the main thread. A process started by `nohup` keeps ignoring SIGHUP.
    """

    def interrupt(number, frame):
        raise KeyboardInterrupt

    previous = {}
    # Windows has no SIGHUP.
    for number in filter(None, (signal.SIGTERM, getattr(signal, "SIGHUP", None))):
        if signal.getsignal(number) != signal.SIG_IGN:
            with contextlib.suppress(ValueError):
                previous[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
