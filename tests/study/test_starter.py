"""The command that builds the starter: drawn smears, a study of one run, calibration, one file."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.colour_run import write_colour_run
from wbcstudy.config import RunConfig
from wbcstudy.config_io import read_study
from wbcstudy.data.synthetic import varied
from wbcstudy.errors import StudyError
from wbcstudy.study import starter
from wbcstudy.study.starter import best_temperature, build_starter, soften

TINY = {"cases": 12, "epochs": 2, "encoder": "resnet18", "image_size": 32, "domains": ("rapid",)}


def test_smears_are_drawn_once_and_the_network_is_trained_packed_and_described(places, monkeypatch):
    studies, packed = [], []

    def train(params, **_):
        config = read_study(params)
        studies.append(config)
        write_colour_run(places / "outputs", config.name, dataset=config.dataset, trained=192, seed=3)
        return 0

    monkeypatch.setattr(starter, "run_study", train)
    monkeypatch.setattr(starter, "calibrate", lambda run, config: 1.5)
    monkeypatch.setattr(starter, "_describe_dice", lambda record: "nucleus 0.9")
    monkeypatch.setattr(starter, "pack_starter", lambda run, out, *facts: packed.append((run, *facts)) or out)
    lines = []
    for _ in range(2):
        path = build_starter(3, out=places / "starter.zip", show=lines.append, **TINY)
    assert path == places / "starter.zip"
    # The second call finds the smears and the finished run.
    assert len(studies) == 1 and sum("Drawing 12 smears" in line for line in lines) == 1
    (config,) = studies
    assert config.weight_average == 0.99 and config.seeds == (3,) and config.epochs == 2
    run, temperature, card = packed[0]
    assert run.is_dir() and temperature == 1.5
    assert "at 0.96 µm per px" in card and "Not for diagnosis" in card and "nucleus 0.9" in card


def test_smears_of_another_version_are_not_used(places, monkeypatch):
    monkeypatch.setattr(starter, "run_study", lambda *_, **__: 1)
    with pytest.raises(StudyError, match="did not finish"):
        build_starter(out=places / "starter.zip", show=lambda line: None, **TINY)
    original = varied.photograph
    monkeypatch.setattr(varied, "photograph", lambda *args: original(*args) // 2)
    with pytest.raises(StudyError, match="has smears that another version of wbcstudy drew") as error:
        build_starter(out=places / "starter.zip", show=lambda line: None, **TINY)
    assert str(places / "outputs") in error.value.fix and not (places / "starter.zip").exists()


def test_a_finished_network_of_other_smears_is_not_used(places, monkeypatch):
    """Someone may delete the smears and keep the study."""

    def train(params, **_):
        write_colour_run(places / "outputs", read_study(params).name, trained=192)
        return 0

    monkeypatch.setattr(starter, "run_study", train)
    monkeypatch.setattr(starter, "calibrate", lambda run, config: 1.0)
    monkeypatch.setattr(starter, "_describe_dice", lambda record: "")
    build_starter(out=places / "starter.zip", show=lambda line: None, **TINY)
    (places / "starter.zip").unlink()
    original = starter.load_run

    def load_older(folder, **options):
        run = original(folder, **options)
        return SimpleNamespace(record=run.record | {"dataset": {"fingerprint": "0" * 64}})

    monkeypatch.setattr(starter, "load_run", load_older)
    with pytest.raises(StudyError, match="was trained on smears that another version of wbcstudy drew"):
        build_starter(out=places / "starter.zip", show=lambda line: None, **TINY)
    assert not (places / "starter.zip").exists()


def test_a_training_that_did_not_finish_is_an_error(places, monkeypatch):
    monkeypatch.setattr(starter, "run_study", lambda *_, **__: 1)
    with pytest.raises(StudyError, match="did not finish"):
        build_starter(out=places / "starter.zip", show=lambda line: None, **TINY)


def test_the_temperature_is_that_of_the_mean_over_eight_positions(monkeypatch):
    """A network that sees each pixel alone predicts the same in all positions: their mean has the same temperature."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, 8, 8))
    # The predicted label of a pixel is its value.
    images = np.where(rng.random(labels.shape) < 0.7, labels, rng.integers(0, 3, labels.shape))
    overconfident = np.float32([[0.99, 0.005, 0.005], [0.005, 0.99, 0.005], [0.005, 0.005, 0.99]])
    calls = []

    def predict(model, images, batch_size):
        calls.append(images)
        return overconfident[images]

    monkeypatch.setattr(starter, "read_split", lambda path: ([SimpleNamespace(validation=())], None))
    monkeypatch.setattr(starter, "load_dataset", lambda name: None)
    monkeypatch.setattr(starter, "read_cases", lambda *_: SimpleNamespace(images=images, masks=labels))
    monkeypatch.setattr("wbcstudy.nets.model_file.load_model", lambda path: None)
    monkeypatch.setattr("wbcstudy.nets.prediction.predict_probabilities", predict)
    run = SimpleNamespace(model=None, study=SimpleNamespace(split=None))
    found = starter.calibrate(run, RunConfig(dataset="synthetic"))
    assert found == best_temperature(partial(soften, overconfident[images]), labels) > 1.5
    assert len(calls) == 8 and len({view.tobytes() for view in calls}) == 8


def test_overconfident_probabilities_get_a_temperature_above_one():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 4000)
    predicted = np.where(rng.random(4000) < 0.7, labels, rng.integers(0, 3, 4000))
    probabilities = np.full((4000, 3), 0.005)
    probabilities[np.arange(4000), predicted] = 0.99
    assert best_temperature(partial(soften, probabilities), labels) > 1.8
    # 0.8 of them are right: with this confidence, nothing has to change.
    probabilities = np.full((4000, 3), 0.1)
    probabilities[np.arange(4000), predicted] = 0.8
    assert best_temperature(partial(soften, probabilities), labels) == pytest.approx(1, abs=0.1)
