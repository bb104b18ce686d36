"""The state of a training between its epochs; `test_training.py` interrupts trainings and continues them."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets.checkpoint import Checkpoint
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.unet import build_unet
from wbcstudy.nets.weight_average import WeightAverage

CONFIG = RunConfig(encoder="unet", loss="dice", image_size=32)


@pytest.mark.parametrize(
    ("losses", "patience", "best", "ended"),
    [
        ([], 1, 0, False),
        ([1.0], 1, 1, False),
        ([3.0, 2.0, 2.5], 2, 2, False),
        ([3.0, 2.0, 2.5, 2.6], 2, 2, True),
        ([3.0, 2.0, 2.0, 2.0], 2, 2, True),  # equal is not lower
        ([3.0, 2.0, 2.5, 1.9, 2.2], 2, 4, False),
        ([1.0, 2.0], 1, 1, True),
        ([3.0, 2.0, 1.0], 1, 3, False),
    ],
)
def test_patience_counts_the_epochs_since_the_lowest_validation_loss(tmp_path, losses, patience, best, ended):
    rows = [{"epoch": epoch, "val_loss": loss} for epoch, loss in enumerate(losses, 1)]
    checkpoint = Checkpoint(tmp_path, None, None, CONFIG.model_copy(update={"patience": patience}), "", rows)
    assert (checkpoint.best_epoch, checkpoint.patience_ended) == (best, ended)


def test_a_checkpoint_holds_no_pickles(cells, tmp_path, narrow_unet):
    model = build_unet(CONFIG)
    model.compile("adam", build_loss("dice"))
    model.optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint.open(tmp_path, model, WeightAverage(model, 0.9), CONFIG, (cells(2), cells(1)), print)
    checkpoint.add({"epoch": 1, "val_loss": 1.0})
    assert {path.name for path in tmp_path.iterdir()} == {"state.npz", "best-1.npz"}
    for path in tmp_path.iterdir():
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays)


def test_a_checkpoint_keeps_the_notebooks_and_the_time_of_earlier_processes(cells, tmp_path, narrow_unet, monkeypatch):
    model = build_unet(CONFIG)
    model.compile("adam", build_loss("dice"))
    model.optimizer.build(model.trainable_variables)
    parts = (cells(2), cells(1))
    for epoch, name in enumerate(("mine.ipynb", "theirs.ipynb", "last.ipynb")):
        notebook = {"name": name, "sha256": "0", "shipped": False}
        monkeypatch.setattr("wbcstudy.nets.checkpoint.describe_notebook", lambda *_, notebook=notebook, **__: notebook)
        checkpoint = Checkpoint.open(tmp_path, model, WeightAverage(model, 0.9), CONFIG, parts, print)
        assert checkpoint.earlier_seconds == 2.5 * epoch
        checkpoint.add({"epoch": epoch + 1, "val_loss": 1.0, "seconds": 2.5})
    assert [notebook["name"] for notebook in checkpoint.notebooks] == ["mine.ipynb", "theirs.ipynb"]
