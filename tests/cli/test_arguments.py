"""Arguments, examples and completion."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
import typer

from tests.helpers.refused import check_refused
from wbcstudy.cli import app


def all_commands(group=None, name="wbcstudy"):
    for word, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{name} {word}")
        elif not command.hidden:
            yield pytest.param(f"{name} {word}", command, id=f"{name} {word}")


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_each_help_has_examples_that_can_be_parsed(name, command):
    heading, *lines = command.epilog.split("\n  ")
    assert heading.startswith("Example") and lines
    for line in lines:
        assert line.startswith(name)
        command.make_context(name, shlex.split(line)[len(name.split()) :])
    assert not any(word in (command.help or "") for word in ("Example:", "Examples:"))


@pytest.mark.parametrize("jobs", ["0", "many", "2.5", "5000"])
def test_a_number_of_jobs_that_cannot_be_used(command, cells, places, jobs):
    check_refused(command("run", cells, "--jobs", jobs), places, f"--jobs {jobs}", "auto")


def complete(shell: str, line: str) -> list[str]:
    """Return what the command answers to a shell that asks for the next word of a line."""
    words = line.split(" ")
    variables = {"_WBCSTUDY_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    variables |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = "import sys; sys.argv[0] = 'wbcstudy'; from wbcstudy.cli import main; main()"
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=os.environ | variables)
    assert not done.stderr
    return done.stdout.split()


@pytest.fixture
def started(places):
    """The study `ours` with one run."""
    folder = places / "outputs" / "ours" / "runs" / "unet__dice__fold0__seed0"
    folder.mkdir(parents=True)
    (folder / "params.yaml").touch()
    (places / "outputs" / "ours" / "ours.yaml").write_text("dataset: synthetic\nencoders: [unet]\nlosses: [dice]\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wbcstudy status ou", "ours"),
        ("wbcstudy export ou", "ours"),
        ("wbcstudy segment x.png --model ours/", "ours/unet__dice__fold0__seed0"),
        ("wbcstudy repeat o", "ours/unet__dice__fold0__seed0"),
        ("wbcstudy run ours --only u", "unet__dice__fold0__seed0"),
        ("wbcstudy weights fetch mobilenetv", "mobilenetv2"),
        ("wbcstudy data check segmentation_wbc_1", "segmentation_wbc_1"),
        ("wbcstudy stat", "status"),
    ],
)
def test_names_are_completed(started, line, expected):
    assert complete("bash", line) == [expected]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_names_too(started, shell):
    assert "ours" in " ".join(complete(shell, "wbcstudy status ou"))


def test_a_line_that_cannot_be_completed_gets_no_error(started):
    assert complete("bash", "wbcstudy run nosuchstudy --only u") == []


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_accepts_the_completion_script(places):
    variables = {"_WBCSTUDY_COMPLETE": "source_bash"}
    code = "import sys; sys.argv[0] = 'wbcstudy'; from wbcstudy.cli import main; main()"
    script = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | variables
    ).stdout
    assert "complete -o" in script
    shown = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p wbcstudy"], capture_output=True, text=True, check=True
    )
    assert "_wbcstudy_completion" in shown.stdout
