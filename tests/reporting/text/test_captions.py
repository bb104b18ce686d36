"""Captions are made from what the figures show."""

from tests.helpers.fake_study import AWAY, make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures import examples
from wbcstudy.reporting.figures.colours import PARETO_FRONT
from wbcstudy.reporting.figures.study_figures import write_figures
from wbcstudy.reporting.text.captions import make_captions

PAIR = StudyConfig(name="s", encoders=("unet",), losses=("dice",), seeds=(0, 1))


def test_every_figure_of_a_study_has_a_caption(tmp_path):
    config = PAIR.model_copy(update={"losses": ("cross_entropy", "dice")})
    results = make_results(tmp_path, config, cases=6)
    assert set(write_figures(results)) <= set(make_captions(results))


def test_the_caption_counts_the_drawn_runs(tmp_path, monkeypatch):
    results = make_results(tmp_path, PAIR, cases=2)
    assert make_captions(results)["learning_curves"][1].startswith("One panel per run.")
    monkeypatch.setattr(examples, "_MOST_PANELS", 1)
    assert "for its first run (1 of 2 runs)" in make_captions(results)["learning_curves"][1]


def test_the_caption_names_the_colour_of_the_front(tmp_path):
    results = make_results(tmp_path, PAIR, cases=2)
    assert f"Along the {PARETO_FRONT[1]} line" in make_captions(results)["cost_quality"][1]


def test_images_of_another_dataset_are_captioned_by_its_title(transfer_results):
    title, text = make_captions(transfer_results)["transfer_away"]
    assert AWAY.title in title and "No network was trained on them." in text
