"""Votes counted by hand, and selection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from wbcstudy.baselines.margins import ensemble_margins, out_of_bag_votes, select_instances, select_variables
from wbcstudy.errors import StudyError


@pytest.fixture(scope="module")
def tiny():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(24, 2)).astype(np.float32)
    labels = np.array([0, 1, 2] * 8)
    features[:, 0] += labels
    # Twice the same place with two labels: a leaf that is not pure.
    features[1] = features[0]
    return RandomForestClassifier(7, random_state=0).fit(features, labels), features, labels


def bootstrap(tree, size):
    """Which instances a tree learnt from, as scikit-learn draws them: from the tree's own random state."""
    return np.random.RandomState(tree.random_state).randint(0, size, size, dtype=np.int32)


def test_votes_are_those_of_the_trees_that_did_not_learn_from_the_instance(tiny):
    forest, features, _ = tiny
    by_hand = np.zeros((24, 3), int)
    for tree in forest.estimators_:
        drawn = set(bootstrap(tree, 24).tolist())
        for row in range(24):
            if row not in drawn:
                leaf = tree.apply(features[row : row + 1])[0]
                by_hand[row, np.argmax(tree.tree_.value[leaf, 0])] += 1
    votes = out_of_bag_votes(forest, features)
    np.testing.assert_array_equal(votes, by_hand)
    assert 0 < votes.sum() < 7 * 24


def test_margins_of_a_hand_made_forest(tiny):
    forest, features, labels = tiny
    votes = out_of_bag_votes(forest, features)
    margins = ensemble_margins(votes, labels)
    for row in range(24):
        counts = votes[row].tolist()
        total, correct = sum(counts), counts.pop(labels[row])
        expected = (correct - max(counts)) / total if total else np.nan
        assert margins[row] == pytest.approx(expected, nan_ok=True)


def test_margin_table():
    votes = np.array([[4, 0, 0], [2, 2, 0], [1, 3, 0], [0, 3, 1], [0, 0, 0], [2, 1, 1]])
    positions = np.array([0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(ensemble_margins(votes, positions), [1, 0, -0.5, -0.75, np.nan, 0.25])


def test_one_label_alone_has_margin_one():
    np.testing.assert_array_equal(ensemble_margins(np.array([[3], [1]]), np.array([0, 0])), [1, 1])


def test_in_bag_votes_would_say_little(tiny):
    forest, features, labels = tiny
    all_trees = np.mean([tree.predict(features) == labels for tree in forest.estimators_])
    outside = out_of_bag_votes(forest, features)
    assert all_trees > outside[np.arange(24), labels].sum() / outside.sum()


def test_selection_drops_noise_and_keeps_the_lowest_margins_of_each_label():
    labels = np.array([0] * 5 + [1] * 5)
    margins = np.array([0.9, -0.1, 0.2, 0.0, np.nan, 1.0, 0.5, 0.4, -1.0, 0.6])
    np.testing.assert_array_equal(select_instances(margins, labels, 0.4), [2, 3, 6, 7])
    np.testing.assert_array_equal(select_instances(margins, labels, 1.0), [0, 2, 3, 5, 6, 7, 9])


@given(
    margins=st.lists(st.floats(-1, 1), min_size=1, max_size=60),
    share=st.sampled_from([0.05, 0.1, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_selection_keeps_the_documented_share_of_each_label(margins, share, seed):
    margins = np.array(margins)
    labels = np.random.default_rng(seed).integers(0, 3, margins.size)
    kept = select_instances(margins, labels, share)
    assert np.array_equal(kept, np.unique(kept))
    for label in np.unique(labels):
        instances, chosen = labels == label, kept[labels[kept] == label]
        correct = np.count_nonzero(instances & (margins >= 0))
        limit = int(np.ceil(share * instances.sum() - 1e-9))
        if correct:
            assert chosen.size == min(limit, correct)
            assert margins[chosen].min() >= 0
            left = np.setdiff1d(np.flatnonzero(instances & (margins >= 0)), chosen)
            assert left.size == 0 or margins[left].min() >= margins[chosen].max()
        else:
            assert chosen.size == limit > 0, "a label vanished"


def test_a_label_that_is_all_noise_keeps_its_best():
    kept = select_instances(np.array([-0.9, -0.1, np.nan, 0.5]), np.array([0, 0, 0, 1]), 0.3)
    np.testing.assert_array_equal(kept, [1, 3])


@pytest.mark.parametrize(
    ("importances", "share", "expected"),
    [
        ([0.05, 0.6, 0.3, 0.05], 0.9, [1, 2]),
        ([0.05, 0.6, 0.3, 0.05], 0.91, [1, 2, 0]),
        ([0.97, 0.01, 0.02, 0.0], 0.95, [0]),
        ([0.25, 0.25, 0.25, 0.25], 0.5, [0, 1]),
        ([0.1, 0.2, 0.7, 0.0], 1.0, [2, 1, 0, 3]),
        ([0.0, 0.0], 0.95, [0, 1]),
    ],
)
def test_variables_are_the_fewest_that_hold_the_share(importances, share, expected):
    assert select_variables(np.array(importances), share).tolist() == expected


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan"), "half"])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(StudyError, match="share"):
        select_instances(np.ones(2), np.zeros(2, int), share)
    with pytest.raises(StudyError, match="share"):
        select_variables(np.ones(2), share)
