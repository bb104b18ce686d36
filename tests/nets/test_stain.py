"""Stain normalisation compared with scikit-image and NumPy, and as a layer of a saved network."""

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from tests.helpers.arrays_in_memory import make_arrays
from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.prediction import predict_probabilities
from wbcstudy.nets.stain import (
    _METHODS,
    LAYER_NAME,
    find_target,
    normalise_training_images,
    register_stain_normalisation,
)
from wbcstudy.nets.training import train
from wbcstudy.runs.folders import RunFolder

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.27, 0.57, 0.78])


def stained(count=3, seed=0, size=24, first=HAEMATOXYLIN, second=EOSIN):
    """Images of two stains on glass, uint8."""
    draw = np.random.default_rng(seed)
    amounts = draw.uniform(0.05, 1.5, (count, size, size, 2)) * (draw.random((count, size, size, 1)) < 0.7)
    density = amounts[..., :1] * first + amounts[..., 1:] * second
    return np.clip(240 * np.exp(-density), 0, 255).astype(np.uint8)


def apply(images, target, method):
    return _METHODS[method].apply(images.astype(np.float32), target).numpy()


def macenko_by_hand(image, light=240, glass=0.15):
    """Stains (3, 2) and strengths (2,) of one image, as the usual NumPy code finds them; the bluer one comes first."""
    density = -np.log((image.reshape(-1, 3).astype(float) + 1) / light)
    kept = density[(density >= glass).all(axis=1)]
    plane = np.linalg.eigh(np.cov(kept.T))[1][:, 1:]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    angles = np.arctan2(*(kept @ plane).T[::-1])
    ends = np.percentile(angles, [1, 99])
    stains = plane @ np.array([np.cos(ends), np.sin(ends)])
    red, _, blue = stains
    stains = stains if (red - blue)[0] > (red - blue)[1] else stains[:, ::-1]
    amounts = np.linalg.lstsq(stains, density.T, rcond=None)[0]
    return stains, np.percentile(amounts, 99, axis=1), amounts


def test_reinhard_sets_mean_and_deviation_in_lab():
    training, foreign = stained(4), stained(3, 1, first=EOSIN, second=np.array([0.1, 0.3, 0.9]))
    labs = np.array([rgb2lab(image) for image in training]).reshape(4, -1, 3)
    target = find_target(training, "reinhard")
    np.testing.assert_allclose(
        target, [labs.mean(axis=1).mean(axis=0), labs.std(axis=1).mean(axis=0)], rtol=1e-3, atol=1e-2
    )
    for image, changed in zip(foreign, apply(foreign, target, "reinhard"), strict=True):
        lab = rgb2lab(image)
        expected = (lab - lab.mean((0, 1))) / lab.std((0, 1)) * target[1] + target[0]
        np.testing.assert_allclose(changed, 255 * lab2rgb(expected), atol=0.5)


def test_macenko_agrees_with_numpy():
    training, foreign = stained(3), stained(2, 5, first=EOSIN, second=np.array([0.1, 0.3, 0.9]))
    target = find_target(training, "macenko")
    expected = [macenko_by_hand(image) for image in training]
    np.testing.assert_allclose(target[:, :3], np.mean([stains.T for stains, _, _ in expected], axis=0), atol=1e-3)
    np.testing.assert_allclose(target[:, 3], np.mean([strengths for _, strengths, _ in expected], axis=0), rtol=1e-3)
    for image, changed in zip(foreign, apply(foreign, target, "macenko"), strict=True):
        _, strengths, amounts = macenko_by_hand(image)
        density = (amounts.T * target[:, 3] / strengths) @ target[:, :3]
        expected = np.clip(240 * np.exp(-density) - 1, 0, 255).reshape(image.shape)
        np.testing.assert_allclose(changed, expected, atol=0.5)


