"""A loss, callbacks and an augmentation of the user's own: check them, and give them to a training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUM_LABELS
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.losses import build_loss
from wbcstudy.runs.own_parts import describe_part, describe_parts

# What callbacks can monitor; they get these values at the end of each epoch.
MONITORED = ("loss", "val_loss", "val_dice_nucleus", "val_dice_cytoplasm")
_LOSS_ARGUMENTS = "(reference, prediction), both float32 (B, H, W, 3)"
_DESCRIPTION = "_wbcstudy_description"
# Stream of random numbers for one (seed, epoch), see `nets.batches` and `nets.augment`.
_STREAM = 3


class OwnParts:
    """The user's parts of one training, checked.

    Args:
        loss: `keras.losses.Loss`, the name of one, or a function (reference, prediction) -> loss; None for that of
            `config`. Reference and prediction are float32 (B, H, W, 3): the shares of the labels in each pixel, and
            probabilities. The result is one number, or one per image or pixel, which is averaged.
        callbacks: Keras callbacks.
        augmentation: Keras layers, or functions of images float32 (B, H, W, 3), 0-255; a layer, a list or None. They
            are applied in this order, after the augmentation of the settings. Keras' image layers get the masks, too.
            Other layers and functions must not move pixels.
        config: the settings.
        channels: number of channels of the reference that `nets.batches` makes: 3, or 4 with ignored pixels.

    Raises:
        StudyError: a part of the wrong type, or with a result of the wrong shape.
    """

    def __init__(self, loss: Any, callbacks: Any, augmentation: Any, config: RunConfig, channels: int = 3) -> None:
        load_keras()
        self._own_loss = None if loss is None else _check_loss(loss)
        self.loss = build_loss(config.loss) if loss is None else _ignore_unlabelled(self._own_loss)
        self.callbacks = _check_callbacks(_as_list(callbacks), config)
        self._layers = [_check_layer(each) for each in _as_list(augmentation)]
        self._seed = config.seed
        self.description = self._describe()
        reference = np.zeros((2, config.image_size, config.image_size, channels), np.float32)
        reference[:, ::2, :, 0] = reference[:, 1::2, :, 2] = 1
        if self._own_loss is not None:
            _try_loss(self.loss, self._own_loss, reference)
        if self._layers:
            self.seed_augmentation(epoch=0)
            _try_layers(self._layers, reference)

    def _describe(self) -> dict[str, Any]:
        for callback in self.callbacks:
            # A callback changes during a training. It keeps its description, so that the training can be resumed.
            vars(callback).setdefault(_DESCRIPTION, describe_part(callback, changes=True))
        described = describe_parts({"loss": _as_list(self._own_loss), "augmentation": self._layers})
        if self.callbacks:
            described["callbacks"] = [vars(callback)[_DESCRIPTION] for callback in self.callbacks]
        return described

    @property
    def augmentation(self) -> Callable[..., Any] | None:
        """A function of (images, shares) of a batch, for `make_batches`; None without augmentation of one's own."""
        return self._augment if self._layers else None

    def seed_augmentation(self, epoch: int) -> None:
        """Set all random generators that the layers use, so that an epoch does not depend on the epochs before it."""
        if not self._layers:
            return
        keras = load_keras()
        from keras.src.random.seed_generator import global_seed_generator

        seed = int(np.random.default_rng((self._seed, epoch, _STREAM)).integers(2**31))
        # For functions that use NumPy's or TensorFlow's own generators.
        keras.utils.set_random_seed(seed)
        layers = [each for layer in self._layers if isinstance(layer, keras.Layer) for each in layer._flatten_layers()]
        generators = [generator for layer in layers for generator in getattr(layer, "_seed_generators", ())]
        for i, generator in enumerate([*generators, global_seed_generator()]):
            generator.state.assign([(seed + i) % 2**31, 0])

    def _augment(self, images, shares):
        return apply_layers(self._layers, images, shares)


def apply_layers(layers: Sequence[Any], images, shares):
    """Apply augmentation layers to a batch.

    Args:
        layers: Keras layers or functions.
        images: float32 (B, S, S, 3), 0-255.
        shares: float32 (B, S, S, C), which sum to 1.

    Returns:
        Images and shares of the same shapes; images limited to 0-255. Where a layer moves a mask beyond its border,
        the pixel is background.
    """
    load_keras()
    import tensorflow as tf

    shape, labels = images.shape, shares[..., 1:]
    for layer in layers:
        if _transforms_masks(layer):
            result = layer({"images": images, "segmentation_masks": labels}, training=True)
            images, labels = result["images"], result["segmentation_masks"]
        elif _takes_training(layer):
            images = layer(images, training=True)
        else:
            images = layer(images)
    images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.float32)
    background = tf.maximum(1.0 - tf.reduce_sum(labels, axis=-1, keepdims=True), 0.0)
    images = tf.ensure_shape(images, shape) if tf.is_symbolic_tensor(images) else images
    return tf.clip_by_value(images, 0.0, 255.0), tf.concat([background, labels], axis=-1)


