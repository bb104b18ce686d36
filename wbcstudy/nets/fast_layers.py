"""Faster versions of Keras' batch normalisation, upsampling, dropout and Adam, with equal results."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.levers import is_on

# TensorFlow's kernel silently replaces smaller values by this one.
_MIN_EPSILON = 1.001e-5
# With fewer channels (an image), the kernel is not vectorised.
_MIN_CHANNELS = 8


@functools.cache
def register_fast_layers() -> tuple[type, type, type]:
    """Register the three layers with Keras.

    Settings, weights and weight names equal those of Keras' layers, so that weights and files are interchangeable.

    Returns:
        The classes that replace `keras.layers.BatchNormalization`, `UpSampling2D` and `Dropout`.
    """
    keras = load_keras()
    import tensorflow as tf

    @keras.saving.register_keras_serializable("wbcstudy", "FusedBatchNormalization")
    class BatchNormalization(keras.layers.BatchNormalization):
        """Keras' batch normalisation with TensorFlow's fused kernel, where the input allows it.

        Ioffe, Szegedy: Batch Normalization, ICML 2015. Keras 3 computes mean, variance and normalised values in
        separate operations, in float32 even in a bfloat16 network: several passes over the tensor forward, and more
        backward. The kernel needs two, in the tensor's type. The moving statistics are those of Keras, with the
        variance divided by n; the kernel returns it divided by n - 1.

        The class has the name of Keras' class, since weights files name their groups after classes.
        """

        def call(self, inputs, training=None, mask=None):
            learning = bool(training) and self.trainable
            fused = len(inputs.shape) == 4 and self.axis in (3, -1) and self.epsilon > _MIN_EPSILON and mask is None
            fused = fused and inputs.shape[-1] >= _MIN_CHANNELS
            # GPUs have no deterministic gradient with stored statistics (a frozen encoder).
            frozen_on_gpu = training and not learning and tf.config.list_physical_devices("GPU")
            if not fused or getattr(self, "renorm", False) or frozen_on_gpu:
                return super().call(inputs, training=training, mask=mask)
            channels = self.moving_mean.shape
            gamma = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels)
            beta = tf.convert_to_tensor(self.beta) if self.center else tf.zeros(channels)
            inputs = tf.cast(inputs, self.compute_dtype)
            if not learning:
                mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
                return tf.compat.v1.nn.fused_batch_norm(
                    inputs, gamma, beta, mean, variance, epsilon=self.epsilon, is_training=False
                )[0]
            output, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
            variance *= (count - 1.0) / count
            for stored, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                stored.assign(stored * self.momentum + new * (1.0 - self.momentum))
            return output

    @keras.saving.register_keras_serializable("wbcstudy", "NearestUpsampling2D")
    class UpSampling2D(keras.layers.UpSampling2D):
        """Keras' nearest upsampling as a broadcast; its gradient is a sum of neighbours in a fixed order.

        Keras repeats along each axis in turn, by gathering, whose gradient adds single values. The sum here is that of
        average pooling, whose kernel is several times faster than a reduction over two inner axes.
        """

        def call(self, inputs):
            if self.interpolation != "nearest" or self.data_format != "channels_last":
                return super().call(inputs)
            rows, columns = self.size

            @tf.custom_gradient
            def copy(inputs):
                count, height, width, channels = (
                    static if static is not None else dynamic
                    for static, dynamic in zip(inputs.shape, tf.unstack(tf.shape(inputs)), strict=True)
                )
                pixels = tf.reshape(inputs, (count, height, 1, width, 1, channels))
                copies = tf.broadcast_to(pixels, (count, height, rows, width, columns, channels))

                def gradient(upstream):
                    return tf.nn.avg_pool2d(upstream, self.size, self.size, "VALID") * (rows * columns)

                return tf.reshape(copies, (count, height * rows, width * columns, channels)), gradient

            return copy(inputs)

    @keras.saving.register_keras_serializable("wbcstudy", "CheapDropout")
    class Dropout(keras.layers.Dropout):
        """Keras' dropout with 16 random bits per value instead of a random number in the network's type.

        Srivastava et al.: Dropout, JMLR 15, 2014. The resolution of `rate` is 1 in 65,536; Keras' in bfloat16 is 1 in
        128.
        """

        def call(self, inputs, training=False):
            if not training or not 0 < self.rate < 1 or self.noise_shape is not None:
                return super().call(inputs, training=training)
            count = tf.size(inputs)
            seed = tf.cast(self.seed_generator.next(), tf.int64)
            pairs = tf.random.stateless_uniform([(count + 1) // 2], seed, None, None, tf.uint32)
            bits = tf.reshape(tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:count], tf.shape(inputs))
            kept = tf.cast(bits >= tf.constant(min(round(self.rate * 2**16), 2**16 - 1), tf.uint16), inputs.dtype)
            return inputs * (kept * tf.cast(1 / (1 - self.rate), inputs.dtype))

    return BatchNormalization, UpSampling2D, Dropout


@contextlib.contextmanager
def fast_layers() -> Iterator[None]:
    """Replace Keras' layers in the block, so that networks built by other packages use the fast layers too."""
    keras = load_keras()
    # Registered first: the classes derive from Keras' own.
    levers = zip(register_fast_layers(), ("batch_norm", "upsampling", "dropout"), strict=True)
    replacements = [layer for layer, lever in levers if is_on(lever)]
    originals = [getattr(keras.layers, layer.__name__) for layer in replacements]
    for layer in replacements:
        setattr(keras.layers, layer.__name__, layer)
    try:
        yield
    finally:
        for layer in originals:
            setattr(keras.layers, layer.__name__, layer)


