import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.helpers.arrays_in_memory import shares_of
from wbcstudy.config import RunConfig
from wbcstudy.nets.augment import augment, make_augmentation

SIZE = 32


def config_of(**fields):
    return RunConfig(image_size=SIZE, **fields)


def carry_out(images, masks, config, epoch=1):
    """Return augmented images and shares of the labels, (N, S, S, 3)."""
    plan = make_augmentation(len(images), config, epoch, images.shape[1:3])
    moved, shares = augment(images, shares_of(masks), config.image_size, plan.transforms, plan.brightness)
    return moved.numpy(), shares.numpy()


def random_batch(count, seed=0):
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return images, draw.integers(0, 3, (count, SIZE, SIZE), dtype=np.uint8)


@settings(max_examples=30, deadline=None)
@given(
    rotation=st.floats(0, 180),
    zoom=st.floats(0, 0.9),
    brightness=st.floats(0, 0.9),
    seed=st.integers(0, 2**32 - 1),
    labels=st.sampled_from([(0,), (0, 2), (1, 2), (0, 1, 2)]),
)
def test_shares_sum_to_1_and_images_stay_in_range(rotation, zoom, brightness, seed, labels):
    images, masks = random_batch(3, seed)
    masks = np.array(labels, np.uint8)[masks % len(labels)]
    config = config_of(rotation_degrees=rotation, zoom=zoom, brightness=brightness, seed=seed)
    moved, shares = carry_out(images, masks, config)
    assert moved.dtype == shares.dtype == np.float32
    assert moved.shape == shares.shape == images.shape
    assert np.isfinite(moved).all()
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)
    absent = [label for label in range(3) if label not in labels]
    assert shares[..., absent].max(initial=0) < 1e-5


def test_flips_alone_are_exact():
    images, masks = random_batch(40)
    moved, shares = carry_out(images, masks, config_of(rotation_degrees=0, zoom=0, brightness=0))
    flips = {"none": (1, 1), "vertical": (-1, 1), "horizontal": (1, -1), "both": (-1, -1)}
    seen = set()
    for image, mask, new, new_shares in zip(images, masks, moved, shares, strict=True):
        fitting = [name for name, (y, x) in flips.items() if np.array_equal(new, image[::y, ::x])]
        assert len(fitting) == 1
        y, x = flips[fitting[0]]
        np.testing.assert_array_equal(new_shares, np.eye(3)[mask[::y, ::x]])
        seen.add(fitting[0])
    assert seen == set(flips)


def test_agrees_with_scipy_on_image_and_mask():
    images, masks = random_batch(6)
    images = ndimage.gaussian_filter(images.astype(np.float32), (0, 2, 2, 0))
    config = config_of(rotation_degrees=180, zoom=0.3, brightness=0.2)
    plan = make_augmentation(6, config, epoch=4)
    moved, shares = carry_out(images, masks, config, epoch=4)
    for i in range(6):
        a, b, x0, c, d, y0 = plan.transforms[i, :6].astype(float)
        # SciPy's axes are (y, x).
        where = {"matrix": [[d, c], [b, a]], "offset": [y0, x0], "mode": "reflect"}
        for channel in range(3):
            expected = ndimage.affine_transform(images[i, ..., channel], order=1, **where)
            expected = np.clip(expected + plan.brightness[i], 0, 255)
            np.testing.assert_allclose(moved[i, ..., channel], expected, atol=0.02)
        for label in range(3):
            expected = ndimage.affine_transform((masks[i] == label).astype(np.float32), order=1, **where)
            np.testing.assert_allclose(shares[i, ..., label], expected, atol=1e-3)


def test_image_and_mask_move_together():
    y, x = np.mgrid[:SIZE, :SIZE]
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[np.hypot(y - 12, x - 18) < 10] = 1
    mask[np.hypot(y - 10, x - 20) < 5] = 2
    masks = np.repeat(mask[None], 16, axis=0)
    images = 255 * np.eye(3, dtype=np.uint8)[masks]
    moved, shares = carry_out(images, masks, config_of(zoom=0.2, brightness=0))
    np.testing.assert_allclose(moved / 255, shares, atol=1e-4)
    assert (shares.argmax(axis=-1) != masks).any(axis=(1, 2)).all()


@pytest.mark.parametrize("shape", [(64, 64), (48, 96), (27, 30)])
def test_images_of_any_size_are_resized_in_the_same_step(shape):
    y, x = (np.mgrid[: shape[0], : shape[1]] + 0.5) / np.array(shape)[:, None, None]
    mask = np.where(np.hypot(y - 0.45, x - 0.6) < 0.2, 2, 0).astype(np.uint8)
    images = np.repeat(255 * np.eye(3, dtype=np.uint8)[mask][None], 20, axis=0)
    config = config_of(zoom=0.1, brightness=0)
    moved, shares = carry_out(images, np.repeat(mask[None], 20, axis=0), config)
    assert moved.shape == shares.shape == (20, SIZE, SIZE, 3)
    np.testing.assert_allclose(moved / 255, shares, atol=1e-4)
    # The disc keeps its share of the image, up to the zoom.
    a, b, _, c, d = make_augmentation(20, config, epoch=1).transforms[:, :5].T.astype(float)
    area = shares[..., 2].mean(axis=(1, 2)) * np.abs(a * d - b * c)
    np.testing.assert_allclose(area, np.pi * 0.2**2, rtol=0.04)


