"""Export a run's network to other programs: Keras, TensorFlow, ONNX, and the BioImage Model Zoo.

The file does not need this package: the network is rebuilt from plain Keras layers in float32, with the preprocessing
inside. Its input is RGB 0-255 as float32, (batch, height, width, 3), sides multiples of 32 (in ONNX: any size); its
output the probabilities of background, cytoplasm and nucleus. The written file is read again and must predict the same
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
from wbcstudy.inference.bioimageio import Attribution, load_bioimageio, write_package
from wbcstudy.inference.network import Network, load_network
from wbcstudy.labels import LABELS
from wbcstudy.registry import pick
from wbcstudy.wording import capitalise, join_words

# Probabilities may differ by rounding in another order; a wrong channel order or a missing layer differs by far more.
_TOLERANCE = 1e-3
# Larger images take gigabytes, and are better cut into tiles.
_MOST_PX = 4096


def export_network(
    model: Network | str | Path,
    form: str,
    out: str | Path,
    size: tuple[int, int] | None = None,
    attribution: Attribution | None = None,
) -> Path:
    """Write a run's network for other programs. A failure leaves no file.

    Args:
        model: a run, or a study (its recommended run); see `network.load_network`.
        form: "keras" (a .keras file), "savedmodel" (a TensorFlow folder), "onnx" (an .onnx file) or "bioimageio" (a
            BioImage Model Zoo package, .zip).
        out: the file, or the folder of a SavedModel; must not exist.
        size: height and width in px of the only images that an ONNX file takes, for programs that need constant shapes
            (OpenCV); None for images of any size.
        attribution: authors, licence, citation and pixel size of a bioimageio package.

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
    _check_options(form, size, attribution)
    if form == "bioimageio":
        load_bioimageio()
    network = load_network(model)
    plain = _build_plain(network.model)
    side = network.training.image_size
    image = _example_image(*(size or (side, side)))
    expected = _predict_extended(network, image)
    facts = _describe(network, _size_text(form, size))
    try:
        with temporary_folder(out.parent) as folder:
            part = folder / out.name
            options = attribution if form == "bioimageio" else size
            _check_same(expected, write(plain, network, part, image, facts, options), out.name)
            description = part / "wbcstudy.json" if part.is_dir() else out.with_name(f"{out.name}.json")
            write_json(description, facts)
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


def parse_size(text: str) -> tuple[int, int]:
    """Read "96" or "333x517" as height and width in px.

    Raises:
        StudyError: other text.
    """
    sides = text.lower().split("x")
    if len(sides) <= 2 and all(side.isascii() and side.isdigit() for side in sides):
        return int(sides[0]), int(sides[-1])
    raise StudyError(
        f"--size {text} cannot be used.",
        expected="a side in px (96), or height x width (333x517)",
        fix="Change --size, or omit it: the file then takes images of any size.",
    )


def _check_options(form: str, size: tuple[int, int] | None, attribution: Attribution | None) -> None:
    if attribution is not None and form != "bioimageio":
        raise StudyError(
            f"--author, --licence, --cite and --pixel-um cannot be used with --format {form}.",
            expected="--format bioimageio",
            fix="Omit them.",
        )
    if size is None:
        return
    if form != "onnx":
        raise StudyError(
            f"--size cannot be used with --format {form}.",
            expected="--format onnx",
            fix="Omit --size: the file takes images of any size.",
        )
    if not all(16 <= side <= _MOST_PX for side in size):
        raise StudyError(
            f"An image of {size[0]} x {size[1]} px cannot be used.",
            expected=f"sides of 16 to {_MOST_PX} px",
            fix="Change --size.",
        )


def _size_text(form: str, size: tuple[int, int] | None) -> str:
    if size:
        return f"(1, {size[0]}, {size[1]}, 3)"
    if form == "onnx":
        return "(batch, height, width, 3), any size"
    return f"(batch, height, width, 3), sides multiples of {SIZE_STEP_PX}"


