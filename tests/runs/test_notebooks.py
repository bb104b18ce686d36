"""Copies of the notebooks for JupyterLab, and the record of the notebook that made a run."""

import json
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from tests.helpers.checkout import ROOT
from wbcstudy.runs.notebooks import Copy, changed_notebooks, combine_notebooks, copy_notebooks, describe_notebook

PARAMETERS = 'study = "by_hand"  # Name of the study.\nseeds = (0, 1)  # Seeds.'
UNCHANGED, OUTDATED = {"2_train": Copy.SHIPPED}, {"2_train": Copy.OUTDATED}
RECORD = """import json
from pathlib import Path
from wbcstudy.runs.notebooks import describe_notebook
Path(target).write_text(json.dumps(describe_notebook("train")))"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a training notebook that only records itself, to the file in its parameter `target`."""
    monkeypatch.setenv("WBCSTUDY_ROOT", str(tmp_path))
    write(tmp_path / "notebooks" / "2_train.ipynb", "total = 1 + 1", RECORD)
    return tmp_path


def write(path, *cells):
    path.parent.mkdir(exist_ok=True)
    new = nbformat.v4.new_code_cell
    cells = [new(PARAMETERS, metadata={"tags": ["parameters"]}), *map(new, cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def change(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def run_papermill(checkout, notebook):
    """Run a notebook of the checkout as the Snakefile does, and return its record."""
    parameters = {"target": str(checkout / "record.json"), "seeds": [3], "study": "demo"}
    (checkout / "params.yaml").write_text(yaml.safe_dump(parameters))
    command = [sys.executable, "-m", "wbcstudy.cli", "papermill", notebook, "executed.ipynb", "params.yaml"]
    command += ["executed.html", checkout]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=checkout)
    assert "total = 1 + " in (checkout / "executed.ipynb").read_text() and (checkout / "executed.html").exists()
    return json.loads((checkout / "record.json").read_text())


def test_a_run_from_a_changed_copy_is_marked_and_one_from_the_shipped_notebook_is_not(checkout):
    shipped = run_papermill(checkout, "notebooks/2_train.ipynb")
    assert shipped["name"] == "notebooks/2_train.ipynb" and shipped["shipped"] is True
    copy_notebooks()
    copy = checkout / "my_notebooks" / "2_train.ipynb"
    assert run_papermill(checkout, copy) == shipped | {"name": "my_notebooks/2_train.ipynb"}
    change(copy, "1 + 1", "1 + 2")
    changed = run_papermill(checkout, copy)
    assert changed["shipped"] is False and changed["sha256"] != shipped["sha256"]
    # The grid runs the shipped notebook, not the copy.
    assert run_papermill(checkout, checkout / "notebooks" / "2_train.ipynb") == shipped


@pytest.mark.parametrize(
    ("cells", "shipped"),
    [
        ([PARAMETERS, "total = 1 + 1", "record()"], True),
        # Other settings are in run.json, and repeated cells change nothing.
        (
            ['study = "mine"\nseeds = [-1]', "# Parameters\nfold = 2", "total = 1 + 1", "total = 1 + 1", "record()"],
            True,
        ),
        ([PARAMETERS, "total = 1 + 1", "total += 1", "record()"], False),
        ([PARAMETERS + "\nimport os", "total = 1 + 1", "record()"], False),
        ([PARAMETERS, "%matplotlib inline", "total = 1 + 1", "record()"], False),
        ([PARAMETERS, "record()"], False),
    ],
    ids=["as shipped", "settings and repeats", "added", "code among the settings", "magic", "left out"],
)
def test_the_executed_cells_decide(checkout, monkeypatch, cells, shipped):
    write(checkout / "notebooks" / "2_train.ipynb", "total = 1 + 1", "record()")

    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["", *cells]), user_ns={})
    monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", str(checkout / "my_notebooks" / "trial.ipynb"))
    record = describe_notebook("train")
    assert record["shipped"] is shipped
    assert record["name"] == "my_notebooks/trial.ipynb"
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert describe_notebook("train")["name"] is None
    assert describe_notebook("baseline")["shipped"] is None


