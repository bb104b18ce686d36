"""Measure what a training of one network costs on this machine, with random images and a few steps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from wbcstudy.config import RunConfig
from wbcstudy.nets.backend import start_training
from wbcstudy.nets.batches import make_batches
from wbcstudy.nets.cost import arithmetic, peak_memory_mb
from wbcstudy.nets.fast_convolutions import fast_convolutions
from wbcstudy.nets.fast_layers import fast_adam
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.prediction import predict_probabilities
from wbcstudy.nets.unet import build_unet

_STEPS = 3


def time_step(config: RunConfig) -> dict[str, Any]:
    """Train for a few steps and predict one batch, after a first step that builds the graph.

    Args:
        config: settings of a run. Its weights are not needed: the encoder starts from random ones.

    Returns:
        step_seconds (mean of the steps, with augmentation), image_seconds (prediction of one image), start_seconds
        (start of the process until after the first step), peak_memory_mb (of this process so far, without the images
        of a dataset), parameters, arithmetic ("float32" or "bfloat16").
    """
    import psutil

    start_training(config.seed)
    config = config.model_copy(update={"encoder_weights": "none", "start_from": "none", "augmented_copies": 1})
    model = build_unet(config)
    model.compile(fast_adam(config.learning_rate), build_loss(config.loss), jit_compile=False)
    generator = np.random.default_rng(0)
    shape = (config.batch_size * _STEPS, config.image_size, config.image_size)
    images = generator.integers(0, 256, (*shape, 3), np.uint8)
    shares = generator.integers(0, 128, (*shape, 2), np.uint8)

    first = config.batch_size
    with fast_convolutions(model):
        model.fit(make_batches(images[:first], shares[:first], config, 1), shuffle=False, verbose=0)
    started = time.time() - psutil.Process().create_time()
    start = time.perf_counter()
    with fast_convolutions(model):
        model.fit(make_batches(images, shares, config, 2), shuffle=False, verbose=0)
    step_seconds = (time.perf_counter() - start) / _STEPS
    # Builds the graph, which should not be measured.
    predict_probabilities(model, images[:first], first)
    start = time.perf_counter()
    predict_probabilities(model, images[:first], first)
    return {
        "step_seconds": round(step_seconds, 4),
        "image_seconds": round((time.perf_counter() - start) / first, 5),
        "start_seconds": round(started, 1),
        "peak_memory_mb": round(peak_memory_mb()),
        "parameters": int(model.count_params()),
        "arithmetic": arithmetic(model),
    }
