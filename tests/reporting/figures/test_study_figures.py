"""All figures of a study: which are drawn."""

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures.examples import pick_worst
from wbcstudy.reporting.figures.study_figures import _make_figures, write_figures


def test_every_figure_that_shows_something_is_written(tmp_path):
    config = StudyConfig(name="s", encoders=("unet", "mobilenet", "resnet18"), losses=("dice",))
    results = make_results(tmp_path, config, cases=12, blur={"resnet18": 0.03})
    write_figures(results)
    names = {"figure2", "worst", "learning_curves", "scores", "ranks", "calibration", "cost_quality", "areas"}
    assert {path.stem for path in results.study.figures.glob("*.png")} == (
        names | {"differences_nucleus", "differences_cytoplasm"}
    )


def test_without_masks_and_comparisons_their_figures_are_left_out(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18",), losses=("dice",))
    results = make_results(tmp_path, config, cases=6, older=["resnet18__dice__fold0__seed0"])
    drawn = {stem for stem, figure in _make_figures(results).items() if figure.axes}
    assert drawn == {"learning_curves", "scores", "areas"} and pick_worst(results) == ({}, [])
    assert not any(figure.axes for figure in _make_figures(with_runs(results, [])).values())
