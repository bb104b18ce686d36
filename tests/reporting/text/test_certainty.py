"""Sentences about how certain the choice is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.fake_study import make_results, with_runs
from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from tests.helpers.simulated_study import simulate_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.certainty import _describe_comparison, describe_certainty
from wbcstudy.scoring.comparison import compare_methods

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")


def verdict(*arguments, **options):
    return _describe_comparison(compare_methods(*arguments, **options))


def made(offsets, n=100, seed=0, methods=METHODS):
    return scores_from_array(noisy_dice(n, offsets, seed), methods[: len(offsets)])


def test_a_clear_winner_of_two():
    text = verdict(made([0.02, 0]), "nucleus")
    assert text.startswith(
        "Of these trained networks, ResNet-18 is significantly better than MobileNet in nucleus Dice"
    )
    assert "adjusted p < 0.001" in text and "95 % interval 0.01" in text
    assert text.endswith("The smallest difference detectable with these images is about 0.005.")


def test_no_significant_difference_among_the_first():
    text = verdict(made([0, 0, -0.05, -0.06]), "nucleus")
    assert text.startswith("Of these trained networks, the first two encoders (ResNet-18 and MobileNet) do not differ")
    assert "does not mean that there is no difference: differences from ResNet-18 below about 0.00" in text
    assert "significantly better than VGG-16 and VGG-19, by at least 0.05" in text


def test_no_significant_difference_at_all():
    assert verdict(made([0, 0, 0]), "nucleus").startswith("Of these trained networks, the three encoders (")
    two = verdict(made([0, 0], seed=1), "nucleus")
    assert "ResNet-18 and MobileNet do not" in two or "MobileNet and ResNet-18 do not" in two


def test_a_leader_of_methods_that_differ_among_themselves():
    # Second and third differ significantly, but neither from the first.
    generator = np.random.default_rng(0)
    base = 0.8 + 0.02 * generator.standard_normal(40)
    first = base + 0.05 * generator.standard_normal(40)
    frame = scores_from_array(np.stack([first + 0.002, base, base - 0.003], axis=1), METHODS[:3])
    comparison = compare_methods(frame, "nucleus")
    assert len(comparison.undecided) == 2 or comparison.leader != METHODS[0]
    if comparison.leader == METHODS[0]:
        assert not comparison.all_undecided
        assert "images, but is not significantly better than" in verdict(frame, "nucleus")


def test_losses_and_earlier_methods():
    losses = verdict(made([0.03, 0], methods=("unet__dice", "unet__cross_entropy")), "nucleus")
    assert losses.startswith("Of these trained networks, Dice loss is significantly better than cross-entropy")
    frame = pd.concat([made([0.03]), scores_from_dice({"otsu": dict.fromkeys((f"c{i:03}" for i in range(100)), 0.5)})])
    assert verdict(frame, "nucleus").startswith("Of these trained networks, ResNet-18 with Dice loss is")
    three = verdict(made([0.05, 0.02, 0]), "nucleus")
    assert "better than both other encoders" in three and "Its lead over MobileNet is 0.03" in three
    assert "adjusted p < 0.001" in three


def test_the_better_one_is_named_where_most_images_do_not_differ():
    generator = np.random.default_rng(0)
    good = np.where(np.arange(100) < 25, generator.uniform(0.5, 0.52, 100), 0)
    for columns in ([good, 0 * good], [0 * good, good]):
        frame = scores_from_array(np.stack(columns, axis=1), METHODS[:2])
        text = verdict(frame, "nucleus")
        better, worse = ("ResNet-18", "MobileNet") if columns[0] is good else ("MobileNet", "ResNet-18")
        assert text.startswith(f"Of these trained networks, {better} is significantly better than {worse}")
        assert "The difference is 0.127 (95 % interval 0.07" in text


def test_too_few_images():
    text = verdict(made([0.3, 0], n=5), "nucleus")
    assert text.startswith("These 5 images are too few to compare two encoders: no difference in nucleus Dice can be")
    assert "These 5 images are too few to compare four encoders" in verdict(made([0.3, 0.2, 0.1, 0], n=5), "nucleus")


def test_nothing_to_compare():
    assert verdict(made([0]), "nucleus") == (
        "Only one method was measured (ResNet-18 with Dice loss), so there is nothing to compare."
    )
    assert verdict(made([0, 0]), "cytoplasm") == "No cytoplasm Dice was measured, so there is nothing to compare."


def test_images_of_one_slide_count_as_one():
    frame = made([0.01, 0], n=40)
    slides = {case: int(case[1:]) // 10 for case in frame["case_id"]}
    text = verdict(frame, "nucleus", groups=slides)
    assert text.startswith("These 40 images from 4 groups are too few")


@pytest.mark.parametrize("offsets", [[0, 0, 0, 0], [0.02, 0, 0, 0], [0, 0, 0, -0.05]])
def test_never_says_equal(offsets):
    text = verdict(made(offsets), "nucleus").lower()
    assert not any(word in text for word in ("equal", "same as", "identical", "no difference between"))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_the_text_does_not_depend_on_the_order_of_methods_or_rows(seed, order):
    array = noisy_dice(25, [0, 0.005, 0.01, 0.03], seed)
    turned = scores_from_array(array[:, order], [METHODS[i] for i in order]).sample(frac=1, random_state=seed)
    assert verdict(turned, "nucleus") == verdict(scores_from_array(array, METHODS), "nucleus")


def test_equal_methods_seldom_get_a_winner():
    leads = [compare_methods(made([0, 0, 0], 15, seed), "nucleus") for seed in range(60)]
    assert np.mean([bool(comparison.beaten) for comparison in leads]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


# Far apart, so that the sentences do not depend on the draw.
BLUR = {"resnet18": 0.03, "mobilenet": 0.3, "unet": 0.3}
THREE = ("unet", "mobilenet", "resnet18")


def study_of(folder, encoders=("mobilenet", "resnet18"), losses=("dice",), **options):
    settings = {name: options.pop(name) for name in ("seeds", "folds") if name in options}
    config = StudyConfig(name="s", encoders=encoders, losses=losses, **settings)
    return make_results(folder, config, cases=12, **({"blur": BLUR} | options))


class TestTheFirstScreen:
    def test_a_clear_winner(self, tmp_path):
        results = study_of(tmp_path, THREE)
        certainty = describe_certainty(results)
        assert results.best.method == "resnet18__dice"
        assert certainty.headline == (
            "Clear result for images like these: significantly better than all 2 other trained networks."
        )
        nucleus = dict(certainty.regions)["nucleus"]
        assert nucleus.startswith(
            "Significantly better than the other 2. The smallest difference from it in Dice that these images can show"
        )
        assert "one seed only" in certainty.more[-2]
        assert certainty.more[-1].startswith("Each of the 12 test images counts as independent.")
        assert dict(certainty.verdicts)["cytoplasm"].startswith("Of these trained networks, ResNet-18 is")
        # The sentence about seeds is there once.
        assert " ".join(certainty.paragraphs()).count("one seed only") == 1

    def test_no_significant_difference(self, tmp_path):
        certainty = describe_certainty(study_of(tmp_path, losses=("dice", "cross_entropy"), blur={}))
        assert (
            certainty.headline == "No other trained network is significantly better, but 3 are not significantly worse."
        )
        assert dict(certainty.regions)["nucleus"].startswith("No significant difference from the other 3.")
        assert certainty.more[0].startswith("The probability that another one has a higher mean Dice on images like")
        assert certainty.more[1].startswith("On the validation images, ")

    def test_significantly_worse_in_one_region_is_no_equal(self, tmp_path):
        results = study_of(tmp_path, THREE, blur={})
        worse, third = (run for run in results.runs if f"{run.config.encoder}__dice" != results.best.method)
        worse.scores.loc[worse.scores["region"] == "cytoplasm", "dice"] -= 0.2
        certainty = describe_certainty(with_runs(results))
        assert (
            certainty.headline
            == "No other trained network is significantly better, but one is not significantly worse."
        )
        cytoplasm = dict(certainty.regions)["cytoplasm"]
        assert cytoplasm.startswith("Significantly better than 1 of the other 2; no significant difference from 1.")
        third.scores.loc[third.scores["region"] == "nucleus", "dice"] -= 0.2
        certainty = describe_certainty(with_runs(results))
        assert certainty.headline.endswith(
            "each of the other 2 is significantly worse for the nucleus or the cytoplasm."
        )

    def test_the_detectable_difference_is_that_from_the_chosen_pair(self, tmp_path):
        results = study_of(tmp_path, THREE, blur={"mobilenet": 0.3})
        comparison = results.comparisons["cytoplasm"]
        least, most = comparison.detectable_from(results.best.method, comparison.order)
        assert 0 < least < most
        cytoplasm = dict(describe_certainty(results).regions)["cytoplasm"]
        assert cytoplasm.endswith(f"that these images can show is {least:.3f} to {most:.3f} (depending on the pair).")

    def test_two_pairs(self, tmp_path):
        equal = describe_certainty(study_of(tmp_path / "a", blur={}))
        assert (
            equal.headline.startswith("No significant difference from the other trained network (")
            and " with Dice loss)" in equal.headline
        )
        different = describe_certainty(study_of(tmp_path / "b"))
        assert different.headline.endswith("significantly better than the other trained network.")
        assert dict(different.regions)["nucleus"].startswith("Significantly better than the other pair.")

    def test_a_choice_that_the_test_images_contradict(self, tmp_path):
        results = study_of(tmp_path, THREE)
        # As if the validation images had chosen another.
        for run in results.runs:
            counts = {"tp": 100 * (run.config.encoder == "unet"), "fp": 1, "fn": 1, "tn": 1}
            run.record["validation"] = dict.fromkeys(("nucleus", "cytoplasm"), counts)
        certainty = describe_certainty(with_runs(results))
        assert certainty.headline == (
            "Choose with care: on the test images, ResNet-18 with Dice loss is significantly better."
        )
        assert "significantly worse than 1" in dict(certainty.regions)["nucleus"]

    def test_independent_images(self, tmp_path):
        results = study_of(tmp_path, THREE)
        cases = results.runs[0].scores["case_id"].unique()
        slides = {case: str(index // 1.3) for index, case in enumerate(cases)}
        certainty = describe_certainty(with_runs(results, groups=slides))
        number = len(set(slides.values()))
        assert certainty.more[-1] == f"Images of one slide or patient count as one: {number} groups for 12 test images."
        certainty = describe_certainty(with_runs(results, groups={case: case for case in cases}))
        assert certainty.more[-1] == "The 12 test images are from 12 different slides or patients."
        certainty = describe_certainty(with_runs(results, groups={case: i % 2 for i, case in enumerate(cases)}))
        assert certainty.headline.startswith("Too few test images: with 2 groups of test images (slides or patients)")

    def test_one_pair_or_none(self, tmp_path):
        results = study_of(tmp_path, THREE)
        for runs in (results.runs[:1], []):
            certainty = describe_certainty(with_runs(results, runs))
            assert certainty.headline == "" and certainty.regions == ()
            assert certainty.paragraphs() == ["There is nothing to compare."]

    def test_seeds(self, tmp_path):
        results = study_of(tmp_path, seeds=(0, 1))
        assert describe_certainty(results).more[-2].startswith("Between seeds, the mean Dice over all test images")
        fewer = with_runs(results, results.runs[:-1])
        assert describe_certainty(fewer).more[-3].startswith("Some pairs were trained with one seed only")


class TestTheDecision:
    pair = StudyConfig(name="s", encoders=("mobilenet", "resnet50"), losses=("dice",))

    def test_the_test_images_confirm_or_do_not_confirm_the_equivalence(self):
        for noise, end in ((0, "which confirms that they are equivalent."), (0.05, "do not confirm that they are")):
            results = simulate_results(self.pair, images=(30, 30), effects={"resnet50": 0.003}, noise=0.003)
            scores = results.runs[0].scores
            scores["dice"] -= noise * np.random.default_rng(0).random(len(scores))
            assert results.best.encoder == "mobilenet"
            text = " ".join(describe_certainty(results).more)
            assert "On the test images, its mean Dice differs from that of ResNet-50 with Dice loss by -0.0" in text
            assert end in text

    def test_a_small_lead_on_the_validation_images_is_not_hidden(self):
        runs = simulate_results(self.pair, effects={"resnet50": 0.03}).runs
        clear = describe_certainty(simulate_results(self.pair, effects={"resnet50": 0.03}))
        assert "On the validation images, it leads by 0.0" in " ".join(clear.more)
        for run in runs:
            run.record["validation"] = runs[0].record["validation"]
        results = simulate_results(self.pair, effects={"resnet50": 0.03}, validation=False)
        even = " ".join(describe_certainty(with_runs(results, runs)).more)
        assert "it and ResNet-50 with Dice loss have the same Dice, and one other pair is within 0.01" in even

    def test_the_probability_that_another_is_better(self):
        def probability(difference):
            results = simulate_results(self.pair, effects={"resnet50": difference})
            return describe_certainty(results).more[0]

        phrase = "The probability that another one has a higher mean Dice on images like these is"
        assert probability(0.05).startswith(f"{phrase} below 1 %")
        assert 1 < int(probability(0.0005).removeprefix(phrase).split()[0]) <= 99

    def test_planned_comparisons_are_described_as_such(self):
        config = self.pair.model_copy(
            update={"encoders": ("mobilenet", "resnet50", "unet"), "compare_with": "unet__dice"}
        )
        results = simulate_results(config, effects={"resnet50": 0.03, "mobilenet": 0.0})
        certainty = describe_certainty(results)
        assert certainty.headline.startswith("Planned comparisons with U-Net with Dice loss: choose with care: on the")
        nucleus = dict(certainty.verdicts)["nucleus"]
        assert nucleus.startswith(
            "Compared with U-Net with Dice loss (planned) on these 20 images, significantly better:"
        )
        assert "ResNet-50 with Dice loss" in nucleus
        # Two comparisons per region, not three.
        assert results.comparisons["nucleus"].family == 4
        table, layout = results.tables["ranks"]
        assert layout.title == "Comparison with the reference"
        assert set(table[table["leader"]]["method"]) == {"unet__dice"}
