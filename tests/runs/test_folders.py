"""The status of a run folder."""

import pytest

from wbcstudy.runs.folders import RunFolder


@pytest.mark.parametrize("text", ["", "{", '{"status": "comp', "[]", '{"status": "running"}'])
def test_a_damaged_record_is_not_a_finished_run(tmp_path, text):
    folder = RunFolder(tmp_path / "study" / "runs" / "a")
    folder.path.mkdir(parents=True)
    folder.record.write_text(text)
    assert folder.read_status() == "damaged" and folder.read_record() is None
    assert "wbcstudy run params/study.yaml --repeat-damaged" in folder.find_problem().fix
