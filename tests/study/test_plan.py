"""Which runs a call selects, resumes, repeats or leaves alone, and when the report is built again."""

import os

import pytest
import yaml

from wbcstudy.errors import StudyError
from wbcstudy.runs.locks import lock_study
from wbcstudy.study.plan import prepare, read_plan


def test_the_precision_of_a_failed_run_without_epochs_can_change(write_study, finish):
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


def test_advice_about_changed_settings_keeps_finished_runs(write_study, finish):
    plan = read_plan(write_study())
    finish(plan, plan.runs[0].name)
    with pytest.raises(StudyError) as caught:
        read_plan(write_study(batch_size=4))
    message = str(caught.value)
    assert "batch_size was 8, is now 4" in message and "under a new name" in message and "delete" not in message


def test_a_second_call_names_the_first_process(write_study):
    folder = read_plan(write_study()).folder
    with (
        lock_study(folder),
        pytest.raises(StudyError, match=rf"already running \(started by process {os.getpid()} on "),
        lock_study(folder),
    ):
        pass
