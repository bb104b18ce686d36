"""Choice of the runs and cases that figures show."""

import numpy as np

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures import examples
from wbcstudy.reporting.figures.examples import pick_drawn_runs, pick_examples, pick_worst
from wbcstudy.runs.results import write_predictions


def test_all_runs_are_drawn_or_of_very_many_one_of_each_pair(tmp_path, monkeypatch):
    config = StudyConfig(name="s", encoders=("unet", "resnet18"), seeds=(3, 1))
    results = make_results(tmp_path, config, cases=2, failed=["unet__dice__fold0__seed1"])
    assert len(pick_drawn_runs(results)) == 7
    monkeypatch.setattr(examples, "_MOST_PANELS", 6)
    names = ["unet__cross_entropy__fold0__seed1", "unet__dice__fold0__seed3"]
    names += ["resnet18__cross_entropy__fold0__seed1", "resnet18__dice__fold0__seed1"]
    assert [run.name for run in pick_drawn_runs(results)] == names


def test_examples_are_drawn_by_seed_from_the_best_run(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet"))
    results = make_results(tmp_path, config, failed=["unet__dice__fold0__seed0"], cases=4)
    for index, run in enumerate(results.runs):
        write_predictions(run.folder, [f"c{n}" for n in range(9)], np.full((9, 4, 4), index % 3, np.uint8))
    position = [run.name for run in results.runs].index(results.best_runs[0].name)
    other_seed = with_runs(results, config=config.model_copy(update={"split_seed": 2}))
    first = pick_examples(results)
    assert len(first) == 5 and set(first) <= {f"c{n}" for n in range(9)}
    assert all((mask == position % 3).all() for mask in first.values())
    assert list(pick_examples(with_runs(results))) == list(first) != list(pick_examples(other_seed))
    assert len(pick_examples(results, count=50)) == 9
    assert pick_examples(with_runs(results, [])) == {}


def test_the_worst_cases_come_first_with_their_scores(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet"), losses=("dice",)), cases=6)
    masks, titles = pick_worst(results, count=3)
    (run,) = results.best_runs
    means = run.scores[run.scores["region"] != "cell"].groupby("case_id")["dice"].mean().sort_values()
    assert list(masks) == list(means.index[:3])
    first = run.scores.set_index(["case_id", "region"])["dice"].loc[means.index[0]]
    assert titles[0].endswith(f"\nDice {first['nucleus']:.2f} / {first['cytoplasm']:.2f}")
    assert all(mask.shape == (32, 32) for mask in masks.values())
    assert pick_worst(with_runs(results, [])) == ({}, [])
