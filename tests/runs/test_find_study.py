"""A study is found by its path, its folder or its name."""

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError
from wbcstudy.runs.find_study import find_study_file, known_run_names, known_study_names


@pytest.fixture
def studies(places, monkeypatch):
    """Two studies with results, of which one has a file in params/, and one without results."""
    monkeypatch.chdir(places)
    (places / "params").mkdir()
    for name in ("ours", "new", "template"):
        (places / "params" / f"{name}.yaml").write_text("dataset: synthetic\n")
    for name in ("ours", "again"):
        run = places / "outputs" / name / "runs" / "unet__dice__fold0__seed0"
        run.mkdir(parents=True)
        (run / "params.yaml").touch()
        (places / "outputs" / name / f"{name}.yaml").write_text("dataset: synthetic\n")
    return places


def test_the_file_in_params_counts_before_recorded_settings(studies):
    ours, again = studies / "params" / "ours.yaml", studies / "outputs" / "again" / "again.yaml"
    for study in ("ours", "params/ours.yaml", studies / "outputs" / "ours", "outputs/ours/"):
        assert find_study_file(study).resolve() == ours
    for study in ("again", "outputs/again", again):
        assert find_study_file(study).resolve() == again


def test_files_of_the_checkout_are_found_from_any_folder(studies):
    assert find_study_file("demo") == find_study_file("params/demo.yaml") == ROOT / "params" / "demo.yaml"


def test_a_folder_of_images_with_the_name_of_a_study_does_not_hide_it(studies):
    (studies / "new").mkdir()
    assert find_study_file("new").name == "new.yaml"


@pytest.mark.parametrize(
    "study", ["", ".", "agian", "params/agian.yaml", "outputs", "images/ours", "outputs/ours/runs"]
)
def test_other_paths_are_refused_with_a_list(studies, study):
    with pytest.raises(StudyError, match=r"again, demo, .*ours") as caught:
        find_study_file(study)
    assert "agian" not in study or "Did you mean 'again'?" in str(caught.value)


def test_studies_and_runs_are_listed(studies):
    names = known_study_names()
    assert {"again", "demo", "new", "ours"} <= {*names} and "template" not in names
    assert known_run_names("ours") == ["ours/unet__dice__fold0__seed0"]
    assert len(known_run_names()) == 2
