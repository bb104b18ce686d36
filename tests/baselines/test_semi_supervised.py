"""Co-Forest and SETRED against their formulas, on examples small enough to work by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from wbcstudy.baselines.cut_edges import cut_edge_statistic, neighbourhoods
from wbcstudy.baselines.semi_supervised import (
    CoForestClassifier,
    SetredClassifier,
    concomitant_vote,
    draw_limit,
    out_of_bag_error,
)

BOTH = [CoForestClassifier(random_state=0), SetredClassifier(random_state=0)]


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping groups, 30 labelled and 570 unlabelled examples, and the truth."""
    x, truth = make_blobs(600, centers=[[0, 0], [3, 0], [0, 3]], random_state=0)
    return x, np.where(np.arange(600) < 30, truth, -1), truth


# --- scikit-learn's manners


@pytest.mark.parametrize("classifier", BOTH, ids=lambda one: type(one).__name__)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_a_scikit_learn_classifier(classifier):
    # With y of -1 and 1, "-1" means unlabelled here, as for scikit-learn's own semi-supervised classifiers.
    expected = {"check_classifiers_classes": "uses the labels -1 and 1"}
    results = check_estimator(clone(classifier), on_fail=None, expected_failed_checks=expected)
    failed = {one["check_name"]: one["exception"] for one in results if one["status"] == "failed"}
    assert not failed


@pytest.mark.parametrize("classifier", BOTH, ids=lambda one: type(one).__name__)
def test_labels_may_be_any_numbers_and_seeds_repeat(classifier, blobs):
    x, y, _ = blobs
    y = np.where(y >= 0, y * 10 + 5, -1)
    first, again = (clone(classifier).fit(x, y) for _ in range(2))
    assert first.classes_.tolist() == [5, 15, 25]
    assert set(first.predict(x)) == {5, 15, 25}
    assert np.array_equal(first.predict_proba(x), again.predict_proba(x))
    assert np.allclose(first.predict_proba(x).sum(1), 1)


@pytest.mark.parametrize("classifier", BOTH, ids=lambda one: type(one).__name__)
def test_edges_of_use(classifier, blobs):
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
def test_unlabelled_examples_do_no_harm(semi, supervised, blobs):
    x, y, truth = blobs

    def accuracy(classifier, number):
        seeds = [clone(classifier).set_params(random_state=seed) for seed in range(5)]
        return np.mean([one.fit(x[:number], y[:number]).score(x, truth) for one in seeds])

    assert accuracy(semi, 600) > accuracy(supervised, 30) - 0.02


# --- co-Forest


def test_the_tree_itself_has_no_vote_on_its_lessons():
    # Three trees, two examples. Without tree 0, both say 1 of the first example, and disagree on the second.
    votes = np.array([[0, 0], [1, 0], [1, 1]])
    counts = np.array([[1, 2], [2, 1]])
    label, share = concomitant_vote(counts, votes, 0, np.array([0, 1]))
    assert label.tolist() == [1, 0] and share.tolist() == [1, 0.5]
    assert counts.tolist() == [[1, 2], [2, 1]]


