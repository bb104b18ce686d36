"""Co-Forest and SETRED, compared with their formulas on small examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from wbcstudy.baselines.semi_supervised import (
    CoForestClassifier,
    SetredClassifier,
    _concomitant_vote,
    _draw_limit,
    _out_of_bag_error,
)

BOTH = [CoForestClassifier(random_state=0), SetredClassifier(random_state=0)]


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping groups, 30 labelled and 570 unlabelled examples, and the truth."""
    x, truth = make_blobs(600, centers=[[0, 0], [3, 0], [0, 3]], random_state=0)
    return x, np.where(np.arange(600) < 30, truth, -1), truth


# --- scikit-learn's rules


@pytest.mark.parametrize("classifier", BOTH, ids=lambda value: type(value).__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_a_scikit_learn_classifier(classifier):
    # With y of -1 and 1, "-1" means unlabelled here, as for scikit-learn's own semi-supervised classifiers.
    expected = {"check_classifiers_classes": "uses the labels -1 and 1"}
    results = check_estimator(clone(classifier), on_fail=None, expected_failed_checks=expected)
    failed = {check["check_name"]: check["exception"] for check in results if check["status"] == "failed"}
    assert not failed


@pytest.mark.parametrize("classifier", BOTH, ids=lambda value: type(value).__name__)
def test_labels_may_be_any_numbers_and_seeds_are_reproducible(classifier, blobs):
    x, y, _ = blobs
    y = np.where(y >= 0, y * 10 + 5, -1)
    first, again = (clone(classifier).fit(x, y) for _ in range(2))
    assert first.classes_.tolist() == [5, 15, 25]
    assert set(first.predict(x)) == {5, 15, 25}
    assert np.array_equal(first.predict_proba(x), again.predict_proba(x))
    assert np.allclose(first.predict_proba(x).sum(1), 1)


@pytest.mark.parametrize("classifier", BOTH, ids=lambda value: type(value).__name__)
def test_edge_cases(classifier, blobs):
    x, y, _ = blobs
    with pytest.raises(NotFittedError):
        clone(classifier).predict(x)
    with pytest.raises(ValueError, match="No example has a label"):
        clone(classifier).fit(x, np.full(600, -1))
    one_class = clone(classifier).fit(x, np.where(y == 1, 1, -1))
    assert (one_class.predict(x) == 1).all()
    assert clone(classifier).fit(x[:30], y[:30]).n_rounds_ == 0  # nothing unlabelled: plain supervised learning


@pytest.mark.parametrize(
    ("semi", "supervised"),
    [
        (CoForestClassifier(10), RandomForestClassifier(10)),
        (SetredClassifier(), DecisionTreeClassifier(min_samples_leaf=5)),
    ],
    ids=["coforest", "setred"],
)
def test_unlabelled_examples_do_not_reduce_the_accuracy(semi, supervised, blobs):
    x, y, truth = blobs

    def accuracy(classifier, number):
        seeds = [clone(classifier).set_params(random_state=seed) for seed in range(5)]
        return np.mean([seeded.fit(x[:number], y[:number]).score(x, truth) for seeded in seeds])

    assert accuracy(semi, 600) > accuracy(supervised, 30) - 0.02


# --- co-Forest


def test_the_tree_does_not_vote_on_its_own_examples():
    # Three trees, two examples. Of the trees 1 and 2, both vote 1 for the first example, and differ on the second.
    votes = np.array([[0, 0], [1, 0], [1, 1]])
    counts = np.array([[1, 2], [2, 1]])
    label, share = _concomitant_vote(counts, votes, 0, np.array([0, 1]))
    assert label.tolist() == [1, 0] and share.tolist() == [1, 0.5]
    assert counts.tolist() == [[1, 2], [2, 1]]


@given(seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_concomitant_vote_and_error_equal_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    votes, in_bag, y = rng.integers(0, 3, (5, 8)), rng.random((5, 8)) < 0.6, rng.integers(0, 3, 8)
    counts = np.stack([(votes == number).sum(0) for number in range(3)])
    tree = int(rng.integers(5))
    others = [k for k in range(5) if k != tree]
    label, share = _concomitant_vote(counts, votes, tree, np.arange(8))
    wrong, judged = 0, 0
    for k in range(8):
        expected = np.bincount(votes[others, k], minlength=3)
        assert label[k] == expected.argmax() and share[k] == expected.max() / 4
        out_of_bag = [other for other in others if not in_bag[other, k]]
        if out_of_bag:
            judged += 1
            wrong += np.bincount(votes[out_of_bag, k], minlength=3).argmax() != y[k]
    assert _out_of_bag_error(votes, in_bag, y, tree) == pytest.approx(wrong / judged if judged else 1)


def test_an_ensemble_without_out_of_bag_examples_teaches_nothing():
    assert _out_of_bag_error(np.zeros((3, 4), int), np.ones((3, 4), bool), np.zeros(4, int), 0) == 1


def test_draw_limit_by_hand():
    assert _draw_limit(0.5, 10, 0.1, 1000) == 49  # below 0.5 * 10 / 0.1 = 50
    assert _draw_limit(0.5, 10, 0.3, 1000) == 16  # below 16.67
    assert _draw_limit(0.5, 10, 0.1, 20) == 20
    assert _draw_limit(0.5, 10, 0.0, 1000) == 1000
    assert _draw_limit(0.5, 0, 0.1, 1000) == 0


@given(before=st.floats(0.01, 0.5), weight=st.floats(0, 200), error=st.floats(0.001, 0.5))
def test_the_limit_keeps_the_condition_on_error_and_weight(before, weight, error):
    drawn = _draw_limit(before, weight, error, 10**6)
    assert drawn == 0 or error * drawn < before * weight * (1 + 1e-9)


def test_rounds_keep_the_conditions_on_error_and_weight(blobs):
    x, y, _ = blobs
    forest = CoForestClassifier(20, random_state=1).fit(x, y)
    error, weight, rounds = np.full(20, 0.5), np.full(20, 57.0), 0  # 570 unlabelled examples
    for now in forest.history_:
        changed = now["changed"]
        rounds += changed.any()
        assert (now["error"][changed] < error[changed]).all()
        assert (now["error"] * now["weight"] < error * weight)[changed].all()
        assert (now["weight"] <= now["drawn"]).all()
        assert (now["weight"][changed] > 0.75).all()
        error, weight = np.where(changed, now["error"], error), np.where(changed, now["weight"], weight)
    assert rounds >= 1 and not forest.history_[-1]["changed"].any()


def test_bootstraps_are_kept_and_differ(blobs):
    x, y, _ = blobs
    forest = CoForestClassifier(20, random_state=1).fit(x, y)
    assert forest.in_bag_.shape == (20, 30)
    assert 0.5 < forest.in_bag_.mean() < 0.75  # 1 - 1/e = 0.63
    assert len({row.tobytes() for row in forest.in_bag_}) == 20


def test_agreement_must_exceed_theta(blobs):
    x, y, _ = blobs
    few = CoForestClassifier(10, theta=0.95, random_state=0).fit(x, y)
    many = CoForestClassifier(10, theta=0.4, random_state=0).fit(x, y)
    # Shares are k / 9: with 0.95 the nine others must agree, and the weight is the number taught.
    first = few.history_[0]
    assert np.array_equal(first["weight"], np.round(first["weight"]))
    assert first["weight"].sum() < many.history_[0]["drawn"].sum()
    never = CoForestClassifier(10, theta=1.0, random_state=0).fit(x, y)
    assert not any(now["changed"].any() for now in never.history_)


def test_taught_labels_are_mostly_correct(blobs):
    x, y, truth = blobs
    forest = CoForestClassifier(20, random_state=1).fit(x, y)
    correct = [truth[30:][taught] == label for taught, label in zip(forest.taught_, forest.taught_y_, strict=True)]
    assert np.mean(np.concatenate(correct)) > 0.9


def test_a_single_tree_is_refused(blobs):
    with pytest.raises(ValueError, match="n_estimators = 1"):
        CoForestClassifier(1).fit(*blobs[:2])


def test_without_unlabelled_examples_it_is_a_random_forest(blobs):
    x, _, truth = blobs
    ours = CoForestClassifier(50, random_state=0).fit(x[:300], truth[:300]).score(x[300:], truth[300:])
    theirs = RandomForestClassifier(50, random_state=0).fit(x[:300], truth[:300]).score(x[300:], truth[300:])
    assert abs(ours - theirs) < 0.03


# --- SETRED


def test_a_label_that_contradicts_its_neighbours_is_rejected():
    # Two groups: labelled examples are 0 on the left and 1 on the right. The learner predicts the opposite.
    class Inverted(GaussianNB):
        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

    rng = np.random.default_rng(0)
    x = np.r_[rng.normal([-2, 0], 0.3, (90, 2)), rng.normal([2, 0], 0.3, (90, 2))]
    y = np.where(np.arange(180) % 3 == 0, -1, np.arange(180) // 90)
    inverted, normal = (
        SetredClassifier(learner, candidates=10, max_rounds=1, random_state=0).fit(x, y)
        for learner in (Inverted(), GaussianNB())
    )
    assert len(inverted.history_[0]["proposed"]) == len(normal.history_[0]["proposed"]) == 10
    assert len(inverted.added_) <= 1 and len(normal.added_) >= 5


def test_kept_examples_agree_with_their_group(blobs):
    x, y, truth = blobs
    setred = SetredClassifier(random_state=0).fit(x, y)
    assert len(setred.added_) > 50
    taught_wrong = np.mean(setred.classes_[setred.added_y_] != truth[30:][setred.added_])
    everything_wrong = np.mean(setred.predict(x[30:]) != truth[30:])
    assert taught_wrong < max(everything_wrong, 0.1)
    proposed = np.concatenate([now["proposed"] for now in setred.history_])
    assert len(proposed) == len(set(proposed.tolist()))  # a rejected candidate is not proposed again


def test_theta_of_zero_keeps_nothing_and_does_not_change_the_learner(blobs):
    x, y, _ = blobs
    setred = SetredClassifier(GaussianNB(), theta=0.0, random_state=0).fit(x, y)
    alone = GaussianNB().fit(x[:30], y[:30])
    assert len(setred.added_) == 0
    assert np.array_equal(setred.predict_proba(x), alone.predict_proba(x))
