import numpy as np
import pytest

from wbcstudy.errors import StudyError
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.losses import build_loss
from wbcstudy.registry import LOSSES

# Two images of one row of two pixels: labels and the probabilities given to them.
MASK = np.array([[[0, 1]], [[2, 2]]], np.uint8)
PROBABILITIES = np.array(
    [[[[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]]], [[[0.0, 0.2, 0.8], [0.6, 0.3, 0.1]]]],
    np.float32,
)


def by_hand(name):
    log = np.log
    if name == "cross_entropy":
        return -(log(0.7) + log(0.5) + log(0.8) + log(0.1)) / 4
    if name == "dice":
        # Sums over the four pixels, per label: overlap, reference, prediction.
        background = (2 * 0.7 + 1) / (1 + 1.55 + 1)
        cytoplasm = (2 * 0.5 + 1) / (1 + 1.2 + 1)
        nucleus = (2 * 0.9 + 1) / (2 + 1.25 + 1)
        return 1 - (background + cytoplasm + nucleus) / 3
    pixels = [
        log(0.7) + log(0.8) + log(0.9),
        log(0.75) + log(0.5) + log(0.75),
        log(1.0) + log(0.8) + log(0.8),
        log(0.4) + log(0.7) + log(0.1),
    ]
    return -sum(pixels) / 12


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_agrees_with_a_manual_computation(name):
    assert float(build_loss(name)(MASK, PROBABILITIES)) == pytest.approx(by_hand(name), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_has_no_loss(name):
    loss = build_loss(name)
    right, wrong = np.eye(3, dtype=np.float32)[MASK], np.eye(3, dtype=np.float32)[(MASK + 1) % 3]
    assert float(loss(MASK, right)) == pytest.approx(0, abs=1e-5)
    assert float(loss(MASK, wrong)) > 0.5


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_finite_where_probabilities_are_0_and_1(name):
    import tensorflow as tf

    load_keras()
    for shift in (0, 1):
        probabilities = tf.constant(np.eye(3, dtype=np.float32)[(MASK + shift) % 3])
        with tf.GradientTape() as tape:
            tape.watch(probabilities)
            value = build_loss(name)(MASK, probabilities)
        assert np.isfinite(float(value))
        assert np.isfinite(tape.gradient(value, probabilities).numpy()).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_mask_and_its_shares_have_the_same_loss(name):
    loss = build_loss(name)
    assert float(loss(np.eye(3, dtype=np.float32)[MASK], PROBABILITIES)) == float(loss(MASK, PROBABILITIES))


def test_cross_entropy_is_lowest_where_probabilities_equal_the_shares():
    loss = build_loss("cross_entropy")
    shares = np.array([[[[0.5, 0.3, 0.2]]]], np.float32)
    best = float(loss(shares, shares))
    assert best == pytest.approx(-sum(p * np.log(p) for p in (0.5, 0.3, 0.2)), rel=1e-5)
    for other in ([0.6, 0.2, 0.2], [1 / 3, 1 / 3, 1 / 3], [0.98, 0.01, 0.01]):
        assert float(loss(shares, np.array([[[other]]], np.float32))) > best


def test_an_absent_label_has_no_dice_loss():
    mask = np.zeros((1, 2, 2), np.uint8)
    assert float(build_loss("dice")(mask, np.eye(3, dtype=np.float32)[mask])) == pytest.approx(0, abs=1e-6)


def test_dice_sums_over_the_batch_and_cross_entropies_average():
    for name, averages in (("cross_entropy", True), ("binary_cross_entropy", True), ("dice", False)):
        loss = build_loss(name)
        parts = [float(loss(MASK[i : i + 1], PROBABILITIES[i : i + 1])) for i in range(2)]
        same = np.mean(parts) == pytest.approx(float(loss(MASK, PROBABILITIES)), rel=1e-5)
        assert same == averages, name


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_masks_of_any_number_type_and_half_precision_give_a_float32_loss(name, dtype):
    import tensorflow as tf

    value = build_loss(name)(MASK.astype(dtype), tf.cast(PROBABILITIES, tf.bfloat16))
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(by_hand(name), rel=0.02)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_restored_from_its_config(name):
    keras = load_keras()
    again = keras.losses.deserialize(keras.losses.serialize(build_loss(name)))
    assert type(again) is type(build_loss(name))
    assert float(again(MASK, PROBABILITIES)) == float(build_loss(name)(MASK, PROBABILITIES))


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(StudyError, match="Did you mean 'dice'"):
        build_loss("dise")
