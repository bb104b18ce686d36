"""Write a BioImage Model Zoo package (https://bioimage.io), which Fiji, QuPath and DeepImageJ read."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbcstudy import __version__
from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.data.overlays import colour_mask, draw_overlay
from wbcstudy.errors import StudyError
from wbcstudy.inference.network import Network
from wbcstudy.inference.onnx_graph import OPSET
from wbcstudy.labels import LABELS
from wbcstudy.registry import loss_title, network_title

_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
# Background of masks in the cover, as on a stained smear.
_PALE = "#f4efe9"


@dataclass(frozen=True)
class Attribution:
    """Who made a network, for the package.

    Args:
        authors: names; "wbcstudy" if none is given.
        licence: SPDX identifier of the network's licence; None for that of the training images, if it is one.
        citation: reference to cite, besides that of the dataset.
        pixel_um: side of a pixel of the training images, in micrometres; None for that of dataset.yaml.
    """

    authors: tuple[str, ...] = ()
    licence: str | None = None
    citation: str | None = None
    pixel_um: float | None = None


def load_bioimageio() -> None:
    """Import bioimageio.core and make it work with the installed pydantic.

    Call it before TensorFlow is imported: the documentation of its 229 models is searched in the sources of all
    imported modules, which takes twice as long with those of TensorFlow.
    """
    _patch_serializers()
    import bioimageio.core  # noqa: F401, imported for later calls


@contextlib.contextmanager
def _without_old_objects() -> Iterator[None]:
    """Let the garbage collector, which bioimageio.core calls after each model, skip the objects of TensorFlow."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def write_package(
    path: Path,
    onnx_file: Path,
    network: Network,
    facts: dict[str, Any],
    image: np.ndarray,
    expected: np.ndarray,
    attribution: Attribution,
) -> None:
    """Write a package and test it with `bioimageio.core`, which compares its probabilities with the network's.

    Args:
        path: the .zip to write.
        onnx_file: the network as ONNX, input `image`, output `probabilities`.
        network: the network.
        facts: description of the network, as exported with it.
        image: example image, uint8 (1, S, S, 3).
        expected: its probabilities, float32 (1, S, S, 3).
        attribution: authors, licence, citation and pixel size.

    Raises:
        StudyError: a licence that is no SPDX identifier, or the package fails the test; the message holds the problems
            that bioimageio.core reports.
    """
    load_bioimageio()
    from bioimageio.core import test_model
    from bioimageio.spec import save_bioimageio_package
    from loguru import logger

    logger.disable("bioimageio")
    licence = _licence(attribution.licence, network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "README.md").write_text(_readme(facts), encoding="utf-8")
        np.save(folder / "image.npy", image.astype(np.float32))
        np.save(folder / "probabilities.npy", expected)
        _draw_samples(folder, image[0], expected[0].argmax(axis=-1))
        description = _describe(folder, onnx_file, network, attribution, licence)
        # Weights hardly shrink, and the test reads them from the package eight times.
        save_bioimageio_package(description, output_path=path, compression=zipfile.ZIP_STORED)
        with _without_old_objects():
            result = test_model(path, weight_format="onnx", absolute_tolerance=1e-3)
    if result.status != "passed":
        problems = [f"{detail.name}: {error.msg}" for detail in result.details for error in detail.errors]
        raise StudyError(
            f"The package fails the test of bioimageio.core: {'; '.join(problems)[:600] or result.status}",
            expected="a package that passes",
            fix="Use --format onnx, and please report this.",
        )


def _licence(given: str | None, network: Network) -> str | None:
    """Return the SPDX identifier of a licence.

    Raises:
        StudyError: the given text is not one.
    """
    from typing import get_args

    from bioimageio.spec._internal.license_id import LicenseIdLiteral

    known = {name.lower(): name for name in get_args(LicenseIdLiteral)}
    recorded = (network.run.record.get("dataset") or {}).get("licence") or ""
    identifier = known.get(re.sub(r"\s+", "-", (given or recorded).strip()).lower())
    if given and not identifier:
        raise StudyError(
            f"--licence {given} is not known.",
            expected="an SPDX identifier: CC-BY-4.0, CC0-1.0, MIT, Apache-2.0, ... (https://spdx.org/licenses)",
            fix="Change --licence.",
        )
    return identifier


def _draw_samples(folder: Path, image: np.ndarray, mask: np.ndarray) -> None:
    """Write the example image, its predicted labels, and a cover with both, twice as wide as high."""
    side = min(image.shape[:2])
    Image.fromarray(image).save(folder / "sample_image.png")
    Image.fromarray(colour_mask(mask, _PALE)).save(folder / "sample_labels.png")
    halves = [part[:side, :side] for part in (image, draw_overlay(image, mask))]
    cover = Image.fromarray(np.hstack(halves))
    # A cover may have 500 kB at most.
    cover.thumbnail((800, 400))
    cover.save(folder / "cover.png")


