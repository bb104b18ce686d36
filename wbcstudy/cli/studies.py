"""Commands of a study: init, run, stop, repeat, status, report, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.cli.arguments import StudyName, read_jobs, read_number
from wbcstudy.cli.output import show

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and masks.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="File of the study. Default: params/<name of the folder>.yaml.")
    ] = None,
) -> None:
    """Propose dataset.yaml and a study for a folder of images and masks. Nothing is overwritten.

    Example: wbcstudy init my_smears --out params/ours.yaml
    """
    from wbcstudy.data.propose import init_folder

    for line in init_folder(folder, out):
        show(line)


@app.command()
def run(
    study: StudyName,
    jobs: Annotated[
        str, typer.Option(help="Number of parallel trainings; 'auto': as many as fit this machine.")
    ] = "auto",
    only: Annotated[
        list[str] | None, typer.Option(help="Run only the runs whose name matches, e.g. 'resnet*'. Can be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs without starting them.")] = False,
    repeat_damaged: Annotated[
        bool,
        typer.Option(
            "--repeat-damaged", help="Check all files of finished runs, delete the damaged runs and run them again."
        ),
    ] = False,
    executor: Annotated[str, typer.Option(help="local (this machine) or slurm (each notebook is a job).")] = "local",
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
    }
    raise typer.Exit(run_study(study, jobs=read_jobs(jobs), show=show, **options))


@app.command()
def stop(
    study: Annotated[str, typer.Argument(help="params/<study>.yaml, or the study's name.", show_default=False)],
) -> None:
    """Stop a running study. Finished runs and epochs are kept."""
    from wbcstudy.study.running import stop_study

    stop_study(study, show)


@app.command()
def repeat(
    run: Annotated[str, typer.Argument(help="Folder of a run, its params.yaml, or <study>/<run>.", show_default=False)],
    study: Annotated[str, typer.Option(help="Name of the new study.", show_default=False)],
    jobs: Annotated[str, typer.Option(help="The cores of the machine are divided by this number.")] = "auto",
) -> None:
    """Repeat one run with its settings, as the only run of a new study.

    Example: wbcstudy repeat outputs/demo/runs/resnet18__dice__fold0__seed0 --study again
    """
    from wbcstudy.study.run import repeat_run

    raise typer.Exit(repeat_run(run, study, read_jobs(jobs), show))


@app.command()
def status(
    study: StudyName,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file of the finished runs. Exits with 1 if one has changed.")
    ] = False,
) -> None:
    """Show the progress of each run of a study, and whether its files are as the run wrote them."""
    from wbcstudy.study.plan import study_status

    lines = [("run", "status", "epoch", "nucleus Dice", "cytoplasm Dice", "files")]
    rows = study_status(study, verify)
    for row in rows:
        dice = ["-" if row[region] is None else f"{row[region]:.4f}" for region in ("nucleus", "cytoplasm")]
        epochs = "-" if row["epochs"] is None else f"{row['epoch'] or 0}/{row['epochs']}"
        lines.append((str(row["run"]), str(row["status"]), epochs, *dice, str(row["files"] or "-")))
    # Plain columns work with grep and cut, and importing Rich would take a tenth of this command's time.
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if row["problem"]:
            show(f"\n{row['problem']}\n  {row['fix']}")
        if row["changed"]:
            show(f"\n{row['run']}: changed since the run, without effect on results: {', '.join(row['changed'])}")
    raise typer.Exit(1 if verify and any(row["problem"] or row["changed"] for row in rows) else 0)


@app.command()
def report(study: StudyName) -> None:
    """Rebuild tables, figures and report from the finished runs."""
    from wbcstudy.study.run import build_report

    raise typer.Exit(build_report(study, show=show))


@app.command()
def plan(
    study: StudyName,
    difference: Annotated[
        float | None,
        typer.Option(
            parser=read_number,
            metavar="NUMBER",
            help="Difference in mean Dice to detect. Default: the study's equivalence_margin.",
        ),
    ] = None,
) -> None:
    """Show how many test images and seeds a study needs. Example: wbcstudy plan params/demo.yaml --difference 0.005."""
    from wbcstudy.study.sample_size import plan_sample_size

    for line in plan_sample_size(study, difference).lines():
        show(line)
