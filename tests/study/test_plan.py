"""Which runs a call selects, resumes, repeats or leaves alone, and when the report is built again."""

import os
import shutil
import signal

import pytest
import yaml

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.runs.locks import lock_study
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import start_run
from wbcstudy.study import run as study_run
from wbcstudy.study import snakemake
from wbcstudy.study.plan import prepare, read_plan

# Lines of a dry run in Snakemake's log.
TRAIN, SUMMARY, NOTHING = "rule train", "rule summary", "Nothing to be done"


@pytest.fixture
def write_study(places):
    """A function that writes a study of two networks, with changed settings, and returns its file."""
    cells = write_synthetic_dataset(places / "cells", cases=15, seed=0, size_px=48, slides=5)

    def write(**changed):
        file = places / "ours.yaml"
        settings = {"dataset": str(cells), "encoders": ["unet", "mobilenet"], "losses": ["dice"], "image_size": 32}
        file.write_text(yaml.safe_dump(settings | changed))
        return file

    return write


def finish(plan, *names, status="complete"):
    """Write finished runs, as trainings do, and a report."""
    prepare(plan)
    for config in plan.runs:
        if config.name in names:
            write_record(start_run(config), {"status": status, "error": "invented", "advice": ""})
    plan.folder.dataset.write_text("{}")
    plan.folder.report.parent.mkdir(exist_ok=True)
    plan.folder.report.touch()
    plan.folder.report_done.touch()
    study_run._mark_report_current(plan)


def dry_run(plan, *extra):
    with lock_study(plan.folder) as lock:
        assert snakemake.run_snakemake(plan, snakemake.Executor(1), lock, print, "--dry-run", *extra) == 0
    return (plan.folder.logs / "snakemake.log").read_text()


@pytest.mark.slow
def test_a_report_resumes_no_training(write_study, monkeypatch):
    file = write_study()
    plan = read_plan(file)
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet)
    plan.folder.run(mobilenet).history.write_text("epoch,loss\n1,0.5\n")
    call = study_run.run_snakemake
    monkeypatch.setattr(study_run, "run_snakemake", lambda *args: call(*args, "--dry-run"))
    assert study_run.build_report(file, show=lambda line: None) == 0
    log = (plan.folder.logs / "snakemake.log").read_text()
    assert TRAIN not in log and SUMMARY in log


@pytest.mark.slow
def test_a_report_is_built_again_when_it_would_show_other_runs(write_study, places):
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
def test_a_report_is_built_again_when_a_finished_run_was_copied_here(write_study, places):
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


def test_the_precision_of_a_failed_run_without_epochs_can_change(write_study):
    plan = read_plan(write_study(precision="bfloat16"))
    unet, _ = (run.name for run in plan.runs)
    finish(plan, unet, status="failed")
    plan = read_plan(write_study(precision="float32"))
    prepare(plan)
    assert {yaml.safe_load(plan.folder.run(run.name).params.read_text())["precision"] for run in plan.runs} == {
        "float32"
    }
    # It is run again.
    assert plan.folder.run(unet).read_status() == "waiting"


def test_every_pattern_must_match_a_run(write_study):
    with pytest.raises(StudyError, match=r"--only mobilnet\* matches none of the 2 runs"):
        read_plan(write_study(), ["unet*", "mobilnet*"])
    assert len(read_plan(write_study(), ["unet*", "mobilenet*"]).runs) == 2


def test_a_folder_with_the_name_of_a_dataset_does_not_hide_it(write_study, places, monkeypatch):
    monkeypatch.chdir(places)
    (places / "synthetic").mkdir()
    assert read_plan(write_study(dataset="synthetic")).study.dataset == "synthetic"


def test_advice_about_changed_settings_keeps_finished_runs(write_study):
    plan = read_plan(write_study())
    finish(plan, plan.runs[0].name)
    with pytest.raises(StudyError) as caught:
        read_plan(write_study(batch_size=4))
    message = str(caught.value)
    assert "batch_size was 8, is now 4" in message and "under a new name" in message and "delete" not in message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_or_a_closed_terminal_interrupts_a_grid(number):
    previous = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), snakemake._terminate_as_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, previous)


def test_a_grid_under_nohup_continues_after_the_terminal_is_closed():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with snakemake._terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_second_call_names_the_first_process(write_study):
    folder = read_plan(write_study()).folder
    with (
        lock_study(folder),
        pytest.raises(StudyError, match=rf"already running \(started by process {os.getpid()} on "),
        lock_study(folder),
    ):
        pass
