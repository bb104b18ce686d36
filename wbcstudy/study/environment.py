"""The environment variables of the programs that a study starts: the user's settings of these programs do not count.

Snakemake, Jupyter, IPython, papermill, Matplotlib, Keras and Python read variables, profiles and start-up files of the
user. They are meant for the user's other work, and would change or stop a study.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import wbcstudy
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, expand_home, project_root

# Variables of the programs that a study starts. Those of TensorFlow and CUDA describe the machine, and stay.
_PROGRAMS = re.compile(r"(SNAKEMAKE|JUPYTER|IPYTHON|PAPERMILL|KERAS|MPL|MATPLOTLIB|PYTHON).*|TF_USE_LEGACY_KERAS")
# These describe the machine, too: where bytecode is stored, how text is encoded, disks without permissions.
_KEPT = {
    "JUPYTER_ALLOW_INSECURE_WRITES",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONIOENCODING",
    "PYTHONNOUSERSITE",
    "PYTHONPYCACHEPREFIX",
    "PYTHONUTF8",
}
# Marks an environment from `child_environment`.
_MARK = "WBCSTUDY_STARTED_BY_STUDY"


def child_environment(folder: Path) -> dict[str, str]:
    """Return the variables for Snakemake and every program below it.

    Kernels named `python3` run the Python of this process, with the `wbcstudy` of this process. Where the home folder
    or a folder in it cannot be written (containers, cluster nodes, quotas), programs write to `folder` instead.

    Args:
        folder: folder of this project for the files of these programs; the kernel is written there.

    Raises:
        OSError: the folder cannot be written.
    """
    kernel = folder / "kernels" / "python3" / "kernel.json"
    # Not `ipykernel_launcher`, which removes the first folder of PYTHONPATH.
    argv = [sys.executable, "-m", "ipykernel", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"})
    if not kernel.exists() or kernel.read_text(encoding="utf-8") != text:
        with atomic_write(kernel) as part:
            part.write_text(text, encoding="utf-8")
    return (
        _without_settings(os.environ)
        | _writable_folders(os.environ, folder)
        | {
            _MARK: "1",
            # Before the user's and the system's kernels.
            "JUPYTER_PATH": str(folder),
            "JUPYTER_PREFER_ENV_PATH": "1",
            # Without the user's start-up files, which every kernel runs.
            "IPYTHONDIR": str(folder / "ipython"),
            "MATPLOTLIBRC": os.devnull,
            "PYTHONUNBUFFERED": "1",
            # Prevents a debugger warning in every notebook.
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
    )


def ignore_user_settings() -> None:
    """Remove the user's settings of Keras, Matplotlib and Python from the variables of this process, once."""
    if _MARK not in os.environ:
        neutral = _without_settings(os.environ)
        for name in os.environ.keys() - neutral.keys():
            del os.environ[name]
        os.environ.update(neutral)


def check_package() -> None:
    """Stop if PYTHONPATH made Python load the wbcstudy of another folder than this checkout.

    Raises:
        StudyError: it did.
    """
    loaded, root = _package_folder(), project_root()
    if loaded != root and loaded in _python_path and (root / "wbcstudy" / "__init__.py").is_file():
        raise StudyError(
            f"PYTHONPATH makes Python load wbcstudy from {loaded}, not from this checkout, {root}.",
            expected="the wbcstudy of this checkout",
            fix="unset PYTHONPATH, then run the same command again.",
        )


def check_variables() -> None:
    """Stop if a variable has a value that would fail every training.

    Raises:
        StudyError: `WBCSTUDY_THREADS`, `WBCSTUDY_CACHE_MB`, `WBCSTUDY_CHECKPOINT_SECONDS` or `WBCSTUDY_WITHOUT` does.
    """
    from wbcstudy.data.arrays import cache_mb
    from wbcstudy.nets.backend import thread_count
    from wbcstudy.nets.checkpoint import checkpoint_seconds
    from wbcstudy.nets.levers import switched_off

    for read in (thread_count, cache_mb, checkpoint_seconds, switched_off):
        read()


# As this process was started; `ignore_user_settings` changes the variable.
_python_path = {Path(entry).resolve() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}


def _package_folder() -> Path:
    return Path(wbcstudy.__file__).resolve().parents[1]


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in environment.items() if name in _KEPT or not _PROGRAMS.fullmatch(name.upper())
    }
    # Child processes load the package of this process, and nothing from the folder in which they start.
    return kept | {"PYTHONPATH": str(_package_folder()), "PYTHONSAFEPATH": "1"}


def _writable_folders(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return variable -> replacement for each folder of the user that cannot be written."""
    home = expand_home("~").absolute()
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    needed = {
        "HOME": (home,),
        "XDG_CACHE_HOME": (cache, cache / "snakemake"),
        "MPLCONFIGDIR": (cache / "matplotlib", config / "matplotlib"),
        "JUPYTER_RUNTIME_DIR": (data / "jupyter" / "runtime",),
        "KERAS_HOME": (home / ".keras",),
    }
    replaced = {name for name, paths in needed.items() if not all(map(_can_write, paths))}
    for name in replaced:
        (folder / name.lower()).mkdir(parents=True, exist_ok=True)
    return {name: str(folder / name.lower()) for name in replaced}


def _can_write(path: Path) -> bool:
    """Whether a folder can be written, or made where it does not exist."""
    try:
        while not path.exists() and path != path.parent:
            path = path.parent
        # Permissions do not say whether the disk is read-only, or virtual as /proc.
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False
