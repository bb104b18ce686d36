"""One process works on a run folder, and exits with its Snakemake."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.locks import lock_run_folder, lock_study

HOLD = (
    "import sys, time; from pathlib import Path; from wbcstudy.runs.locks import lock_run_folder; "
    "lock_run_folder(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
)


def start(*words, **more):
    return subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, **more)


def test_a_folder_is_locked_until_the_other_process_ends(tmp_path):
    other = start("-c", HOLD, tmp_path)
    assert other.stdout.readline() == "locked\n"
    lines = []
    with pytest.raises(StudyError, match="Another process works on"):
        lock_run_folder(tmp_path, wait_s=0.1, report=lines.append)
    assert lines and "waiting" in lines[0]
    other.kill()
    other.wait()
    other.stdout.close()
    lock_run_folder(tmp_path, wait_s=5)
    # The same process may lock twice, as a notebook does when a cell is run again.
    lock_run_folder(tmp_path, wait_s=0)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, number):
    def refuse(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lines = []
    lock_run_folder(tmp_path, report=lines.append)
    with lock_study(StudyFolder(tmp_path / "study"), lines.append):
        pass
    assert len(lines) == 2 and all("has no locks" in line for line in lines)


def test_another_error_of_the_lock_is_raised(tmp_path, monkeypatch):
    def fail(handle, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"):
        lock_run_folder(tmp_path, report=print)


def test_processes_exit_with_their_snakemake(tmp_path):
    """As in a study: Snakemake, a shell, papermill, and a notebook in its own session."""
    (tmp_path / "snakemake").write_text(
        "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1] + '; echo marked > ' + sys.argv[2]])"
    )
    (tmp_path / "papermill.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], start_new_session=True)"
    )
    (tmp_path / "notebook.py").write_text(HOLD)
    command = f"{sys.executable} {tmp_path}/papermill.py {tmp_path}/notebook.py {tmp_path}"
    scheduler = start(tmp_path / "snakemake", command, tmp_path / "marked")
    assert scheduler.stdout.readline() == "locked\n"
    started = psutil.Process(scheduler.pid).children(recursive=True)
    assert len(started) >= 3
    os.kill(scheduler.pid, signal.SIGKILL)
    scheduler.wait()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    # The shell in between would record the notebook's exit as a failed run.
    time.sleep(0.2)
    assert not (tmp_path / "marked").exists()
    scheduler.stdout.close()
    lock_run_folder(tmp_path, wait_s=0)
