"""Files of weights that can start a training, and the ones that cannot."""

import io
import shutil
import zipfile

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.keras_compat import build_backbone
from wbcstudy.nets.unet import build_unet
from wbcstudy.nets.weight_files import describe_owner, read_weight_file
from wbcstudy.nets.weights import load_weights


def build_encoder(name="vgg16"):
    return build_backbone(name, load_keras().Input((None, None, 3)))


@pytest.fixture(scope="module")
def encoder():
    return build_encoder()


@pytest.fixture
def untouched(encoder):
    """Give the encoder other weights; return those it had."""
    before = encoder.get_weights()
    encoder.set_weights([array + 1 for array in before])
    return before


def same(encoder, weights):
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(encoder.get_weights(), weights, strict=True))


def small(name="mobilenet"):
    """Build layers named as in an encoder, without its size."""
    keras = load_keras()
    layers = [
        keras.layers.Conv2D(4, 3, name="conv1"),
        keras.layers.BatchNormalization(name="conv1_bn"),
        keras.layers.DepthwiseConv2D(3, name="conv_dw_1"),
        keras.layers.Conv2D(2, 1, name="conv_pw_13"),
    ]
    return keras.Sequential([keras.Input((32, 32, 3)), *layers])


def test_weights_of_keras_3(encoder, untouched, tmp_path):
    encoder.set_weights(untouched)
    encoder.save_weights(tmp_path / "mine.weights.h5")
    encoder.set_weights([array + 1 for array in untouched])
    loaded = load_weights(encoder, tmp_path / "mine.weights.h5")
    assert same(encoder, untouched)
    assert (loaded.file, loaded.layers, loaded.matched_by) == ("mine.weights.h5", 13, "name")
    assert (loaded.first, loaded.last, loaded.unused) == ("block1_conv1", "block5_conv3", ())


@pytest.mark.parametrize("change", ["no names", "other names", "nested"])
def test_weights_of_keras_3_without_the_encoders_names(change, tmp_path):
    """Early versions of Keras 3 stored no names; networks of other people have other names."""
    import h5py

    keras = load_keras()
    network = small()
    weights = network.get_weights()
    path = tmp_path / "other.weights.h5"
    (keras.Sequential([network, keras.layers.Flatten()]) if change == "nested" else network).save_weights(path)
    if change != "nested":
        with h5py.File(path, "a") as file:
            for group in file["layers"].values():
                names = group["vars"].attrs
                if "name" in names and change == "no names":
                    del names["name"]
                elif "name" in names:
                    names["name"] = "my_" + names["name"]
    network.set_weights([array + 1 for array in weights])
    loaded = load_weights(network, path)
    assert same(network, weights) and loaded.matched_by == ("name" if change == "nested" else "order")


def test_a_study_s_own_network_starts_another(encoder, tmp_path):
    model = build_unet(RunConfig(encoder="vgg16", precision="float32", seed=3))
    model.save(tmp_path / "model.keras")
    started = build_unet(RunConfig(encoder="vgg16", encoder_weights=str(tmp_path / "model.keras"), seed=4))
    names = [layer.name for layer in encoder.layers if layer.weights]
    for name in names:
        for mine, theirs in zip(
            started.get_layer(name).get_weights(), model.get_layer(name).get_weights(), strict=True
        ):
            assert np.array_equal(mine, theirs)
    start = started.encoder_start
    assert start.layers == len(names) and {"head", "decoder_stage0a_conv"} <= set(start.unused)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_numbers_are_refused_with_the_layer(value, tmp_path):
    network = small()
    before = network.get_weights()
    broken = small()
    arrays = broken.get_weights()
    arrays[0][1, 1, 0, 2] = value
    broken.set_weights(arrays)
    broken.save_weights(tmp_path / "diverged.weights.h5")
    with pytest.raises(
        StudyError, match=rf"diverged.weights.h5: 1 of 108 values in 'kernel' of layer 'conv1'.*{value}"
    ):
        load_weights(network, tmp_path / "diverged.weights.h5")
    assert same(network, before)


def test_a_negative_variance_is_refused(tmp_path):
    network = small()
    layer = network.get_layer("conv1_bn")
    layer.set_weights([*layer.get_weights()[:3], np.full(4, -0.5, np.float32)])
    network.save_weights(tmp_path / "odd.weights.h5")
    with pytest.raises(StudyError, match="'moving_variance' of layer 'conv1_bn'"):
        load_weights(network, tmp_path / "odd.weights.h5")


