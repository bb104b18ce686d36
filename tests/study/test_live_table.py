"""The table of current runs on a terminal."""

import os
import pty
import subprocess
import sys

import pytest

from wbcstudy.study import live_table
from wbcstudy.study.live_table import Row, can_show_table, table_lines

LONG = "MobileNetV2, fine-tuned, cross-entropy, seed {}"
SUMMARY = "12 of 60 runs finished, 1 failed, 20 running, 28 waiting. About 19 h 00 min left, less if trainings stop."


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (200, 60)])
def test_sixty_runs_fit_on_the_screen(width, height):
    rows = [Row(LONG.format(number), "10/10", "0.912 0.871", "2 h 16 min") for number in range(60)]
    lines = table_lines(rows, SUMMARY, width, height)
    assert max(map(len, lines)) < width and len(lines) <= height - 4
    assert "seed 0" in lines[2] and "0.912 0.871" in lines[2] and "2 h 16 min" in lines[2]
    assert " ".join(lines).endswith("less if trainings stop.")


def test_lines_are_replaced_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(live_table.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert can_show_table()
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert not can_show_table()
    monkeypatch.setattr(live_table.sys.stdout, "isatty", lambda: False, raising=False)
    assert not can_show_table()


def test_lines_are_written_above_the_table_which_vanishes_at_the_end():
    code = """
from wbcstudy.study.live_table import LiveTable, Row
with LiveTable(True) as table:
    for epoch in ("1/9", "2/9", "2/9"):
        table.show([Row("U-Net", epoch, "", "")], lambda: "1 of 2 runs finished.")
    table.print("U-Net: done \\x1b[2J")
"""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be opened here: {error}")
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment)
    child.wait()
    os.close(theirs)
    written = os.read(ours, 100_000).decode()
    os.close(ours)
    assert child.returncode == 0, written
    assert written.count("2/9") == 3, "when it changed, below the line, and before it vanishes"
    assert "U-Net: done \\x1b[2J" in written and "\x1b[2J" not in written
    assert written.rstrip().endswith("\x1b[2K") and "done" in written.rsplit("2/9", 1)[0]
