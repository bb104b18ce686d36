"""Full disks, too little memory, missing permissions, clocks set back: clear messages, and finished work is kept."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.helpers.checkout import ROOT
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import write_json
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import lock_study
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import start_run
from wbcstudy.study import run as study_run
from wbcstudy.study import snakemake
from wbcstudy.study.plan import read_plan


@pytest.fixture
def methods_study(tmp_path):
    """A study of one earlier method, the quickest that runs all notebooks except the training."""
    cells = write_synthetic_dataset(tmp_path / "cells", cases=9, seed=3, size_px=48, slides=3)
    path = tmp_path / "methods.yaml"
    path.write_text(
        yaml.safe_dump({"dataset": str(cells), "encoders": [], "baselines": ["otsu_levels"], "image_size": 32})
    )
    return path


def call(*words, outputs, **more):
    environment = os.environ | {"WBCSTUDY_ROOT": str(ROOT), "WBCSTUDY_OUTPUTS": str(outputs), "WBCSTUDY_THREADS": "1"}
    command = [*more.pop("before", ()), sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **more)


@pytest.mark.slow
def test_a_study_on_a_full_disk_stops_with_a_message_and_resumes_when_there_is_space(
    small_disk, methods_study, tmp_path
):
    outputs = small_disk.path
    # Enough for the settings, but not for all files of the notebooks.
    small_disk.resize("200k")
    full = call("-m", "wbcstudy.cli", "run", methods_study, outputs=outputs)
    assert full.returncode in (1, 2)
    assert "is full" in full.stdout or "No space left" in full.stderr, full.stdout + full.stderr
    assert "Traceback" not in full.stdout + full.stderr and "Unexpected" not in full.stderr
    study = StudyFolder(outputs / "methods")
    assert not study.report.exists()
    small_disk.resize("200m")
    # In parallel with another study.
    copy = shutil.copy(methods_study, tmp_path / "copy.yaml")
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(call, "-m", "wbcstudy.cli", "run", file, outputs=outputs) for file in (methods_study, copy)]
    for done in (future.result() for future in both):
        assert done.returncode == 0, done.stdout + done.stderr
    other = StudyFolder(outputs / "copy")
    assert study.report.exists() and other.report.exists()
    scores = [folder.baseline("otsu_levels__fold0").scores.read_bytes() for folder in (study, other)]
    assert scores[0] == scores[1]
    assert not list(outputs.rglob(".part-*"))


def as_nobody(tmp_path) -> list[str]:
    """Words before a command that run it without root's permissions."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("no `setpriv` here, and root may write anywhere")
    # pytest's own folders, and none above them.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    try_it = [*before, sys.executable, "-c", f"import os, wbcstudy; os.listdir({str(tmp_path)!r})"]
    if subprocess.run(try_it, capture_output=True, check=False).returncode:
        pytest.skip("no other user can read this environment or the tests' folder, and root may write anywhere")
    return before


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_an_output_folder_without_permission(tmp_path, methods_study, mode):
    before = as_nobody(tmp_path)
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    outputs.chmod(mode)
    try:
        done = call("-m", "wbcstudy.cli", "run", methods_study, outputs=outputs, before=before)
        status = call("-m", "wbcstudy.cli", "status", methods_study, outputs=outputs, before=before)
    finally:
        outputs.chmod(0o700)
    assert done.returncode == 2 and "Permission denied" in done.stderr, done.stdout + done.stderr
    assert "Unexpected" not in done.stderr + status.stderr and status.returncode in (0, 2)
    assert not list(outputs.iterdir())


def test_read_only_results_can_be_shown_and_are_not_changed(tmp_path, methods_study):
    before = as_nobody(tmp_path)
    study = StudyFolder(tmp_path / "outputs" / "methods")
    study.path.mkdir(parents=True)
    write_json(study.dataset, {})
    study.path.chmod(0o555)
    try:
        done = call("-m", "wbcstudy.cli", "run", methods_study, outputs=tmp_path / "outputs", before=before)
        status = call("-m", "wbcstudy.cli", "status", methods_study, outputs=tmp_path / "outputs", before=before)
    finally:
        study.path.chmod(0o755)
    assert done.returncode == 2 and "Cannot write to" in done.stderr, done.stdout + done.stderr
    assert status.returncode == 0 and "waiting" in status.stdout, status.stderr
    assert [path.name for path in study.path.iterdir()] == ["dataset.json"]


def test_images_that_may_not_be_read_are_named(tmp_path, methods_study):
    before = as_nobody(tmp_path)
    image = sorted((tmp_path / "cells" / "images").iterdir())[0]
    image.chmod(0)
    (tmp_path / "o").mkdir()
    (tmp_path / "o").chmod(0o777)
    done = call("-m", "wbcstudy.cli", "run", methods_study, outputs=tmp_path / "o", before=before)
    check = call("-m", "wbcstudy.cli", "data", "check", tmp_path / "cells", outputs=tmp_path / "o", before=before)
    assert done.returncode == 2 and "you have no permission" in done.stderr and image.name in done.stderr
    assert check.returncode == 1 and image.name in check.stdout and "Unexpected" not in done.stderr + check.stderr


@pytest.mark.slow
def test_after_a_clock_was_set_back_nothing_finished_is_repeated(tmp_path, places, monkeypatch):
    """Finished runs and the inputs of the report are dated in the future, the report is not."""
    study = tmp_path / "later.yaml"
    study.write_text(yaml.safe_dump({"encoders": ["unet"], "losses": ["dice"]}))
    plan = read_plan(study)
    (config,) = plan.runs
    run: RunFolder = start_run(config)
    write_record(run, {"status": "complete"})
    folder = plan.folder
    write_json(folder.dataset, {})
    folder.logs.mkdir()
    folder.report_done.touch()
    for name in ("baselines", "transfers"):
        (folder.path / f"selected_{name}.txt").touch()
    (folder.path / "selected_runs.txt").write_text(f"{config.name}\n")
    future = time.time() + 30 * 86_400
    for path in (run.record, folder.dataset):
        os.utime(path, (future, future))

    def jobs() -> str:
        with lock_study(folder) as lock:
            assert snakemake.run_snakemake(plan, snakemake.Executor(1), lock, print, "--dry-run") == 0
        return (folder.logs / "snakemake.log").read_text()

    before = jobs()
    assert "rule train" not in before and "rule summary" in before
    study_run._mark_report_current(plan)
    assert "Nothing to be done" in jobs()
