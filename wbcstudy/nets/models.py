"""Trained models as files, and what a run notes about the machine."""

from __future__ import annotations

import math
import platform
import sys
import zipfile
from pathlib import Path

from wbcstudy.backend import load_keras
from wbcstudy.errors import StudyError
from wbcstudy.nets.losses import register_losses
from wbcstudy.nets.unet import register_layers


def load_model(path: str | Path):
    """Read a `model.keras`. Code in the file is never run.

    Args:
        path: the file.

    Returns:
        keras.Model, not compiled; see `unet.build_unet` for its input and output.

    Raises:
        StudyError: no such file, or not a model of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError(
            f"There is no model {path}.",
            expected="the model.keras of a finished run",
            fix="Check the path; `wbcstudy status params/<study>.yaml` lists the finished runs.",
        )
    if not zipfile.is_zipfile(path):
        raise _foreign(path, "it is not a .keras file, or was cut off")
    keras = load_keras()
    register_layers()
    register_losses()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError) as error:
        raise _foreign(path, (str(error).splitlines() or [type(error).__name__])[0][:300]) from error
    shapes = (getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    if shapes != ((None, None, None, 3), (None, None, None, 3)):
        raise _foreign(path, f"its input and output are {shapes[0]} and {shapes[1]}")
    return model


def count_parameters(model) -> int:
    """Number of weights, trained or not."""
    return int(model.count_params())


def count_multiply_adds(model, image_size: int) -> int:
    """Multiplications, each with its addition, that one image takes in convolutions and dense layers.

    A measure of work that no other program on the machine can disturb. Normalisation, activation, pooling and
    upsampling are not counted; they are a few per cent. A convolution at a padded border counts as one inside.

    Args:
        model: a functional model that takes (B, H, W, 3), without models inside it.
        image_size: side S of the image, in px.
    """
    keras = load_keras()
    layers = keras.layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense)
    counted = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not counted:
        return 0
    # A transposed convolution spreads every pixel of its input; the others gather for every pixel of their output.
    tensors = [layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output for layer in counted]
    shapes = keras.Model(model.inputs, tensors).compute_output_spec(keras.KerasTensor((1, image_size, image_size, 3)))
    return sum(
        math.prod(tensor.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer, tensor in zip(counted, keras.tree.flatten(shapes), strict=True)
    )


def peak_memory_mb() -> float:
    """The most memory this process has held so far, in MB (10**6 bytes); on a GPU, its own memory is not in it."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    # Linux counts in kibibytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def device_name() -> str:
    """What networks are computed on: the GPU's name, or the processor's."""
    load_keras()
    import tensorflow as tf

    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if names:
        return "GPU " + ", ".join(names)
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), processor)
    return f"CPU {processor}"


def _foreign(path: Path, why: str) -> StudyError:
    return StudyError(
        f"{path} is not a model of this project: {why}.",
        expected="a model.keras written by a run of this project",
        fix="Pass outputs/<study>/runs/<run>/model.keras; if this is one, run it again.",
    )
