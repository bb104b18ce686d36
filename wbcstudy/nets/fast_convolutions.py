"""Faster convolutions in the training steps of a network on a processor, with equal results within rounding.

TensorFlow's convolutions are those of oneDNN. Forward, they reach the rate of a matrix product, but their gradients do
not for the sizes of a U-Net: the gradient of the weights for small images, and the gradient of the images for depthwise
convolutions with strides. `benchmarks/notes.md` has the measurements of each replacement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.levers import is_on

# Images with at most this many pixels are small: above, oneDNN's gradient of the weights is as fast.
_SMALL_PX = 16 * 16


@contextlib.contextmanager
def fast_convolutions(network) -> Iterator[None]:
    """Replace the convolutions of a network in the training steps that are traced in the block.

    Layers, weights, files and predictions do not change: only the functions that the layers call in the block. On a GPU
    nothing is replaced, since its kernels were not measured.

    Args:
        network: keras.Model, with images of a known height and width; others are computed as before.
    """
    load_keras()
    import tensorflow as tf

    replaced = [] if tf.config.list_physical_devices("GPU") else _choose(network)
    for layer, call in replaced:
        layer.call = call
    try:
        yield
    finally:
        for layer, _ in replaced:
            # The method of the class is used again.
            del layer.call


def _choose(network) -> list[tuple[Any, Callable]]:
    """Return the layers to change and what they call instead."""
    layers = load_keras().layers
    replaced = []
    for layer in network.layers:
        if isinstance(layer, layers.DepthwiseConv2D):
            strided = max(layer.strides) > 1 and layer.padding == "valid" and not layer.use_bias
            if strided and _is_plain(layer) and is_on("depthwise"):
                replaced.append((layer, _replace(layer, _depthwise)))
        elif type(layer) is layers.Conv2D and _is_plain(layer) and layer.groups == 1:
            if layer.strides != (1, 1):
                continue
            if layer.kernel_size == (1, 1):
                if not layer.use_bias and is_on("one_pixel"):
                    replaced.append((layer, _replace(layer, _one_pixel)))
            elif layer.padding == "same" and all(size % 2 for size in layer.kernel_size):
                replaced.append((layer, _replace(layer, _convolve)))
        elif isinstance(layer, layers.UpSampling2D):
            if layer.size == (2, 2) and layer.interpolation == "nearest" and layer.data_format == "channels_last":
                replaced.append((layer, _remember(layer)))
        elif isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3) and len(layer.input) == 2:
            replaced.append((layer, _remember(layer)))
    return replaced


def _is_plain(layer) -> bool:
    return layer.data_format == "channels_last" and layer.dilation_rate == (1, 1)


def _remember(layer) -> Callable:
    """Return the layer's function, whose result knows its input."""
    original = layer.call

    def call(inputs):
        outputs = original(inputs)
        outputs.wbcstudy_source = (type(layer).__name__, inputs)
        return outputs

    return call


def _upsampled_parts(inputs):
    """Return the images before upsampling and those joined to them, or None if `inputs` was made in another way."""
    name, parts = getattr(inputs, "wbcstudy_source", ("", None))
    if name != "Concatenate":
        return None
    name, low = getattr(parts[0], "wbcstudy_source", ("", None))
    return (low, parts[1]) if name == "UpSampling2D" and None not in low.shape[1:] else None


def _replace(layer, convolve: Callable) -> Callable:
    """Return the function of a convolutional layer with another convolution.

    Args:
        layer: a layer with `kernel`, `strides` and `activation`.
        convolve: function of images, kernel and strides; returns None where TensorFlow's convolution is as fast.
    """
    import tensorflow as tf

    original = layer.call

    @tf.custom_gradient
    def add(outputs, bias):
        # TensorFlow's own gradient adds in bfloat16: of 100,000 pixels, it is wrong by a third.
        return tf.nn.bias_add(outputs, bias), lambda slopes: (slopes, tf.reduce_sum(slopes, (0, 1, 2)))

    def call(inputs):
        outputs = convolve(inputs, tf.convert_to_tensor(layer.kernel), layer.strides)
        if outputs is None:
            return original(inputs)
        if layer.use_bias:
            outputs = add(outputs, tf.convert_to_tensor(layer.bias))
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _one_pixel(inputs, kernel, strides):
    """Convolve with a kernel of one pixel: a matrix product, as are its gradients."""
    import tensorflow as tf

    pixels = tf.reshape(inputs, (-1, inputs.shape[-1]))
    output = tf.reshape(tf.matmul(pixels, kernel[0, 0]), [*tf.unstack(tf.shape(inputs)[:3]), kernel.shape[-1]])
    output.set_shape((*inputs.shape[:3], kernel.shape[-1]))
    return output


