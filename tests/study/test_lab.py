"""JupyterLab's start page, and the folder and settings that it opens with."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.study import lab


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    for name in ("1_dataset", "2_train"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_bytes((ROOT / "notebooks" / f"{name}.ipynb").read_bytes())
    (tmp_path / "docs").mkdir()
    report = tmp_path / "outputs" / "my study" / "report" / "index.html"
    report.parent.mkdir(parents=True)
    report.write_text("page")
    monkeypatch.setenv("WBCSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv("WBCSTUDY_OUTPUTS", raising=False)
    return tmp_path


def page(folder):
    return (folder / "start.md").read_text()


def test_the_start_page_links_notebooks_reports_and_documents(checkout):
    folder = lab.prepare_lab()
    assert folder == checkout / "my_notebooks"
    assert "| [2_train](2_train.ipynb) |" in page(folder)
    assert "[Report of my study](<outputs/my study/report/index.html>)" in page(folder)
    assert (folder / "outputs" / "my study" / "report" / "index.html").read_text() == "page"
    assert "(docs/guides/changing_the_training.md)" in page(folder)
    assert all((ROOT / "docs" / path).is_file() for path in lab._DOCUMENTS.values())


def test_the_start_page_states_whose_changes_a_copy_has(checkout):
    copy = lab.prepare_lab() / "2_train.ipynb"
    assert page(copy.parent).count("as shipped") == 2
    copy.write_text(copy.read_text().replace("by_hand", "mine"))
    assert "| your changes |" in page(lab.prepare_lab())
    shipped = checkout / "notebooks" / "2_train.ipynb"
    shipped.write_text(shipped.read_text().replace("by_hand", "by_machine"))
    text = page(lab.prepare_lab())
    assert "the shipped notebook is newer" in text and "rename your copy" in text
    assert "mine" in copy.read_text()


def test_outputs_elsewhere_are_in_the_tree_and_a_moved_folder_is_followed(checkout, monkeypatch):
    lab.prepare_lab()
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(checkout / "elsewhere"))
    folder = lab.prepare_lab()
    assert (folder / "outputs").resolve() == checkout / "elsewhere"
    assert "There is no report yet" in page(folder)


def test_a_folder_of_the_users_is_never_replaced_by_a_link(checkout):
    mine = checkout / "my_notebooks" / "outputs"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("keep")
    lab.prepare_lab()
    assert (mine / "notes.txt").read_text() == "keep" and not mine.is_symlink()


def test_without_links_the_page_names_the_folders(checkout, monkeypatch):
    def refuse(*_, **__):
        raise OSError("a privilege is missing")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    text = page(lab.prepare_lab())
    assert f"`{checkout / 'outputs'}`" in text and "](outputs/" not in text


def test_jupyterlab_opens_the_start_page_and_loads_no_news(checkout, monkeypatch):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    monkeypatch.chdir(checkout)
    started = []
    monkeypatch.setattr("os.execve", lambda *arguments: started.extend(arguments))
    lab.open_lab(["--no-browser"])
    program, command, environment = started
    assert Path.cwd() == checkout / "my_notebooks"
    assert [program, *command[1:3]] == [sys.executable, "-m", "jupyterlab"]
    assert command[-1] == "--no-browser"
    assert "--LabApp.default_url=/lab/tree/start.md" in command
    ours, mine = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert mine == "/mine"
    settings = json.loads(Path(ours, "labconfig", "default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_the_lab_command_passes_the_options_of_jupyterlab(command, monkeypatch):
    passed = []
    monkeypatch.setattr("wbcstudy.study.lab.open_lab", passed.extend)
    assert command("lab", "--no-browser", "--port=9000")[0] == 0
    assert passed == ["--no-browser", "--port=9000"]
