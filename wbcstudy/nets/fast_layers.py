"""Layers that compute what Keras' do, faster: batch normalisation in one kernel, upsampling by copying, dropout."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from wbcstudy.nets.backend import load_keras

# TensorFlow's kernel takes no smaller one, and silently uses this instead.
_LEAST_EPSILON = 1.001e-5
# The kernel works on several channels at a time, and on fewer, as of an image, one value after the other.
_LEAST_CHANNELS = 8


@functools.cache
def register_fast_layers() -> tuple[type, type, type]:
    """Make the three layers known to Keras.

    They have the settings, weights and weight names of the layers that they stand for; a network's weights can be
    moved between the two kinds, and a file of either can be read.

    Returns:
        The classes that stand for `keras.layers.BatchNormalization`, `UpSampling2D` and `Dropout`.
    """
    keras = load_keras()
    import tensorflow as tf

    @keras.saving.register_keras_serializable("wbcstudy", "FusedBatchNormalization")
    class BatchNormalization(keras.layers.BatchNormalization):
        """Keras' batch normalisation by TensorFlow's fused kernel, where there is one for the input.

        Ioffe, Szegedy: Batch Normalization, ICML 2015. Keras 3 computes mean, variance and the normalised values each
        by operations of their own, in float32 also where the network is in bfloat16: several passes over the tensor
        forward, and more backward. The kernel needs two and keeps the tensor in its type. The moving statistics are
        Keras': they take the variance divided by n, while the kernel returns it divided by n - 1.

        The class has Keras' name since a weights file calls its groups by the classes' names.
        """

        def call(self, inputs, training=None, mask=None):
            learns = bool(training) and self.trainable
            # Training through stored statistics (a frozen encoder) has no deterministic kernel on GPUs.
            fused = len(inputs.shape) == 4 and self.axis in (3, -1) and self.epsilon > _LEAST_EPSILON and mask is None
            fused = fused and inputs.shape[-1] >= _LEAST_CHANNELS
            if not fused or getattr(self, "renorm", False) or (training and not learns):
                return super().call(inputs, training=training, mask=mask)
            channels = self.moving_mean.shape
            gamma = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels)
            beta = tf.convert_to_tensor(self.beta) if self.center else tf.zeros(channels)
            inputs = tf.cast(inputs, self.compute_dtype)
            if not learns:
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
        """Keras' nearest upsampling as a broadcast; its gradient is a sum of neighbours, always in the same order.

        Keras repeats along each axis in turn, which gathers; gathering's gradient adds values one by one. The sum is
        that of average pooling, whose kernel is several times as fast as a reduction over two inner axes.
        """

        def call(self, inputs):
            if self.interpolation != "nearest" or self.data_format != "channels_last":
                return super().call(inputs)
            down, across = self.size

            @tf.custom_gradient
            def copy(inputs):
                count, height, width, channels = (
                    known if known is not None else part
                    for known, part in zip(inputs.shape, tf.unstack(tf.shape(inputs)), strict=True)
                )
                pixels = tf.reshape(inputs, (count, height, 1, width, 1, channels))
                copies = tf.broadcast_to(pixels, (count, height, down, width, across, channels))

                def gradient(upstream):
                    return tf.nn.avg_pool2d(upstream, self.size, self.size, "VALID") * (down * across)

                return tf.reshape(copies, (count, height * down, width * across, channels)), gradient

            return copy(inputs)

    @keras.saving.register_keras_serializable("wbcstudy", "CheapDropout")
    class Dropout(keras.layers.Dropout):
        """Keras' dropout that draws 16 random bits for a value instead of a number in the network's type.

        Srivastava et al.: Dropout, JMLR 15, 2014. The share that is dropped is `rate` to 1 in 65,536; drawn in
        bfloat16, as Keras would, to 1 in 128.
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
    """Networks that are built in the block get the fast layers, also from packages that ask Keras for its own."""
    keras = load_keras()
    # The classes are made with Keras' own in place.
    after = register_fast_layers()
    before = [getattr(keras.layers, layer.__name__) for layer in after]
    for layer in after:
        setattr(keras.layers, layer.__name__, layer)
    try:
        yield
    finally:
        for layer in before:
            setattr(keras.layers, layer.__name__, layer)


