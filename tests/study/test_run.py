"""When a training is resumed, and when the report is built again."""

import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.data.datasets import load_dataset
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.locks import lock_study
from wbcstudy.study import run as study_run
from wbcstudy.study import snakemake
from wbcstudy.study.plan import prepare, read_plan
from wbcstudy.study.record import write_dataset_record

# Lines of a dry run in Snakemake's log.
TRAIN, SUMMARY, NOTHING = "rule train", "rule summary", "Nothing to be done"


def dry_run(plan, *extra):
    with lock_study(plan.folder) as lock:
        assert snakemake.run_snakemake(plan, snakemake.Executor(1), lock, print, "--dry-run", *extra) == 0
    return (plan.folder.logs / "snakemake.log").read_text()


@pytest.mark.slow
def test_a_report_resumes_no_training(write_study, finish, monkeypatch):
    file = write_study()
    plan = read_plan(file)
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet)
    plan.folder.run(mobilenet).history.write_text("epoch,loss\n1,0.5\n")
    # It is an input of the report, which only Snakemake can make again.
    plan.folder.dataset.unlink()
    call = study_run.run_snakemake
    monkeypatch.setattr(study_run, "run_snakemake", lambda *args: call(*args, "--dry-run"))
    assert study_run.build_report(file, show=lambda line: None) == 0
    log = (plan.folder.logs / "snakemake.log").read_text()
    assert TRAIN not in log and SUMMARY in log


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WBCSTUDY_THREADS", "many"),
        ("WBCSTUDY_CACHE_MB", "-5"),
        ("WBCSTUDY_CHECKPOINT_SECONDS", "soon"),
        ("WBCSTUDY_WITHOUT", "gravity"),
    ],
)
def test_a_variable_that_would_fail_every_training_stops_the_study(write_study, monkeypatch, variable, text):
    file = write_study()
    monkeypatch.setenv(variable, text)
    with pytest.raises(StudyError, match=rf"{variable}.*{text}"):
        study_run.run_study(file, show=lambda line: None)
    assert not read_plan(file).folder.path.exists()


def test_a_report_of_finished_runs_is_built_without_snakemake(write_study, finish, monkeypatch):
    file = write_study()
    plan = read_plan(file)
    finish(plan, plan.runs[0].name)
    write_dataset_record(plan.folder.dataset, load_dataset(plan.study.dataset), {})
    written = plan.folder.report_done.stat().st_mtime_ns
    commands = []

    def execute(command, **options):
        commands.append(command)
        return subprocess.Popen([sys.executable, "-c", ""], **options)

    monkeypatch.setattr(snakemake, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": execute}))
    assert study_run.build_report(file, show=lambda line: None) == 0
    assert len(commands) == 1 and "snakemake" not in commands[0]
    assert commands[0][4] == str(ROOT / "notebooks" / "4_summary.ipynb")
    assert plan.folder.report_done.stat().st_mtime_ns > written


@pytest.mark.slow
def test_a_report_is_built_again_when_it_would_show_other_runs(write_study, finish, places):
    plan = read_plan(write_study())
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet, mobilenet)
    prepare(plan)
    assert NOTHING in dry_run(plan)
    # Remove one encoder from the study, then add it again.
    fewer = read_plan(write_study(encoders=["unet"]))
    prepare(fewer)
    log = dry_run(fewer)
    assert SUMMARY in log and TRAIN not in log
    # As if the report had been built.
    fewer.folder.report_done.touch()
    study_run._mark_report_current(fewer)
    prepare(fewer)
    assert NOTHING in dry_run(fewer)
    prepare(plan)
    assert SUMMARY in dry_run(plan)


@pytest.mark.slow
def test_a_report_is_built_again_when_a_finished_run_was_copied_here(write_study, finish, places):
    plan = read_plan(write_study())
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet, mobilenet)
    shutil.move(plan.folder.run(mobilenet).path, places / "elsewhere")
    plan.folder.report_done.touch()
    study_run._mark_report_current(plan)
    # `rsync -a` and `mv` keep file times, which are older than the report's.
    shutil.move(places / "elsewhere", plan.folder.run(mobilenet).path)
    prepare(plan)
    log = dry_run(plan)
    assert SUMMARY in log and TRAIN not in log


def test_a_full_disk_is_named(small_disk, monkeypatch):
    small_disk.fill()
    message = study_run._explain(StudyFolder(small_disk.path), time.time())
    assert "is full (0.0 MB free)" in message and "Free some space" in message


END = "Exiting because a job execution failed.\nWorkflowError:\nAt least one job did not complete successfully.\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("WorkflowError:\nFailed to load profile x.\n", "Failed to load profile x."),
        ("Using profile x.\nError: profile directory given (x), but no config.yaml found. Give it.\n",
         "Error: profile directory given (x), but no config.yaml found. Give it."),
        ('MissingOutputException in rule a in file S, line 3:\nJob 1 completed, but files are missing:\na.txt\n' + END,
         "Job 1 completed, but files are missing."),
        ('ZeroDivisionError in file "S", line 7:\ndivision by zero\n  File "S", line 7\n', "division by zero."),
        ("__main__.py: error: argument --x: invalid choice: 'y'\n", "error: argument --x: invalid choice: 'y'."),
        ("Traceback (most recent call last):\nMemoryError\n", "MemoryError."),
        (END, ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_reason_in_snakemakes_log(tmp_path, log, reason):
    folder = StudyFolder(tmp_path)
    folder.logs.mkdir()
    (folder.logs / "snakemake.log").write_text(log)
    assert study_run._read_reason(folder, 0) == reason


def test_the_reason_in_the_log_of_the_failed_rule(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.logs.mkdir()
    shown = "Error in rule a:\n    log: logs/a.log (check log file(s) for error details)\n" + END
    (folder.logs / "snakemake.log").write_text(shown)
    (folder.logs / "a.log").write_text("Traceback:\n  File x\nImportError: libx.so: failed to map segment\n")
    assert study_run._read_reason(folder, 0) == "ImportError: libx.so: failed to map segment."


def test_the_reason_in_the_log_of_a_report_without_snakemake(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.logs.mkdir()
    (folder.logs / "snakemake.log").write_text("MemoryError\n")
    # The last study on this folder ended long ago.
    os.utime(folder.logs / "snakemake.log", (1, 1))
    assert study_run._read_reason(folder, 2) == ""
    (folder.logs / "summary.log").write_text("nbclient.exceptions.DeadKernelError: Kernel died\n")
    assert study_run._read_reason(folder, 2) == "nbclient.exceptions.DeadKernelError: Kernel died."