def test_the_file_of_another_encoder_is_named(encoder, untouched, tmp_path):
    """VGG-19 has all layers of VGG-16, with equal shapes: by names alone, it would be taken."""
    build_encoder("vgg19").save_weights(tmp_path / "vgg19.weights.h5")
    weights = encoder.get_weights()
    with pytest.raises(StudyError, match="fits VGG-19 \\(encoder: vgg19\\)"):
        load_weights(encoder, tmp_path / "vgg19.weights.h5")
    assert same(encoder, weights)


@pytest.mark.parametrize(
    ("layer", "owner"),
    [
        ("down0a_conv", "plain U-Net of wbcstudy"),
        ("conv5_block3_3_conv", "ResNet of keras.applications"),
        ("conv_pw_13", "fits MobileNet"),
        ("dense", "fits no encoder .*'dense'"),
    ],
)
def test_other_networks_are_described(layer, owner, encoder, tmp_path, write_h5):
    path = write_h5(tmp_path / "other.h5", {layer: [np.ones((2, 3))]})
    with pytest.raises(StudyError, match=owner):
        load_weights(encoder, path)
    assert describe_owner(read_weight_file(path))


def test_weights_of_keras_2_and_whole_models(tmp_path, write_h5):
    import h5py

    arrays = [np.ones((2, 3), np.float32), np.zeros(3, np.float32)]
    path = write_h5(tmp_path / "weights.h5", {"input": [], "dense": arrays})
    whole = tmp_path / "whole.h5"
    with h5py.File(path) as source, h5py.File(whole, "w") as target:
        group = target.create_group("model_weights")
        for key in source:
            source.copy(key, group)
        group.attrs.update(source.attrs)
    for file in (path, whole):
        (layer,) = read_weight_file(file)
        assert (layer.name, layer.key) == ("dense", "")
        np.testing.assert_array_equal(layer.arrays[0], arrays[0])


def test_a_nested_network_of_keras_2(tmp_path):
    """`Sequential([VGG16(...), Dense(...)])`: the group of the nested network holds the weights of all its layers."""
    import h5py

    with h5py.File(tmp_path / "nested.h5", "w") as file:
        file.attrs["layer_names"] = [b"vgg16"]
        names = [f"block1_conv{i}/{part}:0" for i in (1, 2) for part in ("kernel", "bias")]
        group = file.create_group("vgg16")
        group.attrs["weight_names"] = [name.encode() for name in names]
        for name in names:
            group[name] = np.ones(2, np.float32)
    assert [layer.name for layer in read_weight_file(tmp_path / "nested.h5")] == ["block1_conv1", "block1_conv2"]


def test_files_that_are_not_weights_are_refused(tmp_path, write_h5):
    import h5py

    text = tmp_path / "text.h5"
    text.write_text("version https://git-lfs.github.com/spec/v1")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1]
    cut = tmp_path / "cut.h5"
    shutil.copy(write_h5(tmp_path / "whole.h5", {"a": [np.ones((50, 50))]}), cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    archive = tmp_path / "archive.keras"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "none")
    quantised = write_h5(tmp_path / "quantised.h5", {"a": [np.ones((5, 5), np.int8)]})
    for path in (text, other, cut, archive, quantised, tmp_path):
        with pytest.raises(StudyError, match=path.name):
            read_weight_file(path)


def test_arrays_in_other_files_are_not_followed(tmp_path, write_h5):
    """HDF5 would read any file of the user."""
    import h5py

    secret = write_h5(tmp_path / "secret.h5", {"a": [np.ones(3)]})
    linked, external = tmp_path / "linked.h5", tmp_path / "external.h5"
    for path in (linked, external):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"a"]
            if path == linked:
                file["a"] = h5py.ExternalLink(str(secret), "a")
            else:
                file.create_group("a").attrs["weight_names"] = [b"w"]
                file["a"].create_dataset("w", (3,), "f4", external=[(str(secret), 0, 12)])
        with pytest.raises(StudyError, match="is in another file"):
            read_weight_file(path)


def test_a_declared_size_takes_no_memory(tmp_path):
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (100_000, 100_000), "f4", chunks=(10, 10))
    (tmp_path / "huge.weights.h5").write_bytes(buffer.getvalue())
    with pytest.raises(StudyError, match="declares 10000000000 values"):
        read_weight_file(tmp_path / "huge.weights.h5")