def fold_padding(network) -> None:
    """Let convolutions pad with zeros themselves where a separate layer does it for them alone.

    The outputs do not change. Without it, each such input is copied to a larger one, its gradient is cropped, and
    convolutions take longer on the larger sizes (10 x 10 for 8 x 8). Only for stride 1: with larger strides, Keras'
    "same" pads more on the far side than on the near one.

    Args:
        network: keras.Model; changed in place. The layer of zeros stays, without padding, so layer names do not change.
    """
    layers = load_keras().layers
    if not is_on("fold_padding"):
        return
    readers = list_readers(network)
    for padding in network.layers:
        if not isinstance(padding, layers.ZeroPadding2D) or len(readers[id(padding.output)]) != 1:
            continue
        (reader,) = readers[id(padding.output)]
        same = tuple((size // 2, size // 2) for size in getattr(reader, "kernel_size", ()) if size % 2)
        if (
            type(reader) is layers.Conv2D
            and padding.padding == same
            and (reader.strides, reader.dilation_rate, reader.padding) == ((1, 1), (1, 1), "valid")
        ):
            padding.padding, reader.padding = ((0, 0), (0, 0)), "same"


def list_readers(network) -> dict[int, list]:
    """Return the layers that read a tensor, by the tensor's id; the network itself reads its outputs."""
    readers: dict[int, list] = {id(tensor): [network] for tensor in network.outputs}
    for layer in network.layers:
        for tensor in layer.input if isinstance(layer.input, list) else [layer.input]:
            readers.setdefault(id(tensor), []).append(layer)
    return readers


def sum_images_first(network) -> None:
    """Compute the input gradient of the first convolution for the whole batch at once, where only its sum is needed.

    A ResNet has a batch norm of the images before its first convolution. Only its offset is trained, whose gradient is
    the sum of the convolution's input gradient over all images and pixels. Since a convolution is linear, the gradient
    is computed for the sum of the images, which takes as long as for one image, and divided among the images. With
    several threads it is two sums, of every second image: for one image, oneDNN took five times as long as for two
    (benchmarks/notes.md).

    Args:
        network: keras.Model; changed in place. Not changed if other weights are trained before a convolution.
    """
    keras = load_keras()
    import tensorflow as tf

    if not is_on("sum_images_first"):
        return
    readers = list_readers(network)
    layer, trains_offset = network.layers[0], False
    while not isinstance(layer, keras.layers.Conv2D):
        is_offset = isinstance(layer, keras.layers.BatchNormalization) and not layer.scale
        trains_offset |= is_offset
        if layer is network or len(readers[id(layer.output)]) != 1 or (layer.trainable_weights and not is_offset):
            return
        (layer,) = readers[id(layer.output)]
    properties = (type(layer), layer.data_format, layer.groups, layer.dilation_rate)
    if not trains_offset or properties != (keras.layers.Conv2D, "channels_last", 1, (1, 1)):
        return
    original = layer.convolution_op
    parts = 1 if tf.config.threading.get_intra_op_parallelism_threads() == 1 else 2

    def convolve(inputs, kernel):
        @tf.custom_gradient
        def linear(inputs, kernel):
            def gradient(upstream):
                kernel_gradient = tf.compat.v1.nn.conv2d_backprop_filter(
                    inputs, tf.shape(kernel), upstream, [1, *layer.strides, 1], layer.padding.upper()
                )
                # Sums in bfloat16 lose digits.
                upstream = tf.cast(upstream, "float32")
                summed = tf.stack([tf.reduce_sum(upstream[part::parts], axis=0) for part in range(parts)])
                shape = tf.concat([[parts], tf.shape(inputs)[1:]], 0)
                input_gradient = tf.compat.v1.nn.conv2d_backprop_input(
                    shape, kernel, tf.cast(summed, kernel.dtype), [1, *layer.strides, 1], layer.padding.upper()
                )
                input_gradient = tf.reduce_sum(input_gradient, axis=0, keepdims=True)
                share = input_gradient / tf.cast(tf.shape(inputs)[0], input_gradient.dtype)
                return tf.broadcast_to(share, tf.shape(inputs)), kernel_gradient

            return original(inputs, kernel), gradient

        return linear(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))

    layer.convolution_op = convolve


@functools.cache
def _adam() -> type:
    keras = load_keras()
    import tensorflow as tf

    class Adam(keras.optimizers.Adam):
        """Keras' Adam with one kernel per update (Kingma, Ba 2015, with epsilon outside the root).

        Keras needs nine operations, each a pass over weights, gradient and both moments.
        """

        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            # `variable` is TensorFlow's; the moments are Keras' variables, which contain TensorFlow's.
            first, second = self._momentums[index].value, self._velocities[index].value
            dtype = variable.dtype
            step = tf.cast(self.iterations + 1, dtype)
            beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1**step,
                beta2_power=beta_2**step,
                lr=tf.cast(learning_rate, dtype),
                beta1=beta_1,
                beta2=beta_2,
                epsilon=tf.cast(self.epsilon, dtype),
                grad=tf.cast(gradient, dtype),
                use_locking=True,
            )

    return Adam


def fast_adam(learning_rate):
    """Build an Adam with Keras' settings and variables, for dense gradients; it cannot be saved in a model's file.

    Args:
        learning_rate: > 0, or a keras.optimizers.schedules.LearningRateSchedule.

    Returns:
        keras.optimizers.Adam.
    """
    return (_adam() if is_on("adam") else load_keras().optimizers.Adam)(learning_rate)
