"""What several test files share."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.checkout import ROOT

# No test is a timing: a busy machine must not fail one.
settings.register_profile("wbcstudy", deadline=None)
settings.load_profile("wbcstudy")
# TensorFlow reads it once, and a training sets it: else results depend on which test uses TensorFlow first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Trainings of tests are shorter than the usual time between two checkpoints.
os.environ["WBCSTUDY_CHECKPOINT_SECONDS"] = "0"


@pytest.fixture
def command(monkeypatch, capsys):
    """Call the `wbcstudy` command in this process: words -> (exit code, what it printed, what it complained)."""
    from wbcstudy.cli import main

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wbcstudy", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An outputs and a data folder of the test's own."""
    monkeypatch.setenv("WBCSTUDY_ROOT", str(ROOT))
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("WBCSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("WBCSTUDY_DEBUG", raising=False)
    # A dry run times steps of a training in another process, which takes many seconds.
    monkeypatch.setattr("wbcstudy.study.cost.measure", lambda config, threads: {"error": "not in tests"})
    return tmp_path


@dataclass
class SmallDisk:
    """A disk of its own, in memory."""

    path: Path

    def resize(self, size: str) -> None:
        """Make it as large as it says: "300k", "20m"."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def fill(self) -> Path:
        """Leave no byte on it; the file that took them all."""
        with (self.path / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return self.path / "filler"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB."""
    disk = SmallDisk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk.path]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `mount` here, so no small disk")
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk.path], check=True)


@pytest.fixture(scope="session")
def archive():
    """The public images as their host packs them."""
    given = os.environ.get("WBCSTUDY_TEST_ARCHIVE")
    path = Path(given) if given else ROOT.parent / "shared" / "data" / "segmentation_WBC-master.zip"
    if not path.is_file():
        pytest.skip(f"no archive of the public images at {path}; set WBCSTUDY_TEST_ARCHIVE")
    return path
