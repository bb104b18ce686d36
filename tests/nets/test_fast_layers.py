"""The fast layers compute the same as Keras' layers."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras, set_seed
from wbcstudy.nets.fast_layers import fast_adam, fast_layers, fold_padding, register_fast_layers, sum_images_first
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.unet import build_unet


@pytest.fixture(scope="module")
def keras():
    keras = load_keras()
    set_seed(0)
    return keras


@pytest.fixture
def tensor():
    return np.random.default_rng(0).normal(3.0, 2.0, (4, 6, 5, 9)).astype(np.float32)


def twins(keras, dtype="float32", **settings):
    fast = register_fast_layers()[0]
    pair = [kind(dtype=dtype, **settings) for kind in (keras.layers.BatchNormalization, fast)]
    random = np.random.default_rng(1)
    for layer in pair:
        layer.build((None, None, None, 9))
    values = [random.uniform(0.5, 2.0, weight.shape) for weight in pair[0].weights]
    for layer in pair:
        layer.set_weights(values)
    return pair


def step(keras, layer, tensor, training):
    """Output, gradients and the weights afterwards."""
    import tensorflow as tf

    tensor = tf.constant(tensor)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        output = layer(tensor, training=training)
        total = tf.reduce_sum(tf.cast(output, "float32") ** 3)
    wanted = [tensor, *(weight.value for weight in layer.trainable_weights)]
    return output.numpy().astype(np.float32), [g.numpy() for g in tape.gradient(total, wanted)], layer.get_weights()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"momentum": 0.7, "epsilon": 2e-5}])
def test_batch_norm_equals_keras_in_output_gradients_and_moving_statistics(keras, tensor, training, frozen, settings):
    stock, fast = twins(keras, **settings)
    stock.trainable = fast.trainable = not frozen
    for expected, got in zip(step(keras, stock, tensor, training), step(keras, fast, tensor, training), strict=True):
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        else:
            for one, other in zip(expected, got, strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_in_bfloat16_equals_keras_within_rounding(keras, tensor, training):
    stock, fast = twins(keras, "mixed_bfloat16")
    (expected, _, stored), (got, _, kept) = (step(keras, one, tensor, training) for one in (stock, fast))
    assert fast(tensor).dtype == "bfloat16"
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02)
    for one, other in zip(stored, kept, strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-3)


@pytest.mark.parametrize("images", [1, 8])
def test_gradients_of_batch_norm_in_bfloat16_are_sums_in_float32(keras, images):
    # A sum in bfloat16 (as TensorFlow's BiasAddGrad) would stop growing after some hundred pixels.
    import tensorflow as tf

    stock, fast = twins(keras, "mixed_bfloat16")
    random = np.random.default_rng(4)
    tensor = tf.cast(random.normal(0.5, 1, (images, 96, 96, 9)), "bfloat16")
    upstream = tf.cast(random.normal(0.01, 0.1, tensor.shape), "bfloat16")
    slopes = []
    for layer in (stock, fast):
        weights = [layer.gamma.value, layer.beta.value]
        with tf.GradientTape() as tape:
            output = layer(tensor, training=True)
        slopes.append(tape.gradient(output, weights, output_gradients=upstream))
    for expected, got in zip(*slopes, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0.02)


def test_batch_norm_of_other_shapes_equals_keras(keras):
    values = np.random.default_rng(2).normal(size=(9, 4, 4, 3)).astype(np.float32)
    # Without places, and with fewer channels than the kernel is made for.
    for part, axes in ((values[:, 0, 0], 0), (values, (0, 1, 2))):
        for layer in (keras.layers.BatchNormalization(), register_fast_layers()[0]()):
            expected = (part - part.mean(axes)) / np.sqrt(part.var(axes) + 1e-3)
            np.testing.assert_allclose(layer(part, training=True), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, (1, 3)])
def test_upsampling_and_its_gradient_equal_keras(keras, tensor, size):
    import tensorflow as tf

    results = []
    for layer in (keras.layers.UpSampling2D(size), register_fast_layers()[1](size)):
        x = tf.constant(tensor)
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x)
            weights = np.arange(np.prod(output.shape), dtype=np.float32).reshape(output.shape)
            total = tf.reduce_sum(output * weights)
        assert layer.compute_output_shape((4, 6, 5, 9)) == output.shape
        results.append((output.numpy(), tape.gradient(total, x).numpy()))
    (expected, slope), (got, other) = results
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(other, slope, rtol=1e-5)


def test_the_gradient_of_upsampling_in_bfloat16_is_the_sum_within_rounding(keras, tensor):
    import tensorflow as tf

    x = tf.cast(tensor, "bfloat16")
    slopes = tf.cast(np.random.default_rng(5).normal(size=(4, 12, 10, 9)), "bfloat16")
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = register_fast_layers()[1](2, dtype="mixed_bfloat16")(x)
    gradient = tape.gradient(output, x, slopes)
    assert output.dtype == gradient.dtype == "bfloat16"
    expected = tf.cast(slopes, "float32").numpy().reshape(4, 6, 2, 5, 2, 9).sum((2, 4))
    np.testing.assert_allclose(tf.cast(gradient, "float32"), expected, rtol=2**-7, atol=2**-5)


def test_padding_is_folded_only_where_the_outputs_do_not_change(keras, tensor):
    layers = keras.layers
    image = keras.Input((None, None, 9))
    folded = layers.Conv2D(5, 3, name="folded")(layers.ZeroPadding2D(1, name="folded_pad")(image))
    wide = layers.Conv2D(5, (1, 5), name="wide")(layers.ZeroPadding2D((0, 2), name="wide_pad")(folded))
    strided = layers.Conv2D(5, 3, strides=2, name="strided")(layers.ZeroPadding2D(1, name="strided_pad")(wide))
    dilated = layers.Conv2D(5, 3, dilation_rate=2, name="dilated")(layers.ZeroPadding2D(1, name="dilated_pad")(wide))
    large = layers.Conv2D(5, 5, name="large")(layers.ZeroPadding2D(1, name="large_pad")(wide))
    twice = layers.ZeroPadding2D(1, name="twice_pad")(wide)
    both = [layers.Conv2D(5, 3, name="twice")(twice), twice]
    network = keras.Model(image, [strided, dilated, large, *both])
    before = [np.asarray(output) for output in network(tensor)]
    fold_padding(network)
    for got, expected in zip(network(tensor), before, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    without = {layer.name for layer in network.layers if getattr(layer, "padding", None) == ((0, 0), (0, 0))}
    assert without == {"folded_pad", "wide_pad"}


def test_a_resnet_pads_in_its_convolutions(keras):
    model = build_unet(RunConfig(encoder="resnet18", image_size=32, precision="float32"))
    zeros = [layer.padding for layer in model.layers if isinstance(layer, keras.layers.ZeroPadding2D)]
    # The first convolution's, its pooling's, and those of the three steps of two pixels.
    assert sorted(zeros) == [((0, 0), (0, 0))] * 13 + [((1, 1), (1, 1))] * 4 + [((3, 3), (3, 3))]


def slopes_of(network, images, upstream):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(network(images, training=True), "float32") * upstream)
    weights = network.trainable_weights
    slopes = tape.gradient(total, [weight.value for weight in weights])
    return {weight.path: slope.numpy() for weight, slope in zip(weights, slopes, strict=True)}


@pytest.mark.parametrize(("strides", "padding"), [(1, "same"), (2, "valid")])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 0.02)])
@pytest.mark.parametrize(("threads", "count"), [(1, 4), (0, 4), (2, 5), (2, 1)])
def test_the_sum_of_images_gives_the_gradient_of_an_offset(
    keras, monkeypatch, strides, padding, dtype, tolerance, threads, count
):
    import tensorflow as tf

    # 0: TensorFlow chooses, usually several.
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: threads)
    layers = keras.layers
    image = keras.Input((None, None, 3))
    normal = register_fast_layers()[0](scale=False, name="normal", dtype=dtype)(image)
    assert normal.dtype == ("bfloat16" if "bfloat16" in dtype else "float32")
    padded = layers.ZeroPadding2D(2, name="zeros", dtype=dtype)(normal)
    first = layers.Conv2D(5, 3, strides, padding, name="first", dtype=dtype)
    network = keras.Model(image, first(padded))
    random = np.random.default_rng(6)
    images = random.normal(size=(count, 9, 12, 3)).astype(np.float32)
    upstream = random.normal(size=network(images).shape).astype(np.float32)
    expected = slopes_of(network, images, upstream)
    sum_images_first(network)
    assert "convolution_op" in vars(network.get_layer("first"))
    got = slopes_of(network, images, upstream)
    assert list(got) == ["normal/beta", "first/kernel", "first/bias"]
    for name in got:
        most = np.abs(expected[name]).max()
        np.testing.assert_allclose(got[name], expected[name], rtol=tolerance, atol=tolerance * most)


def test_images_are_summed_only_if_nothing_but_an_offset_is_trained_before(keras):
    layers = keras.layers
    image = keras.Input((None, None, 3))
    scaled = layers.Conv2D(2, 3, name="scaled")(layers.BatchNormalization()(image))
    plain = layers.Conv2D(2, 3, name="plain")(image)
    offset = layers.BatchNormalization(scale=False)(image)
    shared = [layers.Conv2D(2, 3, name="shared")(offset), offset]
    dilated = layers.Conv2D(2, 3, dilation_rate=2, name="dilated")(layers.BatchNormalization(scale=False)(image))
    for outputs in (scaled, plain, shared, dilated, layers.ZeroPadding2D()(image)):
        network = keras.Model(image, outputs)
        sum_images_first(network)
        assert not [layer.name for layer in network.layers if "convolution_op" in vars(layer)]
    networks = {name: build_unet(RunConfig(encoder=name, image_size=32)) for name in ("resnet18", "unet", "mobilenet")}
    for name, network in networks.items():
        changed = [layer.name for layer in network.layers if "convolution_op" in vars(layer)]
        assert changed == (["conv0"] if name == "resnet18" else [])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dropout_drops_its_rate_and_scales_the_rest(keras, dtype):
    # In bfloat16, Keras' own drops 0.305 of them.
    layer = register_fast_layers()[2](0.3, seed=3, dtype=dtype)
    ones = np.ones((9, 301, 51, 7), np.float32)
    first, second = (np.asarray(keras.ops.cast(layer(ones, training=True), "float32")) for _ in range(2))
    left, scaled = np.unique(first)
    assert left == 0 and abs(scaled - 1 / 0.7) < 2**-7
    assert abs((first == 0).mean() - 0.3) < 0.002 and abs((second == 0).mean() - 0.3) < 0.002
    # Neither the next call nor a neighbour drops the same.
    assert abs(((first == 0) & (second == 0)).mean() - 0.09) < 0.002
    assert abs(((first[..., 1:] == 0) & (first[..., :-1] == 0)).mean() - 0.09) < 0.002
    np.testing.assert_array_equal(keras.ops.cast(layer(ones), "float32"), ones)
    again = register_fast_layers()[2](0.3, seed=3, dtype=dtype)(ones, training=True)
    np.testing.assert_array_equal(keras.ops.cast(again, "float32"), first)
    nearly_all = register_fast_layers()[2](1 - 1e-7, seed=3, dtype="float32")(ones, training=True)
    assert np.mean(nearly_all != 0) < 0.001


@pytest.mark.parametrize("settings", [{"rate": 0}, {"rate": 1}, {"rate": 0.5, "noise_shape": (None, 1, 1, 9)}])
def test_other_dropout_equals_keras(keras, tensor, settings):
    layer = register_fast_layers()[2](seed=1, **settings)
    expected = keras.layers.Dropout(seed=1, **settings)(tensor, training=True)
    np.testing.assert_array_equal(layer(tensor, training=True), expected)


def test_adam_equals_keras(keras):
    import tensorflow as tf

    start, *slopes = np.random.default_rng(3).normal(size=(21, 5, 4)).astype(np.float32)
    results = []
    for optimiser in (keras.optimizers.Adam(0.01), fast_adam(0.01)):
        weight = keras.Variable(start)
        optimiser.build([weight])
        for slope in slopes:
            optimiser.apply_gradients([(tf.constant(slope), weight)])
        results.append([weight.numpy(), *(variable.numpy() for variable in optimiser.variables)])
    for expected, got in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_layers_of_keras_are_restored(keras):
    names = ("BatchNormalization", "UpSampling2D", "Dropout")
    before = [getattr(keras.layers, name) for name in names]
    with pytest.raises(RuntimeError), fast_layers():
        assert tuple(getattr(keras.layers, name) for name in names) == register_fast_layers()
        raise RuntimeError
    assert [getattr(keras.layers, name) for name in names] == before


@pytest.mark.parametrize("encoder", ["unet", "resnet18"])
def test_networks_of_keras_layers_and_fast_layers_exchange_weights_and_agree(keras, tmp_path, encoder):
    config = RunConfig(encoder=encoder, image_size=32, precision="float32")
    model = build_unet(config)
    assert not [layer.name for layer in model.layers if type(layer) is keras.layers.BatchNormalization]
    fast = register_fast_layers()

    def stock(layer):
        kind = getattr(keras.layers, type(layer).__name__) if isinstance(layer, fast) else type(layer)
        return kind.from_config(layer.get_config())

    twin = keras.models.clone_model(model, clone_function=stock)
    twin.save_weights(tmp_path / "stock.weights.h5")
    model.load_weights(tmp_path / "stock.weights.h5")
    image = np.random.default_rng(4).integers(0, 256, (1, 64, 32, 3)).astype(np.float32)
    # Random weights on 0-255 give logits of hundreds.
    np.testing.assert_allclose(model(image), twin(image), atol=2e-3)
    twin.save(tmp_path / "stock.keras")
    model.save(tmp_path / "ours.keras")
    for name in ("stock", "ours"):
        np.testing.assert_allclose(load_model(tmp_path / f"{name}.keras")(image), twin(image), atol=2e-3)
