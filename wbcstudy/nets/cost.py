"""What a network costs: operations, memory, device."""

from __future__ import annotations

import math
import platform
import sys
from pathlib import Path

from wbcstudy.nets.backend import load_keras


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


def arithmetic(model) -> str:
    """The type that a network's convolutions compute in: "float32" or "bfloat16"; weights are float32 in both."""
    # The last layer with weights: the softmax after it is float32 in both, and a network of one's own names its layers
    # as it likes.
    return next(layer for layer in reversed(model.layers) if layer.weights).compute_dtype


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