def _predict_extended(network: Network, image: np.ndarray) -> np.ndarray:
    """Predict an image of any size in float32; sides are extended to multiples of 32 as in the ONNX graph."""
    from wbcstudy.nets.cost import arithmetic

    _, height, width, _ = image.shape
    missing = [(0, -side % SIZE_STEP_PX) for side in (height, width)]
    padded = np.pad(image, [(0, 0), *missing, (0, 0)], mode="edge")
    if arithmetic(network.model) == "float32":
        probabilities = network.predict_once(padded)
    else:
        # A network in half precision differs from every file by more than a wrong file may.
        probabilities = _predict(_in_float32(network.model), padded)
    return probabilities[:, :height, :width]


def _in_float32(model):
    """Return a copy of a network, with its own layers, that computes in float32."""
    from wbcstudy.nets.backend import load_keras

    def change(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    copy = load_keras().models.clone_model(model, clone_function=change)
    copy.set_weights(model.get_weights())
    return copy


def _describe(network: Network, input_size: str) -> dict[str, Any]:
    training, record = network.training, network.run.record
    return {
        "name": network.name,
        "input": f"RGB 0-255, float32, {input_size}",
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
        "integrity": "model.keras has the SHA-256 in run.json"
        if "files" in record
        else "not verifiable: the run, of wbcstudy 0.2 or earlier, has no SHA-256 of model.keras",
    }


# Each of these writes a file, reads it again, and returns the probabilities that it predicts.


def _write_keras(plain, network: Network, path: Path, image: np.ndarray, *_: Any) -> np.ndarray:
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


def _write_savedmodel(plain, network: Network, path: Path, image: np.ndarray, *_: Any) -> np.ndarray:
    import tensorflow as tf

    with _quiet():
        plain.export(str(path), format="tf_saved_model", verbose=False)
    # The loaded object owns the weights and must outlive the call.
    loaded = tf.saved_model.load(str(path))
    return np.asarray(loaded.serve(tf.constant(image, tf.float32)))


def _write_onnx(
    plain,
    network: Network,
    path: Path,
    image: np.ndarray,
    facts: dict[str, Any],
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    import onnx
    import onnxruntime

    from wbcstudy.inference.onnx_graph import build_onnx

    model = build_onnx(plain, size)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=str(value))
    onnx.save(model, str(path))
    # The whole graph with the shapes of its tensors, as other programs derive them.
    onnx.checker.check_model(str(path), full_check=True)
    # Some builds send usage data.
    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.astype(np.float32)})[0]


def _write_bioimageio(
    plain, network: Network, path: Path, image: np.ndarray, facts: dict[str, Any], attribution: Attribution | None
) -> np.ndarray:
    onnx_file = path.with_name("weights.onnx")
    probabilities = _write_onnx(plain, network, onnx_file, image, facts)
    write_package(path, onnx_file, network, facts, image, probabilities, attribution or Attribution())
    return probabilities


# Format -> suffix and writer.
_FORMATS: dict[str, tuple[str, Callable]] = {
    "keras": (".keras", _write_keras),
    "savedmodel": ("", _write_savedmodel),
    "onnx": (".onnx", _write_onnx),
    "bioimageio": (".zip", _write_bioimageio),
}
_ONNX_PACKAGES = ("onnx", "onnxruntime")
_PACKAGES = {"onnx": _ONNX_PACKAGES, "bioimageio": (*_ONNX_PACKAGES, "bioimageio.core")}


def _missing_packages(form: str) -> list[str]:
    """Return the packages that a format needs and that are not installed."""

    def is_missing(package: str) -> bool:
        try:
            return importlib.util.find_spec(package) is None
        except ModuleNotFoundError:
            return True

    return [package for package in _PACKAGES.get(form, ()) if is_missing(package)]


def _example_image(height: int, width: int) -> np.ndarray:
    """Make a synthetic image, uint8 (1, H, W, 3)."""
    from wbcstudy.data.synthetic.dataset import make_smear

    return make_smear(1, height, width).image[None]


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
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
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
