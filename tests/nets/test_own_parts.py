"""A user's own loss, callbacks and augmentation in a training: checks, record, resuming."""

import numpy as np
import pandas as pd
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.batches import make_batches
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.own_parts import OwnParts, apply_layers
from wbcstudy.nets.training import train, training_facts
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder

CONFIG = RunConfig(encoder="unet", image_size=32, batch_size=4, augmented_copies=1, epochs=3, dropout=0.0)


@pytest.fixture(scope="module")
def keras():
    return load_keras()


@pytest.fixture(scope="module")
def parts(cells):
    return cells(6), cells(3, seed=1)


@pytest.fixture(autouse=True)
def narrow(narrow_unet):
    """Networks of a few thousand weights."""


def fit(parts, folder, report=lambda line: None, **own):
    model = build_unet(CONFIG)
    return train(model, *parts, CONFIG, RunFolder(folder), report, **own), model


def squared(reference, prediction):
    return ((reference - prediction) ** 2)[..., 0]


def make_parts(keras):
    class Noise(keras.layers.Layer):
        """Add noise; its generator is Keras' own."""

        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(1)

        def call(self, images):
            return images + 9 * keras.random.normal(keras.ops.shape(images), seed=self.generator)

    return {
        "loss": squared,
        "callbacks": keras.callbacks.ReduceLROnPlateau(monitor="val_loss", min_delta=10, patience=1, factor=0.5),
        "augmentation": [Noise(), keras.layers.RandomFlip()],
    }


class Interrupted(Exception):
    """Stands in for a power cut."""


def test_a_resumed_training_with_own_parts_ends_like_an_uninterrupted_one(keras, parts, tmp_path):
    whole, model = fit(parts, tmp_path / "whole", **make_parts(keras))

    def cut(line):
        if line.startswith("epoch 2/"):
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(parts, tmp_path / "cut", cut, **make_parts(keras))
    again, resumed = fit(parts, tmp_path / "cut", **make_parts(keras))
    pd.testing.assert_frame_equal(
        again.history.drop(columns="seconds"), whole.history.drop(columns="seconds"), check_exact=True
    )
    for mine, theirs in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # The callback has halved the rate after each epoch but the first, also after the interruption.
    np.testing.assert_allclose(whole.history["learning_rate"], [1e-3, 1e-3, 5e-4], rtol=1e-6)
    # The file holds no code of the user's.
    load_model(RunFolder(tmp_path / "cut").model)

    facts = training_facts(resumed, again, parts[1])
    assert facts["own_parts"]["loss"][0]["source"].startswith("def squared(")
    assert facts["own_parts"]["callbacks"][0]["name"] == "ReduceLROnPlateau"
    assert [each["name"] for each in facts["own_parts"]["augmentation"]] == ["Noise", "RandomFlip"]

    with pytest.raises(StudyError, match=r"its loss was squared, now none of your own"):
        fit(parts, tmp_path / "cut", **make_parts(keras) | {"loss": None})


def test_the_loss_is_used_and_a_loss_equal_to_that_of_the_settings_gives_the_same_training(keras, parts, tmp_path):
    plain, _ = fit(parts, tmp_path / "plain")
    same, _ = fit(parts, tmp_path / "same", loss="categorical_crossentropy")
    other, _ = fit(parts, tmp_path / "other", loss=keras.losses.Tversky(alpha=0.3, beta=0.7))
    np.testing.assert_allclose(same.history["loss"], plain.history["loss"], rtol=1e-4)
    assert not np.allclose(other.history["loss"], plain.history["loss"], rtol=0.05)
    assert other.own_parts["loss"][0]["settings"]["alpha"] == 0.3
    assert plain.own_parts == {}


def test_callbacks_see_one_training_and_can_stop_it(keras, parts, tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append("begin")

        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

        def on_epoch_end(self, epoch, logs=None):
            seen.append(sorted(logs))
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            seen.append("end")

    result, _ = fit(parts, tmp_path, callbacks=[Watch()])
    logs = ["loss", "val_dice_cytoplasm", "val_dice_nucleus", "val_loss"]
    assert seen == ["begin", 0, 1, logs, 0, 1, logs, "end"]
    assert (result.epochs, result.stopped_early) == (2, True)
    # A run whose evaluation was interrupted is not trained on.
    again, _ = fit(parts, tmp_path, callbacks=[Watch()])
    assert again.epochs == 2


def test_keras_layers_move_image_and_mask_together(keras, parts):
    layers = [keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.2, 0.2, interpolation="nearest")]
    own = OwnParts(None, (), layers, CONFIG)
    own.seed_augmentation(1)
    training, _ = parts
    (_, shares), *_ = make_batches(training.images, training.shares, CONFIG, 1)
    moved, masks = (each.numpy() for each in apply_layers(layers, shares * 255, shares))
    assert not np.allclose(masks, shares)
    np.testing.assert_allclose(moved[..., 1:], 255 * masks[..., 1:], atol=1e-3)
    np.testing.assert_allclose(masks.sum(axis=-1), 1, atol=1e-5)


def test_ignored_pixels_have_no_gradient_in_a_loss_of_ones_own(keras):
    import tensorflow as tf

    loss = OwnParts(squared, (), None, CONFIG, channels=4).loss
    shares = np.zeros((1, 32, 32, 4), np.float32)
    shares[..., 2] = 1
    shares[:, :16] = (0, 0, 0, 1)
    probabilities = tf.Variable(np.full((1, 32, 32, 3), 1 / 3, np.float32))
    with tf.GradientTape() as tape:
        value = loss(shares, probabilities)
    gradient = tape.gradient(value, probabilities).numpy()
    assert not gradient[:, :16].any() and gradient[:, 16:, :, 0].all()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"loss": "tverski"}, "The loss is 'tverski'"),
        ({"loss": 3}, "The loss is 3"),
        ({"loss": lambda reference, prediction: prediction}, r"returns an array of shape \(2, 32, 32, 3\)"),
        ({"loss": lambda reference: 0}, "failed: TypeError"),
        ({"loss": lambda reference, prediction: 1.0 + 0 * reference[..., 0]}, "does not depend on the prediction"),
        ({"callbacks": [print]}, "One of the callbacks is"),
        ({"augmentation": 3}, "The augmentation is 3"),
        ({"augmentation": lambda images: images[:, ::2]}, r"returns an array of shape \(2, 16, 32, 3\)"),
        ({"augmentation": lambda images: images / 0}, "values that are not finite"),
    ],
    ids=["name", "no loss", "shape", "arguments", "constant", "callback", "no layer", "size", "infinite"],
)
def test_an_unsuitable_part_is_an_error_before_the_training(own, message):
    given = {"loss": None, "callbacks": (), "augmentation": None} | own
    with pytest.raises(StudyError, match=message):
        OwnParts(**given, config=CONFIG)


def test_a_class_and_an_unknown_value_to_monitor_are_errors(keras):
    with pytest.raises(StudyError, match="the class Tversky, not an object"):
        OwnParts(keras.losses.Tversky, (), None, CONFIG)
    with pytest.raises(StudyError, match="monitors 'val_accuracy'"):
        OwnParts(None, keras.callbacks.ReduceLROnPlateau(monitor="val_accuracy"), None, CONFIG)
    cosine = CONFIG.model_copy(update={"learning_rate_schedule": "cosine"})
    with pytest.raises(StudyError, match="changes the learning rate, and so does learning_rate_schedule"):
        OwnParts(None, keras.callbacks.ReduceLROnPlateau(), None, cosine)
