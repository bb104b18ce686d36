"""A network as a package of the BioImage Model Zoo (https://bioimage.io), which Fiji, QuPath and DeepImageJ read."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.errors import StudyError
from wbcstudy.inference.network import Network
from wbcstudy.labels import LABELS
from wbcstudy.registry import loss_title, network_title

_PROJECT = "wbcstudy"


def write_package(
    path: Path, onnx_file: Path, network: Network, facts: dict[str, Any], image: np.ndarray, expected: np.ndarray
) -> None:
    """Write a package and let `bioimageio.core` run it: it must give the probabilities that the network gives.

    Args:
        path: the .zip to write.
        onnx_file: the network as ONNX, input `image`, output `probabilities`.
        network: the network.
        facts: what `export.describe` says of it.
        image: the example, uint8 (1, S, S, 3).
        expected: its probabilities, float32 (1, S, S, 3).

    Raises:
        StudyError: the package does not pass; the message holds what bioimageio.core says.
    """
    _be_quiet()
    _mend_serializers()
    from bioimageio.core import test_model
    from bioimageio.spec import save_bioimageio_package

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "README.md").write_text(_readme(facts), encoding="utf-8")
        np.save(folder / "image.npy", image.astype(np.float32))
        np.save(folder / "probabilities.npy", expected)
        described = _describe(folder, onnx_file, network)
        save_bioimageio_package(described, output_path=path)
        tested = test_model(path, weight_format="onnx", absolute_tolerance=1e-3)
    if tested.status != "passed":
        problems = [f"{detail.name}: {error.msg}" for detail in tested.details for error in detail.errors]
        raise StudyError(
            f"bioimageio.core does not accept the package: {'; '.join(problems)[:600] or tested.status}",
            expected="a package that passes its own test",
            fix="Use --format onnx, and please report this.",
        )


def _describe(folder: Path, onnx_file: Path, network: Network):
    from bioimageio.spec.model import v0_5 as spec

    config = network.run.config
    size = spec.ParameterizedSize(min=network.training.image_size, step=SIZE_STEP_PX)
    channel = [spec.Identifier(name) for name in ("red", "green", "blue")]
    read = spec.InputTensorDescr(
        id=spec.TensorId("image"),
        description="RGB 0-255, not normalised: the preprocessing is part of the network",
        axes=[
            spec.BatchAxis(),
            spec.SpaceInputAxis(id=spec.AxisId("y"), size=size),
            spec.SpaceInputAxis(id=spec.AxisId("x"), size=size),
            spec.ChannelAxis(channel_names=channel),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0, 255)),
        test_tensor=spec.FileDescr(source=folder / "image.npy"),
    )

    def side(axis: str):
        same = spec.SizeReference(tensor_id=spec.TensorId("image"), axis_id=spec.AxisId(axis))
        return spec.SpaceOutputAxis(id=spec.AxisId(axis), size=same)

    given = spec.OutputTensorDescr(
        id=spec.TensorId("probabilities"),
        description=f"probabilities of {', '.join(LABELS)}, which sum to 1",
        axes=[
            spec.BatchAxis(),
            side("y"),
            side("x"),
            spec.ChannelAxis(channel_names=[spec.Identifier(name) for name in LABELS]),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0, 1)),
        test_tensor=spec.FileDescr(source=folder / "probabilities.npy"),
    )
    dataset = network.run.record.get("dataset") or {}
    cite = [spec.CiteEntry(text=dataset["citation"][:500], url=_link(dataset["citation"]))] if _citable(dataset) else []
    title = f"White blood cells - {network_title(config.encoder)} - {loss_title(config.loss)}"
    return spec.ModelDescr(
        name=title,
        description="Nucleus and cytoplasm of white blood cells on stained smears; a run of a wbcstudy comparison.",
        authors=[spec.Author(name=_PROJECT)],
        cite=cite,
        tags=["white-blood-cells", "semantic-segmentation", "2d", "rgb", "unet", "nucleus", "cytoplasm", "cytology"],
        documentation=spec.FileDescr(source=folder / "README.md"),
        inputs=[read],
        outputs=[given],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=onnx_file, opset_version=_opset(onnx_file))),
        version=spec.Version(__version__),
    )


def _opset(onnx_file: Path) -> int:
    import onnx

    return max(entry.version for entry in onnx.load(str(onnx_file)).opset_import if entry.domain in ("", "ai.onnx"))


def _citable(dataset: dict[str, Any]) -> bool:
    return bool(_link(dataset.get("citation") or ""))


def _link(citation: str) -> str | None:
    return next((word.rstrip(".,;") for word in citation.split() if word.startswith("https://")), None)


def _readme(facts: dict[str, Any]) -> str:
    dataset, scores = facts["dataset"], facts["test_scores"]
    lines = [
        f"# {facts['name']}",
        "",
        "Segments nucleus and cytoplasm of white blood cells on stained smears. One run of a comparison of U-Net "
        f"encoders by wbcstudy {facts['wbcstudy']}.",
        "",
        f"- **Input**: {facts['input']}. {facts['preprocessing'].capitalize()}.",
        f"- **Output**: {facts['output']}.",
        f"- **Scale**: {facts['scale']}",
        f"- **Trained on**: {dataset.get('title', 'not recorded')}.",
    ]
    lines += [f"- **Please cite**: {dataset['citation']}"] if dataset.get("citation") else []
    lines += [f"- **Licence of the training images**: {dataset['licence']}"] if dataset.get("licence") else []
    lines += ["", "## Validation", "", "Dice on test images that the network has not seen:", ""]
    lines += [
        f"- {region}: {counts['dice']:.3f}" for region, counts in scores.items() if counts.get("dice") is not None
    ]
    lines += ["", "## Settings", "", "```json", json.dumps(facts["settings"], indent=1), "```", ""]
    return "\n".join(lines)


def _mend_serializers() -> None:
    """Let bioimageio.spec 0.5.12, which bioimageio.core 0.11 asks for, work with pydantic 2.14.

    Two of its functions hand pydantic's serializer a second argument, which older versions ignored and this one takes
    for something else. Its release 0.5.14 leaves that argument out, but no release of bioimageio.core uses that yet.
    The functions are already part of compiled schemas, therefore their code is exchanged and not the functions.
    """
    from bioimageio.spec import __version__ as version

    if tuple(map(int, version.split(".")[:3])) >= (0, 5, 14):
        return
    from bioimageio.spec._internal import io_packaging
    from bioimageio.spec.model import v0_4

    def serialize(value, handler, info):
        return handler(value)

    def serialize_file(value, handler, info):
        described = handler(value)
        described["source"] = _package(value.source, info, sha256=value.sha256)  # noqa: F821, a name of that module
        return described

    io_packaging.package_file_descr_serializer.__code__ = serialize_file.__code__
    v0_4.package_weights.__code__ = serialize.__code__


def _be_quiet() -> None:
    """Without the log that bioimageio writes of each step."""
    logging.getLogger("bioimageio").setLevel(logging.ERROR)
    try:
        from loguru import logger
    except ImportError:
        return
    logger.disable("bioimageio")
