"""Starting a run: finished runs are kept, settings are not mixed."""

import os

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.runs.results import write_record
from wbcstudy.runs.start import check_same_settings, start_run


def test_a_run_can_be_resumed_until_it_is_complete(tmp_path):
    config = RunConfig(study="s")
    folder = start_run(config, tmp_path)
    assert folder.path == tmp_path / "s" / "runs" / "resnet18__cross_entropy__fold0__seed0"
    assert folder.read_status() == "waiting"
    folder.history.write_text("epoch,loss\n1,0.5\n")
    assert start_run(config, tmp_path).read_status() == "unfinished"
    write_record(folder, {"status": "complete"})
    with pytest.raises(StudyError, match="holds a finished run"):
        start_run(config, tmp_path)


def test_a_failed_run_can_be_tried_again(tmp_path):
    folder = start_run(RunConfig(study="s"), tmp_path)
    write_record(folder, {"status": "failed", "error": "x"})
    assert folder.read_status() == "failed"
    assert start_run(RunConfig(study="s"), tmp_path).read_status() == "waiting"


def test_settings_are_not_mixed_in_one_folder(tmp_path):
    start_run(RunConfig(study="s", epochs=5), tmp_path)
    with pytest.raises(StudyError, match="epochs was 5, is now 6"):
        start_run(RunConfig(study="s", epochs=6), tmp_path)


def test_precision_auto_accepts_the_precision_of_a_finished_run(tmp_path):
    folder = start_run(RunConfig(study="s", precision="float32"), tmp_path)
    check_same_settings(folder, RunConfig(study="s", precision="bfloat16"))
    # A started training would resume in another precision.
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


@pytest.mark.parametrize("comment", ["  # Learning rate of the Adam optimiser.", "  # Another wording."])
def test_a_setting_of_a_later_version_counts_as_its_default(tmp_path, comment):
    folder = start_run(RunConfig(study="s"), tmp_path)
    lines = folder.params.read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("learning_rate_schedule")]
    text = "".join(lines).replace("  # Learning rate of the Adam optimiser.", comment)
    folder.params.write_text(text)
    with pytest.raises(StudyError, match="learning_rate_schedule was 'constant', is now 'cosine'"):
        start_run(RunConfig(study="s", learning_rate_schedule="cosine"), tmp_path)
    assert folder.params.read_text() == text
    start_run(RunConfig(study="s"), tmp_path)
    assert "learning_rate_schedule: constant" in folder.params.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StudyError, match="Cannot write"):
        start_run(RunConfig(study="s"), tmp_path)


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "s").write_text("a file where the study's folder should be")
    with pytest.raises(StudyError, match="Cannot write"):
        start_run(RunConfig(study="s"), tmp_path)