@given(seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_concomitant_vote_and_error_equal_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    votes, in_bag, y = rng.integers(0, 3, (5, 8)), rng.random((5, 8)) < 0.6, rng.integers(0, 3, 8)
    counts = np.stack([(votes == one).sum(0) for one in range(3)])
    tree = int(rng.integers(5))
    others = [k for k in range(5) if k != tree]
    label, share = concomitant_vote(counts, votes, tree, np.arange(8))
    wrong, judged = 0, 0
    for k in range(8):
        said = np.bincount(votes[others, k], minlength=3)
        assert label[k] == said.argmax() and share[k] == said.max() / 4
        out_of_bag = [other for other in others if not in_bag[other, k]]
        if out_of_bag:
            judged += 1
            wrong += np.bincount(votes[out_of_bag, k], minlength=3).argmax() != y[k]
    assert out_of_bag_error(votes, in_bag, y, tree) == pytest.approx(wrong / judged if judged else 1)


def test_an_ensemble_nobody_can_judge_teaches_nothing():
    assert out_of_bag_error(np.zeros((3, 4), int), np.ones((3, 4), bool), np.zeros(4, int), 0) == 1


def test_draw_limit_by_hand():
    assert draw_limit(0.5, 10, 0.1, 1000) == 49  # below 0.5 * 10 / 0.1 = 50
    assert draw_limit(0.5, 10, 0.3, 1000) == 16  # below 16.67
    assert draw_limit(0.5, 10, 0.1, 20) == 20
    assert draw_limit(0.5, 10, 0.0, 1000) == 1000
    assert draw_limit(0.5, 0, 0.1, 1000) == 0


@given(before=st.floats(0.01, 0.5), weight=st.floats(0, 200), error=st.floats(0.001, 0.5))
def test_what_is_drawn_keeps_the_condition_on_error_and_weight(before, weight, error):
    drawn = draw_limit(before, weight, error, 10**6)
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


def test_taught_labels_are_mostly_right(blobs):
    x, y, truth = blobs
    forest = CoForestClassifier(20, random_state=1).fit(x, y)
    right = [truth[30:][taught] == label for taught, label in zip(forest.taught_, forest.taught_y_, strict=True)]
    assert np.mean(np.concatenate(right)) > 0.9


def test_a_single_tree_has_no_teacher(blobs):
    with pytest.raises(ValueError, match="n_estimators = 1"):
        CoForestClassifier(1).fit(*blobs[:2])


def test_without_unlabelled_examples_it_is_a_random_forest(blobs):
    x, _, truth = blobs
    ours = CoForestClassifier(50, random_state=0).fit(x[:300], truth[:300]).score(x[300:], truth[300:])
    theirs = RandomForestClassifier(50, random_state=0).fit(x[:300], truth[:300]).score(x[300:], truth[300:])
    assert abs(ours - theirs) < 0.03


# --- SETRED


def test_cut_edge_statistic_by_hand():
    # Neighbours at distances 0, 1 and 3: weights 1, 1/2 and 1/4; the second has another label; half of all are like us.
    statistic, mean, deviation, chance = cut_edge_statistic([0, 1, 3], [False, True, False], 0.5)
    assert statistic == 0.5
    assert mean == pytest.approx(0.5 * 1.75)
    assert deviation == pytest.approx(np.sqrt(0.25 * (1 + 1 / 4 + 1 / 16)))
    assert chance == pytest.approx(norm.cdf((0.5 - 0.875) / 0.5728219))


def test_cut_edge_moments_are_those_of_labels_drawn_at_random():
    distances, prior, rng = np.array([0.2, 0.9, 1.7, 4.0]), 0.3, np.random.default_rng(0)
    drawn = [cut_edge_statistic(distances, rng.random(4) > prior, prior)[0] for _ in range(20_000)]
    _, mean, deviation, _ = cut_edge_statistic(distances, [True] * 4, prior)
    assert np.mean(drawn) == pytest.approx(mean, rel=0.01) and np.std(drawn) == pytest.approx(deviation, rel=0.02)


def test_fewer_cut_edges_are_more_trusted_and_nothing_to_tell_by_is_not_trusted():
    chances = [cut_edge_statistic([1, 1, 1], [True] * k + [False] * (3 - k), 0.4)[-1] for k in range(4)]
    assert chances == sorted(chances)
    assert cut_edge_statistic([], [], 0.4)[-1] == 1
    assert cut_edge_statistic([1, 1], [False, False], 1.0)[-1] == 1
    # A rare label among its like means more than a common one.
    assert cut_edge_statistic([1], [False], 0.1)[-1] < 0.1 < cut_edge_statistic([1], [False], 0.8)[-1]


@given(seed=st.integers(0, 2**16), number=st.integers(2, 14))
@settings(max_examples=40, deadline=None)
def test_neighbourhoods_are_the_relative_neighbourhood_graph(seed, number):
    x = np.random.default_rng(seed).random((number, 2))
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    found = list(neighbourhoods(x, number // 2, number))
    for example, (near, distance) in zip(range(number // 2, number), found, strict=True):
        joined = {
            j
            for j in range(number)
            if j != example
            and not any(max(d[example, k], d[j, k]) < d[example, j] for k in range(number) if k not in (example, j))
        }
        assert set(near.tolist()) == joined
        assert np.allclose(distance, d[example, near])


def test_fewer_neighbours_leave_out_only_longer_edges():
    x = np.random.default_rng(3).random((40, 4))
    for (all_near, far), (some, _) in zip(neighbourhoods(x, 0, 40), neighbourhoods(x, 0, 6), strict=True):
        reach = np.sort(np.linalg.norm(x - x[all_near[0]], axis=1))
        assert set(some) <= set(all_near) and len(reach) == 40
        assert set(all_near[: len(some)]) == set(some) and (np.diff(far) >= 0).all()


def test_a_label_at_odds_with_its_neighbours_is_thrown_out():
    # Two groups: all labelled examples on the left are 0 and on the right 1. The learner calls everything the opposite.
    class Contrary(GaussianNB):
        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

    rng = np.random.default_rng(0)
    x = np.r_[rng.normal([-2, 0], 0.3, (90, 2)), rng.normal([2, 0], 0.3, (90, 2))]
    y = np.where(np.arange(180) % 3 == 0, -1, np.arange(180) // 90)
    contrary, sensible = (
        SetredClassifier(one, candidates=10, max_rounds=1, random_state=0).fit(x, y)
        for one in (Contrary(), GaussianNB())
    )
    assert len(contrary.history_[0]["proposed"]) == len(sensible.history_[0]["proposed"]) == 10
    assert len(contrary.added_) <= 1 and len(sensible.added_) >= 5


def test_kept_examples_agree_with_their_group(blobs):
    x, y, truth = blobs
    found = SetredClassifier(random_state=0).fit(x, y)
    assert len(found.added_) > 50
    taught_wrong = np.mean(found.classes_[found.added_y_] != truth[30:][found.added_])
    everything_wrong = np.mean(found.predict(x[30:]) != truth[30:])
    assert taught_wrong < max(everything_wrong, 0.1)
    proposed = np.concatenate([now["proposed"] for now in found.history_])
    assert len(proposed) == len(set(proposed.tolist()))  # a rejected candidate does not come back


def test_theta_of_zero_keeps_nothing_and_leaves_the_learner_alone(blobs):
    x, y, _ = blobs
    found = SetredClassifier(GaussianNB(), theta=0.0, random_state=0).fit(x, y)
    alone = GaussianNB().fit(x[:30], y[:30])
    assert len(found.added_) == 0
    assert np.array_equal(found.predict_proba(x), alone.predict_proba(x))
