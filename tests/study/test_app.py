"""Start the app, and open reports."""

from pathlib import Path

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.study import app


@pytest.fixture
def reports(places, monkeypatch):
    """Two studies with reports, of which `second` has the newer one, and the addresses that a browser gets."""
    for number, name in enumerate(("first", "second", "no report")):
        folder = places / "outputs" / name
        (folder / "report").mkdir(parents=True)
        (folder / f"{name}.yaml").write_text("dataset: synthetic\n")
        if name != "no report":
            (folder / "report" / "index.html").write_text(str(number))
    opened = []
    monkeypatch.setattr(app.webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    return opened


def test_the_named_report_is_opened_or_the_newest(command, reports, places):
    for words, study in ((["first"], "first"), ([places / "outputs" / "first"], "first"), ([], "second")):
        code, printed, errors = command("open", *words)
        address = (places / "outputs" / study / "report" / "index.html").as_uri()
        assert code == 0 and printed == f"Report: {address}\n" and reports.pop() == address, errors


def test_without_a_screen_the_address_is_printed_only(command, reports, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(app.sys, "platform", "linux")
    code, printed, _ = command("open", "first")
    assert code == 0 and "file:///" in printed and reports == []


def test_a_study_without_report_names_the_command(command, reports):
    code, _, errors = command("open", "no report")
    assert code == 2 and "There is no report of no report yet" in errors and "wbcstudy run" in errors


def test_options_reach_the_server(command, places, monkeypatch):
    calls = []

    def execve(program, words, environment):
        calls.append((words, environment, Path.cwd()))
        raise SystemExit

    # Restores the folder after the test.
    monkeypatch.chdir(places)
    monkeypatch.setattr(app.os, "execve", execve)
    assert command("app", "--no-browser", "--port=9000")[0] == 0
    ((words, environment, folder),) = calls
    assert words[-2:] == ["--no-browser", "--port=9000"] and "--Voila.ip=127.0.0.1" in words
    assert folder == ROOT / "notebooks" and (folder / "5_explore.ipynb").is_file()
    assert (Path(environment["JUPYTER_PATH"]) / "voila" / "templates" / "wbcstudy").is_dir()
