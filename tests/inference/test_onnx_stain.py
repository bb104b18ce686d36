import numpy as np
import pytest

from wbcstudy.nets.stain import _apply_reinhard

helper = pytest.importorskip("onnx.helper")
onnxruntime = pytest.importorskip("onnxruntime")

from wbcstudy.inference.onnx_graph import OPSET, Graph  # noqa: E402
from wbcstudy.inference.onnx_stain import add_reinhard  # noqa: E402

TARGET = np.array([[60, 20, -25], [15, 8, 6]], np.float32)


def run_graph(images: np.ndarray, target: np.ndarray) -> np.ndarray:
    graph = Graph("stain")
    output = add_reinhard(graph, target, graph.add("Transpose", ["image"], "first", perm=(0, 3, 1, 2)), "stain")
    normalised = graph.add("Transpose", [output], "normalised", perm=(0, 2, 3, 1))
    ends = [helper.make_tensor_value_info(name, 1, ["b", "h", "w", 3]) for name in ("image", normalised)]
    built = helper.make_graph(graph.nodes, "stain", ends[:1], ends[1:], graph.constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": images})[0]


@pytest.mark.parametrize("kind", ["noise", "one colour", "black and white"])
def test_the_nodes_compute_what_the_layer_computes(kind):
    images = np.random.default_rng(0).uniform(0, 255, (2, 12, 20, 3)).astype(np.float32)
    if kind == "one colour":
        images[:] = (180, 120, 200)
    elif kind == "black and white":
        images = np.where(images > 128, np.float32(255), np.float32(0))
    np.testing.assert_allclose(run_graph(images, TARGET), np.asarray(_apply_reinhard(images, TARGET)), atol=0.05)


def test_a_target_of_zeros_changes_nothing():
    images = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(run_graph(images, np.zeros((2, 3), np.float32)), images)
