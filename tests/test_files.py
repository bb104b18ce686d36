"""Files are written whole or not at all, and every part of the program finds the same folders."""

import subprocess
import sys

import pandas as pd
import pytest

from wbcstudy import files
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, project_root, sweep, temporary_folder, write_json


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


@pytest.mark.parametrize("name", [".part-x.json", ".fetching-x", ".making-x"])
def test_leftovers_of_a_killed_process_are_swept_and_files_in_use_are_kept(tmp_path, name):
    left = tmp_path / "below" / name
    if left.suffix:
        left.parent.mkdir()
        left.write_text("half")
    else:
        (left / "folder").mkdir(parents=True)
        (left / "folder" / "half").write_text("half")
    with atomic_write(tmp_path / "a.txt") as part, temporary_folder(tmp_path) as folder:
        part.write_text("all")
        sweep(tmp_path, deep=True)
        assert part.exists() and folder.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["a.txt", "below"] or not left.exists()
    assert (tmp_path / "a.txt").read_text() == "all" and not left.exists()


def test_the_first_write_in_a_folder_sweeps_it(tmp_path):
    (tmp_path / ".part-x").write_text("half")
    write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_a_file_that_the_next_write_sweeps(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from wbcstudy.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_json(tmp_path / "a.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-rf", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-1"])
def test_text_that_a_spreadsheet_would_run_is_escaped_and_read_back(text):
    assert files.escape_cell(text) == f"'{text}"
    assert files.unescape_cell(files.escape_cell(text)) == text
    frame = pd.DataFrame({"name": [text, None, "a"], "value": [-1.5, 2, 3]})
    escaped = files.escape_cells(frame)
    assert escaped["name"].tolist()[::2] == [f"'{text}", "a"] and escaped["value"].equals(frame["value"])


@pytest.mark.parametrize("text", ["", "a=1", "'a'", "''", "007", "µ-1", None, -3])
def test_other_cells_stay_as_they_are(text):
    assert files.escape_cell(text) is text and files.unescape_cell(text) is text