def test_a_wide_image_is_rotated_as_stored():
    # A disc in an image of 2:1 stays a disc at any angle, which is an upright ellipse at the network's input.
    y, x = np.mgrid[:64, :128]
    mask = np.where(np.hypot(y - 31.5, x - 63.5) < 20, 2, 0).astype(np.uint8)
    count, config = 20, config_of(zoom=0, brightness=0)
    plan = make_augmentation(count, config, 1, mask.shape, aspects=np.full(count, 0.5))
    stack = np.repeat(mask[None], count, axis=0)
    _, shares = augment(np.zeros((*stack.shape, 3), np.uint8), shares_of(stack), SIZE, plan.transforms, plan.brightness)
    # Without the parts of the image that were continued by reflection.
    nucleus = shares.numpy()[:, 4:28, 8:24, 2]
    rows, columns = nucleus.max(axis=2).sum(axis=1), nucleus.max(axis=1).sum(axis=1)
    np.testing.assert_allclose(rows, 20, atol=1)
    np.testing.assert_allclose(columns, 10, atol=1)


def test_brightness_adds_one_number_to_the_image():
    images, masks = random_batch(8)
    images = images // 2 + 64
    quiet = config_of(rotation_degrees=0, zoom=0, brightness=0)
    loud = config_of(rotation_degrees=0, zoom=0, brightness=0.2)
    before, shares_before = carry_out(images, masks, quiet)
    after, shares_after = carry_out(images, masks, loud)
    np.testing.assert_array_equal(shares_after, shares_before)
    change = (after - before).reshape(8, -1)
    np.testing.assert_allclose(change.min(axis=1), change.max(axis=1), atol=1e-3)
    assert 0 < np.abs(change).max() <= 0.2 * 255


@pytest.mark.parametrize(("field", "limit"), [("zoom", 0.25), ("rotation_degrees", 30.0), ("brightness", 0.1)])
def test_draws_are_within_their_limits_and_reach_them(field, limit):
    config = config_of(**({"zoom": 0, "rotation_degrees": 0, "brightness": 0} | {field: limit}))
    plan = make_augmentation(2000, config, epoch=1)
    a, b, _, c, d = plan.transforms[:, :5].T.astype(float)
    drawn = {
        "zoom": np.sqrt(np.abs(a * d - b * c)) - 1,
        "rotation_degrees": np.rad2deg(np.arcsin(b)),
        "brightness": plan.brightness / 255,
    }
    for name, values in drawn.items():
        largest = limit if name == field else 0
        np.testing.assert_allclose([values.min(), values.max()], [-largest, largest], atol=0.02 * limit + 1e-6)


def test_is_a_function_of_seed_and_epoch():
    def plan(seed, epoch):
        return make_augmentation(5, config_of(seed=seed), epoch).transforms

    np.testing.assert_array_equal(plan(3, 7), plan(3, 7))
    assert not np.array_equal(plan(3, 7), plan(3, 8))
    assert not np.array_equal(plan(3, 7), plan(4, 7))


def test_no_image_can_be_augmented():
    assert make_augmentation(0, config_of(), 1).transforms.shape == (0, 8)


def turned(count=50, **fields):
    """Plans and images after the change of colour alone."""
    quiet = {"rotation_degrees": 0, "zoom": 0, "brightness": 0}
    images = np.random.default_rng(0).integers(90, 160, (count, SIZE, SIZE, 3), dtype=np.uint8)
    plan = make_augmentation(count, config_of(**(quiet | fields)), epoch=1)
    shares = np.zeros((count, SIZE, SIZE, 2), np.uint8)
    still = augment(images, shares, SIZE, plan.transforms, plan.brightness)[0].numpy()
    return plan, still, augment(images, shares, SIZE, *plan.values)[0].numpy()


def test_the_other_draws_do_not_depend_on_the_colours():
    plain, changed = (make_augmentation(5, config_of(colour_augmentation=c), 3) for c in (0, 0.3))
    assert plain.colours is None and len(plain.values) == 2 and len(changed.values) == 3
    np.testing.assert_array_equal(plain.transforms, changed.transforms)
    np.testing.assert_array_equal(plain.brightness, changed.brightness)


def test_a_change_of_colour_keeps_greys_luma_and_limits():
    plan, before, after = turned(colour_augmentation=0.25)
    np.testing.assert_allclose(plan.colours.sum(axis=2), 1, atol=1e-5)
    luma = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(after @ luma, before @ luma, atol=0.1)
    assert np.abs(after - before).max() > 5
    yiq = np.array([luma, [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]])
    plane = (yiq @ plan.colours @ np.linalg.inv(yiq))[:, 1:, 1:]
    saturation, hue = np.sqrt(np.linalg.det(plane)), np.rad2deg(np.arctan2(plane[:, 1, 0], plane[:, 0, 0]))
    assert 1.15 < saturation.max() <= 1.2501 and 0.7499 <= saturation.min() < 0.85
    assert 35 < np.abs(hue).max() <= 45.01
