"""The commands `wbcstudy data`: list, draw, check, import and fetch datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.cli.arguments import complete_dataset, examples, one_of
from wbcstudy.cli.output import show

data = typer.Typer(no_args_is_help=True, help="List, draw, check and download datasets.")


@data.command("list", epilog=examples("wbcstudy data list"))
def _data_list() -> None:
    """List the datasets that a study can use by name."""
    from wbcstudy.data.datasets import DATASETS

    for row in DATASETS.values():
        show(f"{row.name:<22}{row.title}\n{'':<22}{row.description}")
    show("To use your own images, describe their folder in a dataset.yaml (see the guide 'Your own data').")


@data.command("draw", epilog=examples("wbcstudy data draw my_smears --domains mgg,wright,leishman --cases 400"))
def _data_draw(
    folder: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    cases: Annotated[int, typer.Option(help="Number of images.")] = 200,
    domains: Annotated[
        str, typer.Option(help="Stains, separated by commas: mgg, wright, leishman, rapid.")
    ] = "mgg,wright,leishman,rapid",
    seed: Annotated[int, typer.Option(help="Images of another seed are other images.")] = 0,
) -> None:
    """Draw synthetic smears of many laboratories, with exact masks, as a dataset folder."""
    from wbcstudy.data.synthetic.varied import write_varied_dataset

    names = [name.strip() for name in domains.split(",") if name.strip()]
    show(f"Written: {write_varied_dataset(folder, cases=cases, seed=seed, domains=names)}")


@data.command(
    "check", epilog=examples("wbcstudy data check my_smears --html check.html", "wbcstudy data check synthetic")
)
def _data_check(
    dataset: Annotated[
        str, typer.Argument(help="Name of a dataset, its folder, or its dataset.yaml.", autocompletion=complete_dataset)
    ],
    html: Annotated[Path | None, typer.Option(help="Also write the report as an HTML page.")] = None,
) -> None:
    """Check every image and mask of a dataset. Exits with 1 if there are errors."""
    from wbcstudy.data.check import check_dataset
    from wbcstudy.files import atomic_write, cannot_write

    checked = check_dataset(dataset)
    show(checked.text())
    if html is not None:
        try:
            with atomic_write(html) as path:
                path.write_text(checked.html(), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise cannot_write(html, error, instead="choose another path for --html") from None
    raise typer.Exit(0 if checked.ok else 1)


@data.command("import", epilog=examples("wbcstudy data import labelme my_annotations my_smears --class leukocyte=cell"))
def _data_import(
    form: Annotated[
        str,
        typer.Argument(
            help="labelme, coco, qupath or imagej.",
            metavar="FORMAT",
            show_default=False,
            autocompletion=one_of("labelme", "coco", "qupath", "imagej"),
        ),
    ],
    source: Annotated[Path, typer.Argument(help="Folder of images and outlines.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Dataset folder to write.", show_default=False)],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Meaning of a class: NAME=nucleus, cell, cytoplasm or background. Can be repeated."
        ),
    ] = None,
) -> None:
    """Draw masks from the outlines of LabelMe, COCO, QuPath or ImageJ, and write a dataset folder."""
    from wbcstudy.data.import_outlines import import_outlines, read_classes

    for line in import_outlines(form, source, out, read_classes(classes or ())):
        show(line)


@data.command("fetch", epilog=examples("wbcstudy data fetch segmentation_wbc"))
def _data_fetch(
    dataset: Annotated[
        str, typer.Argument(help="Name of the dataset: segmentation_wbc.", autocompletion=one_of("segmentation_wbc"))
    ],
    archive: Annotated[Path | None, typer.Option(help="Zip file that you have already downloaded.")] = None,
) -> None:
    """Download a public dataset, verify every file and unpack it into data/."""
    from wbcstudy.data.fetch import fetch_segmentation_wbc
    from wbcstudy.registry import pick

    fetch = pick({"segmentation_wbc": fetch_segmentation_wbc}, dataset, "dataset to fetch")
    show(f"Ready: {fetch(archive)}")
