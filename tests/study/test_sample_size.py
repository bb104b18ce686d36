"""`wbcstudy plan`: how many images and seeds a difference needs."""

import math

import pytest
from typer.testing import CliRunner

import wbcstudy.study.sample_size
from tests.helpers.simulated_study import simulate_runs
from wbcstudy.cli import app
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.scoring.power import detectable_difference
from wbcstudy.study.sample_size import REFERENCE_SPREAD, plan_sample_size

CONFIG = StudyConfig(name="s", encoders=("mobilenet", "resnet18"), losses=("dice",), dataset="absent")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a function that writes a study with some runs, and returns its file."""
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(tmp_path / "outputs"))

    def write(config=CONFIG, **options):
        path = tmp_path / "s.yaml"
        write_yaml(config, path)
        if options:
            (tmp_path / "outputs" / "s").mkdir(parents=True)
            runs = simulate_runs(config, **options)
            monkeypatch.setattr(wbcstudy.study.sample_size, "load_runs", lambda folder, names: runs)
        return path

    return write


def test_before_the_first_run_the_reference_is_used(study):
    plan = plan_sample_size(study(), 0.01)
    assert "Dataset 2" in plan.source and plan.images is None and plan.detectable == {}
    assert (plan.methods, plan.comparisons, plan.planned) == (2, 2, False)
    for seeds, images in plan.needed.items():
        for region, number in images.items():
            options = (seeds, 2, 2)
            assert detectable_difference(REFERENCE_SPREAD[region], number, *options) <= 0.01
            assert number == 6 or detectable_difference(REFERENCE_SPREAD[region], number - 1, *options) > 0.01
    smaller = plan_sample_size(study(), 0.005)
    assert all(smaller.needed[1][region] > plan.needed[1][region] for region in REFERENCE_SPREAD)


def test_the_spread_of_finished_runs_is_used(study):
    config = CONFIG.model_copy(update={"seeds": (0, 1, 2)})
    plan = plan_sample_size(study(config, images=(2, 40), noise=0.02, seed_sd=0.001))
    assert plan.source == "6 finished runs of this study" and plan.difference == 0.01
    # One seed: noise of both methods, its upper limit by chi-square with 39 degrees of freedom; t quantiles of two
    # comparisons and a power of 80 %. The imagined image adds almost 36.
    expected = 2 * 0.02**2 * 39 / 25.7 * (2.24 + 0.84) ** 2 / 0.01**2 + 30
    assert plan.needed[1]["nucleus"] == pytest.approx(expected, rel=0.35)
    one = plan_sample_size(study(CONFIG))
    assert "between seeds 0.002, from VGG-16" not in plan.source and one.seeds == 1


def test_with_one_seed_the_spread_between_seeds_is_that_of_the_reference(study):
    plan = plan_sample_size(study(images=(2, 40), noise=0.02))
    assert plan.source.startswith("2 finished runs of this study; between seeds 0.002, from VGG-16 on Dataset 2")


def test_planned_comparisons_need_fewer_images(study):
    config = CONFIG.model_copy(update={"encoders": ("mobilenet", "resnet18", "resnet50", "unet")})
    every = plan_sample_size(study(config))
    planned = plan_sample_size(study(config.model_copy(update={"compare_with": "unet__dice"})))
    assert (every.comparisons, planned.comparisons) == (12, 6)
    assert planned.needed[1]["nucleus"] < every.needed[1]["nucleus"]


def test_the_table_is_readable_and_says_what_is_not_possible(study):
    lines = plan_sample_size(study(), 0.001).lines()
    assert max(map(len, lines)) <= 130
    (heads,) = (line for line in lines if line.startswith("seeds"))
    assert heads.split("  ")[0] == "seeds" and "test images, nucleus" in heads and "images in all" in heads
    assert any(line.startswith("-: no number of images is enough") for line in lines)
    assert any(line.startswith("1 ") and line.endswith("about these trained networks only") for line in lines)
    assert math.isclose(plan_sample_size(study(), 0.001).share, 0.2)


def test_the_command_prints_it(study):
    shown = CliRunner().invoke(app, ["plan", str(study()), "--difference", "0.02"])
    assert shown.exit_code == 0 and "To detect a difference of 0.02 in mean Dice" in shown.output


@pytest.mark.parametrize("difference", [0, -0.1, 1, 2, math.nan])
def test_an_impossible_difference_is_refused(study, difference):
    with pytest.raises(StudyError, match="between 0 and 1"):
        plan_sample_size(study(), difference)


def test_one_network_has_nothing_to_be_compared_with(study):
    with pytest.raises(StudyError, match="nothing to compare"):
        plan_sample_size(study(CONFIG.model_copy(update={"encoders": ("unet",)})))
