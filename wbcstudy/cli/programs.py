"""Hidden commands, which the Makefile and the Snakefile call."""

from __future__ import annotations

from pathlib import Path

import typer

from wbcstudy.cli.output import show

app = typer.Typer()


@app.command("copy-notebooks", hidden=True)
def _copy_notebooks() -> None:
    """Copy the notebooks to my_notebooks/ for `make lab`. Changed copies are kept."""
    from wbcstudy.runs.notebooks import copy_notebooks

    for message in copy_notebooks():
        show(message)


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
