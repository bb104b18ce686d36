"""Run folders: finished work is kept, half-finished work is never taken for finished."""

import json
import os

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import load_run, load_runs, read_predictions, run_seconds, write_predictions, write_record
from wbcstudy.runs.start import check_same_settings, start_run


def test_a_started_run_can_be_taken_up_again_until_it_is_complete(tmp_path):
    config = RunConfig(study="s")
    folder = start_run(config, tmp_path)
    assert folder.path == tmp_path / "s" / "runs" / "resnet18__cross_entropy__fold0__seed0"
    assert folder.read_status() == "waiting"
    folder.history.write_text("epoch,loss\n1,0.5\n")
    assert start_run(config, tmp_path).read_status() == "unfinished"
    write_record(folder, {"status": "complete"})
    with pytest.raises(StudyError, match="holds a finished run"):
        start_run(config, tmp_path)


def test_a_run_knows_its_study(tmp_path):
    study = StudyFolder(tmp_path / "s")
    assert study.run("resnet18").study == study.baseline("otsu").study == study


def test_a_failed_run_can_be_tried_again(tmp_path):
    folder = start_run(RunConfig(study="s"), tmp_path)
    write_record(folder, {"status": "failed", "error": "x"})
    assert folder.read_status() == "failed"
    assert start_run(RunConfig(study="s"), tmp_path).read_status() == "waiting"


def test_settings_are_not_mixed_in_one_folder(tmp_path):
    start_run(RunConfig(study="s", epochs=5), tmp_path)
    with pytest.raises(StudyError, match="epochs was 5, is now 6"):
        start_run(RunConfig(study="s", epochs=6), tmp_path)


def test_precision_auto_takes_what_a_machine_has_computed_in(tmp_path):
    folder = start_run(RunConfig(study="s", precision="float32"), tmp_path)
    check_same_settings(folder, RunConfig(study="s", precision="bfloat16"))
    # A training that has begun would go on in another arithmetic.
    folder.history.write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(StudyError, match="precision was 'float32', is now 'auto'"):
        check_same_settings(folder, RunConfig(study="s"))
    write_record(folder, {"status": "complete", "arithmetic": "float32"})
    check_same_settings(folder, RunConfig(study="s"))
    with pytest.raises(StudyError, match="precision was 'float32', is now 'bfloat16'"):
        check_same_settings(folder, RunConfig(study="s", precision="bfloat16"))
    with pytest.raises(StudyError, match="epochs was 100, is now 5"):
        check_same_settings(folder, RunConfig(study="s", epochs=5))
    other = start_run(RunConfig(study="s", loss="dice"), tmp_path)
    write_record(other, {"status": "complete", "arithmetic": "bfloat16"})
    check_same_settings(other, RunConfig(study="s", loss="dice", precision="bfloat16"))
    with pytest.raises(StudyError, match="precision was 'auto', is now 'float32'"):
        check_same_settings(other, RunConfig(study="s", loss="dice", precision="float32"))


@pytest.mark.parametrize("comment", ["  # Adam's learning rate.", "  # Worded otherwise in that version."])
def test_a_run_of_a_version_without_a_setting_is_taken_up_with_its_default(tmp_path, comment):
    folder = start_run(RunConfig(study="s"), tmp_path)
    lines = folder.params.read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("learning_rate_schedule")]
    text = "".join(lines).replace("  # Adam's learning rate.", comment)
    folder.params.write_text(text)
    with pytest.raises(StudyError, match="learning_rate_schedule was 'constant', is now 'cosine'"):
        start_run(RunConfig(study="s", learning_rate_schedule="cosine"), tmp_path)
    assert folder.params.read_text() == text
    start_run(RunConfig(study="s"), tmp_path)
    assert "learning_rate_schedule: constant" in folder.params.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told_in_words(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StudyError, match="Cannot write"):
        start_run(RunConfig(study="s"), tmp_path)


def test_a_place_that_cannot_be_written_is_told_in_words(tmp_path):
    (tmp_path / "s").write_text("a file where the study's folder should be")
    with pytest.raises(StudyError, match="Cannot write"):
        start_run(RunConfig(study="s"), tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"status": "comp', "[]", '{"status": "running"}'])
def test_a_damaged_record_is_not_a_finished_run(tmp_path, text):
    folder = RunFolder(tmp_path)
    folder.record.write_text(text)
    assert folder.read_status() == "waiting"


def test_a_record_without_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(RunFolder(tmp_path), {"status": "complete", "dice": float("nan")})
    assert not RunFolder(tmp_path).record.exists()


def test_runs_are_loaded_by_name_and_unfinished_ones_left_out(tmp_path):
    for encoder, status in [("vgg16", "complete"), ("unet", "failed"), ("resnet34", None)]:
        folder = start_run(RunConfig(study="s", encoder=encoder), tmp_path)
        if status:
            write_record(folder, {"status": status})
    runs = load_runs(StudyFolder(tmp_path / "s"))
    assert [(run.config.encoder, run.complete) for run in runs] == [("unet", False), ("vgg16", True)]
    with pytest.raises(StudyError, match="no finished run"):
        load_run(StudyFolder(tmp_path / "s").run("resnet34__cross_entropy__fold0__seed0"))
    assert load_runs(StudyFolder(tmp_path / "nothing")) == []


def test_case_ids_that_look_like_numbers_or_missing_values_stay_text(tmp_path):
    folder = start_run(RunConfig(study="s"), tmp_path)
    write_record(folder, {"status": "complete"})
    folder.scores.write_text("run,case_id,cell_type,region,tp,dice\nr,001,,cell,1,\nr,NA,null,cell,2,0.5\n")
    scores = load_run(folder).scores
    assert scores["case_id"].tolist() == ["001", "NA"]
    assert scores["cell_type"].tolist()[1] == "null"
    assert np.isnan(scores["dice"][0])


def test_predictions_read_back(tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (2, 4, 4)).astype(np.uint8)
    write_predictions(RunFolder(tmp_path), ["001", "ü b"], masks)
    read = read_predictions(RunFolder(tmp_path))
    assert list(read) == ["001", "ü b"]
    np.testing.assert_array_equal(read["ü b"], masks[1])
    assert read_predictions(RunFolder(tmp_path / "none")) == {}


def test_the_record_says_when_it_was_written(tmp_path):
    write_record(RunFolder(tmp_path), {"status": "complete"})
    assert json.loads((tmp_path / "run.json").read_text())["written"].endswith("+00:00")


def test_a_run_that_was_taken_up_again_lasted_as_long_as_its_training():
    assert run_seconds({"wall_seconds": 420.0, "fit_seconds": 2400.5}) == 2400.5
    assert run_seconds({"wall_seconds": 420.0, "fit_seconds": 400}) == 420.0
    assert run_seconds({"wall_seconds": 3}) == 3.0
    assert run_seconds({"wall_seconds": None, "fit_seconds": "a minute"}) is None
