"""Files are written whole or not at all, and every part of the program finds the same folders."""

import pytest

from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, project_root


def test_an_interrupted_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_notebook_and_a_batch_find_the_same_outputs(monkeypatch):
    monkeypatch.delenv("WBCSTUDY_ROOT", raising=False)
    monkeypatch.delenv("WBCSTUDY_OUTPUTS", raising=False)
    root = project_root()
    monkeypatch.chdir(root / "notebooks")
    assert outputs_folder() == root / "outputs"


def test_outside_a_checkout_the_message_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("WBCSTUDY_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="No wbcstudy checkout"):
        project_root()
