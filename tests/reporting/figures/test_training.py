"""Figures of trainings."""

import numpy as np
import pandas as pd

from tests.helpers.fake_study import fake_history
from wbcstudy.reporting.figures.training import fig_history, fig_learning_curves


def test_history_marks_the_best_epoch_and_both_regions():
    history = fake_history(np.random.default_rng(0), 12)
    figure = fig_history(history, 9, "resnet18__dice")
    left, right = figure.axes
    assert [line.get_label() for line in left.get_lines()] == ["training", "validation", "best epoch 9"]
    assert [line.get_label() for line in right.get_lines()][:2] == ["nucleus", "cytoplasm"]
    assert list(left.get_lines()[2].get_xdata()) == [9, 9]
    # A run of one epoch, an undefined loss and no Dice is a figure too.
    bare = pd.DataFrame({"epoch": [1], "loss": [0.5], "val_loss": [np.nan]})
    assert fig_history(bare, None, "x").png


def test_learning_curves_have_a_panel_per_run():
    generator = np.random.default_rng(0)
    names = [f"resnet18__{loss}__fold0__seed{seed}" for loss in ("dice", "cross_entropy") for seed in (0, 1, 10)]
    figure = fig_learning_curves({name: fake_history(generator, 5) for name in names}, {names[0]: 4})
    titles = [axis.get_title() for axis in figure.axes if axis.axison]
    assert len(titles) == 6
    assert titles[0].startswith("ResNet-18, Dice loss\nepoch 4: Dice ")
    assert titles[2].startswith("ResNet-18, Dice loss,\nseed 10\n")
    assert fig_learning_curves({}).texts