class CallbackRunner:
    """Run a user's callbacks over a training of one `fit` per epoch as over one `fit`.

    Args:
        model: the compiled model.
        callbacks: Keras callbacks.
        epochs: maximum number of epochs.
        steps: steps per epoch.
    """

    def __init__(self, model, callbacks: Iterable[Any], epochs: int, steps: int) -> None:
        keras = load_keras()
        parameters = {"epochs": epochs, "steps": steps, "verbose": 0}
        self._callbacks, self._model = list(callbacks), model
        self._list = keras.callbacks.CallbackList(self._callbacks, model=model, **parameters)

    @property
    def of_steps(self) -> list[Any]:
        """Callbacks for `fit`, which forward the begin and end of each step."""
        if not self._callbacks:
            return []
        forward = {name: getattr(self._list, name) for name in ("on_train_batch_begin", "on_train_batch_end")}
        return [load_keras().callbacks.LambdaCallback(**forward)]

    def begin(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Begin the training, or resume it with the states of the callbacks from `states`."""
        if not self._callbacks:
            return
        self._list.on_train_begin()
        for callback, state in zip(self._callbacks, states, strict=False):
            vars(callback).update(state)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, from 1; Keras counts from 0."""
        if self._callbacks:
            self._list.on_epoch_begin(epoch - 1)

    def end_epoch(self, epoch: int, row: Mapping[str, Any]) -> bool:
        """End an epoch, and return whether a callback has stopped the training."""
        if not self._callbacks:
            return False
        self._list.on_epoch_end(epoch - 1, {name: row[name] for name in MONITORED})
        return bool(self._model.stop_training)

    def end(self) -> None:
        """End the training."""
        if self._callbacks:
            self._list.on_train_end()

    @property
    def states(self) -> list[dict[str, Any]]:
        """The numbers, texts and lists of them in each callback, for a checkpoint."""
        return [
            {name: _to_json(value) for name, value in vars(callback).items() if _is_state(name, value)}
            for callback in self._callbacks
        ]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _check_loss(loss: Any):
    keras = load_keras()
    if isinstance(loss, str):
        try:
            return keras.losses.get(loss)
        except ValueError:
            loss_name = repr(loss)
    elif isinstance(loss, type):
        loss_name = f"the class {loss.__name__}, not an object of it"
    elif callable(loss):
        return loss
    else:
        loss_name = repr(loss)
    raise StudyError(
        f"The loss is {loss_name}.",
        expected=f"a keras.losses.Loss, the name of one, or a function of {_LOSS_ARGUMENTS}",
        fix="For example: loss=keras.losses.Tversky(alpha=0.3, beta=0.7).",
    )


def _ignore_unlabelled(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of the batches' reference, with one number as its result.

    Ignored pixels are given to the loss as background that is predicted with certainty. They have no gradient.
    """
    import tensorflow as tf

    def compute(reference, prediction):
        reference, prediction = tf.convert_to_tensor(reference), tf.convert_to_tensor(prediction)
        if reference.shape[-1] > NUM_LABELS:
            # The share without label is the last one. A pixel without most of its label is ignored.
            ignored = reference[..., NUM_LABELS:] > 0.5
            background = tf.one_hot(tf.zeros_like(ignored[..., 0], tf.int32), NUM_LABELS)
            known = reference[..., :NUM_LABELS]
            known /= tf.maximum(tf.reduce_sum(known, axis=-1, keepdims=True), 1e-7)
            reference = tf.where(ignored, background, known)
            prediction = tf.where(ignored, background, prediction)
        return tf.reduce_mean(loss(reference, prediction))

    return compute


def _try_loss(compute: Callable[..., Any], loss: Any, reference: np.ndarray) -> None:
    """Compute a loss and its gradient once, so that an error comes before the training and in plain words."""
    import tensorflow as tf

    name = getattr(loss, "__name__", type(loss).__name__)
    expected = f"one finite number, or one per image or pixel, from {_LOSS_ARGUMENTS}"
    logits = tf.Variable(np.random.default_rng(0).normal(size=(*reference.shape[:-1], NUM_LABELS)), dtype=tf.float32)
    try:
        with tf.GradientTape() as tape:
            prediction = tf.nn.softmax(logits)
            result = loss(tf.convert_to_tensor(reference[..., :NUM_LABELS]), prediction)
            value = compute(reference, prediction)
        gradient = tape.gradient(value, logits)
    except Exception as error:
        raise StudyError(
            f"The loss {name} failed: {type(error).__name__}: {_first_line(error)}",
            expected=expected,
            fix="Test it in a cell with two arrays of shape (2, 32, 32, 3), then run the training again.",
        ) from error
    shape = tuple(tf.convert_to_tensor(result).shape)
    if shape != reference.shape[:-1][: len(shape)]:
        raise StudyError(
            f"The loss {name} returns an array of shape {shape}.",
            expected=expected,
            fix="Take the mean over the last axis: keras.ops.mean(..., axis=-1).",
        )
    if gradient is None or not np.isfinite(value):
        problem = (
            f"is {float(value)}" if gradient is not None else "does not depend on the prediction, or by argmax only"
        )
        raise StudyError(
            f"The loss {name} {problem}.",
            expected=expected,
            fix="Use operations with a gradient (keras.ops), and add a small number to each divisor and in each log.",
        )


def _check_callbacks(callbacks: list[Any], config: RunConfig) -> list[Any]:
    keras = load_keras()
    of_rate = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    for callback in callbacks:
        name = getattr(callback, "__name__", type(callback).__name__)
        if not isinstance(callback, keras.callbacks.Callback):
            kind = f"the class {name}, not an object of it" if isinstance(callback, type) else f"a {name}"
            raise StudyError(
                f"One of the callbacks is {kind}.",
                expected="objects of keras.callbacks.Callback",
                fix="For example: callbacks=[keras.callbacks.ReduceLROnPlateau(patience=3)].",
            )
        if isinstance(callback, of_rate) and config.learning_rate_schedule != "constant":
            raise StudyError(
                f"The callback {name} changes the learning rate, and so does learning_rate_schedule.",
                expected="one of the two",
                fix="Set learning_rate_schedule: constant, or leave out the callback.",
            )
        monitor = getattr(callback, "monitor", "loss")
        if monitor not in MONITORED:
            raise StudyError(
                f"The callback {name} monitors {monitor!r}.",
                expected=f"one of {', '.join(MONITORED)}",
                fix='For example: monitor="val_loss".',
            )
    return callbacks


def _check_layer(layer: Any):
    if callable(layer) and not isinstance(layer, type):
        return layer
    name = f"the class {layer.__name__}, not an object of it" if isinstance(layer, type) else repr(layer)
    raise StudyError(
        f"The augmentation is {name}.",
        expected="a Keras layer, a function of images float32 (B, H, W, 3), 0-255, or a list of them",
        fix="For example: augmentation=keras.layers.RandomSharpness(0.5).",
    )


def _try_layers(layers: Sequence[Any], reference: np.ndarray) -> None:
    """Augment a batch once, so that an error comes before the training and in plain words."""
    import tensorflow as tf

    images = tf.constant(255 * reference[..., :NUM_LABELS])
    shares = tf.constant(reference)
    for layer in layers:
        name = getattr(layer, "__name__", type(layer).__name__)
        expected = f"images of the same shape, {tuple(images.shape)}, float, 0 to 255"
        try:
            changed, changed_shares = apply_layers([layer], images, shares)
        except Exception as error:
            raise StudyError(
                f"The augmentation {name} failed: {type(error).__name__}: {_first_line(error)}",
                expected=expected,
                fix="Test it in a cell with an array of shape (2, 32, 32, 3), then run the training again.",
            ) from error
        wrong = next(
            (each.shape for each, like in ((changed, images), (changed_shares, shares)) if each.shape != like.shape),
            None,
        )
        if wrong is not None or not np.isfinite(changed).all():
            problem = "values that are not finite" if wrong is None else f"an array of shape {tuple(wrong)}"
            raise StudyError(
                f"The augmentation {name} returns {problem}.",
                expected=expected,
                fix="Crop and resize in one layer, and keep colours between 0 and 255.",
            )


def _transforms_masks(layer: Any) -> bool:
    keras = load_keras()
    # Keras does not export the base class of its image layers.
    base = next(each for each in keras.layers.RandomFlip.__mro__ if each.__name__ == "BaseImagePreprocessingLayer")
    if isinstance(layer, keras.layers.Pipeline):
        return all(_transforms_masks(each) for each in layer.layers)
    return isinstance(layer, base)


def _takes_training(layer: Any) -> bool:
    return "training" in inspect.signature(getattr(layer, "call", layer)).parameters


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no detail"])[0][:300]


def _is_state(name: str, value: Any) -> bool:
    if name in ("model", "_model", "params", _DESCRIPTION):
        return False
    if isinstance(value, (list, tuple)):
        return all(_is_state("", each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def _to_json(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_to_json(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value
