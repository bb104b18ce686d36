"""A run's network for other programs: Keras, TensorFlow, ONNX, and the BioImage Model Zoo.

Whatever the form, the file needs nothing of this package: the network is built anew from plain Keras layers, in
float32, with the preprocessing inside. It takes RGB 0-255 as float32, (batch, height, width, 3), sides multiples of 32,
and gives the probabilities of background, cytoplasm and nucleus. What was written is read again and must give the same
probabilities as the run's own network, before it gets its name.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, expand_home, write_json
from wbcstudy.inference.network import Network, load_network
from wbcstudy.labels import LABELS
from wbcstudy.registry import pick

# Probabilities may differ by rounding in another order; a wrong channel order or a lost layer differs by far more.
SAME = 1e-3
# Understood by every runtime that Fiji, QuPath and DeepImageJ ship.
OPSET = 15


def export_network(model: Network | str | Path, form: str, out: str | Path) -> Path:
    """Write a run's network in one step.

    Args:
        model: a run, or a study (its best run by validation); see `networks.load_network`.
        form: "keras" (a .keras file), "savedmodel" (a TensorFlow folder), "onnx" (a .onnx file) or "bioimageio" (a
            BioImage Model Zoo package, .zip).
        out: the file, or the folder of a SavedModel; must not exist.

    Returns:
        What was written. Beside a file lies `<file>.json`, in a SavedModel `wbcstudy.json`: what goes in and comes out,
        the scale of the training images, and how good it is.

    Raises:
        StudyError: unknown form, the place is taken, a package is missing, or the file does not give what the network
            gives.
    """
    write = pick(FORMS, form, "format")
    out = expand_home(out)
    if out.exists():
        raise StudyError(f"{out} exists.", expected="a new file or folder", fix="Choose another place with --out.")
    _check_packages(form)
    network = load_network(model)
    plain = build_plain(network.model)
    image = _example(network.training.image_size)
    expected = network.predict_once(image)
    _check_same(expected, _run(plain, image), "the float32 network")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=out.parent) as workshop:
            part = Path(workshop) / out.name
            write(plain, network, part, image, expected)
            facts = describe(network)
            beside = part / "wbcstudy.json" if part.is_dir() else out.with_name(f"{out.name}.json")
            write_json(beside, facts)
            part.replace(out)
    except OSError as error:
        raise cannot_write(out, error) from None
    return out


def build_plain(model):
    """The same network from plain Keras layers in float32, which any program with Keras can read.

    The preprocessing becomes a rescaling or, for VGG's order of channels, a convolution of one pixel.

    Args:
        model: keras.Model from a run.
    """
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.preprocessing import make_plain_layer

    keras = load_keras()
    plain = keras.models.clone_model(model, clone_function=make_plain_layer)
    for layer in model.layers:
        if layer.get_weights():
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def describe(network: Network) -> dict[str, Any]:
    """What a user of the file must know, in one place."""
    training, record = network.training, network.run.record
    return {
        "name": network.name,
        "input": f"RGB 0-255, float32, (batch, height, width, 3), sides multiples of {SIZE_STEP_PX}",
        "output": "probabilities, float32, (batch, height, width, 3), of " + ", ".join(LABELS),
        "preprocessing": "none needed: it is inside",
        "image_size_px": training.image_size,
        "training_images_px": {"height": list(training.height_px), "width": list(training.width_px)},
        "training_cell_px": training.cell_px,
        "training_pixel_size_um": training.pixel_size_um,
        "scale": (
            f"The network knows cells at the scale of images of {training.width_px[1]}x{training.height_px[1]} px that "
            f"were resized to {training.image_size}x{training.image_size} px: resize yours in the same way."
        ),
        "test_scores": record.get("scores", {}),
        "dataset": record.get("dataset", {}),
        "settings": record.get("config", {}),
        "wbcstudy": __version__,
    }


def _write_keras(plain, network: Network, path: Path, image: np.ndarray, expected: np.ndarray) -> None:
    from wbcstudy.nets.backend import load_keras

    if path.suffix != ".keras":
        raise _wrong_suffix(path, ".keras")
    foreign = [layer.name for layer in plain.layers if not type(layer).__module__.startswith("keras.")]
    if foreign:
        raise StudyError(
            f"{network.name} has a layer that Keras does not have: {', '.join(foreign)}.",
            expected="a network of plain Keras layers",
            fix="Use --format savedmodel, which holds the operations and needs no layer.",
        )
    plain.save(path)
    _check_same(expected, _run(load_keras().saving.load_model(path, compile=False), image), path.name)


def _write_savedmodel(plain, network: Network, path: Path, image: np.ndarray, expected: np.ndarray) -> None:
    import tensorflow as tf

    _quietly(lambda: plain.export(str(path), format="tf_saved_model", verbose=False))
    # The loaded object owns the weights and must outlive the call.
    loaded = tf.saved_model.load(str(path))
    _check_same(expected, np.asarray(loaded.serve(tf.constant(image, tf.float32))), path.name)


def _write_onnx(plain, network: Network, path: Path, image: np.ndarray, expected: np.ndarray) -> None:
    import onnx
    import onnxruntime

    if path.suffix != ".onnx":
        raise _wrong_suffix(path, ".onnx")
    try:
        _quietly(lambda: plain.export(str(path), format="onnx", verbose=False, opset_version=OPSET))
    except Exception as error:  # whatever the converter raises for an operation that it does not know
        raise StudyError(
            f"{network.name} cannot be written as ONNX: {str(error).splitlines()[0][:200] if str(error) else error!r}",
            expected="a network of operations that ONNX has",
            fix="Use --format savedmodel.",
        ) from error
    graph = onnx.load(str(path))
    _name_ends(graph)
    facts = {key: str(value) for key, value in describe(network).items()}
    for key, value in facts.items():
        graph.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _check_same(expected, session.run(None, {"image": image.astype(np.float32)})[0], path.name)


def _name_ends(graph) -> None:
    """Call the input `image` and the output `probabilities`, with axes in words: other programs show these names."""
    names = {graph.graph.input[0].name: "image", graph.graph.output[0].name: "probabilities"}
    for node in graph.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (graph.graph.input[0], graph.graph.output[0]):
        value.name = names[value.name]
        for axis, word in zip(value.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
            axis.dim_param = word


def _write_bioimageio(plain, network: Network, path: Path, image: np.ndarray, expected: np.ndarray) -> None:
    from wbcstudy.inference.bioimageio import write_package

    if path.suffix != ".zip":
        raise _wrong_suffix(path, ".zip")
    onnx_file = path.with_name("weights.onnx")
    _write_onnx(plain, network, onnx_file, image, expected)
    write_package(path, onnx_file, network, describe(network), image, expected)


FORMS: dict[str, Callable] = {
    "keras": _write_keras,
    "savedmodel": _write_savedmodel,
    "onnx": _write_onnx,
    "bioimageio": _write_bioimageio,
}
_ONNX = {"onnx": "onnx", "onnxruntime": "onnxruntime", "tf2onnx": "tf2onnx"}
_NEEDS = {"onnx": _ONNX, "bioimageio": _ONNX | {"bioimageio.core": "bioimageio.core"}}


def missing_packages(form: str) -> list[str]:
    """Packages that a form needs and that are not installed."""

    def absent(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is None
        except ModuleNotFoundError:
            return True

    return [package for module, package in _NEEDS.get(form, {}).items() if absent(module)]


def _check_packages(form: str) -> None:
    if missing := missing_packages(form):
        raise StudyError(
            f"To write {form}, {', '.join(missing)} must be installed.",
            expected="the packages of wbcstudy's extra `export`",
            fix="Run `make env` again, or in the checkout: .venv/bin/pip install -e '.[export]'",
        )


def _example(size: int) -> np.ndarray:
    """One drawn image at the network's size, uint8 (1, S, S, 3)."""
    from wbcstudy.data.synthetic.dataset import make_smear

    return make_smear(1, size, size).image[None]


def _run(model, image: np.ndarray) -> np.ndarray:
    return np.asarray(model(image.astype(np.float32), training=False))


def _check_same(expected: np.ndarray, found: np.ndarray, what: str) -> None:
    worst = float(np.abs(expected - found).max()) if expected.shape == found.shape else float("inf")
    if not worst <= SAME:
        raise StudyError(
            f"What was exported ({what}) gives other probabilities than the run's network: they differ by {worst:.2g}.",
            expected=f"a difference of at most {SAME:g}",
            fix="Do not use it. Please report this with the versions in run.json; other formats may work.",
        )


def _quietly(action: Callable[[], Any]) -> None:
    """Without what the converters say to their own developers."""
    import logging

    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action()
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _wrong_suffix(path: Path, suffix: str) -> StudyError:
    return StudyError(
        f"{path.name} does not end in {suffix}.", expected=f"a file name that ends in {suffix}", fix="Change --out."
    )
