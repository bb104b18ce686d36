"""Average the weights of a network over the last training steps, and use the average instead of the last weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wbcstudy.nets.backend import load_keras


class WeightAverage:
    """An exponential moving average of a network's weights (Polyak, Juditsky 1992), updated after each training step.

    After step t, average += (1 - d) * (weights - average), where d = min(decay, (1 + t) / (10 + t)). The second term is
    TensorFlow's `ExponentialMovingAverage(num_updates)`: in the first steps, the average covers about the last tenth of
    the steps, so that it does not hold the initial weights for long.

    The moving mean and variance of batch norm are averaged as well. They follow the weights of the last few steps and
    would not belong to averaged weights. Layers that are not trained (a frozen encoder) do not change, and are left
    out. Averages have the type of the weights, float32 also in a bfloat16 network.

    Keras' own average (`use_ema`) is not used: it has no correction for the first steps, leaves out batch norm's
    statistics, replaces the weights at the end of every `fit`, and swaps them with rounding, so that a resumed training
    would differ.

    Args:
        model: keras.Model, compiled.
        decay: weight of the earlier average per step, 0 to 1; 0 for no average.
    """

    def __init__(self, model, decay: float) -> None:
        keras = load_keras()
        layers = [layer for layer in model.layers if layer.trainable] if decay else []
        self._weights = [weight for layer in layers for weight in layer.weights]
        self.variables = [
            keras.Variable(weight.value.numpy(), dtype=weight.dtype, trainable=False, name="average")
            for weight in self._weights
        ]
        self._update = self._build_update(model.optimizer.iterations, decay)

    def _build_update(self, iterations, decay: float):
        import tensorflow as tf

        @tf.function
        def update():
            steps = tf.cast(iterations.value, "float32")
            share = tf.maximum(1 - decay, 9 / (10 + steps))
            for average, weight in zip(self.variables, self._weights, strict=True):
                average.assign_sub(share * (average.value - weight.value))

        return update

    @property
    def callbacks(self) -> list:
        """Callbacks for `fit`, which update the average after each step."""
        keras = load_keras()
        if not self.variables:
            return []
        return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: self._update())]

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Give the network its averaged weights in the block, and afterwards its own, to the last bit."""
        own = [weight.value.numpy().copy() for weight in self._weights]
        for weight, average in zip(self._weights, self.variables, strict=True):
            weight.assign(average.value.numpy())
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)
