"""An executed notebook as one HTML page that loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.files import POLICY, atomic_write
from wbcstudy.runs.notebooks import import_nbformat


def write_notebook_page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as one page with its images in it and without requests to any server.

    Formulas in `$...$` stay as typed, since MathJax would have to be loaded.

    Args:
        notebook: .ipynb, executed or not.
        page: .html to write, in one step.

    Raises:
        StudyError: the notebook is missing or not a notebook; nbconvert's templates are not installed.
    """
    nbformat = import_nbformat()
    from nbconvert import HTMLExporter

    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.validator.NotebookValidationError) as error:
        raise StudyError(
            f"Cannot read {notebook}: {error}",
            expected="a Jupyter notebook (.ipynb)",
            fix="Run it again; an interrupted run may have left an incomplete file.",
        ) from None
    content.metadata["title"] = Path(notebook).resolve().parent.name
    # Progress bars leave live widgets, which need a script from a server.
    content.metadata.pop("widgets", None)
    try:
        exporter = HTMLExporter(template_name="lab", embed_images=True, exclude_anchor_links=True)
    except ValueError as error:
        raise StudyError(
            f"nbconvert does not find its templates: {str(error).splitlines()[0]}",
            expected="the files in share/jupyter/nbconvert/templates that are installed with nbconvert",
            fix="Install it again: `pip install --force-reinstall nbconvert`.",
        ) from None
    body, _ = exporter.from_notebook_node(content)
    with atomic_write(Path(page)) as part:
        part.write_text(_without_requests(body), encoding="utf-8")


def _without_requests(body: str) -> str:
    """Remove the scripts that nbconvert adds, and forbid the page to load anything.

    Text, images and tables need no script. The policy also holds for anything that a cell has printed.
    """
    body = re.sub(r"<script\b[^>]*>.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r"<link\b[^>]*>", "", body, flags=re.IGNORECASE)
    # The policy refuses other remote elements, but reports an error for each.
    remote = r"""(<(?:img|iframe|video|audio|source|embed)\b[^>]*?)\s(?:src|srcset)\s*=\s*(["'])(?:https?:)?//.*?\2"""
    body = re.sub(remote, r"\1", body, flags=re.IGNORECASE)
    return body.replace("<head>", f"<head>{POLICY}", 1)