def test_macenko_keeps_the_bluer_stain_if_both_absorb_red_equally():
    # As in a smear: azure, and a stain that absorbs as much red light but more blue.
    azure, other = np.array([0.51, 0.83, 0.21]), np.array([0.54, 0.57, 0.62])
    target = find_target(stained(4, first=HAEMATOXYLIN, second=EOSIN), "macenko")
    image = stained(1, 3, first=azure, second=other)
    changed = apply(image, target, "macenko")
    density = -np.log((image[0].reshape(-1, 3) + 1.0) / 240)
    amounts = np.linalg.lstsq(np.stack([azure, other], 1), density.T, rcond=None)[0]
    much, little = amounts[0] > 3 * amounts[1].clip(0.1), amounts[1] > 3 * amounts[0].clip(0.1)
    pixels = changed[0].reshape(-1, 3)
    assert (pixels[much, 2] > pixels[much, 0]).all()  # blue stays blue
    assert (pixels[little, 2] < pixels[little, 0]).all()


@pytest.mark.parametrize("method", list(_METHODS))
def test_another_stain_becomes_more_similar_to_the_training_images(method):
    home, foreign = stained(4), stained(4, 1, first=np.array([0.5, 0.8, 0.3]), second=np.array([0.1, 0.4, 0.9]))
    target = find_target(home, method)
    changed = apply(foreign, target, method)
    before, after = (np.abs(part.mean((0, 1, 2)) - home.mean((0, 1, 2))).max() for part in (foreign, changed))
    assert after < before / 2


@pytest.mark.parametrize("method", list(_METHODS))
def test_images_without_stain_stay_finite_and_in_range(method):
    flat = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (0, 120, 255)])
    target = find_target(np.concatenate([stained(2, size=16), flat]), method)
    assert np.isfinite(target).all()
    changed = apply(flat, target, method)
    assert np.isfinite(changed).all() and changed.min() >= 0 and changed.max() <= 255
    if method == "macenko":
        np.testing.assert_array_equal(changed, flat)
        np.testing.assert_array_equal(apply(flat, find_target(flat, method), method), flat)


@pytest.mark.parametrize("method", list(_METHODS))
def test_normalisation_of_an_image_does_not_depend_on_others(method):
    images, target = stained(3), find_target(stained(2, 9), method)
    np.testing.assert_allclose(apply(images, target, method)[1:2], apply(images[1:2], target, method), atol=1e-2)


def test_training_images_are_normalised_only_if_set():
    images = stained(2)
    assert normalise_training_images(images, RunConfig()) is images
    changed = normalise_training_images(images, RunConfig(stain_normalisation="reinhard"))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    np.testing.assert_array_equal(changed, normalise_training_images(images, RunConfig(stain_normalisation="reinhard")))


def small_network(method):
    keras = load_keras()
    image = keras.Input((None, None, 3), dtype="float32")
    seen = register_stain_normalisation()(method, name=LAYER_NAME)(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1, activation="softmax")(seen))


def some_images(count, seed, tint=(1.0, 0.8, 0.9)):
    draw = np.random.default_rng(seed)
    return (draw.integers(20, 230, (count, 32, 32, 3)) * tint).astype(np.uint8)


@pytest.mark.parametrize("method", list(_METHODS))
def test_a_saved_network_normalises_its_input(method, tmp_path):
    images, foreign = some_images(6, 0), some_images(2, 1, (0.7, 1.0, 0.4))
    part = make_arrays(images, np.zeros((6, 32, 32), np.uint8))
    config = RunConfig(stain_normalisation=method, image_size=32, epochs=1, augmented_copies=1, batch_size=3)
    model = small_network(method)
    train(model, part, part, config, RunFolder(tmp_path), report=lambda line: None)
    again = load_model(tmp_path / "model.keras")
    target = find_target(images, method)
    np.testing.assert_array_equal(again.get_layer(LAYER_NAME).target.numpy(), target)
    expected = predict_probabilities(model, foreign)
    np.testing.assert_array_equal(predict_probabilities(again, foreign), expected)
    # The head alone on images that were normalised outside gives the same.
    normal = _METHODS[method].apply(foreign.astype(np.float32), target)
    np.testing.assert_allclose(model.layers[-1](normal), expected, atol=1e-4)


def test_the_layer_does_not_change_training_images():
    images = some_images(2, 0)
    layer = register_stain_normalisation()("reinhard")
    np.testing.assert_array_equal(layer(images.astype(np.float32), training=True), images)
    seen = normalise_training_images(images, RunConfig(stain_normalisation="reinhard"))
    layer.target.assign(find_target(images, "reinhard"))
    np.testing.assert_allclose(layer(images.astype(np.float32)), seen, atol=0.51)