def fold_padding(network) -> None:
    """Have convolutions add the zeros themselves that a layer of their own adds for them alone.

    The outputs stay the same. Without it every such input is copied to a larger one, and its gradient cut out of one,
    and convolutions take longer on the larger sizes (10 x 10 for 8 x 8). Only for steps of one pixel: with a longer
    step, Keras' "same" adds more zeros on the far side than on the near one.

    Args:
        network: keras.Model; changed in place. The layer of zeros stays, and adds none, so all layers keep their names.
    """
    layers = load_keras().layers
    readers = _list_readers(network)
    for zeros in network.layers:
        if not isinstance(zeros, layers.ZeroPadding2D) or len(readers[id(zeros.output)]) != 1:
            continue
        (reader,) = readers[id(zeros.output)]
        alone = tuple((size // 2, size // 2) for size in getattr(reader, "kernel_size", ()) if size % 2)
        if (
            type(reader) is layers.Conv2D
            and zeros.padding == alone
            and (reader.strides, reader.dilation_rate, reader.padding) == ((1, 1), (1, 1), "valid")
        ):
            zeros.padding, reader.padding = ((0, 0), (0, 0)), "same"


def _list_readers(network) -> dict[int, list]:
    """Which layers take a tensor, by the tensor's id; the network itself takes its outputs."""
    readers: dict[int, list] = {id(tensor): [network] for tensor in network.outputs}
    for layer in network.layers:
        for tensor in layer.input if isinstance(layer.input, list) else [layer.input]:
            readers.setdefault(id(tensor), []).append(layer)
    return readers


def sum_images_first(network) -> None:
    """Have the first convolution give the gradient of its input for a batch at once, where only its sum is of use.

    A ResNet has a batch norm of the images before its first convolution. Of that only the offset is learnt, whose
    gradient is the sum of the convolution's over all images and places. A convolution is linear, so the gradient of
    the images' sum is worked out, an image's work, and every image gets its share of it.

    Args:
        network: keras.Model; changed in place. Nothing happens where anything else is learnt before a convolution.
    """
    keras = load_keras()
    import tensorflow as tf

    readers = _list_readers(network)
    layer, learnt = network.layers[0], False
    while not isinstance(layer, keras.layers.Conv2D):
        offset = isinstance(layer, keras.layers.BatchNormalization) and not layer.scale
        learnt |= offset
        if layer is network or len(readers[id(layer.output)]) != 1 or (layer.trainable_weights and not offset):
            return
        (layer,) = readers[id(layer.output)]
    kind = (type(layer), layer.data_format, layer.groups, layer.dilation_rate)
    if not learnt or kind != (keras.layers.Conv2D, "channels_last", 1, (1, 1)):
        return
    plain = layer.convolution_op

    def convolve(inputs, kernel):
        @tf.custom_gradient
        def linear(inputs, kernel):
            def gradient(upstream):
                by_kernel = tf.compat.v1.nn.conv2d_backprop_filter(
                    inputs, tf.shape(kernel), upstream, [1, *layer.strides, 1], layer.padding.upper()
                )
                # In bfloat16 a sum of many loses digits on the way.
                summed = tf.reduce_sum(tf.cast(upstream, "float32"), axis=0, keepdims=True)
                shape = tf.concat([[1], tf.shape(inputs)[1:]], 0)
                by_sum = tf.compat.v1.nn.conv2d_backprop_input(
                    shape, kernel, tf.cast(summed, kernel.dtype), [1, *layer.strides, 1], layer.padding.upper()
                )
                share = by_sum / tf.cast(tf.shape(inputs)[0], by_sum.dtype)
                return tf.broadcast_to(share, tf.shape(inputs)), by_kernel

            return plain(inputs, kernel), gradient

        return linear(tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel))

    layer.convolution_op = convolve


@functools.cache
def _adam() -> type:
    keras = load_keras()
    import tensorflow as tf

    class Adam(keras.optimizers.Adam):
        """Keras' Adam with the update of a variable in one kernel (Kingma, Ba 2015, with epsilon outside the root).

        Keras takes nine operations, each a pass over weights, gradient and both moments.
        """

        def update_step(self, gradient, variable, learning_rate):
            index = self._get_variable_index(variable)
            # Keras' variables hold TensorFlow's; the one to change comes as TensorFlow's already.
            first, second = self._momentums[index].value, self._velocities[index].value
            kind = variable.dtype
            step = tf.cast(self.iterations + 1, kind)
            beta_1, beta_2 = tf.cast(self.beta_1, kind), tf.cast(self.beta_2, kind)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1**step,
                beta2_power=beta_2**step,
                lr=tf.cast(learning_rate, kind),
                beta1=beta_1,
                beta2=beta_2,
                epsilon=tf.cast(self.epsilon, kind),
                grad=tf.cast(gradient, kind),
                use_locking=True,
            )

    return Adam


def fast_adam(learning_rate):
    """An Adam with Keras' settings and variables, for dense gradients; not to be saved within a model's file.

    Args:
        learning_rate: step size, > 0, or a keras.optimizers.schedules.LearningRateSchedule.

    Returns:
        keras.optimizers.Adam.
    """
    return _adam()(learning_rate)
