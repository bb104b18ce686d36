"""Write a U-Net of plain Keras layers as an ONNX graph.

Their kinds of layers are each one or two operations of ONNX. General converters hold many copies of the weights
(tf2onnx: 6.5 GB for a network of 57 MB) and write operations that OpenCV does not read. This graph holds one copy, and
only operations with constant factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.errors import StudyError
from wbcstudy.inference.onnx_stain import add_reinhard
from wbcstudy.nets.stain import LAYER_NAME

# Supported by every runtime in Fiji, QuPath and DeepImageJ, and by OpenCV 4.
OPSET = 15
_IR_VERSION = 8
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class Graph:
    """Nodes and constants of a graph in the making.

    Args:
        name: name of the network.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names = {"image", "probabilities"}

    def constant(self, name: str, values: Any, dtype: type = np.float32) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def add(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name: the given one, or where it is used, a similar one."""
        from onnx import helper

        while name in self._names:
            name += "_"
        self._names.add(name)
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))
        return name


def build_onnx(model, size: tuple[int, int] | None = None):
    """Build the ONNX model of a network.

    Sides that are no multiples of 32 are extended inside the graph by repeating the last row and column; the
    probabilities have the size of the image.

    Args:
        model: keras.Model of Keras' layers in float32 (`export.build_plain`), RGB 0-255 (B, H, W, 3) -> (B, H, W, 3).
        size: height and width for a graph of one size and one image, whose shapes are all constant, as OpenCV needs;
            None for images of any size.

    Returns:
        onnx.ModelProto with input `image`, (batch, height, width, 3), and output `probabilities` of the same size.

    Raises:
        StudyError: a layer that ONNX does not have.
    """
    from onnx import TensorProto, helper

    graph = Graph(model.name)
    outputs: dict[int, str] = {}
    channels_first = graph.add("Transpose", ["image"], "channels_first", perm=_TO_CHANNELS_FIRST)
    padded = None
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            outputs[id(layer.output)] = channels_first
            continue
        read = layer.input if isinstance(layer.input, list) else [layer.input]
        inputs = [outputs[id(tensor)] for tensor in read]
        if padded is None and layer.name != LAYER_NAME:
            # After the stain normalisation, which must measure the image alone.
            inputs = [padded := _add_padding(graph, inputs[0], size)]
        outputs[id(layer.output)] = _write_layer(graph, layer, inputs)
    _add_crop(graph, outputs[id(model.output)], size)
    shape = [1, *size, 3] if size else ["batch", "height", "width", 3]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "probabilities")]
    built = helper.make_graph(graph.nodes, graph.name, ends[:1], ends[1:], graph.constants)
    return helper.make_model(
        built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION, producer_name="wbcstudy"
    )


def missing_px(length: int) -> int:
    """Return how many rows or columns extend a side to a multiple of 32."""
    return -length % SIZE_STEP_PX


def _add_padding(graph: Graph, image: str, size: tuple[int, int] | None) -> str:
    if size is None:
        sides = graph.add("Shape", ["image"], "sides", start=1, end=3)
        negative = graph.add("Neg", [sides], "negative_sides")
        missing = graph.add("Mod", [negative, graph.constant("step", SIZE_STEP_PX, np.int64)], "missing")
        pads = graph.add("Concat", [graph.constant("no_pads", [0] * 6, np.int64), missing], "pads", axis=0)
    elif any(missing := [missing_px(side) for side in size]):
        pads = graph.constant("pads", [0] * 6 + missing, np.int64)
    else:
        return image
    return graph.add("Pad", [image, pads], "extended", mode="edge")


def _add_crop(graph: Graph, probabilities: str, size: tuple[int, int] | None) -> None:
    last = graph.add("Transpose", [probabilities], "channels_last", perm=_TO_CHANNELS_LAST)
    if size is None or any(map(missing_px, size)):
        starts, axes = graph.constant("starts", [0, 0], np.int64), graph.constant("axes", [1, 2], np.int64)
        ends = "sides" if size is None else graph.constant("ends", size, np.int64)
        graph.add("Slice", [last, starts, ends, axes], "cropped")
    graph.nodes[-1].output[:] = ["probabilities"]


def _write_layer(graph: Graph, layer, inputs: list[str]) -> str:
    """Add the nodes of a layer; return the name of its output."""
    write = _LAYERS.get(type(layer).__name__)
    if write is None:
        raise _unknown(layer)
    return write(graph, layer, inputs)


def _unknown(layer, detail: str = "") -> StudyError:
    return StudyError(
        f"The layer {layer.name!r} ({type(layer).__name__}{detail}) cannot be written as ONNX.",
        expected="a network of the layers that U-Nets here have, without Macenko's stain normalisation",
        fix="Use --format savedmodel.",
    )


def _check(layer, **settings: Any) -> None:
    """Refuse a setting that the nodes do not have."""
    for name, expected in settings.items():
        if (value := getattr(layer, name)) != expected:
            raise _unknown(layer, f", {name} {value}")


def _conv(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, data_format="channels_last", dilation_rate=(1, 1))
    kernel = np.asarray(layer.kernel)
    if type(layer).__name__ == "DepthwiseConv2D":
        # (H, W, C, M) -> (C * M, 1, H, W).
        groups = kernel.shape[2]
        kernel = kernel.transpose(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        groups, kernel = layer.groups, kernel.transpose(3, 2, 0, 1)
    weights = [graph.constant(f"{layer.name}.kernel", kernel)]
    if layer.use_bias:
        weights.append(graph.constant(f"{layer.name}.bias", layer.bias))
    linear = layer.activation.__name__ == "linear"
    name = graph.add(
        "Conv",
        [*inputs, *weights],
        layer.name if linear else f"{layer.name}.linear",
        kernel_shape=layer.kernel_size,
        strides=layer.strides,
        pads=_pads(layer, layer.kernel_size),
        group=groups,
    )
    return name if linear else _activation(graph, layer, [name])


def _pads(layer, window: tuple[int, int]) -> list[int]:
    """Return Keras' padding before and after. Sides are multiples of the stride, since the image's are of 32."""
    if layer.padding == "valid":
        return [0] * 4
    totals = [max(0, side - stride) for side, stride in zip(window, layer.strides, strict=True)]
    return [total // 2 for total in totals] + [total - total // 2 for total in totals]


def _activation(graph: Graph, layer, inputs: list[str]) -> str:
    kind = layer.activation.__name__
    if kind == "linear":
        return inputs[0]
    if kind in ("relu", "sigmoid"):
        return graph.add(kind.capitalize(), inputs, layer.name)
    if kind == "relu6":
        return _clip(graph, layer, inputs, 6)
    if kind in ("silu", "swish"):
        gate = graph.add("Sigmoid", inputs, f"{layer.name}.sigmoid")
        return graph.add("Mul", [*inputs, gate], layer.name)
    raise _unknown(layer, f", {kind}")


def _clip(graph: Graph, layer, inputs: list[str], highest: float) -> str:
    limits = [graph.constant(f"{layer.name}.{end}", value) for end, value in (("min", 0), ("max", highest))]
    return graph.add("Clip", [*inputs, *limits], layer.name)


def _relu(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, negative_slope=0, threshold=0)
    if layer.max_value is None:
        return graph.add("Relu", inputs, layer.name)
    return _clip(graph, layer, inputs, layer.max_value)


def _batch_norm(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, axis=_last_axis(layer))
    mean = np.asarray(layer.moving_mean)
    values = {
        "gamma": layer.gamma if layer.scale else np.ones_like(mean),
        "beta": layer.beta if layer.center else np.zeros_like(mean),
        "mean": mean,
        "variance": layer.moving_variance,
    }
    weights = [graph.constant(f"{layer.name}.{part}", np.asarray(array)) for part, array in values.items()]
    return graph.add("BatchNormalization", [*inputs, *weights], layer.name, epsilon=layer.epsilon)


def _last_axis(layer) -> int:
    return layer.axis if layer.axis in (3, -1) else -1


def _concatenate(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, axis=_last_axis(layer))
    return graph.add("Concat", inputs, layer.name, axis=1)


def _softmax(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, axis=_last_axis(layer))
    return graph.add("Softmax", inputs, layer.name, axis=1)


def _rescaling(graph: Graph, layer, inputs: list[str]) -> str:
    # One number, or one for each channel.
    scale, offset = (np.reshape(np.asarray(value, np.float32), (1, -1, 1, 1)) for value in (layer.scale, layer.offset))
    if (scale == 1).all() and (offset == 0).all():
        return inputs[0]
    scaled = graph.add("Mul", [*inputs, graph.constant(f"{layer.name}.scale", scale)], f"{layer.name}.scaled")
    return graph.add("Add", [scaled, graph.constant(f"{layer.name}.offset", offset)], layer.name)


def _zero_padding(graph: Graph, layer, inputs: list[str]) -> str:
    (top, bottom), (left, right) = layer.padding
    if not any((top, bottom, left, right)):
        return inputs[0]
    pads = graph.constant(f"{layer.name}.pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", [*inputs, pads], layer.name, mode="constant")


def _pool(graph: Graph, layer, inputs: list[str]) -> str:
    window = {"kernel_shape": layer.pool_size, "strides": layer.strides, "pads": _pads(layer, layer.pool_size)}
    # Keras leaves the padding out of both the maximum and the mean, as is the default here.
    return graph.add(
        "MaxPool" if type(layer).__name__ == "MaxPooling2D" else "AveragePool", inputs, layer.name, **window
    )


def _reshape(graph: Graph, layer, inputs: list[str]) -> str:
    """Only after a global mean, which here has one row and one column already."""
    if tuple(layer.target_shape[:2]) != (1, 1):
        raise _unknown(layer, f", to {layer.target_shape}")
    return inputs[0]


def _normalization(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, invert=False)
    mean, deviation = (np.reshape(values, (1, -1, 1, 1)) for values in (layer.mean, np.sqrt(layer.variance)))
    centred = graph.add("Sub", [*inputs, graph.constant(f"{layer.name}.mean", mean)], f"{layer.name}.centred")
    divisor = graph.constant(f"{layer.name}.deviation", np.maximum(deviation, 1e-7))
    return graph.add("Div", [centred, divisor], layer.name)


def _upsample(graph: Graph, layer, inputs: list[str]) -> str:
    _check(layer, interpolation="nearest")
    # The empty name is the region of interest, which this operation does not use.
    scales = graph.constant(f"{layer.name}.scales", [1, 1, *layer.size])
    return graph.add(
        "Resize",
        [*inputs, "", scales],
        layer.name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _stain(graph: Graph, layer, inputs: list[str]) -> str:
    if layer.method != "reinhard":
        raise _unknown(layer, f", {layer.method}")
    return add_reinhard(graph, np.asarray(layer.target), inputs[0], layer.name)


_LAYERS: Mapping[str, Callable[[Graph, Any, list[str]], str]] = MappingProxyType(
    {
        "Activation": _activation,
        "Add": lambda graph, layer, inputs: graph.add("Add", inputs, layer.name),
        "AveragePooling2D": _pool,
        "BatchNormalization": _batch_norm,
        "Concatenate": _concatenate,
        "Conv2D": _conv,
        "DepthwiseConv2D": _conv,
        "Dropout": lambda graph, layer, inputs: inputs[0],
        "GlobalAveragePooling2D": lambda graph, layer, inputs: graph.add("GlobalAveragePool", inputs, layer.name),
        "MaxPooling2D": _pool,
        "Multiply": lambda graph, layer, inputs: graph.add("Mul", inputs, layer.name),
        "Normalization": _normalization,
        "ReLU": _relu,
        "Rescaling": _rescaling,
        "Reshape": _reshape,
        "Softmax": _softmax,
        "StainNormalisation": _stain,
        "UpSampling2D": _upsample,
        "ZeroPadding2D": _zero_padding,
    }
)
