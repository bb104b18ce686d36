"""Each kind of layer as ONNX. The nine U-Nets are compared in tests/nets/test_unet.py."""

import numpy as np
import pytest

from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
cv2 = pytest.importorskip("cv2")

from wbcstudy.inference.onnx_graph import build_onnx  # noqa: E402


def gate(layers, x):
    """Squeeze and excitation."""
    squeezed = layers.Reshape((1, 1, -1))(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(squeezed)])


LAYERS = {
    "strided same convolution": lambda layers, x: layers.Conv2D(4, 3, strides=2, padding="same", activation="silu")(x),
    "strided same convolution, even": lambda layers, x: layers.Conv2D(4, 2, strides=2, padding="same")(x),
    "convolution of even size": lambda layers, x: layers.Conv2D(4, 4, padding="same", activation="relu6")(x),
    "depthwise, two per channel": lambda layers, x: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x),
    "grouped": lambda layers, x: layers.Conv2D(6, 3, groups=2, padding="same")(layers.Conv2D(4, 1)(x)),
    "mean of neighbours": lambda layers, x: layers.AveragePooling2D(3, strides=1, padding="same")(x),
    "mean of four": lambda layers, x: layers.AveragePooling2D(2)(x),
    "maximum": lambda layers, x: layers.MaxPooling2D(3, strides=2, padding="same")(x),
    "gate": gate,
    "normalisation": lambda layers, x: layers.Normalization(mean=[90.0, 100, 120], variance=[400.0, 900, 100])(x),
    "scale per channel": lambda layers, x: layers.Rescaling([0.1, 0.2, 0.3], offset=[-1.0, 0, 1])(x),
    "padding": lambda layers, x: layers.Conv2D(4, 4)(layers.ZeroPadding2D(((1, 2), (3, 0)))(x)),
    "clipped": lambda layers, x: layers.ReLU(6.0)(layers.Conv2D(4, 1)(x)),
    "batch norm without scale": lambda layers, x: layers.BatchNormalization(scale=False)(x),
    "upsampling": lambda layers, x: layers.Concatenate()([layers.UpSampling2D((2, 4))(x)] * 2),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_computes_the_same(kind):
    keras = load_keras()
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, LAYERS[kind](keras.layers, image))
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 3)).astype(np.float32)
    expected = np.asarray(model(images))
    built = build_onnx(model, (32, 64))
    # Networks return probabilities of the image's size; this layer may not.
    for axis, side in zip(built.graph.output[0].type.tensor_type.shape.dim, expected.shape, strict=True):
        axis.dim_value = side
    predicted = onnxruntime.InferenceSession(built.SerializeToString()).run(None, {"image": images})[0]
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-3)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(built.SerializeToString(), np.uint8))
    network.setInput(images)
    np.testing.assert_allclose(network.forward().reshape(expected.shape), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda layers, x: layers.Conv2D(3, 3, dilation_rate=2)(x),
        lambda layers, x: layers.Activation("tanh")(x),
        lambda layers, x: layers.UpSampling2D(2, interpolation="bilinear")(x),
        lambda layers, x: layers.LeakyReLU()(x),
        lambda layers, x: layers.ReLU(negative_slope=0.1)(x),
    ],
)
def test_a_layer_that_cannot_be_written_is_named(make):
    keras = load_keras()
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, make(keras.layers, image))
    with pytest.raises(StudyError, match=f"(?s)'{model.layers[-1].name}'.*savedmodel"):
        build_onnx(model)
