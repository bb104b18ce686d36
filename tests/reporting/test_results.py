"""The results of a study, from its file."""

import pytest

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import read_study, write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.reporting.results import load_results


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The file of a study with four runs, of which one failed."""
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(tmp_path / "outputs"))
    config = StudyConfig(name="flow", encoders=("resnet18", "unet"))
    results = make_results(tmp_path / "outputs", config, cases=4, failed=["unet__dice__fold0__seed0"])
    write_yaml(results.config, tmp_path / "flow.yaml")
    return tmp_path / "flow.yaml"


def test_a_study_is_loaded_by_its_file(study):
    results = load_results(study)
    assert repr(results) == "Study flow: 3 runs complete, 1 failed"
    assert set(results.pairs) == {(e, loss) for e in ("resnet18", "unet") for loss in ("cross_entropy", "dice")}
    assert results.best_runs and all(run.config.encoder == results.best.encoder for run in results.best_runs)
    assert set(results.scores["run"]) == {run.name for run in results.complete}


def test_runs_that_the_study_no_longer_has_are_left_out(study):
    write_yaml(read_study(study).model_copy(update={"encoders": ("unet",)}), study)
    assert {run.config.encoder for run in load_results(study).runs} == {"unet"}


def test_images_and_predictions_are_read_once(study):
    results = load_results(study)
    run = results.complete[0]
    predictions = results.read_predictions(run.folder)
    assert results.read_predictions(run.folder) is predictions
    (images, masks), (again, _) = results.read_cases(list(predictions)), results.read_cases(list(predictions))
    assert len(images) == len(masks) == 4 and all(a is b for a, b in zip(images, again, strict=True))


def test_times_of_two_machines_are_not_compared(study):
    results = load_results(study)
    assert results.same_machine
    other = load_results(study)
    other.complete[0].record["device"] = "another"
    assert not other.same_machine


def test_an_unknown_study_is_an_error(tmp_path):
    with pytest.raises(StudyError):
        load_results(tmp_path / "none.yaml")
