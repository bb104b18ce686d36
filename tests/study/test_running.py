"""A grid whose command was killed is followed to its end, or stopped."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from tests.helpers.checkout import ROOT
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.locks import lock_study
from wbcstudy.study.plan import read_plan
from wbcstudy.study.running import find_grid, follow_left_over, stop_study, terminate_as_interrupt

PATIENCE_S = 600


@pytest.fixture
def study(places):
    """A plan of one training that has not started."""
    file = places / "left.yaml"
    file.write_text(yaml.safe_dump({"encoders": ["unet"], "losses": ["dice"]}))
    plan = read_plan(file)
    plan.folder.logs.mkdir(parents=True)
    return plan


@pytest.fixture
def scheduler(tmp_path):
    """Start a program that looks like the Snakemake of a study, with a child, which ends after some seconds."""
    started = []

    def start(folder: StudyFolder, seconds=60.0) -> subprocess.Popen:
        script = tmp_path / "snakemake"
        script.write_text(
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep({seconds})'])"
        )
        command = [sys.executable, str(script), "--keep-going", "--directory", str(folder.path)]
        started.append(subprocess.Popen(command))
        until = time.monotonic() + 30
        while not psutil.Process(started[-1].pid).children() and time.monotonic() < until:
            time.sleep(0.02)
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_a_grid_is_found_by_its_folder(study, scheduler, tmp_path):
    assert find_grid(study.folder) is None
    child = scheduler(study.folder)
    assert find_grid(study.folder).process.pid == child.pid
    assert find_grid(StudyFolder(tmp_path / "other")) is None


def test_a_grid_without_its_command_is_followed_to_its_end(study, scheduler):
    lines = []
    assert not follow_left_over(study, lines.append)
    scheduler(study.folder, seconds=2)
    assert follow_left_over(study, lines.append)
    assert "the command that started it was killed" in lines[0]
    assert find_grid(study.folder) is None


def test_a_grid_with_its_command_is_not_followed(study, scheduler):
    # This process is the parent of the scheduler, and holds the lock.
    with lock_study(study.folder):
        scheduler(study.folder)
        assert not follow_left_over(study, print)


def test_stop_ends_all_processes(study, scheduler):
    child = scheduler(study.folder)
    tree = psutil.Process(child.pid).children(recursive=True)
    lines = []
    stop_study(study.folder.name, lines.append)
    assert child.wait(10) is not None and not any(process.is_running() for process in tree)
    stop_study("left.yaml", lines.append)
    assert [line.split(".")[0] for line in lines] == ["Stopped left", "Study left is not running"]
    with pytest.raises(StudyError, match="There is no study 'nothing'"):
        stop_study("nothing")


@pytest.mark.slow
def test_two_kills_of_the_process_group_change_no_score(tmp_path):
    """As by the kernel when memory runs out: the command is killed, Snakemake is not."""
    cells = write_synthetic_dataset(tmp_path / "cells", cases=9, seed=3, size_px=48, slides=3)
    settings = {"dataset": str(cells), "encoders": [], "baselines": ["otsu_levels"], "image_size": 32}
    folders = [StudyFolder(tmp_path / "outputs" / name) for name in ("killed", "undisturbed")]
    environment = os.environ | {"WBCSTUDY_ROOT": str(ROOT), "WBCSTUDY_OUTPUTS": str(tmp_path / "outputs")}

    def start(folder) -> subprocess.Popen:
        file = tmp_path / f"{folder.name}.yaml"
        file.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "wbcstudy.cli", "run", str(file)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def kill_when(child, path) -> None:
        until = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()

    killed, undisturbed = folders
    kill_when(start(killed), killed.logs / "dataset.log")
    grid = find_grid(killed)
    assert grid is not None
    kill_when(start(killed), killed.logs / "otsu_levels__fold0.log")
    assert find_grid(killed).process.pid == grid.process.pid
    third = start(killed)
    output, _ = third.communicate(timeout=PATIENCE_S)
    assert third.returncode == 0 and "the command that started it was killed" in output
    assert start(undisturbed).wait(PATIENCE_S) == 0
    scores = [folder.baseline("otsu_levels__fold0").scores.read_bytes() for folder in folders]
    assert scores[0] == scores[1] and killed.report.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_closed_terminal_interrupts_a_grid(number):
    previous = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, previous)


def test_a_grid_under_nohup_continues_after_the_terminal_is_closed():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)
