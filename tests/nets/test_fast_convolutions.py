"""The fast convolutions of training steps compute the same as TensorFlow's."""

import contextlib

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras, set_seed
from wbcstudy.nets.fast_convolutions import fast_convolutions
from wbcstudy.nets.fast_layers import fast_adam, register_fast_layers
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.unet import build_unet

# Of the largest value: a bfloat16 has 8 binary digits, and a sum has more than one rounding.
TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 0.015}


@pytest.fixture(scope="module")
def keras():
    keras = load_keras()
    set_seed(0)
    return keras


@pytest.fixture(autouse=True)
def on_a_processor(monkeypatch):
    """Let no GPU of the machine turn the replacements off."""
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


def compute(network, images, upstream, *, fast, traced=True):
    """Return output and the gradients with respect to images and weights, by name."""
    import tensorflow as tf

    weights = network.trainable_weights

    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = network(images, training=True)
            total = tf.reduce_sum(tf.cast(output, "float32") * upstream)
        return output, tape.gradient(total, [images, *(weight.value for weight in weights)])

    with fast_convolutions(network) if fast else contextlib.nullcontext():
        output, slopes = (tf.function(step) if traced else step)(tf.constant(images))
    names = ["output", "images", *(weight.path for weight in weights)]
    return {name: tf.cast(part, "float32").numpy() for name, part in zip(names, [output, *slopes], strict=True)}


def assert_equal(network, images, tolerance, traced=True):
    upstream = np.random.default_rng(8).normal(size=network(images).shape).astype(np.float32)
    expected = compute(network, images, upstream, fast=False, traced=traced)
    got = compute(network, images, upstream, fast=True, traced=traced)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=0, atol=tolerance * np.abs(values).max(), err_msg=name)


