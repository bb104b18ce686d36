"""Files of a run without digests, of wbcstudy 0.2, are compared with its scores."""

import json
import shutil

import pandas as pd
import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.files import write_json
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.losses import build_loss
from wbcstudy.runs.damage import VERIFY
from wbcstudy.runs.folders import RunFolder


@pytest.fixture
def folder(tmp_path):
    """A finished run without digests."""
    make_study(tmp_path, StudyConfig(name="s", encoders=("resnet18",)))
    folder = RunFolder(tmp_path / "s" / "runs" / "resnet18__dice__fold0__seed0")
    record = json.loads(folder.record.read_text())
    write_json(folder.record, {name: record[name] for name in record if name not in ("format", "sha256", "files")})
    return folder


@pytest.mark.parametrize("name", ["calibration.csv", "boundary.csv", "predictions.npz"])
def test_without_digests_a_file_of_another_run_is_noticed_by_its_sums(folder, name):
    assert folder.find_problem(VERIFY) is None
    shutil.copy(folder.path.with_name("resnet18__cross_entropy__fold0__seed0") / name, folder.path / name)
    problem = folder.find_problem(VERIFY)
    reason = "is of another run" if name == "boundary.csv" else "not agree with scores.csv"
    assert name in problem.message and reason in problem.message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": None}, "is not a table of epochs"),
        ({"val_loss": [0.5, 0.2, 0.1]}, "lowest val_loss in epoch 3, not 2"),
        ({"seconds": [2.0, 2.5, 2.5]}, "times of history.csv do not agree with fit_seconds"),
        ({"seconds": [2.0, 2.2, 3.3]}, "times of history.csv do not agree with seconds_per_epoch"),
    ],
    ids=["no epochs", "another best epoch", "other times", "another median"],
)
def test_a_history_of_another_run_is_noticed_by_its_best_epoch_and_times(folder, changes, reason):
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [0.5, 0.1, 0.2], "seconds": [2.5, 2.5, 2.5]})
    record = json.loads(folder.record.read_text())
    write_json(folder.record, record | {"epochs": 3, "best_epoch": 2, "fit_seconds": 7.5, "seconds_per_epoch": 2.5})
    history.to_csv(folder.history, index=False)
    assert folder.find_problem(()) is None
    history.assign(**changes).to_csv(folder.history, index=False)
    assert reason in folder.find_problem(()).message


def write_network(path, encoder="resnet18", loss="dice", filters=3):
    keras = load_keras()
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(filters, 1)(image), name=encoder)
    model.compile("adam", build_loss(loss))
    model.save(path)
    return model.count_params()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"encoder": "resnet34"}, "the encoder resnet34, not resnet18"),
        ({"loss": "cross_entropy"}, "the loss cross_entropy, not dice"),
        ({"filters": 4}, "has 16 parameters, not 12"),
    ],
    ids=["encoder", "loss", "parameters"],
)
def test_a_network_of_another_run_is_noticed_by_its_architecture_and_loss(folder, other, reason):
    record = json.loads(folder.record.read_text())
    write_json(folder.record, record | {"parameters": write_network(folder.model)})
    assert folder.find_problem(VERIFY) is None
    write_network(folder.model, **other)
    # Networks are read when they are used.
    assert folder.find_problem(()) is None
    assert reason in folder.find_problem(VERIFY).message


def test_a_network_that_is_no_archive_is_noticed(folder):
    write_network(folder.model)
    folder.model.write_bytes(folder.model.read_bytes()[:500])
    assert "model.keras cannot be read" in folder.find_problem(VERIFY).message
