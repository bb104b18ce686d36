"""The sentences that a reader without statistics goes by."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.made_scores import noisy_dice, scores_from_array, scores_from_dice
from wbcstudy.reporting.text.certainty import describe
from wbcstudy.scoring.comparison import compare_methods

METHODS = ("resnet18__dice", "mobilenet__dice", "vgg16__dice", "vgg19__dice")


def verdict(*arguments, **options):
    return describe(compare_methods(*arguments, **options))


def made(offsets, n=100, seed=0, methods=METHODS):
    return scores_from_array(noisy_dice(n, offsets, seed), methods[: len(offsets)])


def test_a_clear_winner_of_two():
    text = verdict(made([0.02, 0]), "nucleus")
    assert text.startswith("ResNet-18 is better than MobileNet by nucleus Dice on these 100 images. ")
    assert "below 0.001 (Holm-adjusted p)" in text and "95 % interval 0.01" in text
    assert "The smallest difference that these images would probably have shown is about 0.004." in text
    assert text.endswith("one seed only, so another training could change this.")


def test_the_first_few_cannot_be_told_apart():
    text = verdict(made([0, 0, -0.05, -0.06]), "nucleus")
    assert "The first two encoders (ResNet-18 and MobileNet) cannot be told apart by nucleus Dice" in text
    assert "does not mean that there is no difference: one below about 0.00" in text
    assert "better than VGG-16 and VGG-19, typically by 0.05" in text
    assert "Choose among them by their cost." in text


def test_none_can_be_told_apart():
    assert verdict(made([0, 0, 0]), "nucleus").startswith("The three encoders (")
    assert "VGG-16 cannot be told apart" not in verdict(made([0, 0]), "nucleus")
    two = verdict(made([0, 0]), "nucleus")
    assert "ResNet-18 and MobileNet cannot be told apart" in two or "MobileNet and ResNet-18 cannot" in two


def test_a_leader_among_methods_that_differ_from_each_other():
    # Second and third are told apart from each other, but neither from the first.
    generator = np.random.default_rng(0)
    base = 0.8 + 0.02 * generator.standard_normal(40)
    first = base + 0.05 * generator.standard_normal(40)
    frame = scores_from_array(np.stack([first + 0.002, base, base - 0.003], axis=1), METHODS[:3])
    found = compare_methods(frame, "nucleus")
    assert len(found.undecided) == 2 or found.leader != METHODS[0]
    if found.leader == METHODS[0]:
        assert not found.all_undecided and "leads by nucleus Dice, but" in verdict(frame, "nucleus")


def test_losses_and_other_methods_have_their_own_words():
    losses = verdict(made([0.03, 0], methods=("unet__dice", "unet__cross_entropy")), "nucleus")
    assert losses.startswith("Dice loss is better than cross-entropy")
    frame = pd.concat([made([0.03]), scores_from_dice({"otsu": dict.fromkeys((f"c{i:03}" for i in range(100)), 0.5)})])
    assert verdict(frame, "nucleus").startswith("ResNet-18 with Dice loss is better than otsu")
    three = verdict(made([0.05, 0.02, 0]), "nucleus")
    assert "better than both other encoders" in three and "It is ahead of MobileNet by 0.03" in three


def test_the_better_one_is_named_also_where_most_images_do_not_differ():
    generator = np.random.default_rng(0)
    good = np.where(np.arange(100) < 25, generator.uniform(0.5, 0.52, 100), 0)
    for columns in ([good, 0 * good], [0 * good, good]):
        frame = scores_from_array(np.stack(columns, axis=1), METHODS[:2])
        text = verdict(frame, "nucleus")
        better, worse = ("ResNet-18", "MobileNet") if columns[0] is good else ("MobileNet", "ResNet-18")
        assert text.startswith(f"{better} is better than {worse}")
        assert "The typical difference is 0.000 (95 % interval 0.000 to 0." in text


def test_too_few_images_for_any_statement():
    text = verdict(made([0.3, 0], n=5), "nucleus")
    assert text.startswith("These 5 images are too few to compare two encoders: no difference in nucleus Dice, however")
    # Six images, but six pairs: the first step of Holm's procedure is out of reach.
    assert "These 6 images are too few to compare four encoders" in verdict(made([0.3, 0.2, 0.1, 0], n=6), "nucleus")


def test_nothing_to_compare():
    assert verdict(made([0]), "nucleus") == (
        "Only one method was measured (ResNet-18 with Dice loss), so there is nothing to compare."
    )
    assert verdict(made([0, 0]), "cytoplasm") == "No cytoplasm Dice was measured, so there is nothing to compare."


def test_images_of_the_same_slide_are_not_counted_as_many():
    frame = made([0.01, 0], n=40)
    slides = {case: int(case[1:]) // 10 for case in frame["case_id"]}
    text = verdict(frame, "nucleus", groups=slides)
    assert text.startswith("These 40 images from 4 groups are too few")


def test_seed_spread_is_named_where_there_are_seeds():
    frames = [scores_from_array(noisy_dice(60, [0, 0], seed), METHODS[:2], seed) for seed in range(3)]
    text = verdict(pd.concat(frames), "nucleus")
    assert "From seed to seed the mean nucleus Dice of one encoder, over all test images, had a standard" in text
    assert "(3 seeds)" in text and "one seed only" not in text
    # Of the second, two seeds are not there.
    uneven = pd.concat([frames[0], *(frame[frame["run"].str.startswith("resnet18")] for frame in frames[1:])])
    text = verdict(uneven, "nucleus")
    assert "Some were trained with one seed only." in text and "(3 seeds)" in text


@pytest.mark.parametrize("offsets", [[0, 0, 0, 0], [0.02, 0, 0, 0], [0, 0, 0, -0.05]])
def test_never_says_equal(offsets):
    text = verdict(made(offsets), "nucleus").lower()
    assert not any(word in text for word in ("equal", "same as", "identical", "no difference between"))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.permutations(range(4)))
def test_the_words_do_not_depend_on_the_order_of_methods_or_rows(seed, order):
    array = noisy_dice(25, [0, 0.005, 0.01, 0.03], seed)
    turned = scores_from_array(array[:, order], [METHODS[i] for i in order]).sample(frac=1, random_state=seed)
    assert verdict(turned, "nucleus") == verdict(scores_from_array(array, METHODS), "nucleus")


def test_alike_methods_seldom_get_a_winner():
    leads = [compare_methods(made([0, 0, 0], 15, seed), "nucleus") for seed in range(60)]
    assert np.mean([bool(found.beaten) for found in leads]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
