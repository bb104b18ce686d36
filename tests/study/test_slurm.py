"""Studies on SLURM: profiles, missing commands, jobs left over, and a complete study where SLURM runs."""

import os
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from tests.helpers.checkout import ROOT
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json
from wbcstudy.registry import ENCODERS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study import slurm
from wbcstudy.study.slurm import cancel_left_over, check_slurm, job_prefix, read_needs

ONE_NODE = ROOT / "profiles" / "slurm_one_node"


def slurm_runs() -> bool:
    if not shutil.which("sinfo"):
        return False
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["slurm", "slurm_one_node"])
def test_the_shipped_profiles_are_valid(name):
    needs = read_needs(ROOT / "profiles" / name)
    assert set(needs) <= {"default", *ENCODERS}
    assert set(needs["default"]) == set(slurm.NEEDS)


@pytest.mark.parametrize(
    "text", ["default: {mem_mb: 8 GB}", "resnet18: 8000", "unet: {memory: 1}", "- a", "a: [", "\0"]
)
def test_a_profile_with_other_contents_is_refused(tmp_path, text):
    (tmp_path / "encoders.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"encoders\.yaml"):
        read_needs(tmp_path)


def test_a_missing_profile_or_command_is_named(tmp_path, monkeypatch):
    with pytest.raises(StudyError, match=r"no .*config\.yaml"):
        check_slurm(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="sbatch"):
        check_slurm(ONE_NODE)


def test_only_this_studys_jobs_are_cancelled(tmp_path, monkeypatch):
    folder, other = StudyFolder(tmp_path / "demo"), StudyFolder(tmp_path / "demo2")
    assert job_prefix(StudyFolder(tmp_path / "elsewhere" / "demo")) != job_prefix(folder)
    jobs = f"7 {job_prefix(folder)}_1234\\n8 {job_prefix(other)}_1234\\n9 my own job\\n"
    for name, body in (("squeue", f"printf '{jobs}'"), ("scancel", f"echo $@ > {tmp_path}/cancelled")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cancel_left_over(folder) == 1
    assert (tmp_path / "cancelled").read_text().split() == ["7"]
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(StudyError, match="Unable to contact"):
        cancel_left_over(folder)


@pytest.mark.slow
@pytest.mark.skipif(not slurm_runs(), reason="no SLURM runs here; profiles/slurm_one_node/start_slurm.sh starts one")
def test_a_study_survives_a_killed_job_and_a_drained_node(tmp_path):
    cells = write_synthetic_dataset(tmp_path / "cells", cases=15, seed=3, size_px=64, slides=5)
    params = tmp_path / "on_slurm.yaml"
    settings = {"dataset": str(cells), "encoders": ["mobilenet"], "losses": ["dice"], "image_size": 32}
    params.write_text(yaml.safe_dump(settings | {"batch_size": 4, "augmented_copies": 1, "epochs": 3}))
    folder = StudyFolder(tmp_path / "outputs" / "on_slurm")
    run = folder.run("mobilenet__dice__fold0__seed0")
    command = [sys.executable, "-m", "wbcstudy.cli", "run", params, "--executor", "slurm", "--profile", ONE_NODE]
    environment = os.environ | {"WBCSTUDY_ROOT": str(ROOT), "WBCSTUDY_OUTPUTS": str(tmp_path / "outputs")}
    with (tmp_path / "output.txt").open("w") as output:
        child = subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    node = call("sinfo", "--noheader", "--Node", "--format", "%N").split()[0]
    try:
        wait_until(lambda: run.history.exists(), child)
        first = [line.split()[0] for line in jobs_of(folder)]
        assert first
        call("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
        call("scancel", *first)
        # The training is submitted again and waits for a node.
        wait_until(lambda: any(line.split()[2] == "PENDING" for line in jobs_of(folder)), child)
        assert not run.record.exists()
        call("scontrol", "update", f"nodename={node}", "state=resume")
        assert child.wait(timeout=600) == 0, (tmp_path / "output.txt").read_text()
    finally:
        call("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        if child.poll() is None:
            child.terminate()
            child.wait(timeout=60)
    assert read_json(run.record)["status"] == "complete"
    assert run.history.read_text().count("\n") == 1 + 3
    assert folder.report.exists()
    assert not jobs_of(folder)


def call(*command, check=True) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60).stdout


def jobs_of(folder) -> list[str]:
    """Lines of job, name and state: those that wait or run."""
    lines = call("squeue", "--noheader", "--format", "%A %j %T", "--states", "PENDING,RUNNING").splitlines()
    return [line for line in lines if line.split()[1].startswith(job_prefix(folder))]


def wait_until(condition, child, timeout=400) -> None:
    until = time.monotonic() + timeout
    while not condition():
        assert child.poll() is None, "the study ended early"
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.5)