def draw(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def test_the_gradient_of_a_bias_is_the_sum(keras):
    image = keras.Input((16, 16, 4))
    network = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same", dtype="mixed_bfloat16", name="conv")(image))
    upstream = np.random.default_rng(5).uniform(0, 1, (8, 16, 16, 5)).astype(np.float32)
    slopes = compute(network, draw(8, 16, 16, 4), upstream, fast=True)
    np.testing.assert_allclose(slopes["conv/bias"], upstream.sum((0, 1, 2)), rtol=2**-7)


def replaced(network):
    """Return the names of the layers whose functions are replaced in the block."""
    with fast_convolutions(network):
        return {layer.name for layer in network.layers if "call" in vars(layer)}


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((6, 9), {"kernel_size": 3}),
        ((6, 9), {"kernel_size": (1, 5), "use_bias": False, "activation": "relu"}),
        # Too large for matrix products.
        ((20, 17), {"kernel_size": 3}),
        ((6, 9), {"kernel_size": 1, "use_bias": False}),
        ((20, 17), {"kernel_size": 1, "use_bias": False, "activation": "relu"}),
    ],
)
def test_a_convolution_equals_that_of_tensorflow(keras, dtype, size, settings):
    image = keras.Input((*size, 4))
    network = keras.Model(image, keras.layers.Conv2D(5, dtype=dtype, **{"padding": "same"} | settings)(image))
    assert replaced(network)
    assert_equal(network, draw(3, *size, 4), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("strides", [2, 3])
@pytest.mark.parametrize("size", [(9, 9), (8, 11)])
def test_a_depthwise_convolution_with_strides_equals_that_of_tensorflow(keras, dtype, strides, size):
    image = keras.Input((*size, 4))
    layer = keras.layers.DepthwiseConv2D(3, strides, use_bias=False, activation="relu6", dtype=dtype)
    network = keras.Model(image, layer(image))
    assert replaced(network) == {layer.name}
    assert_equal(network, draw(3, *size, 4), TOLERANCE[dtype])


def decoder_stage(keras, size, skips, dtype):
    upsampling = register_fast_layers()[1](2, dtype=dtype, name="upsampling")
    low, skip = keras.Input((*size, 6)), keras.Input((None, None, skips))
    joined = keras.layers.Concatenate(dtype=dtype, name="concat")([upsampling(low), skip])
    convolution = keras.layers.Conv2D(5, 3, padding="same", use_bias=False, dtype=dtype, name="conv")
    return keras.Model([low, skip], convolution(joined))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("size", [(3, 5), (1, 1), (12, 11)])
@pytest.mark.parametrize("traced", [True, False])
def test_a_convolution_of_upsampled_and_joined_images_equals_that_of_tensorflow(keras, dtype, size, traced):
    import tensorflow as tf

    stage = decoder_stage(keras, size, 4, dtype)
    assert replaced(stage) == {"upsampling", "concat", "conv"}
    # One input holds both, so that the gradients of both are compared.
    both = keras.Input((2 * size[0], 2 * size[1], 10))
    low = keras.layers.AveragePooling2D(2)(both[..., :6])
    network = keras.Model(both, stage([low, both[..., 6:]]))
    assert network.layers[-1] is stage
    images = draw(3, 2 * size[0], 2 * size[1], 10)
    upstream = np.random.default_rng(8).normal(size=network(images).shape).astype(np.float32)
    expected, got = {}, {}
    for result, block in ((expected, contextlib.nullcontext()), (got, fast_convolutions(stage))):

        def step(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                output = tf.cast(network(images), "float32")
                total = tf.reduce_sum(output * upstream)
            return output, *tape.gradient(total, [images, *(weight.value for weight in network.trainable_weights)])

        with block:
            parts = (tf.function(step) if traced else step)(tf.constant(images))
        result.update(zip(("output", "images", "kernel"), (part.numpy() for part in parts), strict=True))
    for name, values in expected.items():
        atol = TOLERANCE[dtype] * np.abs(values).max()
        np.testing.assert_allclose(got[name], values, rtol=0, atol=atol, err_msg=name)


def test_other_layers_keep_their_functions(keras):
    layers = keras.layers
    image = keras.Input((8, 8, 4))
    others = [
        layers.Conv2D(4, 3),
        layers.Conv2D(4, 1),
        layers.Conv2D(4, 1, strides=2, use_bias=False),
        layers.Conv2D(4, 2, padding="same"),
        layers.Conv2D(4, 3, strides=2, padding="same"),
        layers.Conv2D(4, 3, padding="same", dilation_rate=2),
        layers.DepthwiseConv2D(3),
        layers.DepthwiseConv2D(3, 2, padding="same"),
        layers.DepthwiseConv2D(3, 2),
        layers.UpSampling2D(3),
        layers.UpSampling2D(2, interpolation="bilinear"),
    ]
    network = keras.Model(image, [layer(image) for layer in others])
    assert not replaced(network)


@pytest.mark.parametrize("encoder", ["mobilenetv2", "vgg16"])
def test_the_steps_of_a_network_equal_those_of_tensorflow(keras, encoder):
    config = RunConfig(encoder=encoder, image_size=64, precision="float32", dropout=0.0)
    random = np.random.default_rng(9)
    images = random.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    masks = random.integers(0, 3, (2, 64, 64), dtype=np.uint8)
    losses = {}
    for fast in (False, True):
        model = build_unet(config)
        model.compile(fast_adam(1e-4), build_loss("cross_entropy"), jit_compile=False)
        with fast_convolutions(model) if fast else contextlib.nullcontext():
            losses[fast] = [float(model.train_on_batch(images, masks)) for _ in range(3)]
        assert not [layer.name for layer in model.layers if "call" in vars(layer)]
    np.testing.assert_allclose(losses[True], losses[False], rtol=2e-3)


def test_sizes_that_are_not_known_are_computed_as_before(keras):
    image = keras.Input((None, None, 4))
    x = keras.layers.DepthwiseConv2D(3, 2, use_bias=False)(image)
    x = keras.layers.Conv2D(5, 3, padding="same")(x)
    network = keras.Model(image, keras.layers.Conv2D(6, 1)(x))
    import tensorflow as tf

    images = draw(2, 9, 11, 4)
    with fast_convolutions(network):
        traced = tf.function(network, input_signature=[tf.TensorSpec((None, None, None, 4))])
        got = traced(images)
    np.testing.assert_allclose(got, network(images), atol=1e-5)


def test_nothing_is_replaced_on_a_card(keras, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["card"] if kind == "GPU" else [])
    image = keras.Input((8, 8, 4))
    assert not replaced(keras.Model(image, keras.layers.Conv2D(5, 3, padding="same")(image)))
