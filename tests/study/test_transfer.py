"""One network, one other dataset: what is written, and what happens where that cannot be."""

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import write_json
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import read_predictions, read_score_file, write_record
from wbcstudy.study.other_datasets import prepare_others, score_elsewhere


@pytest.fixture
def study(places):
    for seed, name in enumerate(("home", "away")):
        write_synthetic_dataset(places / name, cases=5, seed=seed, size_px=40, slides=5, name=name, instances=False)
    study = StudyFolder(places / "outputs" / "small")
    prepare_others(study, load_dataset(places / "home"), [str(places / "away")])
    config = RunConfig(study="small", dataset=str(places / "home"), image_size=32)
    folder = study.run(config.name)
    folder.path.mkdir(parents=True)
    write_yaml(config, folder.params)
    write_record(folder, {"status": "complete"})
    return study, folder


def test_every_case_is_scored_as_the_runs_own_test_cases_are(study, places):
    from wbcstudy.nets.backend import load_keras

    keras = load_keras()
    image = keras.Input((None, None, 3), dtype="float32")
    _, run = study
    head = keras.layers.Conv2D(
        3, 1, activation="softmax", kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)
    )
    keras.Model(image, head(image)).save(run.model)
    record = score_elsewhere(run.path, "away")
    assert record["status"] == "complete" and record["dataset"]["name"] == "away"
    folder = run.transfer("away")
    scores, masks = read_score_file(folder.scores), read_predictions(folder)
    assert set(scores["case_id"]) == set(masks) == {case.case_id for case in load_dataset(places / "away").cases}
    assert set(scores["run"]) == {run.name}
    nucleus = scores[scores["region"] == "nucleus"].set_index("case_id")
    for case, mask in masks.items():
        assert mask.shape == (32, 32)
        assert np.count_nonzero(mask == 2) == nucleus.loc[case, "tp"] + nucleus.loc[case, "fp"]
    assert folder.status == "complete"
    # The network may be deleted to save space: its scores stay, until it is trained again.
    run.model.unlink()
    assert score_elsewhere(run.path, "away")["status"] == "complete"
    write_json(run.record, {"status": "complete", "written": "later"})
    assert score_elsewhere(run.path, "away")["status"] == "failed"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: None, "There is no model"),
        (lambda run: run.model.write_bytes(b"no network"), "model"),
        (lambda run: write_record(run, {"status": "failed"}), "is not complete"),
    ],
)
def test_a_network_that_cannot_be_scored_leaves_the_reason_and_not_an_error(study, spoil, words):
    _, run = study
    spoil(run)
    record = score_elsewhere(run.path, "away")
    assert record["status"] == "failed" and words in record["error"]
    assert run.transfer("away").status == "failed" and not run.transfer("away").scores.exists()


def test_too_little_memory_for_a_network_leaves_the_reason_too(study, monkeypatch):
    class ResourceExhaustedError(Exception):
        """As TensorFlow's, which is no MemoryError."""

    def fail(*_):
        raise ResourceExhaustedError("OOM when allocating tensor")

    monkeypatch.setattr("wbcstudy.study.other_datasets._score", fail)
    assert "OOM when allocating" in score_elsewhere(study[1].path, "away")["error"]


def test_a_dataset_that_the_study_does_not_name_is_refused(study):
    _, run = study
    record = score_elsewhere(run.path, "nowhere")
    assert "not among the other datasets" in record["error"]
