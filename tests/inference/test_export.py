"""Exported networks predict the same probabilities as the run's network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.inference.export import _FORMATS, _build_plain, _missing_packages, export_network
from wbcstudy.inference.network import load_network
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.unet import build_unet

NAMES = {"keras": "cells.keras", "savedmodel": "cells", "onnx": "cells.onnx", "bioimageio": "cells.zip"}
MASK = round_cells(32, 64, [(16, 20), (16, 45)])


def needs(form):
    missing = _missing_packages(form)
    return pytest.mark.skipif(bool(missing), reason=f"the extra `export` is not installed: {', '.join(missing)}")


def every_form(*but):
    return pytest.mark.parametrize(
        "form", [pytest.param(name, marks=needs(name)) for name in _FORMATS if name not in but]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_colour_run(tmp_path_factory.mktemp("outputs"), size=32)


def predict_with(form, path, images):
    """Predict with the file alone, as another program does."""
    if form == "keras":
        return np.asarray(load_keras().saving.load_model(path, compile=False, custom_objects={})(images))
    if form == "savedmodel":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        return np.asarray(loaded.serve(tf.constant(images)))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": images})[0]


@every_form("bioimageio")
def test_the_file_gives_what_the_run_gives_at_any_size(form, run, tmp_path):
    path = export_network(run, form, tmp_path / NAMES[form])
    images = np.stack([paint(MASK), paint(MASK)[::-1]]).astype(np.float32)
    expected = np.asarray(load_network(run).model(images))
    assert np.allclose(predict_with(form, path, images), expected, atol=1e-5)
    assert (predict_with(form, path, images)[0].argmax(axis=-1) == MASK).all()


@pytest.mark.parametrize("encoder", ["mobilenet", "vgg16"])
def test_plain_layers_in_float32_compute_what_the_network_computes(encoder):
    """Rescaling for MobileNet, VGG's order of channels, and arithmetic in bfloat16 undone."""
    import keras

    config = RunConfig(encoder=encoder, precision="float32")
    model = build_unet(config)
    plain = _build_plain(model)
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    assert np.allclose(np.asarray(model(image)), np.asarray(plain(image)), atol=1e-4)
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    mixed = _build_plain(build_unet(config.model_copy(update={"precision": "bfloat16"})))
    assert {layer.dtype_policy.name for layer in mixed.layers} == {"float32"}
    assert isinstance(mixed, keras.Model)


