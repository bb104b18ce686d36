"""What commands print, and how errors end them."""

from __future__ import annotations

import errno
import os
import shutil
import sys

import typer

from wbcstudy.errors import StudyError, printable

# Errors of the file system, which the user can fix.
_FILE_SYSTEM_ERRORS = {getattr(errno, name) for name in "EACCES EPERM EROFS ENOSPC EDQUOT EIO EFBIG".split()}


def show(text: str, err: bool = False) -> None:
    """Print text. Names, titles and errors come from other people: they must not send commands to the terminal."""
    typer.echo("\n".join(map(printable, text.split("\n"))), err=err)
    (sys.stderr if err else sys.stdout).flush()


def terminal_width() -> int | None:
    """Return the columns of the terminal; None where the output goes to a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def call(app: typer.Typer) -> None:
    """Run a command. Errors that the user can fix are printed without a traceback and exit with code 2."""
    for stream in (sys.stdout, sys.stderr):
        # File names may contain bytes that are not text, and a terminal may not know all characters.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except StudyError as error:
        _exit_with(str(error), 2)
    except KeyboardInterrupt:
        _exit_with("Stopped.", 130)
    except OSError as error:
        if error.errno not in _FILE_SYSTEM_ERRORS:
            _exit_with_unexpected(error)
        message = StudyError(
            f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}.",
            expected="files and folders that you may read and write, on a disk with free space",
            fix="Check the permissions and the free space. Finished work is kept; the same command resumes.",
        )
        _exit_with(str(message), 2)
    except Exception as error:
        _exit_with_unexpected(error)


def _exit_with_unexpected(error: Exception) -> None:
    from wbcstudy.study.machine import explain_memory

    if memory := explain_memory(error):
        _exit_with(str(memory), 2)
    _exit_with(
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a bug in wbcstudy. `wbcstudy --debug ...` shows where it happened.",
        1,
    )


def _exit_with(message: str, code: int) -> None:
    if os.environ.get("WBCSTUDY_DEBUG"):
        raise
    show(message, err=True)
    raise SystemExit(code)
