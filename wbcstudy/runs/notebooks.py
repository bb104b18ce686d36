"""Copy the shipped notebooks for JupyterLab, and record which notebook made a run.

The grid always runs the notebooks in `notebooks/`. JupyterLab opens copies, so that changes never reach the grid.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from wbcstudy.errors import StudyError
from wbcstudy.files import project_root, read_json, write_json

# `RunFolder.step` -> notebook.
_SHIPPED = {"train": "2_train.ipynb", "baseline": "3_baseline.ipynb"}


class Copy(StrEnum):
    """The state of a notebook's copy."""

    SHIPPED = "as shipped"
    CHANGED = "your changes"
    # The shipped notebook has changed since it was copied.
    OUTDATED = "your changes; the shipped notebook is newer"


def copies_folder() -> Path:
    """Return the folder of the copies, which git ignores: my_notebooks/ in the checkout."""
    return project_root() / "my_notebooks"


def copy_notebooks() -> dict[str, Copy]:
    """Copy `notebooks/` to `my_notebooks/`, and update copies without changes. A changed copy is never overwritten.

    Returns:
        Name of each notebook without suffix -> state of its copy.
    """
    states = {}
    for path in sorted((project_root() / "notebooks").glob("*.ipynb")):
        shipped, copy = read_json(path) or {}, copies_folder() / path.name
        digest = _hash_sources(_read_sources(path))
        if copy.exists():
            original = ((read_json(copy) or {}).get("metadata") or {}).get("wbcstudy_copy_of")
            changed = original is None or original != _hash_sources(_read_sources(copy))
            if changed or original == digest:
                newer = Copy.CHANGED if original == digest else Copy.OUTDATED
                states[path.stem] = newer if changed else Copy.SHIPPED
                continue
        shipped["metadata"] |= {"wbcstudy_copy_of": digest}
        copy.parent.mkdir(exist_ok=True)
        write_json(copy, shipped)
        states[path.stem] = Copy.SHIPPED
    return states


def describe_notebook(step: str, finished: bool = True) -> dict[str, Any] | None:
    """Describe the running notebook for run.json; None outside a notebook.

    Compares the cells that this kernel has executed with those of the shipped notebook. Cells that only assign settings
    do not count: run.json has the settings. A cell that was executed again counts once.

    Args:
        step: "train" or "baseline".
        finished: whether this is the last cell; otherwise, the executed cells should be the first ones.

    Returns:
        name: path of the notebook, relative to the checkout if possible; None if unknown.
        sha256: hash of the executed code cells.
        shipped: whether these are the cells of the notebook in `notebooks/`; None if there is no checkout.
    """
    shell = getattr(builtins, "get_ipython", lambda: None)()
    if shell is None:
        return None
    executed, shipped = _without_settings(shell.history_manager.input_hist_raw), _shipped_cells(step)
    path = _papermill_input() or shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return {
        "name": _short_name(Path(path)) if path else None,
        "sha256": _hash_sources(executed),
        "shipped": executed == shipped[: None if finished else len(executed)] if shipped else None,
    }


def import_nbformat() -> ModuleType:
    """Return nbformat, imported without a part that takes most of the time and that notebooks do not need.

    nbformat, papermill and nbconvert import jsonschema, which imports the optional package rfc3987-syntax to check
    internationalised web addresses. That package builds a parser at every import. Notebooks have no such fields.
    """
    left_out = "rfc3987_syntax"
    unused = left_out not in sys.modules
    if unused:
        # Its import then fails at once, and jsonschema goes without.
        sys.modules[left_out] = None
    try:
        import nbformat
    finally:
        if unused:
            del sys.modules[left_out]
    return nbformat


def has_live_page() -> bool:
    """Return whether this process is the kernel of a notebook that is shown while it runs.

    A notebook that papermill executes is not: it prints lines, which papermill also writes to its log.
    """
    shell = getattr(builtins, "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None and _papermill_input() is None


def combine_notebooks(notebooks: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the first notebook that is not the shipped one; the last if there is none.

    Args:
        notebooks: results of `describe_notebook`, one for each process that worked on a run; not empty.
    """
    return next((each for each in notebooks if each and each["shipped"] is False), notebooks[-1])


def changed_notebooks(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return run -> notebook of the runs that were made by a notebook other than the shipped one.

    Args:
        records: run.json of each run; those without a record of the notebook are left out.
    """
    made_by = {str(record.get("run")): record.get("notebook") or {} for record in records}
    changed = {run: notebook for run, notebook in made_by.items() if notebook.get("shipped") is False}
    return {run: notebook.get("name") or "name not recorded" for run, notebook in changed.items()}


def _shipped_cells(step: str) -> list[str]:
    """Return the code cells of the shipped notebook without settings; none without a checkout."""
    try:
        return _without_settings(_read_sources(project_root() / "notebooks" / _SHIPPED[step], cell_type="code"))
    except StudyError:
        return []


def _read_sources(notebook: Path, cell_type: str | None = None) -> list[str]:
    """Return the sources of a notebook's cells; none of a file that is not a notebook."""
    cells = (read_json(notebook) or {}).get("cells")
    try:
        return ["".join(cell["source"]) for cell in cells if cell_type in (None, cell["cell_type"])]
    except (TypeError, KeyError):
        return []


def _without_settings(sources: Iterable[str]) -> list[str]:
    """Return the cells that do more than assign constants, each once."""
    stripped = dict.fromkeys(source.strip() for source in sources)
    return [source for source in stripped if not _is_settings(source)]


def _hash_sources(sources: Iterable[str]) -> str:
    return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()


def _is_settings(source: str) -> bool:
    """Return whether a cell only assigns constants, as the parameters cell and papermill's version of it do."""
    try:
        statements = ast.parse(source).body
        for statement in statements:
            ast.literal_eval(getattr(statement, "value", None))
    except (SyntaxError, ValueError, TypeError):
        return False
    return all(isinstance(statement, ast.Assign) for statement in statements)


def _papermill_input() -> Path | None:
    """Return the notebook that papermill, in the parent process of this kernel, was called with."""
    import psutil

    try:
        parent = psutil.Process().parent()
        command, folder = parent.cmdline(), Path(parent.cwd())
    except (psutil.Error, AttributeError):
        return None
    # papermill, python -m papermill, or python -m wbcstudy.cli papermill.
    if not any(Path(word).name.startswith("papermill") for word in command[:4]):
        return None
    return next((folder / word for word in command if word.endswith(".ipynb")), None)


def _short_name(path: Path) -> str:
    try:
        return path.resolve().relative_to(project_root()).as_posix()
    except (ValueError, StudyError):
        return path.name