def _describe(folder: Path, onnx_file: Path, network: Network, attribution: Attribution, licence: str | None):
    from bioimageio.spec.model import v0_5 as spec

    config, training = network.run.config, network.training
    size = spec.ParameterizedSize(min=training.image_size, step=SIZE_STEP_PX)
    pixel_um = attribution.pixel_um or training.pixel_size_um

    def input_axis(name: str, side_px: int):
        # The network sees images at image_size, where a pixel is larger than in the files.
        scale = {"unit": "micrometer", "scale": pixel_um * side_px / training.image_size} if pixel_um else {}
        return spec.SpaceInputAxis(id=spec.AxisId(name), size=size, **scale)

    def output_axis(name: str):
        same = spec.SizeReference(tensor_id=spec.TensorId("image"), axis_id=spec.AxisId(name))
        scale = {"unit": image.axes[1].unit, "scale": next(axis.scale for axis in image.axes if axis.id == name)}
        return spec.SpaceOutputAxis(id=spec.AxisId(name), size=same, **scale)

    channels = [spec.Identifier(name) for name in ("red", "green", "blue")]
    image = spec.InputTensorDescr(
        id=spec.TensorId("image"),
        description="RGB 0-255, not normalised: preprocessing is part of the network",
        axes=[
            spec.BatchAxis(),
            input_axis("y", training.height_px[1]),
            input_axis("x", training.width_px[1]),
            spec.ChannelAxis(channel_names=channels),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0, 255)),
        test_tensor=spec.FileDescr(source=folder / "image.npy"),
        sample_tensor=spec.FileDescr(source=folder / "sample_image.png"),
    )
    probabilities = spec.OutputTensorDescr(
        id=spec.TensorId("probabilities"),
        description=f"probabilities of {', '.join(LABELS)}, which sum to 1",
        axes=[
            spec.BatchAxis(),
            output_axis("y"),
            output_axis("x"),
            spec.ChannelAxis(channel_names=[spec.Identifier(name) for name in LABELS]),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0, 1)),
        test_tensor=spec.FileDescr(source=folder / "probabilities.npy"),
        sample_tensor=spec.FileDescr(source=folder / "sample_labels.png"),
    )
    name = f"White blood cells - {network_title(config.encoder)} - {loss_title(config.loss)}"
    return spec.ModelDescr(
        name=name,
        description="Nucleus and cytoplasm of white blood cells on stained smears, segmented by a U-Net.",
        authors=[spec.Author(name=author) for author in attribution.authors or ("wbcstudy",)],
        license=spec.LicenseId(licence) if licence else None,
        cite=list(_cite(spec, attribution, network)),
        covers=[spec.FileDescr(source=folder / "cover.png")],
        tags=["white-blood-cells", "semantic-segmentation", "2d", "rgb", "unet", "nucleus", "cytoplasm", "cytology"],
        documentation=spec.FileDescr(source=folder / "README.md"),
        inputs=[image],
        outputs=[probabilities],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=onnx_file, opset_version=OPSET)),
        version=spec.Version(__version__),
    )


def _cite(spec: Any, attribution: Attribution, network: Network):
    """Yield the citations that have a DOI or an address, which the format requires."""
    dataset = network.run.record.get("dataset") or {}
    for text in (attribution.citation, dataset.get("citation")):
        link = re.search(r"https?://[^\s,;]+", text or "")
        doi = _DOI.search(text or "")
        links = {"doi": spec.Doi(doi.group().rstrip("."))} if doi else {}
        links |= {"url": spec.HttpUrl(link.group().rstrip("."))} if link and not doi else {}
        if links:
            yield spec.CiteEntry(text=text[:500], **links)


def _readme(facts: dict[str, Any]) -> str:
    dataset, scores = facts["dataset"], facts["test_scores"]
    lines = [
        f"# {facts['name']}",
        "",
        "Segments nucleus and cytoplasm of white blood cells on stained smears. A network from a comparison of U-Net "
        f"encoders with wbcstudy {facts['wbcstudy']}.",
        "",
        f"- **Input**: {facts['input']}. Preprocessing: {facts['preprocessing']}.",
        f"- **Output**: {facts['output']}.",
        f"- **Scale**: {facts['scale']}",
        f"- **Trained on**: {dataset.get('title', 'not recorded')}.",
        f"- **Weights**: {facts['weights']}",
    ]
    lines += [f"- **Please cite**: {dataset['citation']}"] if dataset.get("citation") else []
    lines += [f"- **Licence of the training images**: {dataset['licence']}"] if dataset.get("licence") else []
    lines += ["", "## Validation", "", "Dice on the test set:", ""]
    lines += [
        f"- {region}: {counts['dice']:.3f}" for region, counts in scores.items() if counts.get("dice") is not None
    ]
    lines += ["", "## Settings", "", "```json", json.dumps(facts["settings"], indent=1), "```", ""]
    return "\n".join(lines)


def _patch_serializers() -> None:
    """Make bioimageio.spec 0.5.12, which bioimageio.core 0.11 requires, work with pydantic 2.14.

    Two of its functions pass pydantic's serializer a second argument, which older versions ignored. bioimageio.spec
    0.5.14 does not pass it, but no release of bioimageio.core uses that yet. Compiled schemas hold the functions
    already, therefore their code is replaced and not the functions.
    """
    from bioimageio.spec import __version__ as version

    if tuple(map(int, version.split(".")[:3])) >= (0, 5, 14):
        return
    from bioimageio.spec._internal import io_packaging
    from bioimageio.spec.model import v0_4

    def serialize(value, handler, info):
        return handler(value)

    def serialize_file(value, handler, info):
        serialized = handler(value)
        serialized["source"] = _package(value.source, info, sha256=value.sha256)  # noqa: F821, a name of io_packaging
        return serialized

    io_packaging.package_file_descr_serializer.__code__ = serialize_file.__code__
    v0_4.package_weights.__code__ = serialize.__code__
