"""The last lines of a study."""

import pytest

from wbcstudy.files import write_json
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study import ending
from wbcstudy.study.ending import ending_lines

SENTENCE = "Use ResNet-18 with Dice loss: the cheapest pair that is equivalent to the best on the validation images."


@pytest.fixture
def folder(tmp_path):
    """A study with a report and a network."""
    folder = StudyFolder(tmp_path / "ours")
    (folder.runs / "resnet18__dice__fold0__seed0").mkdir(parents=True)
    (folder.runs / "resnet18__dice__fold0__seed0" / "model.keras").touch()
    write_json(folder.answer, {"sentences": [SENTENCE, "On 18 test images, its Dice is 0.93 for the nucleus."]})
    return folder


def test_answer_report_and_next_commands_fit_on_one_screen(folder):
    lines = ending_lines(folder)
    text = "\n".join(lines)
    assert SENTENCE in " ".join(lines) and "0.93 for the nucleus" in text
    assert f"Report: {folder.report.as_uri()}" in lines
    assert "  wbcstudy segment path/to/images --model ours --out results" in lines
    assert "  wbcstudy export ours --format onnx --out ours.onnx" in lines
    assert len(lines) < 20 and all(len(line) < 80 or line.startswith("Report: ") for line in lines)


def test_without_networks_only_the_report_can_be_opened(folder):
    (folder.runs / "resnet18__dice__fold0__seed0" / "model.keras").unlink()
    folder.answer.write_text("damaged")
    lines = ending_lines(folder)
    assert lines[-1] == "  wbcstudy open ours" and not any("segment" in line for line in lines)


def test_commands_have_the_path_of_a_program_that_the_shell_does_not_find(folder, tmp_path, monkeypatch):
    called = tmp_path / ".venv" / "bin" / "wbcstudy"
    called.parent.mkdir(parents=True)
    called.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ending.sys, "argv", [".venv/bin/wbcstudy", "run"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert ending_lines(folder)[-1] == "  .venv/bin/wbcstudy app"
    monkeypatch.setenv("PATH", str(called.parent))
    assert ending_lines(folder)[-1] == "  wbcstudy app"