def _convolve(inputs, kernel, strides):
    """Convolve with stride 1 and padding "same"; for small images, the gradient of the kernel is a matrix product.

    If the input is a nearest upsampling joined with other images, the upsampled part is convolved before upsampling,
    with a quarter of the multiplications: see `_convolve_upsampled`.
    """
    import tensorflow as tf

    parts = _upsampled_parts(inputs) if is_on("upsampled") else None
    if parts and kernel.shape[:2] == (3, 3):
        return _convolve_upsampled(*parts, kernel)
    height, width = inputs.shape[1:3]
    if height is None or width is None or not _is_small(height, width):
        return None

    @tf.custom_gradient
    def linear(inputs, kernel):
        def gradient(upstream):
            return _input_gradient(inputs, kernel, upstream), _kernel_gradient(inputs, kernel, upstream)

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient

    return linear(inputs, kernel)


def _input_gradient(inputs, kernel, upstream):
    import tensorflow as tf

    return tf.compat.v1.nn.conv2d_backprop_input(tf.shape(inputs), kernel, upstream, [1, 1, 1, 1], "SAME")


def _kernel_gradient(inputs, kernel, upstream):
    """Return the gradient of a convolution's kernel: for small images, a matrix product."""
    import tensorflow as tf

    rows, columns, channels, filters = kernel.shape
    height, width = inputs.shape[1:3]
    if not _is_small(height, width):
        return tf.compat.v1.nn.conv2d_backprop_filter(inputs, kernel.shape, upstream, [1, 1, 1, 1], "SAME")
    padded = tf.pad(inputs, [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]])
    slopes = tf.reshape(upstream, (-1, filters))
    # One product uses several threads better than one for each pixel of the kernel.
    shifted = [
        padded[:, row : row + height, column : column + width] for row in range(rows) for column in range(columns)
    ]
    of_pixels = tf.reshape(tf.concat(shifted, -1), (-1, rows * columns * channels))
    return tf.reshape(tf.matmul(of_pixels, slopes, transpose_a=True), kernel.shape)


def _is_small(height: int, width: int) -> bool:
    return height * width <= _SMALL_PX and is_on("small_images")


def _convolve_upsampled(low, skip, kernel):
    """Convolve the nearest upsampling of `low`, joined with `skip`, by a kernel of 3x3 pixels.

    A pixel of the upsampled images is one of `low`, so each of the nine products of a pixel and a part of the kernel
    occurs four times. Here it is computed once, and the sums are made at the larger size.

    Args:
        low: (B, H, W, C), of known H, W and C.
        skip: (B, 2H, 2W, D).
        kernel: (3, 3, C + D, F), in the order of the joined channels.

    Returns:
        (B, 2H, 2W, F), of the type of the arguments.
    """
    import tensorflow as tf

    height, width, channels = low.shape[1:]
    filters = kernel.shape[-1]

    @tf.custom_gradient
    def linear(low, skip, kernel):
        of_pixels = tf.reshape(kernel, (9, -1, filters))
        kernel_skip = tf.reshape(of_pixels[:, channels:], (3, 3, -1, filters))
        kernel_low = tf.reshape(tf.transpose(of_pixels[:, :channels], (1, 0, 2)), (channels, 9 * filters))
        pixels = tf.reshape(low, (-1, channels))

        def gradient(upstream):
            slopes = _gather(upstream, height, width)
            low_gradient = tf.reshape(tf.matmul(slopes, kernel_low, transpose_b=True), (-1, height, width, channels))
            product = tf.matmul(pixels, slopes, transpose_a=True)
            of_low = tf.transpose(tf.reshape(product, (channels, 9, filters)), (1, 0, 2))
            of_skip = tf.reshape(_kernel_gradient(skip, kernel_skip, upstream), (9, -1, filters))
            kernel_gradient = tf.reshape(tf.concat([of_low, of_skip], 1), kernel.shape)
            return low_gradient, _input_gradient(skip, kernel_skip, upstream), kernel_gradient

        products = tf.reshape(tf.matmul(pixels, kernel_low), (-1, height, width, 3, 3, filters))
        return _spread(products) + tf.nn.conv2d(skip, kernel_skip, 1, "SAME"), gradient

    return linear(low, skip, kernel)


