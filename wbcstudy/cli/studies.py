"""Commands of a study: init, run, stop, repeat, status, report, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.cli.arguments import (
    StudyArgument,
    complete_run,
    complete_runs_of_study,
    examples,
    one_of,
    read_jobs,
    read_number,
)
from wbcstudy.cli.output import show, terminal_width

app = typer.Typer()


@app.command(epilog=examples("wbcstudy init my_smears", "wbcstudy init my_smears --out params/ours.yaml"))
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and masks.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="File of the study. Default: params/<name of the folder>.yaml.")
    ] = None,
) -> None:
    """Propose dataset.yaml and a study for a folder of images and masks. Nothing is overwritten."""
    from wbcstudy.data.propose import init_folder

    for line in init_folder(folder, out):
        show(line)


@app.command(
    epilog=examples(
        "wbcstudy run demo", "wbcstudy run params/ours.yaml --only 'resnet*' --jobs 2", "wbcstudy run demo --dry-run"
    )
)
def run(
    study: StudyArgument,
    jobs: Annotated[
        str, typer.Option(help="Number of parallel trainings; 'auto': as many as fit this machine.")
    ] = "auto",
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Run only the runs whose name matches, e.g. 'resnet*'. Can be repeated.",
            autocompletion=complete_runs_of_study,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, their time, memory and disk space. Starts none.")
    ] = False,
    repeat_damaged: Annotated[
        bool,
        typer.Option(
            "--repeat-damaged", help="Check all files of finished runs, delete the damaged runs and run them again."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show a line for every epoch instead of a table of the current runs.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            help="local (this machine) or slurm (each notebook is a job).", autocompletion=one_of("local", "slurm")
        ),
    ] = "local",
    profile: Annotated[Path | None, typer.Option(help="Folder of SLURM settings. Default: profiles/slurm.")] = None,
) -> None:
    """Run a study and build its report. Finished runs are kept; the same command resumes a study."""
    from wbcstudy.study.run import run_study

    options = {
        "only": only or (),
        "dry_run": dry_run,
        "repeat_damaged": repeat_damaged,
        "executor": executor,
        "profile": profile,
        "verbose": verbose,
    }
    raise typer.Exit(run_study(study, jobs=read_jobs(jobs), show=show, **options))


@app.command(epilog=examples("wbcstudy stop demo"))
def stop(
    study: StudyArgument,
) -> None:
    """Stop a running study. Finished runs and epochs are kept."""
    from wbcstudy.study.running import stop_study

    stop_study(study, show)


@app.command(
    epilog=examples(
        "wbcstudy repeat demo/resnet18__dice__fold0__seed0 --study again",
        "wbcstudy repeat outputs/demo/runs/resnet18__dice__fold0__seed0 --study again",
    )
)
def repeat(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of a run, its params.yaml, or <study>/<run>.", show_default=False, autocompletion=complete_run
        ),
    ],
    study: Annotated[str, typer.Option(help="Name of the new study.", show_default=False)],
    jobs: Annotated[str, typer.Option(help="The cores of the machine are divided by this number.")] = "auto",
) -> None:
    """Repeat one run with its settings, as the only run of a new study."""
    from wbcstudy.study.run import repeat_run

    raise typer.Exit(repeat_run(run, study, read_jobs(jobs), show))


@app.command(epilog=examples("wbcstudy status demo", "wbcstudy status demo --verify"))
def status(
    study: StudyArgument,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file of the finished runs. Exits with 1 if one has changed.")
    ] = False,
) -> None:
    """Show the progress of each run of a study, and whether its files are as the run wrote them."""
    from wbcstudy.study.status import status_lines, study_status

    rows = study_status(study, verify)
    for line in status_lines(rows, terminal_width()):
        show(line)
    raise typer.Exit(1 if verify and any(row["problem"] or row["changed"] for row in rows) else 0)


@app.command(epilog=examples("wbcstudy report demo"))
def report(study: StudyArgument) -> None:
    """Rebuild tables, figures and report from the finished runs."""
    from wbcstudy.study.run import build_report

    raise typer.Exit(build_report(study, show=show))


@app.command(epilog=examples("wbcstudy plan demo", "wbcstudy plan demo --difference 0.005"))
def plan(
    study: StudyArgument,
    difference: Annotated[
        float | None,
        typer.Option(
            parser=read_number,
            metavar="NUMBER",
            help="Difference in mean Dice to detect. Default: the study's equivalence_margin.",
        ),
    ] = None,
) -> None:
    """Show how many test images and seeds a study needs."""
    from wbcstudy.study.sample_size import plan_sample_size

    for line in plan_sample_size(study, difference).lines():
        show(line)
