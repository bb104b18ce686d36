"""Start the explore app, and open reports in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import wbcstudy
from wbcstudy.errors import StudyError
from wbcstudy.files import outputs_folder, project_root, short_path
from wbcstudy.runs.find_study import find_study_file
from wbcstudy.runs.folders import StudyFolder

# Size limit of uploaded images: 200 MB.
UPLOADS = '{"websocket_max_message_size": 200000000}'
_OPTIONS = {
    # Reachable from this computer only, with the token in the address. The page makes no requests to the internet.
    "Voila.ip": "127.0.0.1",
    "template": "wbcstudy",
    # A tab that was closed or reloaded leaves its kernel, of about 1 GB: it is ended after five minutes. Open tabs are
    # kept.
    "MappingKernelManager.cull_interval": "60",
    "MappingKernelManager.cull_idle_timeout": "300",
    "Voila.tornado_settings": UPLOADS,
}


def run_app(options: Sequence[str] = ()) -> NoReturn:
    """Show the notebook `5_explore` as an app in the browser. The server takes the place of this process.

    It then gets Ctrl-C and the signals that are meant for this command, and ends its kernels.

    Args:
        options: further options of `voila`.

    Raises:
        StudyError: there is no checkout.
    """
    command, environment = app_command(options), app_environment()
    os.chdir(project_root() / "notebooks")
    os.execve(command[0], command, environment)


def app_command(options: Sequence[str] = ()) -> list[str]:
    """Return the command of the app; it is started in the folder of the notebooks."""
    settings = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    return [sys.executable, "-m", "voila", "5_explore.ipynb", "--token", *settings, *options]


def app_environment() -> dict[str, str]:
    """Return the environment of the app, with the template of its page."""
    templates = Path(wbcstudy.__file__).parent / "templates"
    return os.environ | {"JUPYTER_PATH": str(templates), "WBCSTUDY_ROOT": str(project_root())}


def open_report(study: str | Path | None, show: Callable[[str], None] = print) -> None:
    """Open the report of a study in the browser, and show its address.

    Args:
        study: name, file or folder of the study; None for the study with the newest report.
        show: receives one line.

    Raises:
        StudyError: there is no such study or no report.
    """
    report = _newest_report() if study is None else StudyFolder.of(find_study_file(study).stem).report
    if report is None or not report.is_file():
        name = None if report is None else StudyFolder(report.parents[1]).name
        raise StudyError(
            f"There is no report of {name or 'any study'} yet.",
            expected=short_path(report) if report else "a study that was run",
            fix=f"Run the study: wbcstudy run {name or 'demo'}",
        )
    show(f"Report: {report.resolve().as_uri()}")
    # Without a screen, a browser in the terminal would take the terminal over.
    if _has_screen() and not webbrowser.open(report.resolve().as_uri()):
        show("No browser was found. Open the address in a browser.")


def _newest_report() -> Path | None:
    reports = [StudyFolder(path).report for path in outputs_folder().glob("*/") if StudyFolder(path).report.is_file()]
    return max(reports, key=lambda path: path.stat().st_mtime, default=None)


def _has_screen() -> bool:
    """Return whether a browser can show a window here."""
    remote = os.environ.get("SSH_CONNECTION") and not os.environ.get("DISPLAY")
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")
    return not remote and (sys.platform != "linux" or any(map(os.environ.get, screens)))
