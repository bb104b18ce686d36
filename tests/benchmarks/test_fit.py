"""`benchmarks/fit.py`: the settings of PyTorch's network in ours."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.data.arrays import Arrays
from wbcstudy.nets import training
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.unet import build_unet


@pytest.fixture
def fit(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    yield __import__("fit")
    for name in ("fit", "machine"):
        sys.modules.pop(name, None)


def test_images_are_normalised_by_the_same_numbers(fit):
    # torch_side.py runs in another Python, and cannot import them.
    text = Path(fit.__file__).with_name("torch_side.py").read_text(encoding="utf-8")
    assert f"MEAN, STD = {fit.MEAN}, {fit.STD}\n" in text


def test_ours_gets_the_settings_of_pytorch(fit, monkeypatch):
    monkeypatch.setattr(training, "fast_adam", training.fast_adam)
    model = build_unet(RunConfig(encoder="resnet18", image_size=32, precision="float32"))
    shares = np.uint8([[[[200, 55], [20, 130]], [[100, 20], [0, 255]]]])
    part = Arrays(("a",), (None,), np.zeros((1, 2, 2, 3), np.uint8), shares, None, np.ones(1))
    fit.make_like_pytorch(model, part)
    # One label each: cytoplasm, nucleus, background, nucleus.
    np.testing.assert_array_equal(part.shares, np.uint8([[[[255, 0], [0, 255]], [[0, 0], [0, 255]]]]))
    norms = [layer for layer in model.layers if isinstance(layer, load_keras().layers.BatchNormalization)]
    np.testing.assert_allclose([layer.epsilon for layer in norms], 1e-5, rtol=2e-3)
    (images,) = [layer for layer in norms if not layer.trainable]
    normalised = images(np.float32([[[fit.MEAN]]]), training=True)
    np.testing.assert_allclose(normalised, 0, atol=1e-5)
    assert training.fast_adam(0.001).epsilon == 1e-8


def test_times_are_compared_with_pytorch_in_the_same_sitting(fit):
    like = "ours with PyTorch's settings"
    rows = [("ours", 1, 80), ("PyTorch", 1, 100), (like, 2, 90), ("PyTorch", 2, 120), ("ours", 3, 1)]
    frame = pd.DataFrame(rows, columns=["kind", "sitting", "fit_s"])
    frame = frame.assign(precision="bfloat16", seed=frame["sitting"], nucleus_dice=0.9, cytoplasm_dice=0.8)
    lines = [line for line in fit.compare(frame) if " takes " in line]
    assert [line.partition(" as long")[0] for line in lines] == [
        "wbcstudy in bfloat16 takes 0.80 times",
        "wbcstudy with PyTorch's settings in bfloat16 takes 0.75 times",
    ]
