"""The moving average of the weights: its formula, what it covers, and exact swaps. `test_training.py` resumes it."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.unet import build_unet
from wbcstudy.nets.weight_average import WeightAverage


def build(cells, **settings):
    """A compiled network and a function that trains it for one step."""
    model = build_unet(RunConfig(**{"encoder": "unet", "image_size": 32} | settings))
    model.compile("adam", build_loss("dice"))
    model.optimizer.build(model.trainable_variables)
    data = cells(4)

    def step(average):
        model.fit(data.images, data.masks, batch_size=4, verbose=0, callbacks=average.callbacks)

    return model, step


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_is_the_formula_for_weights_and_for_the_statistics_of_batch_norm(cells, narrow_unet, decay, precision):
    model, step = build(cells, precision=precision)
    average = WeightAverage(model, decay)
    expected = [weight.astype(float) for weight in model.get_weights()]
    for t in range(1, 9):
        step(average)
        d = min(decay, (1 + t) / (10 + t))
        expected = [d * old + (1 - d) * weight for old, weight in zip(expected, model.get_weights(), strict=True)]
    assert [tuple(v.shape) for v in average.variables] == [tuple(w.shape) for w in model.weights]
    assert {variable.dtype for variable in average.variables} == {"float32"}
    for variable, value in zip(average.variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4, atol=1e-6)


def test_the_network_gets_its_own_weights_back_to_the_last_bit(cells, narrow_unet):
    model, step = build(cells)
    average = WeightAverage(model, 0.9)
    step(average)
    before = model.get_weights()
    with pytest.raises(KeyboardInterrupt), average.in_model():
        for variable, weight in zip(average.variables, model.weights, strict=True):
            np.testing.assert_array_equal(variable.numpy(), weight.numpy())
        assert not all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
        raise KeyboardInterrupt
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_frozen_encoder_is_left_out(cells, tmp_path):
    settings = {"encoder": "mobilenet", "image_size": 32}
    source = build_unet(RunConfig(**settings))
    free = len(WeightAverage(build(cells, **settings)[0], 0.9).variables)
    assert free == len(source.weights)
    for layer in source.layers[: len(source.layers) // 2]:
        layer.trainable = False
    source.compile("adam", build_loss("dice"))
    frozen = {id(weight) for layer in source.layers if not layer.trainable for weight in layer.weights}
    average = WeightAverage(source, 0.9)
    assert frozen and len(average.variables) == free - len(frozen)
    with average.in_model():
        pass


def test_without_a_decay_there_is_no_average(cells, narrow_unet):
    model, step = build(cells)
    average = WeightAverage(model, 0)
    assert (average.variables, average.callbacks) == ([], [])
    step(average)
    before = model.get_weights()
    with average.in_model():
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
