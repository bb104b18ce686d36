import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.cost import count_multiply_adds
from wbcstudy.nets.keras_compat import build_backbone
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.unet import build_unet
from wbcstudy.registry import ENCODERS

PRETRAINED = [encoder.name for encoder in ENCODERS.values() if encoder.backbone]
SIZE = 64


@pytest.fixture(scope="module", params=ENCODERS)
def trained(request, cells):
    """(encoder, model after two steps of training, weights before them)."""
    keras = load_keras()
    keras.backend.clear_session()
    model = build_unet(RunConfig(encoder=request.param, image_size=SIZE))
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    # Keras' default compiles a graph, which for ResNet-152 takes longer than two steps without one.
    model.compile(keras.optimizers.Adam(1e-3), build_loss("cross_entropy"), run_eagerly=True)
    batch = cells(2, SIZE)
    losses = [float(model.train_on_batch(batch.images, batch.masks)) for _ in range(2)]
    assert np.isfinite(losses).all()
    return request.param, model, before


def test_output_is_float32_probabilities_of_three_labels(trained, cells):
    _, model, _ = trained
    output = model(cells(2, SIZE).images, training=False).numpy()
    assert output.dtype == np.float32
    assert output.shape == (2, SIZE, SIZE, 3)
    np.testing.assert_allclose(output.sum(axis=-1), 1, atol=1e-5)


def test_the_registry_knows_the_multiply_adds(trained):
    name, model, _ = trained
    assert count_multiply_adds(model, 128) / 128**2 == ENCODERS[name].multiply_adds_per_px


def test_two_steps_train_every_weight(trained):
    _, model, before = trained
    unmoved = [v.path for v in model.trainable_variables if np.array_equal(v.numpy(), before[v.path])]
    # A bias right before a batch norm has no gradient by construction; nothing else may be left behind.
    assert len(unmoved) <= 0.05 * len(before), unmoved


def test_onnx_gives_equal_outputs(trained, cells):
    """Here, since building the nine networks takes most of the time."""
    cv2, onnxruntime = pytest.importorskip("cv2"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from wbcstudy.inference.export import _build_plain
    from wbcstudy.inference.onnx_graph import build_onnx

    plain = _build_plain(trained[1])
    # In networks that are hardly trained, rounding grows from layer to layer: without these two measures, two
    # computations by Keras itself differ by up to 2e-4. A wrong layer changes probabilities by 4e-3.
    for layer in plain.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.0
    plain(cells(4, SIZE, seed=3).images.astype(np.float32), training=True)
    head = plain.get_layer("head")
    head.set_weights([weights / 50 for weights in head.get_weights()])
    images = cells(1, SIZE, seed=2).images[:, :50, :33].astype(np.float32)
    expected = np.asarray(plain(np.pad(images, [(0, 0), (0, 14), (0, 31), (0, 0)], mode="edge")))[:, :50, :33]
    any_size = onnxruntime.InferenceSession(build_onnx(plain).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(any_size.run(None, {"image": images})[0], expected, atol=5e-5)
    one_size = np.frombuffer(build_onnx(plain, (50, 33)).SerializeToString(), np.uint8)
    network = cv2.dnn.readNetFromONNX(one_size)
    network.setInput(images)
    np.testing.assert_allclose(network.forward().reshape(expected.shape), expected, atol=1e-4)


def test_a_saved_model_gives_equal_outputs(trained, cells, tmp_path):
    name, model, _ = trained
    # A fresh optimiser, as `train` does: its moments would be two thirds of the file.
    model.compile("adam", build_loss("cross_entropy"))
    model.save(tmp_path / "model.keras")
    images = cells(2, SIZE, seed=1).images
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images, training=False).numpy(), model(images, training=False).numpy())
    assert loaded.name == name


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory, write_h5):
    model = build_backbone("mobilenet", load_keras().Input((None, None, 3)))
    layers = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    return write_h5(tmp_path_factory.mktemp("frozen") / "mobilenet.h5", layers), layers


