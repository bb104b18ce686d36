"""Reinhard's stain normalisation as nodes of an ONNX graph: the same steps as `nets.stain._apply_reinhard`."""

from __future__ import annotations

from typing import Any

import numpy as np

from wbcstudy.nets.stain import SMALLEST_VARIANCE, WHITE, XYZ

# Channels first: (1, 3, 1, 1).
_AXES = (2, 3)


class _Terms:
    """Arithmetic on names of a graph: numbers become constants."""

    def __init__(self, graph: Any, prefix: str) -> None:
        self.graph, self.prefix, self.count = graph, prefix, 0

    def __call__(self, operation: str, *operands: Any, **attributes: Any) -> str:
        self.count += 1
        name = f"{self.prefix}.{self.count}"
        inputs = [
            operand if isinstance(operand, str) else self.graph.constant(f"{name}.{index}", operand)
            for index, operand in enumerate(operands)
        ]
        return self.graph.add(operation, inputs, name, **attributes)

    def mix(self, image: str, matrix: np.ndarray) -> str:
        """Multiply the channels of each pixel by a matrix (3, 3)."""
        return self("Conv", image, np.asarray(matrix, np.float32)[:, :, None, None])

    def choose(self, image: str, limit: float, above: str, below: str) -> str:
        """Take `above` where the image is larger than a limit, else `below`."""
        return self("Where", self("Greater", image, limit), above, below)


def add_reinhard(graph: Any, target: np.ndarray, image: str, name: str) -> str:
    """Add the nodes.

    Args:
        graph: onnx_graph.Graph.
        target: mean and standard deviation of each Lab channel, float32 (2, 3); zeros change nothing.
        image: name of the image, RGB 0-255, (B, 3, H, W).
        name: name of the layer.

    Returns:
        Name of the normalised image, RGB 0-255.
    """
    if not target.any():
        return image
    terms = _Terms(graph, name)
    lab = _to_lab(terms, image)
    mean = terms("ReduceMean", lab, axes=_AXES, keepdims=1)
    difference = terms("Sub", lab, mean)
    variance = terms("ReduceMean", terms("Mul", difference, difference), axes=_AXES, keepdims=1)
    # A constant channel stays at its mean.
    deviation = terms("Sqrt", terms("Where", terms("Greater", variance, SMALLEST_VARIANCE), variance, 1.0))
    target_mean, target_deviation = target.reshape(2, 1, 3, 1, 1)
    normal = terms("Div", difference, deviation)
    return _to_rgb(terms, terms("Add", terms("Mul", normal, target_deviation), target_mean))


# Rows give L, a and b from the roots of X, Y and Z.
_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]], np.float32)
_LAB_OFFSET = np.array([-16, 0, 0], np.float32).reshape(1, 3, 1, 1)


def _to_lab(terms: _Terms, image: str) -> str:
    values = terms("Div", image, 255.0)
    power = terms("Pow", terms("Div", terms("Add", values, 0.055), 1.055), 2.4)
    linear = terms.choose(values, 0.04045, power, terms("Div", values, 12.92))
    ratio = terms("Div", terms.mix(linear, XYZ), WHITE.reshape(1, 3, 1, 1))
    root = terms("Pow", terms("Max", ratio, 1e-6), 1 / 3)
    line = terms("Add", terms("Mul", ratio, 7.787), 16 / 116)
    return terms("Add", terms.mix(terms.choose(ratio, 0.008856, root, line), _LAB), _LAB_OFFSET)


def _to_rgb(terms: _Terms, lab: str) -> str:
    root = terms.mix(terms("Sub", lab, _LAB_OFFSET), np.linalg.inv(_LAB))
    cube = terms("Mul", terms("Mul", root, root), root)
    ratio = terms.choose(root, 0.2068966, cube, terms("Div", terms("Sub", root, 16 / 116), 7.787))
    linear = terms.mix(terms("Mul", ratio, WHITE.reshape(1, 3, 1, 1)), np.linalg.inv(XYZ))
    linear = terms("Clip", linear, 0.0, 1.0)
    power = terms("Pow", terms("Max", linear, 1e-6), 1 / 2.4)
    curve = terms("Sub", terms("Mul", power, 1.055), 0.055)
    values = terms.choose(linear, 0.0031308, curve, terms("Mul", linear, 12.92))
    return terms("Clip", terms("Mul", values, 255.0), 0.0, 255.0)
