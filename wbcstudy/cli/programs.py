"""The commands open, app and lab, and hidden commands, which the Makefile and the Snakefile call."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.cli.arguments import complete_study, examples
from wbcstudy.cli.output import show

app = typer.Typer()
_OTHER_OPTIONS = {"ignore_unknown_options": True, "allow_extra_args": True}


@app.command("open", epilog=examples("wbcstudy open demo", "wbcstudy open"))
def _open(
    study: Annotated[
        str | None,
        typer.Argument(
            help="Name, file or folder of the study. Default: the study with the newest report.",
            autocompletion=complete_study,
            metavar="[STUDY]",
        ),
    ] = None,
) -> None:
    """Open the report of a study in the browser, and print its address."""
    from wbcstudy.study.app import open_report

    open_report(study, show)


@app.command(
    "app",
    context_settings=_OTHER_OPTIONS,
    epilog=examples("wbcstudy app", "wbcstudy app --no-browser --port=9000"),
)
def _app(context: typer.Context) -> None:
    """Explore studies and segment your own images in the browser. Options of `voila` can follow. Ctrl-C ends it."""
    from wbcstudy.study.app import run_app

    run_app(context.args)


@app.command(
    "lab",
    context_settings=_OTHER_OPTIONS,
    epilog=examples("wbcstudy lab", "wbcstudy lab --no-browser --port=9000"),
)
def _lab(context: typer.Context) -> None:
    """Open JupyterLab with a start page and copies of the notebooks. Options of `jupyter lab` can follow."""
    from wbcstudy.study.lab import open_lab

    open_lab(context.args)


@app.command("time-step", hidden=True)
def _time_step(params: Path) -> None:
    """Measure a training step of a run's settings, and print the result as JSON."""
    from wbcstudy.config_io import read_run
    from wbcstudy.nets.timed_step import time_step

    show(json.dumps(time_step(read_run(params))))


@app.command("papermill", hidden=True)
def _papermill(
    notebook: Path,
    executed: Path,
    parameters: Path,
    page: Path,
    folder: Path,
    save_cells: Annotated[bool, typer.Option(help="Write the executed notebook after every cell.")] = True,
) -> None:
    """Execute a notebook in a folder, and write it as a page."""
    from wbcstudy.study.execute import execute_notebook

    try:
        execute_notebook(notebook, executed, parameters, folder, save_cells)
    except Exception:
        # The log of the step needs it in full.
        traceback.print_exc()
        raise typer.Exit(1) from None
    _page(executed, page)


@app.command("page", hidden=True)
def _page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as a self-contained HTML page."""
    from wbcstudy.reporting.notebook_page import write_notebook_page
    from wbcstudy.runs.folders import RunFolder
    from wbcstudy.runs.results import record_documents

    write_notebook_page(notebook, page)
    if (notebook.parent / "run.json").exists():
        record_documents(RunFolder(notebook.parent, notebook.stem))


@app.command("mark-failed", hidden=True)
def _mark_failed(folder: Path) -> None:
    """Record that a run's notebook ended with an error. Exits with 1 if it was only stopped."""
    from wbcstudy.runs.folders import RunFolder
    from wbcstudy.study.record import record_failure

    step = "baseline" if folder.parent.name == "baselines" else "train"
    run = RunFolder(folder, step)
    if run.read_status() == "complete":
        show("Another process has finished this run.")
        return
    error = record_failure(run, run.study.logs / f"{run.name}.log")
    show(f"Failed: {error}" if error else "Stopped, not failed.")
    raise typer.Exit(0 if error else 1)


@app.command("score-on-dataset", hidden=True)
def _score_on_dataset(folder: Path, dataset: str) -> None:
    """Score a finished run's network on another dataset of its study."""
    from wbcstudy.study.other_datasets import score_on_dataset

    record = score_on_dataset(folder, dataset)
    show(record.get("error") or f"Scored {record['run']} on {dataset} in {record['seconds']} s.")
