"""Measure the costs of a network: operations, memory, device."""

from __future__ import annotations

import math
import platform
import sys
from pathlib import Path

from wbcstudy.nets.backend import load_keras


def count_multiply_adds(model, image_size: int) -> int:
    """Count the multiply-adds of convolutions and dense layers for one image.

    Unlike a time, the number does not depend on the machine. Normalisation, activation, pooling and upsampling, a few
    per cent, are not counted. Convolutions at a padded border count like those inside.

    Args:
        model: a functional model with input (B, H, W, 3), without nested models.
        image_size: side of the image, in px.
    """
    keras = load_keras()
    layers = keras.layers
    classes = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense)
    counted = [layer for layer in model.layers if isinstance(layer, classes)]
    if not counted:
        return 0
    # A transposed convolution has operations per pixel of its input, the other layers per pixel of their output.
    tensors = [layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output for layer in counted]
    shapes = keras.Model(model.inputs, tensors).compute_output_spec(keras.KerasTensor((1, image_size, image_size, 3)))
    return sum(
        math.prod(tensor.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer, tensor in zip(counted, keras.tree.flatten(shapes), strict=True)
    )


def arithmetic(model) -> str:
    """Return the precision of a network's convolutions, "float32" or "bfloat16"; weights are float32 in both."""
    # From the last layer with weights, since the softmax is always float32.
    return next(layer for layer in reversed(model.layers) if layer.weights).compute_dtype


def peak_memory_mb() -> float:
    """Return the peak memory of this process, in MB (10**6 bytes), without GPU memory."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    # Linux counts in kibibytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def device_name() -> str:
    """Return the name of the GPU or, without one, of the processor."""
    load_keras()
    import tensorflow as tf

    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if names:
        return "GPU " + ", ".join(names)
    return f"CPU {processor_name()}"


def kernels_name() -> str | None:
    """Return whose convolutions TensorFlow uses in this process: "oneDNN", "TensorFlow" or "cuDNN"; None if unknown."""
    load_keras()
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "cuDNN" if tf.test.is_built_with_cuda() else None
    try:
        # TensorFlow has no public name for it. The environment says what was asked for, not what is used.
        from tensorflow.python.util._pywrap_util_port import IsMklEnabled
    except ImportError:
        return None
    return "oneDNN" if IsMklEnabled() else "TensorFlow"


def processor_name() -> str:
    """Return the model of the processor. Needs no TensorFlow."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    # Elsewhere, Python may start the program `uname` for this.
    return platform.processor() or platform.machine()
