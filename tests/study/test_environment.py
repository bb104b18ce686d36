"""Variables, profiles, kernels and start-up files of the user have no effect on a study."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.checkout import ROOT
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study import environment
from wbcstudy.study.environment import check_package, child_environment

STEERING = {
    "SNAKEMAKE_PROFILE": "profile",
    "JUPYTER_PATH": "kernels",
    "JUPYTER_CONFIG_DIR": "config",
    "IPYTHONDIR": "ipython",
    "PAPERMILL_SOMETHING": "1",
    "PYTHONSTARTUP": "startup.py",
    "PYTHONWARNINGS": "error",
    "PYTHONINSPECT": "1",
    "PYTHONPATH": "elsewhere",
    "MPLBACKEND": "TkAgg",
    "MATPLOTLIBRC": "rc",
    "KERAS_BACKEND": "jax",
    "KERAS_HOME": "keras",
    "TF_USE_LEGACY_KERAS": "1",
}


@pytest.fixture
def steered(monkeypatch):
    for name, value in STEERING.items():
        monkeypatch.setenv(name, value)


def test_programs_do_not_see_the_users_settings(steered, tmp_path):
    child = child_environment(tmp_path)
    assert not {name for name, value in STEERING.items() if child.get(name) == value}
    assert child["PYTHONPATH"] == str(ROOT)


def test_what_describes_the_machine_stays(monkeypatch, tmp_path):
    kept = {"CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/opt/cuda", "TMPDIR": "/scratch", "PYTHONUTF8": "1"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    assert kept.items() <= child_environment(tmp_path).items()


def test_a_kernel_is_this_python_with_this_package(steered, tmp_path):
    """Also where it starts in the folder that PYTHONPATH names, as in a study."""
    code = (
        "import sys; from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='python3', cwd=sys.argv[1])\n"
        "client.execute_interactive('import sys, wbcstudy; print(sys.executable, wbcstudy.__file__)', timeout=300)\n"
        "manager.shutdown_kernel(now=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)],
        env=child_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{sys.executable} {ROOT}/wbcstudy/__init__.py" in done.stdout, done.stderr


@pytest.mark.parametrize("home", ["/proc", "/proc/none"])
def test_a_home_that_cannot_be_written_is_replaced(monkeypatch, tmp_path, home):
    monkeypatch.setenv("HOME", home)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    child = child_environment(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "KERAS_HOME", "IPYTHONDIR"):
        assert Path(child[name]).is_relative_to(tmp_path), name


def test_a_home_that_can_be_written_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    child = child_environment(tmp_path / "programs")
    assert child["HOME"] == str(tmp_path / "home")
    assert not {"XDG_CACHE_HOME", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "KERAS_HOME"} & child.keys()


def test_a_wbcstudy_from_pythonpath_is_refused(monkeypatch, tmp_path):
    (tmp_path / "wbcstudy").mkdir()
    (tmp_path / "wbcstudy" / "__init__.py").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "2_train.ipynb").touch()
    monkeypatch.setenv("WBCSTUDY_ROOT", str(tmp_path))
    monkeypatch.setattr(environment, "_python_path", set())
    check_package()
    monkeypatch.setattr(environment, "_python_path", {ROOT.resolve()})
    with pytest.raises(StudyError, match="PYTHONPATH makes Python load wbcstudy from"):
        check_package()


def test_the_command_ignores_settings_of_keras_and_python(tmp_path):
    code = (
        "import os, sys; sys.argv = ['wbcstudy', 'encoders']; from wbcstudy import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({'KERAS_BACKEND', 'MPLBACKEND', 'PYTHONSTARTUP'} & os.environ.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | STEERING | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_a_study_runs_under_hostile_settings_and_without_a_home(tmp_path):
    cells = write_synthetic_dataset(tmp_path / "cells", cases=9, seed=3, size_px=48, slides=3)
    study = tmp_path / "steered.yaml"
    study.write_text(
        yaml.safe_dump({"dataset": str(cells), "encoders": [], "baselines": ["otsu_levels"], "image_size": 32})
    )
    profile, kernel, startup = tmp_path / "profile", tmp_path / "kernels" / "python3", tmp_path / "startup.py"
    for folder in (profile, kernel, tmp_path / "profiles" / "default"):
        folder.mkdir(parents=True)
    for folder in (profile, tmp_path / "profiles" / "default"):
        (folder / "config.yaml").write_text("executor: slurm\njobs: 5\n")
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    startup.write_text("raise SystemExit('started')")
    (tmp_path / "matplotlibrc").write_text("backend: TkAgg\n")
    hostile = {
        "SNAKEMAKE_PROFILE": str(profile),
        "JUPYTER_PATH": str(tmp_path),
        "PYTHONSTARTUP": str(startup),
        "IPYTHONDIR": "/proc/none",
        "MPLBACKEND": "TkAgg",
        "KERAS_BACKEND": "jax",
        "HOME": "/proc/none",
        "XDG_CACHE_HOME": "/proc/none",
    }
    places = {"WBCSTUDY_ROOT": str(ROOT), "WBCSTUDY_OUTPUTS": str(tmp_path / "outputs"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "wbcstudy.cli", "run", str(study)],
        env=os.environ | hostile | places,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert StudyFolder(tmp_path / "outputs" / "steered").report.exists()