def test_a_network_trained_in_bfloat16_is_exported(tmp_path):
    model = build_unet(RunConfig(encoder="mobilenet", precision="bfloat16"))
    run = write_colour_run(tmp_path / "outputs", model=model)
    path = export_network(run, "keras", tmp_path / "cells.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    expected = build_unet(RunConfig(encoder="mobilenet", precision="float32"))
    expected.set_weights(model.get_weights())
    assert np.allclose(predict_with("keras", path, images), np.asarray(expected(images)), atol=1e-4)


def extend(images):
    """Repeat the last row and column up to a multiple of 32."""
    missing = [(0, -side % 32) for side in images.shape[1:3]]
    return np.pad(images, [(0, 0), *missing, (0, 0)], mode="edge")


@needs("onnx")
@pytest.mark.parametrize("shape", [(96, 96), (100, 100), (333, 517), (1, 1), (31, 64)])
def test_onnx_takes_images_of_any_size(shape, run, tmp_path):
    path = export_network(run, "onnx", tmp_path / "cells.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape, 3)).astype(np.float32)
    predicted = predict_with("onnx", path, images)
    expected = np.asarray(load_network(run).model(extend(images)))[:, : shape[0], : shape[1]]
    # Logits of this network reach a thousand, of which float32 has three decimals.
    assert predicted.shape == (2, *shape, 3) and np.allclose(predicted, expected, atol=1e-4)


@needs("onnx")
@pytest.mark.parametrize(("size", "shape"), [("96", (96, 96)), ("100", (100, 100)), ("333x517", (333, 517))])
def test_opencv_reads_a_file_of_one_size(size, shape, run, tmp_path, command):
    import cv2

    path = tmp_path / "cells.onnx"
    code, _, errors = command("export", run, "--format", "onnx", "--out", path, "--size", size)
    assert code == 0, errors
    image = np.random.default_rng(0).uniform(0, 255, (1, *shape, 3)).astype(np.float32)
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(image)
    predicted = network.forward().reshape(1, *shape, 3)
    assert np.allclose(predicted, predict_with("onnx", path, image), atol=1e-4)
    facts = json.loads((tmp_path / "cells.onnx.json").read_text())
    assert f"(1, {shape[0]}, {shape[1]}, 3)" in facts["input"]


@pytest.mark.slow
@needs("onnx")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not report peak memory in /proc")
def test_an_export_of_resnet18_needs_less_than_1500_mb(tmp_path):
    model = build_unet(RunConfig(encoder="resnet18"))
    head = model.get_layer("head")
    # The logits of an untrained network are large, and rounding changes its probabilities by up to 0.001.
    head.set_weights([weights / 50 for weights in head.get_weights()])
    run = write_colour_run(tmp_path / "outputs", size=96, model=model)
    script = "import sys; from wbcstudy.inference.export import export_network; export_network(*sys.argv[1:]); "
    script += "print(open('/proc/self/status').read())"
    call = [sys.executable, "-c", script, run, "onnx", tmp_path / "cells.onnx"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    peak_mb = next(int(line.split()[1]) / 1e3 for line in done.stdout.splitlines() if line.startswith("VmHWM"))
    assert 57 < (tmp_path / "cells.onnx").stat().st_size / 1e6 < 60
    assert peak_mb < 1500


def test_a_file_that_computes_something_else_never_gets_its_name(run, tmp_path, monkeypatch):
    monkeypatch.setattr("wbcstudy.inference.export._predict", lambda model, image: np.zeros((*image.shape[:3], 3)))
    with pytest.raises(StudyError, match="predicts other probabilities"):
        export_network(run, "keras", tmp_path / "cells.keras")
    assert not list(tmp_path.iterdir())


def test_invalid_arguments_are_refused(run, tmp_path, command):
    (tmp_path / "taken.keras").write_text("mine")
    for form, name, message in (
        ("kera", "new.keras", "Did you mean 'keras'"),
        ("keras", "taken.keras", "exists"),
        ("keras", "new.h5", "does not end in .keras"),
        ("keras --size 96", "new.keras", "--size cannot be used with --format keras"),
        ("onnx --size 0x96", "new.onnx", "0 x 96 px cannot be used"),
        ("onnx --size 9_6", "new.onnx", "--size 9_6 cannot be used"),
        ("onnx --author Me", "new.onnx", "cannot be used with --format onnx"),
    ):
        code, _, errors = command("export", run, "--format", *form.split(), "--out", tmp_path / name)
        assert code == 2 and message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["taken.keras"]
    assert (tmp_path / "taken.keras").read_text() == "mine"


def test_a_missing_package_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr("wbcstudy.inference.export._missing_packages", lambda form: ["onnx"])
    with pytest.raises(StudyError, match=r"(?s)onnx must be installed.*pip install -e '\.\[export\]'"):
        export_network(run, "onnx", tmp_path / "cells.onnx")


def test_a_network_that_normalises_stains_goes_where_no_layer_is_needed(tmp_path):
    run = write_colour_run(tmp_path / "outputs", size=32, stain="reinhard")
    with pytest.raises(StudyError, match=r"(?s)stain_normalisation.*savedmodel"):
        export_network(run, "keras", tmp_path / "cells.keras")
    path = export_network(run, "savedmodel", tmp_path / "cells")
    images = paint(MASK)[None].astype(np.float32)
    expected = np.asarray(load_network(run).model(images))
    assert np.allclose(predict_with("savedmodel", path, images), expected, atol=1e-4)
    if not _missing_packages("onnx"):
        path = export_network(run, "onnx", tmp_path / "cells.onnx")
        assert np.allclose(predict_with("onnx", path, images), expected, atol=1e-4)


@needs("onnx")
def test_the_stains_of_macenko_are_refused_in_onnx(tmp_path):
    run = write_colour_run(tmp_path / "outputs", size=32, stain="macenko")
    with pytest.raises(StudyError, match=r"(?s)'stain_normalisation' .*macenko.*savedmodel"):
        export_network(run, "onnx", tmp_path / "cells.onnx")
    assert not (tmp_path / "cells.onnx").exists()


@every_form("bioimageio")
def test_a_description_is_written_next_to_the_file(form, run, tmp_path):
    path = export_network(run, form, tmp_path / NAMES[form])
    facts = json.loads((path / "wbcstudy.json" if path.is_dir() else path.with_name(path.name + ".json")).read_text())
    assert facts["integrity"] == "model.keras has the SHA-256 in run.json"
    assert facts["image_size_px"] == 32 and facts["preprocessing"] == "none, it is part of the network"
    assert "RGB 0-255" in facts["input"] and "background, cytoplasm, nucleus" in facts["output"]
