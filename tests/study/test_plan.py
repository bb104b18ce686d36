"""What a call of the grid takes up: what is begun, what is finished, what was asked for."""

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
from wbcstudy.study import run as batch
from wbcstudy.study import snakemake as scheduler
from wbcstudy.study.plan import prepare, read_plan

# As what run_snakemake writes to its log, of what it would do.
TRAIN, SUMMARY, NOTHING = "rule train", "rule summary", "Nothing to be done"


@pytest.fixture
def write_study(places):
    """Write a study of two networks, with changes -> its file."""
    cells = write_synthetic_dataset(places / "cells", cases=15, seed=0, size_px=48, slides=5)

    def write(**changed):
        file = places / "ours.yaml"
        settings = {"dataset": str(cells), "encoders": ["unet", "mobilenet"], "losses": ["dice"], "image_size": 32}
        file.write_text(yaml.safe_dump(settings | changed))
        return file

    return write


def finish(plan, *names, status="complete"):
    """Leave finished runs, as trainings do, and a report of them."""
    prepare(plan)
    for config in plan.runs:
        if config.name in names:
            write_record(start_run(config), {"status": status, "error": "made up", "advice": ""})
    plan.folder.dataset.write_text("{}")
    plan.folder.report.parent.mkdir(exist_ok=True)
    plan.folder.report.touch()
    plan.folder.reported.touch()
    batch._date_report(plan)


def would_do(plan, *extra):
    with lock_study(plan.folder) as lock:
        assert scheduler.run_snakemake(plan, scheduler.Executor(1), lock, print, "--dry-run", *extra) == 0
    return (plan.folder.logs / "snakemake.log").read_text()


@pytest.mark.slow
def test_a_report_trains_nothing_that_was_begun(write_study, monkeypatch):
    file = write_study()
    plan = read_plan(file)
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet)
    plan.folder.run(mobilenet).history.write_text("epoch,loss\n1,0.5\n")
    call = batch.run_snakemake
    monkeypatch.setattr(batch, "run_snakemake", lambda *words: call(*words, "--dry-run"))
    assert batch.build_report(file, show=lambda line: None) == 0
    log = (plan.folder.logs / "snakemake.log").read_text()
    assert TRAIN not in log and SUMMARY in log


@pytest.mark.slow
def test_a_report_is_built_again_when_it_would_show_other_runs(write_study, places):
    plan = read_plan(write_study())
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet, mobilenet)
    prepare(plan)
    assert NOTHING in would_do(plan)
    # One is taken out of the study, and comes back.
    fewer = read_plan(write_study(encoders=["unet"]))
    prepare(fewer)
    log = would_do(fewer)
    assert SUMMARY in log and TRAIN not in log
    # As if it had been built.
    fewer.folder.reported.touch()
    batch._date_report(fewer)
    prepare(fewer)
    assert NOTHING in would_do(fewer)
    prepare(plan)
    assert SUMMARY in would_do(plan)


@pytest.mark.slow
def test_a_report_is_built_again_when_a_finished_run_was_copied_here(write_study, places):
    plan = read_plan(write_study())
    unet, mobilenet = (run.name for run in plan.runs)
    finish(plan, unet, mobilenet)
    shutil.move(plan.folder.run(mobilenet).path, places / "elsewhere")
    plan.folder.reported.touch()
    batch._date_report(plan)
    # `rsync -a` and `mv` keep the times, which are older than the report's.
    shutil.move(places / "elsewhere", plan.folder.run(mobilenet).path)
    prepare(plan)
    log = would_do(plan)
    assert SUMMARY in log and TRAIN not in log


def test_a_failed_run_that_never_began_takes_another_precision(write_study):
    plan = read_plan(write_study(precision="bfloat16"))
    unet, _ = (run.name for run in plan.runs)
    finish(plan, unet, status="failed")
    plan = read_plan(write_study(precision="float32"))
    prepare(plan)
    assert {yaml.safe_load(plan.folder.run(run.name).params.read_text())["precision"] for run in plan.runs} == {
        "float32"
    }
    # And is asked for again.
    assert plan.folder.run(unet).status == "waiting"


def test_every_pattern_has_to_select_something(write_study):
    with pytest.raises(StudyError, match=r"--only mobilnet\* selects none of the 2 runs"):
        read_plan(write_study(), ["unet*", "mobilnet*"])
    assert len(read_plan(write_study(), ["unet*", "mobilenet*"]).runs) == 2


def test_a_folder_that_is_called_as_a_dataset_does_not_hide_it(write_study, places, monkeypatch):
    monkeypatch.chdir(places)
    (places / "synthetic").mkdir()
    assert read_plan(write_study(dataset="synthetic")).study.dataset == "synthetic"


def test_advice_about_other_settings_does_not_cost_what_is_finished(write_study):
    plan = read_plan(write_study())
    finish(plan, plan.runs[0].name)
    with pytest.raises(StudyError) as caught:
        read_plan(write_study(batch_size=4))
    told = str(caught.value)
    assert "batch_size was 8, is now 4" in told and "under a new name" in told and "delete" not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_ends_a_grid_as_a_kill_does(number):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), scheduler._terminate_as_interrupt():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_nohup_started_goes_on_when_the_terminal_is_closed():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with scheduler._terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_call_says_which_process_was_first(write_study):
    folder = read_plan(write_study()).folder
    with (
        lock_study(folder),
        pytest.raises(StudyError, match=rf"already running \(started by process {os.getpid()} on "),
        lock_study(folder),
    ):
        pass
