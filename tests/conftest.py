"""What several test files share."""

import sys

import pytest
from checkout import ROOT
from hypothesis import settings

# No test is a timing: a busy machine must not fail one.
settings.register_profile("wbcstudy", deadline=None)
settings.load_profile("wbcstudy")


@pytest.fixture
def command(monkeypatch, capsys):
    """Call the `wbcstudy` command in this process: words -> (exit code, what it printed, what it complained)."""
    from wbcstudy.cli import main

    def call(*words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wbcstudy", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return call


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An outputs and a data folder of the test's own."""
    monkeypatch.setenv("WBCSTUDY_ROOT", str(ROOT))
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("WBCSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("WBCSTUDY_DEBUG", raising=False)
    return tmp_path
