"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.errors import StudyError

StudyName = Annotated[Path, typer.Argument(help="Study file: params/<study>.yaml", show_default=False)]
RUN_OR_STUDY = "Folder of a run, or name of a study (the network that its report recommends is used)."


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
