"""The recommended network, and that everything in the report names the same one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.simulated_study import simulate_results, simulate_runs
from wbcstudy.config import StudyConfig
from wbcstudy.registry import ENCODERS, method_title
from wbcstudy.reporting.figures.study_figures import _draw_cost_quality
from wbcstudy.reporting.tables.paper import RECOMMENDED
from wbcstudy.reporting.text.answer import answer_sentences
from wbcstudy.scoring.decision import decide

TWO = StudyConfig(name="s", encoders=("mobilenet", "resnet50"), losses=("dice",))
# Further losses and encoders, cheapest first.
MANY = StudyConfig(name="s", encoders=("mobilenet", "resnet18", "resnet50"), losses=("cross_entropy", "dice"))


def recommend(config=TWO, **options):
    return decide(simulate_runs(config, **options), config.equivalence_margin)


def test_the_cheapest_equivalent_network_is_recommended():
    decision = recommend(effects={"resnet50": 0.003}, images=(30, 8))
    assert decision.best.method == "resnet50__dice" and decision.recommended.method == "mobilenet__dice"
    assert decision.equivalent == decision.cheaper == ("mobilenet__dice",)
    assert decision.images == 30 and decision.work["mobilenet__dice"] == 1e9


def test_a_network_that_is_worse_in_one_region_is_not_equivalent():
    decision = recommend(effects={"resnet50": (0.0, 0.02)}, images=(60, 8))
    assert decision.best == decision.recommended and decision.equivalent == ()


def test_equivalence_has_to_be_shown():
    assert recommend(effects={"resnet50": 0.004}, images=(30, 8)).recommended.encoder == "mobilenet"
    for options in ({"noise": 0.03}, {"images": (5, 8)}, {"validation": False}, {"costs": {"mobilenet": 3e9}}):
        decision = recommend(**({"effects": {"resnet50": 0.004}, "images": (30, 8)} | options))
        assert decision.recommended.encoder == "resnet50" and decision.equivalent == ()
    assert decision.cheaper == () and recommend(validation=False).images == 0


def test_test_scores_have_no_influence():
    runs = simulate_runs(MANY, images=(20, 20), effects={"resnet50": 0.003})
    before = decide(runs)
    for run in runs:
        run.scores["dice"] = np.random.default_rng(len(run.name)).random(len(run.scores))
        run.record["scores"] = {}
    assert decide(runs) == before


def test_of_equal_networks_the_cheaper_is_the_best():
    runs = simulate_runs(TWO, validation=False)
    for run in runs:
        run.record["validation"] = runs[0].record["validation"]
    assert decide(runs).recommended.encoder == "mobilenet" and decide(runs).lead == 0
    # Of the losses of one encoder, which cost the same, the one with the higher validation Dice.
    decision = recommend(MANY, effects={"mobilenet__dice": 0.002, "resnet50__dice": 0.004}, images=(60, 8))
    assert decision.recommended.method == "mobilenet__dice"
    assert set(decision.equivalent) > {"mobilenet__cross_entropy"}


def test_multiply_adds_of_earlier_runs_are_those_of_the_registry():
    runs = simulate_runs(TWO, effects={"resnet50": 0.003}, images=(30, 8), costs=dict.fromkeys(TWO.encoders))
    decision = decide(runs)
    assert decision.recommended.encoder == "mobilenet"
    assert decision.work["mobilenet__dice"] == ENCODERS["mobilenet"].multiply_adds_per_px * TWO.image_size**2


def test_groups_count_as_one():
    options = {"effects": {"resnet50": 0.003}, "images": (30, 8)}
    runs = simulate_runs(TWO, **options)
    assert decide(runs).recommended.encoder == "mobilenet"
    assert decide(runs, groups={f"0_{i:03}": i % 4 for i in range(30)}).recommended.encoder == "resnet50"


def test_nothing_to_decide():
    assert decide([]) is None
    (run, _) = simulate_runs(TWO)
    assert math.isnan(decide([run]).lead) and decide([run]).recommended.encoder == "mobilenet"


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_network_that_is_just_not_equivalent_is_seldom_recommended(seeds):
    config = TWO.model_copy(update={"seeds": seeds})
    options = {"effects": {"resnet50": (0.01, 0.0)}, "images": (16, 1), "noise": 0.005, "seed_sd": 0.002}
    if len(seeds) == 1:
        options["seed_sd"] = 0.0
    wrong = [recommend(config, seed=seed, **options).recommended.encoder == "mobilenet" for seed in range(100)]
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.0, 0.003, 0.02]),
    images=st.sampled_from([(5, 6), (16, 20), (60, 12)]),
    seeds=st.sampled_from([(0,), (0, 1)]),
    validation=st.booleans(),
    compare_with=st.sampled_from(["none", "resnet18__dice"]),
)
def test_sentence_table_1_and_cost_figure_name_the_same_network(seed, spread, images, seeds, validation, compare_with):
    config = MANY.model_copy(update={"seeds": seeds, "compare_with": compare_with})
    generator = np.random.default_rng(seed)
    effects = {f"{e}__{loss}": spread * generator.standard_normal() for e in MANY.encoders for loss in MANY.losses}
    costs = {encoder: float(generator.integers(1, 4)) for encoder in MANY.encoders}
    options = {"effects": effects, "costs": costs, "images": images, "seed": seed, "validation": validation}
    results = simulate_results(config, seed_sd=0.002, **options)

    named = results.decision.recommended.method
    assert answer_sentences(results)[0].startswith(f"Use {method_title(named)}: ")
    rows = results.tables["table1"][1].rows
    assert [RECOMMENDED in cells[1].text for _, cells in rows].count(True) == 1
    marked = results.table1[results.table1["recommended"].astype(bool)]
    assert set(marked["encoder"] + "__" + marked["loss"]) == {named}
    (ring,) = [line for line in _draw_cost_quality(results).axes[0].lines if line.get_label() == "recommended"]
    quality = np.mean([results.averages[tuple(named.split("__"))]["dice_mean"]])
    assert ring.get_xdata()[0] == costs[named.partition("__")[0]]
    assert ring.get_ydata()[0] == pytest.approx(quality)
    # The cheapest of those that are equivalent, and never a costlier one than the best.
    work = results.decision.work
    assert work[named] == min(work[name] for name in (results.decision.best.method, *results.decision.equivalent))
    text = " ".join([*answer_sentences(results), *results.certainty.paragraphs()])
    assert ("these trained networks" in text) == (len(seeds) == 1)
