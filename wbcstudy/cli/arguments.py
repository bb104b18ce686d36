"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from wbcstudy.config_io import read_study
from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS
from wbcstudy.runs.find_study import find_study_file, known_run_names, known_study_names


def complete_study(incomplete: str) -> list[str]:
    """Return the names of studies that begin with a text, for the completion of the shell."""
    return _matching(incomplete, known_study_names)


def complete_network(incomplete: str) -> list[str]:
    """Return the studies that begin with a text or, after `<study>/`, the runs."""
    return _matching(incomplete, known_run_names if "/" in incomplete else known_study_names)


def complete_run(incomplete: str) -> list[str]:
    """Return the runs `<study>/<run>` that begin with a text."""
    return _matching(incomplete, known_run_names)


def complete_runs_of_study(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of all runs of the study on the command line, for `--only`."""

    def names() -> list[str]:
        # An option without its value ends the parsing, and leaves the study among the other words.
        study = context.params.get("study") or next(word for word in context.args if not word.startswith("-"))
        settings = read_study(find_study_file(study))
        return [config.name for config in (*settings.runs(), *settings.baseline_runs())]

    return _matching(incomplete, names)


def complete_encoder(incomplete: str) -> list[str]:
    """Return the encoders that begin with a text."""
    return _matching(incomplete, lambda: list(ENCODERS))


def complete_dataset(incomplete: str) -> list[str]:
    """Return the datasets that begin with a text and can be used by name."""
    from wbcstudy.data.datasets import DATASETS

    return _matching(incomplete, lambda: list(DATASETS))


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Return the completion of an argument with a few values."""
    return lambda incomplete: _matching(incomplete, lambda: list(names))


def _matching(incomplete: str, names: Callable[[], list[str]]) -> list[str]:
    """Return names for a shell: it must not show an error in the middle of a line that is being typed."""
    try:
        return [name for name in names() if name.startswith(incomplete)]
    except (StudyError, OSError, StopIteration):
        return []


StudyArgument = Annotated[
    str,
    typer.Argument(
        help="Name of the study, its file params/<study>.yaml, or its folder in outputs/.",
        show_default=False,
        autocompletion=complete_study,
        metavar="STUDY",
    ),
]
RUN_OR_STUDY = "Folder of a run, <study>/<run>, or name of a study (the network that its report recommends is used)."


def examples(*lines: str) -> str:
    """Return the end of a command's help.

    Args:
        lines: commands that can be pasted into a terminal.
    """
    return "\n  ".join(["Examples:" if len(lines) > 1 else "Example:", *lines])


def read_number(text: str) -> float:
    """Read a number with a decimal point or comma."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number.") from None


def read_jobs(text: str) -> int | None:
    """Read the option `--jobs`: "auto" (None) or a number of parallel trainings.

    Raises:
        StudyError: neither.
    """
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise StudyError(
            f"--jobs {text} cannot be used.",
            expected="auto, or a number of parallel trainings from 1 to 1024",
            fix="Omit --jobs to run as many as fit this machine.",
        )
    return int(text)