def test_a_run_starts_with_the_weights_of_its_file(mobilenet_file):
    path, layers = mobilenet_file
    model = build_unet(RunConfig(encoder="mobilenet", encoder_weights=str(path), seed=9))
    for name, arrays in layers.items():
        for weight, expected in zip(model.get_layer(name).get_weights(), arrays, strict=True):
            np.testing.assert_array_equal(weight, expected)


def test_a_frozen_encoder_keeps_weights_and_batch_norm_statistics(mobilenet_file, cells):
    path, layers = mobilenet_file
    config = RunConfig(encoder="mobilenet", encoder_weights=str(path), freeze_encoder=True)
    model = build_unet(config)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    batch = cells(4)
    model.compile("adam", build_loss("dice"), run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(batch.images, batch.masks)
    changed = {
        name
        for name, arrays in before.items()
        if any((a != b).any() for a, b in zip(arrays, model.get_layer(name).get_weights(), strict=True))
    }
    assert set(before) - changed == set(layers)


def test_a_frozen_encoder_normalises_by_its_stored_statistics_in_training_too(mobilenet_file, cells):
    path, _ = mobilenet_file
    keras = load_keras()
    model = build_unet(RunConfig(encoder="mobilenet", encoder_weights=str(path), freeze_encoder=True))
    deepest = keras.Model(model.input, model.get_layer("conv_pw_13_relu").output)
    images = cells(2).images
    # Not the same kernels, so not the same last digits; the batch's own statistics would be orders of magnitude away.
    trained, tested = (deepest(images, training=kind).numpy() for kind in (True, False))
    np.testing.assert_allclose(trained, tested, rtol=0.01)


def test_wrong_weights_are_refused_with_layer_and_shapes(mobilenet_file, tmp_path, write_h5):
    path, layers = mobilenet_file
    with pytest.raises(StudyError, match=r"fits MobileNet \(encoder: mobilenet\)"):
        build_unet(RunConfig(encoder="vgg16", encoder_weights=str(path)))
    wide = {
        name: [np.zeros((*array.shape[:-1], array.shape[-1] + 1)) for array in arrays]
        for name, arrays in layers.items()
    }
    with pytest.raises(StudyError, match=r"'conv1' has shapes \[\(3, 3, 3, 33\)\]"):
        build_unet(RunConfig(encoder="mobilenet", encoder_weights=str(write_h5(tmp_path / "wide.h5", wide))))


def test_the_seed_decides_the_weights():
    def weights(seed):
        return build_unet(RunConfig(encoder="unet", seed=seed)).get_layer("bottoma_conv").get_weights()[0]

    np.testing.assert_array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))


def test_bfloat16_networks_return_float32(cells):
    keras = load_keras()
    model = build_unet(RunConfig(encoder="unet", precision="bfloat16"))
    assert model.get_layer("bottoma_conv").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model(cells(1).images, training=False).dtype == "float32"
    model.compile("adam", build_loss("dice"), run_eagerly=True)
    assert np.isfinite(float(model.train_on_batch(cells(2).images, cells(2).masks)))
    assert keras.config.dtype_policy().name == "float32"


def test_one_model_accepts_images_of_different_sizes():
    model = build_unet(RunConfig(encoder="mobilenet"))
    assert model(np.zeros((1, 32, 96, 3), np.uint8), training=False).shape == (1, 32, 96, 3)


def test_the_plain_unet_normalises_before_each_3x3_convolution_and_drops_out():
    keras = load_keras()
    model = build_unet(RunConfig(encoder="unet", dropout=0.4))
    convolutions = [layer for layer in model.layers if layer.name.endswith(("a_conv", "b_conv"))]
    assert len(convolutions) == 18
    for layer in convolutions:
        assert isinstance(layer.input._keras_history.operation, keras.layers.BatchNormalization)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {"bottom_dropout": 0.4, "head_dropout": 0.4}


def test_momentum_is_set_on_every_batch_norm(trained):
    keras = load_keras()
    _, model, _ = trained
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert {layer.momentum for layer in norms} == {RunConfig().batch_norm_momentum}
