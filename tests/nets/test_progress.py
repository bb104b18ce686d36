"""What a training shows: lines in scripts, one output that is replaced in notebooks."""

import math
import re
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.nets import progress
from wbcstudy.nets.progress import Display, describe_epoch, draw_curves

CONFIG = RunConfig(epochs=10)


def make_row(epoch, loss=0.5, dice=0.8):
    scores = {"loss": loss, "val_loss": 2 * loss, "val_dice_nucleus": dice, "val_dice_cytoplasm": 0.5}
    return {"epoch": epoch, **scores, "seconds": 30.0}


@pytest.fixture
def shown(monkeypatch):
    """The successive contents of the one output of a notebook's cell."""
    contents = []
    monkeypatch.setattr(progress, "has_live_page", lambda: True)

    def show(data, raw, display_id=True):
        contents.append(data)
        return SimpleNamespace(update=lambda data, raw: contents.append(data))

    monkeypatch.setattr("IPython.display.display", show)
    return contents


def test_a_notebook_shows_one_output_whose_last_state_is_the_whole_training(shown):
    display, rows = Display(CONFIG, steps=4), []
    display.begin(rows)
    for epoch in (1, 2):
        rows.append(make_row(epoch))
        display.epoch(rows)
    assert "Epoch 3 of at most 10" in shown[-1]["text/html"] and "30 s per epoch" in shown[-1]["text/html"]
    display.end(2, "stopped early")
    last = shown[-1]
    assert "2 epochs</b>: stopped early; the weights of epoch 2 are kept" in last["text/html"]
    assert last["text/html"].count("<svg") == 2 and "width: 100.0%" in last["text/html"]
    assert last["text/plain"].splitlines()[:2] == [describe_epoch(rows[:1], CONFIG), describe_epoch(rows, CONFIG)]
    assert "\r" not in last["text/html"] + last["text/plain"] and "<script" not in last["text/html"]
    ET.fromstring(last["text/html"])


def test_the_time_per_epoch_is_shown_within_the_first_epoch(shown, monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    display = Display(CONFIG, steps=20)
    display.begin([])
    (callback,) = display.of_steps(1)
    for step in range(3):
        callback.on_train_batch_end(step, logs={})
    assert re.search(r"step 3 of 20, about .* per epoch, about .* left", shown[-1]["text/plain"])


def test_a_script_prints_the_time_of_long_epochs_once(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    lines = []
    display = Display(CONFIG, 20, lines.append)
    display.begin([])
    for callback in display.of_steps(1):
        for step in range(3):
            callback.on_train_batch_end(step, logs={})
    assert len(lines) == 1 and lines[0].startswith("about ") and "per epoch, about" in lines[0]
    assert display.of_steps(2) == []


def test_pytest_is_no_page(capsys):
    display = Display(CONFIG, 4)
    display.line("resuming")
    display.begin([])
    assert capsys.readouterr().out == "resuming\n"


@pytest.mark.parametrize(
    "rows",
    [
        [make_row(1)],
        [make_row(1, loss=1e-4), make_row(2, loss=3.0)],
        [make_row(1, loss=0.0), make_row(2, loss=0.0)],
        [make_row(1, loss=-0.5, dice=math.nan), make_row(2, loss=0.5, dice=math.nan)],
    ],
    ids=["one epoch", "wide range", "zero", "negative, no Dice"],
)
def test_curves_stay_within_their_plot(rows):
    losses, dice = draw_curves(rows).split("</svg>")[:2]
    for plot in (losses, dice):
        svg = ET.fromstring(plot + "</svg>")
        assert svg.get("aria-label")
        for line in svg.iter("polyline"):
            for point in line.get("points").split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= 330 and 0 <= y <= 170
