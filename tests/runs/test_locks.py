"""A run folder belongs to one living process, which ends with its grid."""

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
from wbcstudy.runs.locks import claim, lock_study, release

HOLD = "import sys, time; from pathlib import Path; from wbcstudy.runs.locks import claim; claim(Path(sys.argv[1])); "


def start(*words, **more):
    return subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, **more)


def test_another_process_is_waited_for_and_its_end_however_it_comes_frees_the_folder(tmp_path):
    other = start("-c", HOLD + "print('held', flush=True); time.sleep(60)", tmp_path)
    assert other.stdout.readline() == "held\n"
    told = []
    with pytest.raises(StudyError, match="Another process works on"):
        claim(tmp_path, wait_s=0.1, report=told.append)
    assert told and "waiting" in told[0]
    other.kill()
    other.wait()
    other.stdout.close()
    claim(tmp_path, wait_s=5)
    # The same process may ask twice, as a notebook does whose cell is run again.
    claim(tmp_path, wait_s=0)
    release(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told_and_keeps_nobody_from_work(tmp_path, monkeypatch, number):
    def refuse(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    told = []
    claim(tmp_path, report=told.append)
    release(tmp_path)
    with lock_study(StudyFolder(tmp_path / "study"), told.append):
        pass
    assert len(told) == 2 and all("has no locks" in line for line in told)


def test_a_lock_that_fails_in_another_way_is_no_lock(tmp_path, monkeypatch):
    def fail(handle, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"):
        claim(tmp_path, report=print)


def test_what_a_grid_started_ends_with_it(tmp_path):
    """As in a batch: Snakemake, a shell, papermill, and a notebook in a session of its own."""
    (tmp_path / "snakemake").write_text(
        "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1] + '; echo marked > ' + sys.argv[2]])"
    )
    (tmp_path / "papermill.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], start_new_session=True)"
    )
    (tmp_path / "notebook.py").write_text(HOLD + "print('held', flush=True); time.sleep(60)")
    command = f"{sys.executable} {tmp_path}/papermill.py {tmp_path}/notebook.py {tmp_path}"
    grid = start(tmp_path / "snakemake", command, tmp_path / "marked")
    assert grid.stdout.readline() == "held\n"
    started = psutil.Process(grid.pid).children(recursive=True)
    assert len(started) >= 3
    os.kill(grid.pid, signal.SIGKILL)
    grid.wait()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    # The shell in between would note the notebook's end as a failure of the run.
    time.sleep(0.2)
    assert not (tmp_path / "marked").exists()
    grid.stdout.close()
    claim(tmp_path, wait_s=0)
    release(tmp_path)