def _spread(products):
    """Sum the products of pixels and kernel at twice the size: (B, H, W, 3, 3, F) -> (B, 2H, 2W, F).

    Along an axis, with products a, b, c of the kernel's three pixels, the pixel 2i is a[i-1] + b[i] + c[i] and the
    pixel 2i + 1 is a[i] + b[i] + c[i+1]; products outside of the images are 0.
    """
    import tensorflow as tf

    height, width, _, _, filters = products.shape[1:]

    def double(first, second, third, axis):
        even = _shift(first, axis, 1) + second + third
        odd = first + second + _shift(third, axis, -1)
        return tf.stack([even, odd], axis + 1)

    rows = double(*tf.unstack(products, axis=3), axis=1)
    columns = double(*tf.unstack(rows, axis=4), axis=3)
    return tf.reshape(columns, (-1, 2 * height, 2 * width, filters))


def _gather(upstream, height, width):
    """Return the gradient of `_spread`: (B, 2H, 2W, F) -> (B * H * W, 9 * F)."""
    import tensorflow as tf

    filters = upstream.shape[-1]

    def halve(even, odd, axis):
        return [_shift(even, axis, -1) + odd, even + odd, even + _shift(odd, axis, 1)]

    pairs = tf.unstack(tf.reshape(upstream, (-1, height, 2, 2 * width, filters)), axis=2)
    rows = tf.reshape(tf.stack(halve(*pairs, axis=1), axis=3), (-1, height, width, 2, 3, filters))
    columns = tf.stack(halve(*tf.unstack(rows, axis=3), axis=2), axis=4)
    return tf.reshape(columns, (-1, 9 * filters))


def _shift(values, axis, step):
    """Move values by one along an axis, with 0 at the end that becomes free: to larger indices for step 1."""
    import tensorflow as tf

    index = (slice(None),) * axis
    zeros = tf.zeros_like(values[(*index, slice(0, 1))])
    if step > 0:
        return tf.concat([zeros, values[(*index, slice(None, -1))]], axis)
    return tf.concat([values[(*index, slice(1, None))], zeros], axis)


def _depthwise(inputs, kernel, strides):
    """Convolve each channel with strides; the gradient of the images is that of a convolution without strides.

    oneDNN's kernel for strides is not vectorised. The gradient of the output is enlarged by zeros between its pixels.
    """
    import tensorflow as tf

    if None in inputs.shape[1:]:
        return None
    steps = [1, *strides, 1]

    @tf.custom_gradient
    def linear(inputs, kernel):
        def gradient(upstream):
            kernel_gradient = tf.compat.v1.nn.depthwise_conv2d_backprop_filter(
                inputs, kernel.shape, upstream, steps, "VALID"
            )
            enlarged = _put_zeros_between(upstream, *strides)
            height, width = (have + size - 1 for have, size in zip(enlarged.shape[1:3], kernel.shape[:2], strict=True))
            shape = [tf.shape(inputs)[0], height, width, inputs.shape[-1]]
            gradient = tf.compat.v1.nn.depthwise_conv2d_backprop_input(shape, kernel, enlarged, [1, 1, 1, 1], "VALID")
            # Pixels at the far side that no step of the convolution reaches.
            rest = [[0, inputs.shape[axis] - size] for axis, size in ((1, height), (2, width))]
            return tf.pad(gradient, [[0, 0], *rest, [0, 0]]) if rest != [[0, 0], [0, 0]] else gradient, kernel_gradient

        return tf.nn.depthwise_conv2d(inputs, kernel, steps, "VALID"), gradient

    return linear(inputs, kernel)


def _put_zeros_between(values, rows, columns):
    """Return (B, H, W, C) with zeros between the pixels: (B, (H - 1) * rows + 1, (W - 1) * columns + 1, C)."""
    import tensorflow as tf

    height, width, channels = values.shape[1:]

    def follow(values, times):
        return tf.concat([values, *[tf.zeros_like(values)] * (times - 1)], -1)

    wide = tf.reshape(follow(values, columns), (-1, height, width * columns * channels))
    high = tf.reshape(follow(wide, rows), (-1, height * rows, width * columns, channels))
    return high[:, : (height - 1) * rows + 1, : (width - 1) * columns + 1]
