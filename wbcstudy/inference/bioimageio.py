"""Write a BioImage Model Zoo package (https://bioimage.io), which Fiji, QuPath and DeepImageJ read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.errors import StudyError
from wbcstudy.inference.export import OPSET
from wbcstudy.inference.network import Network
from wbcstudy.labels import LABELS
from wbcstudy.registry import loss_title, network_title


def write_package(
    path: Path, onnx_file: Path, network: Network, facts: dict[str, Any], image: np.ndarray, expected: np.ndarray
) -> None:
    """Write a package and test it with `bioimageio.core`, which compares its probabilities with the network's.

    Args:
        path: the .zip to write.
        onnx_file: the network as ONNX, input `image`, output `probabilities`.
        network: the network.
        facts: description of the network, as exported with it.
        image: example image, uint8 (1, S, S, 3).
        expected: its probabilities, float32 (1, S, S, 3).

    Raises:
        StudyError: the package fails the test; the message holds the problems that bioimageio.core reports.
    """
    _patch_serializers()
    from bioimageio.core import test_model
    from bioimageio.spec import save_bioimageio_package
    from loguru import logger

    logger.disable("bioimageio")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "README.md").write_text(_readme(facts), encoding="utf-8")
        np.save(folder / "image.npy", image.astype(np.float32))
        np.save(folder / "probabilities.npy", expected)
        save_bioimageio_package(_describe(folder, onnx_file, network), output_path=path)
        result = test_model(path, weight_format="onnx", absolute_tolerance=1e-3)
    if result.status != "passed":
        problems = [f"{detail.name}: {error.msg}" for detail in result.details for error in detail.errors]
        raise StudyError(
            f"The package fails the test of bioimageio.core: {'; '.join(problems)[:600] or result.status}",
            expected="a package that passes",
            fix="Use --format onnx, and please report this.",
        )


def _describe(folder: Path, onnx_file: Path, network: Network):
    from bioimageio.spec.model import v0_5 as spec

    config = network.run.config
    size = spec.ParameterizedSize(min=network.training.image_size, step=SIZE_STEP_PX)
    channels = [spec.Identifier(name) for name in ("red", "green", "blue")]
    image = spec.InputTensorDescr(
        id=spec.TensorId("image"),
        description="RGB 0-255, not normalised: preprocessing is part of the network",
        axes=[
            spec.BatchAxis(),
            spec.SpaceInputAxis(id=spec.AxisId("y"), size=size),
            spec.SpaceInputAxis(id=spec.AxisId("x"), size=size),
            spec.ChannelAxis(channel_names=channels),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0, 255)),
        test_tensor=spec.FileDescr(source=folder / "image.npy"),
    )

    def side(axis: str):
        same = spec.SizeReference(tensor_id=spec.TensorId("image"), axis_id=spec.AxisId(axis))
        return spec.SpaceOutputAxis(id=spec.AxisId(axis), size=same)

    probabilities = spec.OutputTensorDescr(
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
    citation = dataset.get("citation") or ""
    link = next((word.rstrip(".,;") for word in citation.split() if word.startswith("https://")), None)
    cite = [spec.CiteEntry(text=citation[:500], url=link)] if link else []
    name = f"White blood cells - {network_title(config.encoder)} - {loss_title(config.loss)}"
    return spec.ModelDescr(
        name=name,
        description="Nucleus and cytoplasm of white blood cells on stained smears, segmented by a U-Net.",
        authors=[spec.Author(name="wbcstudy")],
        cite=cite,
        tags=["white-blood-cells", "semantic-segmentation", "2d", "rgb", "unet", "nucleus", "cytoplasm", "cytology"],
        documentation=spec.FileDescr(source=folder / "README.md"),
        inputs=[image],
        outputs=[probabilities],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=onnx_file, opset_version=OPSET)),
        version=spec.Version(__version__),
    )


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
