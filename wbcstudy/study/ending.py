"""The last lines of `wbcstudy run` and `report`: the answer, the report, and commands to go on with."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

from wbcstudy.files import read_json, short_path
from wbcstudy.runs.folders import StudyFolder

_WIDTH = 79


def ending_lines(folder: StudyFolder) -> list[str]:
    """Return the last lines of a study that has a report, at most 79 columns wide.

    The address of the report has a line for itself, as terminals open it on a click.
    """
    lines = [""]
    for sentence in _answer(folder):
        lines += textwrap.wrap(sentence, _WIDTH)
    lines += ["", f"Report: {folder.report.resolve().as_uri()}", "", "Next:", *_next_commands(folder)]
    return lines


def program() -> str:
    """Return how the user can call `wbcstudy`: by its name if the shell finds this one, else by its path."""
    called, on_path = Path(sys.argv[0]).absolute(), shutil.which("wbcstudy")
    if called.name != "wbcstudy" or not called.is_file():
        return "wbcstudy"
    return "wbcstudy" if on_path and Path(on_path).absolute() == called else short_path(called)


def _answer(folder: StudyFolder) -> list[str]:
    sentences = (read_json(folder.answer) or {}).get("sentences")
    return [text for text in sentences if isinstance(text, str)] if isinstance(sentences, list) else []


def _next_commands(folder: StudyFolder) -> list[str]:
    name = folder.name
    commands = [f"open {name}"]
    if any(folder.runs.glob("*/model.keras")):
        commands += [
            f"segment path/to/images --model {name} --out results",
            f"export {name} --format onnx --out {name}.onnx",
            "app",
        ]
    return [f"  {program()} {command}" for command in commands]
