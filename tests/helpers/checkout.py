"""Where this checkout is, and which browser the system has."""

import os
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[2]


def find_chromium() -> str | None:
    """The browser of the system, or the one that `$WBCSTUDY_CHROMIUM` names; tests never download one."""
    return (
        os.environ.get("WBCSTUDY_CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
    )