def test_an_unfinished_notebook_should_have_executed_its_first_cells(checkout, monkeypatch):
    write(checkout / "notebooks" / "2_train.ipynb", "total = 1 + 1", "train()", "record()")
    for cells, shipped in ((["total = 1 + 1", "train()"], True), (["total = 1 + 2", "train()"], False)):
        shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["", PARAMETERS, *cells]), user_ns={})
        monkeypatch.setattr("builtins.get_ipython", lambda shell=shell: shell, raising=False)
        assert describe_notebook("train", finished=False)["shipped"] is shipped
        assert describe_notebook("train")["shipped"] is False


def test_a_run_that_a_changed_notebook_began_is_not_of_the_shipped_one():
    shipped, changed, unknown = ({"name": str(value), "sha256": "0", "shipped": value} for value in (True, False, None))
    assert combine_notebooks([shipped, shipped]) == combine_notebooks([None, shipped]) == shipped
    assert combine_notebooks([shipped, changed, shipped]) == combine_notebooks([unknown, changed]) == changed
    assert combine_notebooks([shipped, None]) is None


def test_a_run_outside_a_notebook_has_no_record_of_one():
    assert describe_notebook("train") is None


def test_runs_by_changed_notebooks_are_listed():
    records = [
        {"run": "a", "notebook": {"name": "my_notebooks/2_train.ipynb", "sha256": "0", "shipped": False}},
        {"run": "b", "notebook": {"name": None, "sha256": "0", "shipped": False}},
        {"run": "c", "notebook": {"name": "notebooks/2_train.ipynb", "sha256": "1", "shipped": True}},
        {"run": "d", "notebook": None},
        {"run": "older"},
    ]
    assert changed_notebooks(records) == {"a": "my_notebooks/2_train.ipynb", "b": "name not recorded"}


class TestCopies:
    def test_a_changed_copy_is_never_overwritten(self, checkout):
        copy = checkout / "my_notebooks" / "2_train.ipynb"
        assert copy_notebooks() == UNCHANGED and copy.exists()
        change(copy, "1 + 1", "1 + 2")
        changed = copy.read_bytes()
        assert copy_notebooks() == {"2_train": "your changes"}
        assert copy.read_bytes() == changed
        change(checkout / "notebooks" / "2_train.ipynb", "1 + 1", "2 + 2")
        assert copy_notebooks() == OUTDATED
        assert copy.read_bytes() == changed

    def test_an_unchanged_copy_is_updated(self, checkout):
        copy_notebooks()
        copy = checkout / "my_notebooks" / "2_train.ipynb"
        executed = nbformat.read(copy, as_version=4)
        executed.cells[1].outputs = [nbformat.v4.new_output("stream", text="2")]
        nbformat.write(executed, copy)
        # Outputs are no changes, but stay until the shipped notebook changes.
        assert copy_notebooks() == UNCHANGED and nbformat.read(copy, as_version=4).cells[1].outputs
        change(checkout / "notebooks" / "2_train.ipynb", "1 + 1", "2 + 2")
        assert copy_notebooks() == UNCHANGED and "2 + 2" in copy.read_text()

    @pytest.mark.parametrize("content", ["", "{}", "not JSON", '{"cells": [], "metadata": {}, "nbformat": 4}'])
    def test_a_file_that_is_not_a_copy_is_kept(self, checkout, content):
        copy = checkout / "my_notebooks" / "2_train.ipynb"
        copy.parent.mkdir()
        copy.write_text(content)
        assert copy_notebooks() == OUTDATED and copy.read_text() == content

    def test_parameters_changed_in_a_copy_are_kept(self, checkout):
        copy_notebooks()
        copy = checkout / "my_notebooks" / "2_train.ipynb"
        change(copy, "by_hand", "trial")
        change(checkout / "notebooks" / "2_train.ipynb", "1 + 1", "2 + 2")
        assert copy_notebooks() == OUTDATED and "trial" in copy.read_text()

    def test_make_lab_opens_the_copies(self):
        command = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/.installed", "lab"]
        (line,) = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        assert line.rstrip().endswith("wbcstudy lab")


def test_nbformat_is_imported_without_a_parser_of_web_addresses():
    code = "import sys; from wbcstudy.runs.notebooks import import_nbformat as load; n = load(); "
    code += "n.validate(n.v4.new_notebook()); print('rfc3987_syntax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"
