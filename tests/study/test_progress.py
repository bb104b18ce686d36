"""The lines that follow a grid."""

import subprocess
import sys

import pytest

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record
from wbcstudy.study.progress import Progress, error_line, last_epoch, read_dice

HISTORY = "epoch,loss,val_loss,seconds\n1,0.5,0.6,30\n2,0.4,0.5,30\n"
COUNTS = {"tp": 1, "fp": 0, "fn": 0, "tn": 1}
SCORES = {"nucleus": {"dice": 0.9} | COUNTS, "cytoplasm": {"dice": 0.8} | COUNTS}


@pytest.fixture
def start(tmp_path):
    """A function that starts to follow a network and an earlier method; the list gets the lines that are shown."""
    study, lines = StudyFolder(tmp_path / "s"), []
    study.logs.mkdir(parents=True)
    network, method = RunConfig(study="s", encoder="unet", loss="dice", epochs=4), BaselineConfig(study="s")
    work = {network.name: (study.run(network.name), network), method.name: (study.baseline(method.name), method)}
    for folder, _ in work.values():
        folder.path.mkdir(parents=True)

    def follow(verbose=True):
        progress = Progress(study.logs, work, lines.append, verbose=verbose)
        return progress, study, [folder for folder, _ in work.values()], lines

    return follow


def ended() -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child


def test_epochs_steps_and_results_are_shown_once(start):
    progress, study, (network, method), lines = start()
    for name in ("dataset", network.path.name, method.path.name):
        (study.logs / f"{name}.log").touch()
    network.history.write_text(HISTORY)
    progress.follow(ended())
    assert lines[0].startswith("Checking the images")
    assert "[1/2] U-Net, Dice loss: starting ..." in lines
    epoch = "[1/2] U-Net, Dice loss: epoch 2 of at most 4, loss 0.4000, validation loss 0.5000, about 1 min 00 s left"
    assert epoch in lines
    shown = len(lines)
    write_record(network, {"status": "complete", "epochs": 2, "fit_seconds": 60, "scores": SCORES})
    write_record(method, {"status": "failed", "error": "No images.\nExpected: some"})
    progress.follow(ended())
    assert [line.split(": ", 1)[1] for line in lines[shown:]] == [
        "done after 2 epochs (1 min 00 s), test Dice nucleus 0.900, cytoplasm 0.800",
        "FAILED: No images.",
    ]


def test_a_log_gets_a_line_per_run_and_one_estimate(start):
    progress, study, (network, _), lines = start(verbose=False)
    (study.logs / f"{network.path.name}.log").touch()
    network.history.write_text(HISTORY)
    progress.follow(ended())
    assert lines == [
        "[1/2] U-Net, Dice loss: epoch 2; study: more than 1 min 00 s left, without earlier methods (not measured yet)"
    ]
    network.history.write_text(HISTORY + "3,0.3,0.4,30\n")
    progress.follow(ended())
    assert len(lines) == 1
    write_record(network, {"status": "complete", "epochs": 3, "fit_seconds": 90, "scores": SCORES})
    progress.follow(ended())
    assert lines[1:] == [
        "[1/2] U-Net, Dice loss: done after 3 epochs (1 min 30 s), test Dice nucleus 0.900, cytoplasm 0.800"
    ]


def test_the_pace_of_runs_that_are_finished_is_used_for_those_that_wait(start, tmp_path):
    study = StudyFolder(tmp_path / "two")
    runs = [RunConfig(study="two", encoder="unet", loss="dice", epochs=4, seed=seed) for seed in (0, 1)]
    work = {run.name: (study.run(run.name), run) for run in runs}
    done = work[runs[0].name][0]
    done.path.mkdir(parents=True)
    done.history.write_text(HISTORY)
    write_record(done, {"status": "complete", "epochs": 4, "fit_seconds": 120, "wall_seconds": 130, "scores": SCORES})
    assert Progress(study.logs, work, print).time_left().describe() == "about 2 min 10 s left"


def test_a_resumed_run_shows_its_new_epochs_only(start):
    _, study, (network, _), _ = start()
    network.history.write_text(HISTORY)
    progress, *_, lines = start()
    (study.logs / f"{network.path.name}.log").touch()
    network.history.write_text(HISTORY + "3,0.3,0.4,30\n4,0.2")
    progress.follow(ended())
    assert "resuming at epoch 3" in lines[0]
    # The last row is not complete yet.
    assert len(lines) == 2 and "epoch 3 of at most 4" in lines[1]


def test_the_last_epoch_of_a_history(tmp_path):
    assert last_epoch(tmp_path / "none.csv") is None
    (tmp_path / "history.csv").write_text(HISTORY + "3,0.3")
    assert last_epoch(tmp_path / "history.csv")["epoch"] == "2"
    (tmp_path / "history.csv").write_bytes(b"\xff\xfe\x00")
    assert last_epoch(tmp_path / "history.csv") is None


def test_records_without_scores_or_reason():
    assert read_dice({"scores": {"raw": SCORES, "cleaned": {}}}) == {"nucleus": 0.9, "cytoplasm": 0.8}
    assert read_dice({"scores": {"nucleus": {"dice": None}}}) == read_dice({}) == {}
    assert error_line({"error": ""}) == "no reason recorded"
