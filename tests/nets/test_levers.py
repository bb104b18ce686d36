"""Each lever of a training step can be switched off by its name, and changes nothing but rounding."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.fast_convolutions import fast_convolutions
from wbcstudy.nets.fast_layers import fast_adam, fast_layers, register_fast_layers
from wbcstudy.nets.levers import LEVERS, WITHOUT, is_on
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.unet import build_unet


@pytest.fixture(autouse=True)
def on_a_processor(monkeypatch):
    """Let no GPU of the machine turn levers off."""
    load_keras()
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


def list_used(encoder):
    """Return the levers that show in a network and its optimiser before a step."""
    keras = load_keras()
    model = build_unet(RunConfig(encoder=encoder, image_size=64, precision="float32"))
    used = set()
    with fast_layers():
        for lever, name in (
            ("batch_norm", "BatchNormalization"),
            ("upsampling", "UpSampling2D"),
            ("dropout", "Dropout"),
        ):
            used |= {lever} if getattr(keras.layers, name) in register_fast_layers() else set()
    used |= {"adam"} if type(fast_adam(0.1)) is not keras.optimizers.Adam else set()
    for layer in model.layers:
        if isinstance(layer, keras.layers.ZeroPadding2D) and layer.padding == ((0, 0), (0, 0)):
            used.add("fold_padding")
        if "convolution_op" in vars(layer):
            used.add("sum_images_first")
    with fast_convolutions(model):
        for layer in model.layers:
            if "call" in vars(layer):
                used |= {"depthwise"} if isinstance(layer, keras.layers.DepthwiseConv2D) else set()
                used |= {"one_pixel"} if getattr(layer, "kernel_size", None) == (1, 1) else set()
    return used


def test_a_step_without_levers_gives_the_same_losses(monkeypatch):
    config = RunConfig(encoder="resnet18", image_size=64, precision="float32", dropout=0.0)
    random = np.random.default_rng(9)
    images = random.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    masks = random.integers(0, 3, (2, 64, 64), dtype=np.uint8)
    losses = {}
    for without in ("", ",".join(LEVERS)):
        monkeypatch.setenv(WITHOUT, without)
        model = build_unet(config)
        model.compile(fast_adam(1e-4), build_loss("dice"), jit_compile=False)
        with fast_convolutions(model):
            losses[without] = [float(model.train_on_batch(images, masks)) for _ in range(2)]
    first, second = losses.values()
    np.testing.assert_allclose(first, second, rtol=2e-3)


def test_each_name_switches_off_one_lever(monkeypatch):
    used = {
        "resnet18": {"batch_norm", "upsampling", "dropout", "adam", "fold_padding", "sum_images_first", "one_pixel"},
        "mobilenet": {"batch_norm", "upsampling", "dropout", "adam", "depthwise", "one_pixel"},
    }
    off = {"resnet18": {"fold_padding", "one_pixel", "upsampling", "adam"}}
    off["mobilenet"] = LEVERS.keys() - off["resnet18"]
    for encoder, levers in used.items():
        monkeypatch.delenv(WITHOUT, raising=False)
        assert list_used(encoder) == levers
        monkeypatch.setenv(WITHOUT, ", ".join(off[encoder]))
        assert list_used(encoder) == levers - off[encoder]


def test_gradients_of_convolutions_are_switched_off(monkeypatch):
    """The two levers that show only in the graph of a step."""
    import tensorflow as tf

    def count_products(without):
        monkeypatch.setenv(WITHOUT, without)
        keras = load_keras()
        low, skip = keras.Input((4, 4, 3)), keras.Input((8, 8, 2))
        joined = keras.layers.Concatenate()([keras.layers.UpSampling2D(2)(low), skip])
        network = keras.Model([low, skip], keras.layers.Conv2D(5, 3, padding="same")(joined))

        def step(low, skip):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(network([low, skip], training=True) ** 2)
            return tape.gradient(total, [weight.value for weight in network.trainable_weights])

        with fast_convolutions(network):
            graph = tf.function(step).get_concrete_function(tf.ones((2, 4, 4, 3)), tf.ones((2, 8, 8, 2))).graph
        return sum(operation.type == "MatMul" for operation in graph.get_operations())

    # Of the upsampled part: one product forward and two backward. For the gradient of another kernel: one.
    names = ("", "small_images", "upsampled", "small_images,upsampled")
    assert [count_products(without) for without in names] == [4, 3, 1, 0]


def test_an_unknown_name_is_an_error(monkeypatch):
    monkeypatch.setenv(WITHOUT, "adam, unknown")
    with pytest.raises(StudyError, match="names 'unknown'") as error:
        is_on("adam")
    assert "fold_padding" in error.value.expected
