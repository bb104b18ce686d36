"""Time, memory and disk of a study, from timed steps."""

import json

import pytest

from wbcstudy.config import StudyConfig
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.splits import make_splits
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.study import cost
from wbcstudy.study.cost import count_cases, count_images, describe, estimate, find_paces
from wbcstudy.study.plan import prepare, read_plan

COSTS = {"step_seconds": 2.0, "image_seconds": 0.5, "start_seconds": 30.0, "peak_memory_mb": 1300, "parameters": 10**7}
STUDY = StudyConfig(name="s", encoders=("unet", "vgg16"), losses=("dice",), epochs=10)
STUDY = STUDY.model_copy(update={"image_size": 128, "augmented_copies": 1, "patience": 10})


@pytest.fixture
def steps(places, monkeypatch):
    """The encoders whose steps are timed, in this order; VGG-16 fails."""
    timed = []

    def measure(config, threads):
        timed.append(config.encoder)
        return {"error": "out of memory"} if config.encoder == "vgg16" else COSTS

    monkeypatch.setattr(cost, "measure", measure)
    monkeypatch.setattr(cost, "is_busy", lambda: False)
    return timed


def test_the_table_shows_the_arithmetic(steps):
    lines = []
    shares = estimate(STUDY, STUDY.runs(), cases=100, threads=2, show=lines.append)
    assert lines == [
        "Timing a few steps of U-Net ...",
        "Timing a few steps of VGG-16 ...",
        "  This failed: out of memory",
    ]
    unet = shares[0]
    train, validation, test = count_images(100, STUDY)
    assert (unet.steps, unet.validation, unet.test) == (-(-train // 8), validation, test)
    epoch = unet.steps * 2.0 + validation * 0.5
    assert unet.epoch_seconds == epoch and unet.run_seconds == 30 + 10 * epoch + (validation + test) * 0.5
    table = describe(shares, jobs=1, threads=2)
    assert table[1].split()[:5] == ["U-Net", "1", "10", str(unet.steps), "2"]
    assert table[2].split() == ["VGG-16", "1", "10", str(unet.steps), "-", "-", "-", "-", "-"]
    text = "\n".join(table)
    assert "Time:   more than" in text and "Memory: 1.3 GB at most for 1 run" in text and "Disk:   51 MB" in text
    assert max(map(len, table)) <= 120


def test_steps_are_remembered_in_the_outputs_folder_for_equal_settings(steps, places):
    unet = STUDY.runs()[:1]
    for _ in range(2):
        assert estimate(STUDY, unet, 100, 2, show=lambda line: None)[0].costs["step_seconds"] == 2.0
    assert steps == ["unet"]
    (key,) = json.loads((places / "outputs" / "timed_steps.json").read_text())
    assert "encoder: unet, image_size: 128, batch_size: 8, precision: auto, freeze_encoder: False, threads: 2" in key
    for changed in ({"image_size": 64}, {"batch_size": 4}, {"precision": "float32"}):
        estimate(STUDY, [unet[0].model_copy(update=changed)], 100, 2, show=lambda line: None)
    estimate(STUDY, unet, 100, 1, show=lambda line: None)
    assert steps == ["unet"] * 5
    assert estimate(STUDY, [unet[0].model_copy(update={"image_size": 96})], 100, 2)[0].costs == {}, "measures nothing"


def test_steps_that_were_timed_on_a_busy_machine_are_timed_again(steps, monkeypatch):
    unet = STUDY.runs()[:1]
    monkeypatch.setattr(cost, "is_busy", lambda: True)
    for _ in range(2):
        shares = estimate(STUDY, unet, 100, 2, show=lambda line: None)
    assert steps == ["unet"] and any("too long" in line for line in describe(shares, 1, 2))
    monkeypatch.setattr(cost, "is_busy", lambda: False)
    shares = estimate(STUDY, unet, 100, 2, show=lambda line: None)
    assert steps == ["unet"] * 2 and not any("too long" in line for line in describe(shares, 1, 2))


def test_a_damaged_file_of_steps_is_replaced(steps, places):
    file = places / "outputs" / "timed_steps.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert estimate(STUDY, STUDY.runs()[:1], 100, 2, show=lambda line: None)[0].costs["step_seconds"] == 2.0
    assert json.loads(file.read_text())


@pytest.mark.parametrize(("folds", "most"), [(1, 0), (4, 0), (1, 5)])
def test_images_are_counted_as_they_are_divided(places, folds, most):
    folder = write_synthetic_dataset(places / "cells", cases=24, seed=0, size_px=32, slides=24, instances=False)
    study = STUDY.model_copy(update={"dataset": str(folder), "folds": folds, "max_training_cases": most})
    assert count_cases(study) == 24 and count_cases(STUDY.model_copy(update={"dataset": "synthetic"})) == 80
    fractions = {"test_fraction": study.test_fraction, "validation_fraction": study.validation_fraction}
    split = make_splits(load_dataset(folder).cases, folds=folds, seed=0, max_training_cases=most, **fractions)[0]
    assert count_images(24, study) == (len(split.train), len(split.validation), len(split.test))


def test_a_study_that_runs_knows_the_pace_of_timed_encoders(steps, write_study):
    plan = read_plan(write_study())
    assert find_paces(plan, threads=2) == {}
    prepare(plan)
    (unet,) = estimate(plan.study, plan.runs[:1], 15, 2, show=lambda line: None)
    assert find_paces(plan, threads=2) == {("unet", False): unet.epoch_seconds}
