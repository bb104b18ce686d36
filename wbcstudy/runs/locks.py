"""A run folder belongs to one living process, and that process ends with the grid that started it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, short_path
from wbcstudy.runs.folders import StudyFolder

# An orphan notices within a second or two that its grid has gone, unless a long computation keeps its other threads.
WAIT_S = 120.0
_POLL_S = 0.5
# What flock says where the file system, or its server, has no locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
# Folder -> open file, for as long as this process lives.
_HELD: dict[Path, int] = {}


def claim(folder: Path, wait_s: float = WAIT_S, report: Callable[[str], object] = print) -> None:
    """Take a run's folder for this process, until it ends, in whatever way.

    The lock is the kernel's (flock), so no kill, power cut or full disk leaves one behind. Processes on several nodes
    exclude one another where the shared file system passes such locks on, as NFS 4, Lustre (with `flock`) and BeeGFS
    do. Where it has none, nothing keeps them apart, and `report` says so.

    Args:
        folder: an existing folder.
        wait_s: how long to wait for a process that still works there, in s.
        report: told in one line if there is need to wait, or if there are no locks.

    Raises:
        StudyError: another process works there, also after `wait_s`.
    """
    folder = folder.resolve()
    if folder in _HELD:
        return
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    give_up, told = time.monotonic() + wait_s, False
    while (locked := try_lock(handle)) is False:
        if time.monotonic() >= give_up:
            os.close(handle)
            raise StudyError(
                f"Another process works on {folder}.",
                expected="one process per run",
                fix="Wait for it to end, or stop it; then run the study again.",
            )
        if not told:
            told = True
            report(f"another process still works on {folder.name}; waiting up to {wait_s:.0f} s for it to end")
        time.sleep(_POLL_S)
    if locked is None:
        report(f"the file system of {folder} has no locks: see to it that no other process works there")
    _HELD[folder] = handle
    end_with_grid()


def release(folder: Path) -> None:
    """Give a folder back before the process ends."""
    handle = _HELD.pop(folder.resolve(), None)
    if handle is not None:
        os.close(handle)


def try_lock(handle: int) -> bool | None:
    """Whether an open file could be locked for this process; None where its file system has no locks.

    Args:
        handle: its file descriptor, open for writing; who closes it gives the lock back.

    Raises:
        OSError: anything else than a lock that another process holds, or no locks at all.
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


def end_with_grid() -> None:
    """End this process when Snakemake, or anything between it and this process, is gone.

    A notebook's process has a session of its own, so that killing the grid does not reach it. It would train on, and
    write into a folder that the next grid works in. Without Snakemake above it (JupyterLab, papermill by hand), nothing
    is watched: a notebook server looks after its own. `claim` calls it; what claims no folder (the notebooks about the
    dataset and the study, which write files that the next grid writes, too) calls it itself.
    """
    global _watching
    import psutil

    above = psutil.Process().parents()
    grids = [k for k, process in enumerate(above) if _is_snakemake(process)]
    if _watching or not grids:
        return
    _watching = True
    threading.Thread(target=_watch, args=(above[: grids[-1] + 1],), name="end-with-grid", daemon=True).start()


def _watch(above: list) -> None:
    import psutil

    while all(_lives(process) for process in above):
        time.sleep(_POLL_S)
    # What is left in between first: it would take the end of this process for a failed run, and note that.
    for process in reversed(above):
        with contextlib.suppress(psutil.Error):
            if not _is_snakemake(process):
                process.kill()
    os._exit(1)


def _lives(process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _is_snakemake(process) -> bool:
    import psutil

    try:
        return any(Path(word).name == "snakemake" for word in process.cmdline())
    except psutil.Error:
        return False


@contextmanager
def lock_study(folder: StudyFolder, show: Callable[[str], None] = print) -> Iterator[int]:
    """One `wbcstudy run` per study. The kernel drops the lock when the last process that holds it ends, however.

    Args:
        folder: the study.
        show: told in one line where the file system has no locks, so that nothing keeps two calls apart.

    Yields:
        The file descriptor that holds the lock.

    Raises:
        StudyError: another one is running, or the folder cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    try:
        locked = try_lock(handle)
        if locked is None:
            show(f"The file system of {short_path(folder.path)} has no locks: do not start this study twice at a time.")
        elif not locked:
            raise StudyError(
                f"The study {folder.name} is being run already{_holder(handle)}.",
                expected="one `wbcstudy run` or `wbcstudy report` per study at a time",
                fix=f"Wait for it (wbcstudy status shows how far it is), or copy the YAML under a new name. "
                f"The lock is {short_path(folder.path / '.lock')}; it goes when the other ends.",
            )
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {platform.node()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    """Who holds a lock, as its file says; nothing where it does not."""
    with contextlib.suppress(OSError, ValueError):
        number, node = os.pread(handle, 300, 0).decode().split(maxsplit=1)
        return f" (started by process {int(number)} on {node.strip()})"
    return ""
