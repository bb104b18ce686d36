"""The comparison of a study's runs, in words, tables and figures, from run folders."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import COSTS, make_study
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.comparison import (
    compare_runs,
    make_comparison_figures,
    make_comparison_tables,
    write_comparison,
)
from wbcstudy.reporting.tables.costs import layout_costs, make_calibration, make_costs
from wbcstudy.reporting.tables.layout import NOTHING, layout_table1
from wbcstudy.reporting.tables.paper import make_ensemble, make_table1, pick_worst
from wbcstudy.reporting.tables.render import write_tables
from wbcstudy.reporting.text.certainty import tell_certainty
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.scoring.calibration import count_confidence, reliability
from wbcstudy.scoring.selection import pick_best

CASES = 12
# Far apart, so that the words do not depend on the draw.
BLUR = {"resnet18": 0.03, "mobilenet": 0.3, "unet": 0.3}


def study_of(folder, encoders=("mobilenet", "resnet18"), losses=("dice",), **options):
    settings = {name: options.pop(name) for name in ("seeds", "folds") if name in options}
    config = StudyConfig(name="s", encoders=encoders, losses=losses, **settings)
    return make_study(folder, config, cases=CASES, **({"blur": BLUR} | options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("runs"), ("unet", "mobilenet", "resnet18"))


class TestTheFirstScreen:
    def test_a_clear_winner_is_said_to_be_one(self, runs):
        comparison = compare_runs(runs)
        told = tell_certainty(comparison)
        assert comparison.chosen == "resnet18__dice"
        assert told.headline.startswith("Quite sure") and "all 2 others" in told.headline
        assert dict(told.regions)["nucleus"].startswith("Better than all 2 others. The smallest difference in Dice")
        assert "one seed only" in told.more[-2]
        assert told.more[-1].startswith("Each of the 12 test images counts by itself.")
        assert dict(told.verdicts)["cytoplasm"].startswith("ResNet-18 is better than both other encoders")

    def test_what_cannot_be_told_apart_is_said_with_the_lightest_of_it(self, tmp_path):
        told = tell_certainty(compare_runs(study_of(tmp_path, losses=("dice", "cross_entropy"), blur={})))
        assert "not surely the best" in told.headline and "may be as good" in told.headline
        assert dict(told.regions)["nucleus"].startswith("Not told apart from any of the 3 others.")
        assert "The lightest of these is MobileNet with" in told.more[0] and "50 % of its arithmetic" in told.more[0]

    def test_what_is_worse_in_one_region_is_not_as_good(self, tmp_path):
        alike = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), blur={})
        chosen = compare_runs(alike).chosen
        worse, third = (run for run in alike if f"{run.config.encoder}__{run.config.loss}" != chosen)
        worse.scores.loc[worse.scores["region"] == "cytoplasm", "dice"] -= 0.2
        told = tell_certainty(compare_runs(alike))
        assert "not surely the best" in told.headline and "another may be as good" in told.headline
        assert dict(told.regions)["cytoplasm"].startswith("Better than 1 of the 2 others, not told apart from 1.")
        third.scores.loc[third.scores["region"] == "nucleus", "dice"] -= 0.2
        told = tell_certainty(compare_runs(alike))
        assert told.headline.startswith("Quite sure") and "each of the 2 others is worse" in told.headline

    def test_the_smallest_difference_is_that_from_the_chosen_and_depends_on_the_other(self, tmp_path):
        pairs = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), blur={"mobilenet": 0.3})
        comparison = compare_runs(pairs)
        found = comparison.regions["cytoplasm"]
        others = [method for method in found.order if method != comparison.chosen]
        least, most = found.detectable_from(comparison.chosen, others)
        assert 0 < least < most
        told = dict(tell_certainty(comparison).regions)["cytoplasm"]
        assert told.endswith(f"well have shown is {least:.3f} to {most:.3f}, depending on which two.")

    def test_the_lightest_is_not_sought_among_some_only(self, tmp_path):
        pairs = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), blur={})
        for run in pairs:
            wins = run.config.encoder == "unet"
            counts = {"tp": 90 if wins else 80, "fp": 1, "fn": 1, "tn": 1}
            run.record["validation"] = {"nucleus": counts, "cytoplasm": counts}
            if run.config.encoder == "mobilenet":
                del run.record["multiply_adds"]
        told = tell_certainty(compare_runs(pairs))
        assert "The lightest of these is MobileNet with Dice loss, with 21 % of its time for an image." in told.more
        # On another machine an image takes another time.
        kept, pairs[0].record["device"] = pairs[0].record.get("device"), "CPU of another kind"
        apart = compare_runs(pairs)
        assert not any("lightest" in words for words in tell_certainty(apart).more)
        assert "their times cannot be compared" in " ".join(make_comparison_tables(pairs, apart)["costs"][1].notes)
        pairs[0].record["device"] = kept
        for run in pairs:
            run.record.pop("seconds_per_image")
        assert not any("lightest" in words for words in tell_certainty(compare_runs(pairs)).more)

    def test_of_two_the_other_one_is_named(self, tmp_path):
        alike = tell_certainty(compare_runs(study_of(tmp_path / "a", ("resnet18", "mobilenet"), blur={})))
        assert "these images cannot tell the two apart" in alike.headline and " with Dice loss" in alike.headline
        apart = tell_certainty(compare_runs(study_of(tmp_path / "b", ("resnet18", "mobilenet"))))
        assert apart.headline.startswith("Quite sure") and "the other one" in apart.headline

    def test_a_choice_that_the_test_images_contradict_is_made_with_care(self, runs):
        best = pick_best(runs)
        # As if validation had chosen another.
        for run in runs:
            counts = {"tp": 100 * (run.config.encoder == "unet"), "fp": 1, "fn": 1, "tn": 1}
            run.record["kept"], run.record["validation"] = (
                run.record["validation"],
                dict.fromkeys(("nucleus", "cytoplasm"), counts),
            )
        told = tell_certainty(compare_runs(runs))
        for run in runs:
            run.record["validation"] = run.record.pop("kept")
        assert best.encoder == "resnet18"
        assert told.headline == (
            "Choose with care: on the test images ResNet-18 with Dice loss was better than it by more than chance."
        )
        assert "worse than 1" in dict(told.regions)["nucleus"]
        assert not any("lightest" in words or "lighter" in words for words in told.more)

    def test_what_counts_as_independent_is_told(self, runs):
        cases = runs[0].scores["case_id"].unique()
        slides = {case: str(index // 1.3) for index, case in enumerate(cases)}
        told = tell_certainty(compare_runs(runs, slides))
        assert (
            told.more[-1]
            == f"Images of one slide or patient count as one: {len(set(slides.values()))} for 12 test images."
        )
        told = tell_certainty(compare_runs(runs, {case: case for case in cases}))
        assert told.more[-1] == "The 12 test images are of as many slides or patients."

    def test_images_of_few_slides_tell_nothing(self, runs):
        cases = runs[0].scores["case_id"].unique()
        told = tell_certainty(compare_runs(runs, {case: index % 2 for index, case in enumerate(cases)}))
        assert told.headline.startswith("Nobody can say yet: 2 groups of test images")
        assert "count as one" in told.more[0]

    def test_one_method_or_none_says_nothing(self, runs):
        for few in (runs[:1], [], [run for run in runs if not run.complete]):
            told = tell_certainty(compare_runs(few))
            assert told.headline == "" and told.regions == () and told.sentences() == ["There is nothing to compare."]

    def test_seeds_are_told_as_spread(self, tmp_path):
        told = tell_certainty(compare_runs(study_of(tmp_path, seeds=(0, 1))))
        assert told.more[-2].startswith("From seed to seed the mean Dice over all test images")


def test_tables_and_figures_are_written_and_numbered(runs, tmp_path):
    comparison, study = compare_runs(runs), StudyFolder(tmp_path / "s")
    figures = write_comparison(study, runs, comparison)
    assert list(figures) == [
        *("ranks", "differences_nucleus", "differences_cytoplasm", "calibration", "cost_quality"),
    ]
    assert {path.stem for path in study.figures.glob("*.png")} == set(figures)
    assert {path.name for path in study.tables.glob("*.csv")} == {f"table{n}.csv" for n in (4, 5, 6, 7)}
    types = pd.read_csv(study.tables / "table5.csv")
    # All methods in the file, the chosen one in the page.
    assert types["method"].nunique() == 3
    shown = make_comparison_tables(runs, comparison)["cell_types"][1]
    assert {group for group, _ in shown.rows} == {"ResNet-18 with Dice loss"}


def test_older_and_single_runs_leave_out_what_is_not_known(tmp_path):
    names = ["resnet18__dice__fold0__seed0"]
    runs = study_of(tmp_path, ("resnet18",), older=names)
    comparison = compare_runs(runs)
    assert list(make_comparison_tables(runs, comparison)) == ["cell_types", "costs"]
    assert make_comparison_figures(runs, comparison) == {}
    costs = make_costs(runs).iloc[0]
    assert costs["parameters"] == 14_340_000 and np.isnan(costs["multiply_adds"])
    # From the history, which older runs have.
    assert costs["seconds_per_epoch"] == 2.5
    texts = [cell.text for cell in layout_costs(make_costs(runs)).rows[0][1]]
    assert texts == ["ResNet-18", "14.3", NOTHING, "2.50", NOTHING, "1.23"]
    assert pick_worst(runs, pick_best(runs)) == ({}, [])
    nothing = compare_runs([])
    assert make_comparison_tables([], nothing) == {} and make_comparison_figures([], nothing) == {}


def test_costs_are_of_the_encoder_whatever_the_loss(tmp_path):
    runs = study_of(tmp_path, losses=("dice", "cross_entropy"))
    runs[0].record["seconds_per_image"] *= 3
    costs = make_costs(runs)
    assert costs["encoder"].tolist() == ["mobilenet", "resnet18"] and costs["runs"].tolist() == [2, 2]
    assert costs["multiply_adds"].tolist() == [COSTS["mobilenet"] * 1e9, COSTS["resnet18"] * 1e9]
    assert costs.loc[0, "seconds_per_image"] == pytest.approx(2 * COSTS["mobilenet"] / 300)


def test_calibration_is_that_of_the_pixels_of_all_runs_of_a_method(runs):
    table = make_calibration(runs).set_index(["method", "region"])
    assert len(table) == 9 and (table["n"] == CASES * 32 * 32).all()
    probabilities = np.full((1, 1, 3), 1 / 3)
    # The same bins as a count from scratch.
    assert len(reliability(count_confidence(probabilities, np.zeros((1, 1), int))).curve) == 15
    assert table["ece"].between(0, 1).all() and (table["largest_gap"] >= table["ece"]).all()


def test_the_worst_cases_come_worst_first_with_their_scores(runs):
    best = pick_best(runs)
    masks, titles = pick_worst(runs, best, count=3)
    (run,) = [run for run in runs if run.config.encoder == best.encoder]
    means = run.scores[run.scores["region"] != "cell"].groupby("case_id")["dice"].mean().sort_values()
    assert list(masks) == list(means.index[:3])
    first = run.scores.set_index(["case_id", "region"])["dice"].loc[means.index[0]]
    assert titles[0].endswith(f"\nDice {first['nucleus']:.2f} / {first['cytoplasm']:.2f}")
    assert all(mask.shape == (32, 32) for mask in masks.values())
    assert pick_worst(runs, None) == ({}, [])


def test_the_majority_is_a_last_row_of_table_1_and_no_encoder_of_its_file(runs, tmp_path):
    votes = runs[0].scores.assign(run="ensemble__vote__fold0__seed0", dice=1.0)
    ensemble = make_ensemble(votes, 3)
    layout = layout_table1(make_table1(runs), ensemble=ensemble)
    *others, (_, last) = layout.rows
    assert last[0].text == "Majority of all 3" and len(last) == len(layout.heads)
    assert not any(cell.best for cell in last) and any(cell.best for _, cells in others for cell in cells)
    assert any(note.startswith("Majority:") for note in layout.notes)
    two = layout_table1(make_table1(runs), ensemble=make_ensemble(votes, 2))
    assert two.rows[-1][1][0].text == "Majority of 2 of the 3" and any("have no vote" in note for note in two.notes)
    study = StudyFolder(tmp_path / "s")
    assert write_tables(study, runs, ensemble=ensemble)[-1].name == "ensemble.csv"
    assert "ensemble" not in set(pd.read_csv(study.tables / "table1.csv")["encoder"])
    assert pd.read_csv(study.tables / "ensemble.csv")["dice_mean"].tolist() == [1.0, 1.0]
    none = make_ensemble(pd.DataFrame(), 2)
    assert layout_table1(make_table1(runs), ensemble=none).rows == layout_table1(make_table1(runs)).rows
