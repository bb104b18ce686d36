"""Errors on the command line: a short message and a non-zero exit code."""

import re
import subprocess
import sys

import pytest


def test_a_bug_is_reported_without_a_traceback(command, cells, monkeypatch):
    monkeypatch.setattr("wbcstudy.study.status.read_plan", lambda *args: 1 / 0)
    code, _, message = command("status", cells)
    assert code == 1
    assert "ZeroDivisionError" in message and "Traceback" not in message and "--debug" in message


def test_debug_shows_the_traceback(places):
    done = subprocess.run(
        [sys.executable, "-m", "wbcstudy.cli", "--debug", "run", "none.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr and done.returncode == 1


def test_control_and_direction_characters_do_not_reach_the_terminal(command, places):
    evil = "a\x1b[2J\u202egnp.exe\u2066\r"
    code, output, errors = command("run", places / f"{evil}.yaml")
    assert code == 2 and "\\x1b[2J\\u202egnp.exe\\u2066\\r" in errors
    assert not set("\x1b\u202e\u2066\r") & set(output + errors)


@pytest.mark.parametrize(
    "name", ["bad.yaml", "binary.yaml", "text.png", "weights.h5", "folder", "absent", "", "C:\\a\\b"]
)
def test_no_command_shows_the_words_of_its_libraries(command, places, monkeypatch, name):
    monkeypatch.chdir(places)
    (places / "bad.yaml").write_text("epochs: [\n")
    for binary in ("binary.yaml", "text.png", "weights.h5"):
        (places / binary).write_bytes(b"\x89\0\xff" * 9)
    (places / "folder").mkdir()
    out = ("--out", "out.onnx")
    for words in (
        *(((action, name)) for action in ("run", "status", "report", "plan", "stop", "init")),
        ("repeat", name, "--study", "again"),
        ("repeat", "folder", "--study", name or "a/b"),
        ("segment", "text.png", "--model", name, *out),
        ("segment", name, "--model", "absent", *out),
        ("segment", "text.png", "--model", "absent", *out, "--pixel-um", name),
        ("export", name, "--format", "onnx", *out),
        ("export", "absent", "--format", name, *out),
        ("data", "check", name),
        ("data", "fetch", name),
        ("data", "fetch", "segmentation_wbc", "--archive", name),
        ("weights", "fetch", name),
        ("weights", "convert", "vgg16", name, *out),
        (name,),
    ):
        code, output, errors = command(*words)
        text = (output + errors).replace("keras, savedmodel", "")
        assert code in (1, 2) and text, words
        assert not re.search(
            r"pydantic|\bPIL\b|[Nn]umpy|[Ss]nakemake|Input should|[a-z]Error\b|h5py|keras|bug", text
        ), text
        assert "/mnt/c/a/b" in text or "\\" not in name or name not in text, text
