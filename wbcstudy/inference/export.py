"""Export a run's network to other programs: Keras, TensorFlow, ONNX, and the BioImage Model Zoo.

The file does not need this package: the network is rebuilt from plain Keras layers in float32, with the preprocessing
inside. Its input is RGB 0-255 as float32, (batch, height, width, 3), sides multiples of 32; its output the
probabilities of background, cytoplasm and nucleus. The written file is read again and must predict the same
probabilities as the run's network before it gets its name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.config import SIZE_STEP_PX
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, expand_home, temporary_folder, write_json
from wbcstudy.inference.network import Network, load_network
from wbcstudy.labels import LABELS
from wbcstudy.registry import pick
from wbcstudy.wording import capitalise, join_words

# Probabilities may differ by rounding in another order; a wrong channel order or a missing layer differs by far more.
_TOLERANCE = 1e-3
# Supported by every runtime in Fiji, QuPath and DeepImageJ.
OPSET = 15


def export_network(model: Network | str | Path, form: str, out: str | Path) -> Path:
    """Write a run's network for other programs. A failure leaves no file.

    Args:
        model: a run, or a study (its best run by validation); see `network.load_network`.
        form: "keras" (a .keras file), "savedmodel" (a TensorFlow folder), "onnx" (an .onnx file) or "bioimageio" (a
            BioImage Model Zoo package, .zip).
        out: the file, or the folder of a SavedModel; must not exist.

    Returns:
        The file or folder. `<file>.json`, or `wbcstudy.json` in a SavedModel, describes input, output, the scale of the
        training images, and the test scores.

    Raises:
        StudyError: unknown format, `out` exists or has the wrong suffix, a package is missing, or the file predicts
            other probabilities than the network.
    """
    suffix, write = pick(_FORMATS, form, "format")
    out = expand_home(out)
    if out.exists():
        raise StudyError(f"{out} already exists.", expected="a new path", fix="Choose another path with --out.")
    if suffix and out.suffix != suffix:
        raise StudyError(f"{out.name} does not end in {suffix}.", expected=f"a {suffix} file", fix="Change --out.")
    if missing := _missing_packages(form):
        raise StudyError(
            f"To write {form}, {join_words(missing)} must be installed.",
            expected="the packages of wbcstudy's extra `export`",
            fix="Run `make env` again, or in the checkout: .venv/bin/pip install -e '.[export]'",
        )
    network = load_network(model)
    plain = _build_plain(network.model)
    image = _example_image(network.training.image_size)
    expected = network.predict_once(image)
    _check_same(expected, _predict(plain, image), "the float32 network")
    try:
        with temporary_folder(out.parent) as folder:
            part = folder / out.name
            _check_same(expected, write(plain, network, part, image), out.name)
            description = part / "wbcstudy.json" if part.is_dir() else out.with_name(f"{out.name}.json")
            write_json(description, _describe(network))
            part.replace(out)
    except OSError as error:
        raise cannot_write(out, error, instead="choose another path with --out") from None
    return out


def _build_plain(model):
    """Rebuild a network from plain Keras layers in float32, which any program with Keras can read.

    The preprocessing becomes a rescaling or, for VGG's channel order, a 1x1 convolution.
    """
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.preprocessing import make_plain_layer

    keras = load_keras()
    plain = keras.models.clone_model(model, clone_function=make_plain_layer)
    for layer in model.layers:
        if layer.get_weights():
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def _describe(network: Network) -> dict[str, Any]:
    training, record = network.training, network.run.record
    return {
        "name": network.name,
        "input": f"RGB 0-255, float32, (batch, height, width, 3), sides multiples of {SIZE_STEP_PX}",
        "output": "probabilities, float32, (batch, height, width, 3), of " + ", ".join(LABELS),
        "preprocessing": "none, it is part of the network",
        "image_size_px": training.image_size,
        "training_images_px": {"height": list(training.height_px), "width": list(training.width_px)},
        "training_cell_px": training.cell_px,
        "training_pixel_size_um": training.pixel_size_um,
        "scale": (
            f"The network was trained on images of {training.width_px[1]}x{training.height_px[1]} px, resized to "
            f"{training.image_size}x{training.image_size} px. Resize new images by the same factor."
        ),
        "weights": f"{capitalise(network.run.config.kept_weights)}.",
        "test_scores": record.get("scores", {}),
        "dataset": record.get("dataset", {}),
        "settings": record.get("config", {}),
        "wbcstudy": __version__,
    }


# Each of these writes a file, reads it again, and returns the probabilities that it predicts.


def _write_keras(plain, network: Network, path: Path, image: np.ndarray) -> np.ndarray:
    from wbcstudy.nets.backend import load_keras

    custom = [layer.name for layer in plain.layers if not type(layer).__module__.startswith("keras.")]
    if custom:
        raise StudyError(
            f"{network.name} has a layer that Keras does not have: {', '.join(custom)}.",
            expected="a network of plain Keras layers",
            fix="Use --format savedmodel, which holds operations instead of layers.",
        )
    plain.save(path)
    return _predict(load_keras().saving.load_model(path, compile=False), image)


def _write_savedmodel(plain, network: Network, path: Path, image: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with _quiet():
        plain.export(str(path), format="tf_saved_model", verbose=False)
    # The loaded object owns the weights and must outlive the call.
    loaded = tf.saved_model.load(str(path))
    return np.asarray(loaded.serve(tf.constant(image, tf.float32)))


def _write_onnx(plain, network: Network, path: Path, image: np.ndarray) -> np.ndarray:
    import onnx
    import onnxruntime

    try:
        with _quiet():
            plain.export(str(path), format="onnx", verbose=False, opset_version=OPSET)
    except Exception as error:  # the converter raises many types for unknown operations
        raise StudyError(
            f"{network.name} cannot be written as ONNX: {str(error).splitlines()[0][:200] if str(error) else error!r}",
            expected="a network of operations that ONNX has",
            fix="Use --format savedmodel.",
        ) from error
    model = onnx.load(str(path))
    _name_ends(model.graph)
    for key, value in _describe(network).items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.astype(np.float32)})[0]


def _name_ends(graph) -> None:
    """Name the input `image`, the output `probabilities`, and their axes: other programs show these names."""
    names = {graph.input[0].name: "image", graph.output[0].name: "probabilities"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (graph.input[0], graph.output[0]):
        value.name = names[value.name]
        for axis, axis_name in zip(value.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
            axis.dim_param = axis_name


def _write_bioimageio(plain, network: Network, path: Path, image: np.ndarray) -> np.ndarray:
    from wbcstudy.inference.bioimageio import write_package

    onnx_file = path.with_name("weights.onnx")
    probabilities = _write_onnx(plain, network, onnx_file, image)
    write_package(path, onnx_file, network, _describe(network), image, probabilities)
    return probabilities


# Format -> suffix and writer.
_FORMATS: dict[str, tuple[str, Callable]] = {
    "keras": (".keras", _write_keras),
    "savedmodel": ("", _write_savedmodel),
    "onnx": (".onnx", _write_onnx),
    "bioimageio": (".zip", _write_bioimageio),
}
_ONNX_PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
_PACKAGES = {"onnx": _ONNX_PACKAGES, "bioimageio": (*_ONNX_PACKAGES, "bioimageio.core")}


def _missing_packages(form: str) -> list[str]:
    """Return the packages that a format needs and that are not installed."""

    def is_missing(package: str) -> bool:
        try:
            return importlib.util.find_spec(package) is None
        except ModuleNotFoundError:
            return True

    return [package for package in _PACKAGES.get(form, ()) if is_missing(package)]


def _example_image(size: int) -> np.ndarray:
    """Make a synthetic image of the network's size, uint8 (1, S, S, 3)."""
    from wbcstudy.data.synthetic.dataset import make_smear

    return make_smear(1, size, size).image[None]


def _predict(model, image: np.ndarray) -> np.ndarray:
    return np.asarray(model(image.astype(np.float32), training=False))


def _check_same(expected: np.ndarray, predicted: np.ndarray, source: str) -> None:
    difference = float(np.abs(expected - predicted).max()) if expected.shape == predicted.shape else float("inf")
    if not difference <= _TOLERANCE:
        raise StudyError(
            f"The exported network ({source}) predicts other probabilities than the run's network: they differ by up "
            f"to {difference:.2g}.",
            expected=f"a difference of at most {_TOLERANCE:g}",
            fix="Try another format, and please report this with the versions in run.json.",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the warnings that converters write for their developers."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
