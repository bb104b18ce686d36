"""Uncertain images come first, and images like the chosen ones come last."""

import numpy as np
import pytest

from wbcstudy.inference.choose_images import choose_images, measure_uncertainty

NONE = np.empty((0, 2))
# Three alike, two alike, one apart.
GROUPS = np.array([[0, 0], [0, 0.1], [0.1, 0], [5, 5], [5, 5.1], [9, 0]], float)


def probabilities(*values, side=20):
    return np.broadcast_to(np.float32(values), (side, side, 3)).copy()


def test_uncertainty_is_the_entropy_of_the_pixels_that_may_be_cells():
    assert measure_uncertainty(probabilities(0, 0, 1)) == 0
    assert measure_uncertainty(probabilities(1 / 3, 1 / 3, 1 / 3)) == 1
    half = probabilities(0.99, 0.01, 0)
    assert measure_uncertainty(half) == 0
    # The size of the background does not matter.
    half[:3] = [0.2, 0.3, 0.5]
    assert measure_uncertainty(half) == measure_uncertainty(probabilities(0.2, 0.3, 0.5)) > 0.9


def test_a_speck_does_not_make_an_empty_image_uncertain():
    field = probabilities(1, 0, 0, side=200)
    field[5, 5] = 1 / 3
    assert measure_uncertainty(field) == pytest.approx(1 / 40, abs=1e-4)


def test_each_group_has_an_image_before_any_has_a_second():
    choices = choose_images([0.5, 0.6, 0.4, 0.5, 0.4, 0.3], GROUPS, NONE, 3)
    assert {(0, 1, 2).count(choice.index) for choice in choices} == {0, 1}
    assert {choice.index // 3 for choice in choices} == {0, 1} and 5 in [choice.index for choice in choices]
    assert choices[0].distance is None and all(choice.distance > 0.1 for choice in choices[1:])


def test_an_annotated_image_covers_the_images_like_it():
    first = choose_images([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], GROUPS, GROUPS[:1] + 0.01, 3)[0]
    assert first.index in (3, 4) and first.distance > 0.5


def test_certain_images_are_no_candidates():
    choices = choose_images([0.1, 0.2, 0.3, 0.1, 0.1, 0.4], GROUPS, NONE, 1)
    assert choices[0].index in (2, 5)


def test_images_with_equal_descriptors_come_in_the_order_of_their_uncertainty():
    choices = choose_images([0.1, 0.3, 0.2], np.ones((3, 2)), NONE, 5)
    assert [choice.index for choice in choices] == [1, 2, 0]
    assert [choice.distance for choice in choices] == [None, 0, 0]


def test_one_image_is_chosen_without_others_to_compare_with():
    assert [choice.index for choice in choose_images([0.0], np.ones((1, 4)), np.ones((1, 4)), 1)] == [0]
