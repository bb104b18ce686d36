"""The cost of a step, measured on random images."""

from wbcstudy.config import RunConfig
from wbcstudy.nets import timed_step
from wbcstudy.nets.backend import set_seed
from wbcstudy.nets.timed_step import time_step


def test_a_frozen_encoder_with_missing_weights_is_timed_with_random_ones(monkeypatch):
    # Else the processes that later tests start would compute with other kernels than this one.
    monkeypatch.setattr(timed_step, "start_training", set_seed)
    config = RunConfig(study="s", encoder="mobilenet", loss="dice", image_size=32, batch_size=2, precision="float32")
    config = config.model_copy(update={"encoder_weights": "nothere.h5", "freeze_encoder": True})
    costs = time_step(config)
    assert 0 < costs["step_seconds"] < costs["start_seconds"] and costs["image_seconds"] > 0
    assert costs["parameters"] > 8_000_000 and costs["peak_memory_mb"] > 200 and costs["arithmetic"] == "float32"
