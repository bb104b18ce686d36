"""Locks: one process per run folder, one `wbcstudy run` per study; processes exit with the Snakemake above them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, short_path
from wbcstudy.runs.folders import StudyFolder

# A process exits within a second or two after its Snakemake, unless a long computation blocks its other threads.
_WAIT_S = 120.0
_POLL_S = 0.5
# Errors of flock on file systems and servers without locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
# Folder -> file descriptor. The files stay open, and the folders locked, until this process ends.
_HELD: dict[Path, int] = {}


def lock_run_folder(folder: Path, wait_s: float = _WAIT_S, report: Callable[[str], object] = print) -> None:
    """Lock a run's folder for this process until the process ends, however it ends.

    The kernel holds the lock (flock): a kill, a power cut or a full disk leaves none behind. Processes on several nodes
    exclude one another where the shared file system supports it, as NFS 4, Lustre (with `flock`) and BeeGFS do. Where
    it has no locks, nothing separates them, and `report` warns.

    Args:
        folder: an existing folder.
        wait_s: longest wait for another process, in s.
        report: called with one line if another process is waited for, or if there are no locks.

    Raises:
        StudyError: another process still works there after `wait_s`.
    """
    folder = folder.resolve()
    if folder in _HELD:
        return
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    deadline, reported = time.monotonic() + wait_s, False
    while (locked := _try_lock(handle)) is False:
        if time.monotonic() >= deadline:
            os.close(handle)
            raise StudyError(
                f"Another process works on {folder}.",
                expected="one process per run",
                fix="Wait until it ends, or stop it; then run the study again.",
            )
        if not reported:
            reported = True
            report(f"another process still works on {folder.name}; waiting up to {wait_s:.0f} s for it to end")
        time.sleep(_POLL_S)
    if locked is None:
        report(f"the file system of {folder} has no locks: make sure that no other process works there")
    _HELD[folder] = handle
    exit_when_scheduler_dies()


def _try_lock(handle: int) -> bool | None:
    """Whether an open file could be locked for this process; None where its file system has no locks.

    Closing the file unlocks it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


_watching = False


def exit_when_scheduler_dies() -> None:
    """Exit this process when Snakemake, or a process between it and this one, has ended.

    A notebook's kernel has its own session, which killing Snakemake does not reach. It would continue to train, and
    write into a folder that the next `wbcstudy run` works in. Without Snakemake above it (JupyterLab, papermill by
    hand) nothing is watched. `lock_run_folder` calls this; notebooks that lock no run folder call it themselves.
    """
    global _watching
    import psutil

    parents = psutil.Process().parents()
    schedulers = [index for index, process in enumerate(parents) if is_snakemake(process)]
    if _watching or not schedulers:
        return
    _watching = True
    watched = parents[: schedulers[-1] + 1]
    threading.Thread(target=_exit_after_any, args=(watched,), name="exit-when-scheduler-dies", daemon=True).start()


def _exit_after_any(processes: list) -> None:
    import psutil

    while all(map(is_alive, processes)):
        time.sleep(_POLL_S)
    # First the processes in between: they would record the exit of this process as a failed run.
    for process in reversed(processes):
        with contextlib.suppress(psutil.Error):
            if not is_snakemake(process):
                process.kill()
    os._exit(1)


def is_alive(process) -> bool:
    """Whether a psutil.Process runs; one that ended and was not collected (a zombie) does not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def is_snakemake(process) -> bool:
    """Whether a psutil.Process is a Snakemake."""
    import psutil

    try:
        return any(Path(argument).name == "snakemake" for argument in process.cmdline())
    except psutil.Error:
        return False


@contextlib.contextmanager
def lock_study(folder: StudyFolder, report: Callable[[str], object] = print) -> Iterator[int]:
    """Lock a study for one `wbcstudy run`. The kernel unlocks it when the last process that holds the lock ends.

    Args:
        folder: the study's folder.
        report: called with one line where the file system has no locks, so that two calls are not kept apart.

    Yields:
        The file descriptor that holds the lock.

    Raises:
        StudyError: the study is already running, or the folder cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    try:
        locked = _try_lock(handle)
        if locked is None:
            report(f"The file system of {short_path(folder.path)} has no locks: do not start this study twice.")
        elif not locked:
            raise StudyError(
                f"The study {folder.name} is already running{_describe_holder(handle)}.",
                expected="one `wbcstudy run` or `wbcstudy report` per study at a time",
                fix=f"Wait for it (`wbcstudy status` shows its progress), end it with `wbcstudy stop {folder.name}`, "
                "or copy the YAML under a new name.",
            )
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {platform.node()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def is_locked(folder: StudyFolder) -> bool:
    """Whether a process holds the lock of a study."""
    try:
        handle = os.open(folder.path / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        return _try_lock(handle) is False
    finally:
        os.close(handle)


def read_holder(folder: StudyFolder) -> tuple[Any, str]:
    """Return the psutil.Process that last locked a study, None if it has ended or is elsewhere, and its machine."""
    import psutil

    with contextlib.suppress(OSError, ValueError, psutil.Error):
        number, node = (folder.path / ".lock").read_text(encoding="utf-8")[:300].split(maxsplit=1)
        process = psutil.Process(int(number)) if node.strip() == platform.node() else None
        return (process if process is not None and is_alive(process) else None), node.strip()
    return None, ""


def _describe_holder(handle: int) -> str:
    """Return which process holds a lock, from the lock file; empty where the file does not say it."""
    with contextlib.suppress(OSError, ValueError):
        number, node = os.pread(handle, 300, 0).decode().split(maxsplit=1)
        return f" (started by process {int(number)} on {node.strip()})"
    return ""
