"""Open JupyterLab on copies of the notebooks, with a start page."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import wbcstudy
from wbcstudy.files import atomic_write, outputs_folder, project_root
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.notebooks import Copy, copies_folder, copy_notebooks
from wbcstudy.study.app import UPLOADS

# JupyterLab reads `labconfig/` in this folder: no news, no update check, Markdown shown as a page.
_SETTINGS = Path(wbcstudy.__file__).parent / "templates" / "lab"
_START = "start.md"
_CONTENTS = {
    "1_dataset": "Check the images, draw Figure 1",
    "2_train": "Train and score one network, with a loss, callbacks or augmentation of your own",
    "3_baseline": "Measure one earlier method",
    "4_summary": "Build tables, figures and the report of a study",
    "5_explore": "Look at test images, segment an image of your own",
}
_DOCUMENTS = {
    "First study in ten minutes": "first_study.md",
    "Changing the training": "guides/changing_the_training.md",
    "Changing a parameter": "guides/parameters.md",
    "Your own data": "guides/own_data.md",
}
_ADVICE = "To get a newer shipped notebook, rename your copy, then run `make lab` or `wbcstudy lab` again."
_START_PAGE = """# wbcstudy

These notebooks are copies: change what you like. A study always runs the shipped notebooks, so your changes cannot
reach it. A run that your copy makes is marked as made by your own notebook, in `run.json` and in reports.

**Start with [2 · Train one network](2_train.ipynb)**: choose Run > Run All Cells. It trains on drawn demo images. For a
quick first try, set `epochs = 3`, `image_size = 96` and `augmented_copies = 1` in its parameters. The notebook shows
the time per epoch after the first steps.

| notebook | content | state |
|---|---|---|
{notebooks}

{advice}## Results

{studies}

## Documentation

{documents}
"""


def open_lab(options: Sequence[str] = ()) -> NoReturn:
    """Copy the notebooks, write the start page, and open JupyterLab. Its server takes the place of this process.

    It then gets Ctrl-C and the signals that are meant for this command, and ends its kernels.

    Args:
        options: further options of `jupyter lab`.

    Raises:
        StudyError: there is no checkout.
    """
    folder = prepare_lab()
    command, environment = lab_command(folder, options), lab_environment()
    os.chdir(folder)
    os.execve(command[0], command, environment)


def prepare_lab() -> Path:
    """Copy the notebooks, link outputs and documentation next to them, and write the start page.

    Returns:
        The folder that JupyterLab shows.
    """
    copies = copy_notebooks()
    folder = copies_folder()
    folder.mkdir(exist_ok=True)
    outputs = outputs_folder()
    outputs.mkdir(parents=True, exist_ok=True)
    links = {name for name, to in (("outputs", outputs), ("docs", project_root() / "docs")) if _link(folder / name, to)}
    with atomic_write(folder / _START) as part:
        part.write_text(_start_page(copies, outputs, links), encoding="utf-8")
    return folder


def lab_command(folder: Path, options: Sequence[str] = ()) -> list[str]:
    """Return the command that opens the start page in JupyterLab."""
    settings = {
        "ServerApp.root_dir": str(folder),
        "ServerApp.tornado_settings": UPLOADS,
        "LabApp.default_url": f"/lab/tree/{_START}",
        # Only what the user has installed: nothing is loaded from the internet.
        "LabApp.news_url": "None",
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items()), *options]


def lab_environment() -> dict[str, str]:
    """Return the environment of JupyterLab: our settings come before its defaults and after the user's."""
    paths = [str(_SETTINGS), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(paths), "WBCSTUDY_ROOT": str(project_root())}


def _link(link: Path, target: Path) -> bool:
    """Make a link to a folder, if the system allows links; return whether it exists."""
    try:
        if link.is_symlink() and link.readlink() != target:
            link.unlink()
        if target.is_dir() and not link.exists():
            link.symlink_to(target, target_is_directory=True)
    except OSError:
        # Windows allows links to some users only.
        return False
    return link.is_dir()


def _start_page(copies: Mapping[str, Copy], outputs: Path, links: set[str]) -> str:
    rows = [f"| [{name}]({name}.ipynb) | {_CONTENTS.get(name, '')} | {state} |" for name, state in copies.items()]
    outdated = Copy.OUTDATED in copies.values()
    return _START_PAGE.format(
        notebooks="\n".join(rows),
        advice=f"{_ADVICE}\n\n" if outdated else "",
        studies=_list_studies(outputs, "outputs" in links),
        documents=_list_documents("docs" in links),
    )


def _list_studies(outputs: Path, linked: bool) -> str:
    if not linked:
        return f"Studies and their reports are in `{outputs}`."
    reports = [study.report for path in sorted(outputs.iterdir()) if (study := StudyFolder(path)).report.is_file()]
    lines = [
        f"- [Report of {report.parents[1].name}](<outputs/{report.relative_to(outputs).as_posix()}>)"
        for report in reports
    ]
    intro = "All results are in the folder `outputs`, in the list of files on the left."
    return "\n".join([intro, "", *lines] if lines else [f"{intro} There is no report yet."])


def _list_documents(linked: bool) -> str:
    if not linked:
        return "See `docs/` in the folder of wbcstudy."
    return "\n".join(f"- [{title}](docs/{page})" for title, page in _DOCUMENTS.items())
