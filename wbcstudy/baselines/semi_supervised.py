"""Two semi-supervised classifiers: co-Forest and SETRED.

Both follow scikit-learn: a y of -1 is an example without a label, as for `sklearn.semi_supervised`. No maintained
library has them as published (in `sslearn` 1.1.0 a co-Forest tree labels its own examples and loses its bootstrap, and
SETRED's cut-edge statistic is a random draw instead of the neighbours' labels; in our studies it accepted none of its
labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from wbcstudy.baselines.cut_edges import cut_edge_statistic, neighbourhoods

UNLABELLED = -1
_SEEDS = np.iinfo(np.int32).max


class _SemiSupervised(ClassifierMixin, BaseEstimator):
    """Shared base: separates labelled from unlabelled examples."""

    def _split(self, x, y):
        """Return labelled examples, their class numbers, and unlabelled examples; set `classes_`."""
        x, y = validate_data(self, x, y)
        check_classification_targets(y)
        labelled = y != UNLABELLED if y.dtype.kind in "iuf" else np.ones(len(y), bool)
        if not labelled.any():
            raise ValueError("No example has a label: every y is -1.")
        self.classes_, numbers = np.unique(y[labelled], return_inverse=True)
        return x[labelled], numbers, x[~labelled]

    def predict(self, X):
        """Return the most probable class, (n,) of `classes_`, of examples, float (n, F)."""
        probability = self.predict_proba(X)  # first, since it checks that the classifier is fitted
        return self.classes_[probability.argmax(1)]


@dataclass(eq=False, repr=False)
class CoForestClassifier(_SemiSupervised):
    """Co-Forest: each tree of a random forest is taught by the others.

    Li, Zhou: Improve computer-aided diagnosis with machine learning techniques using undiagnosed samples, IEEE
    Transactions on Systems, Man, and Cybernetics A 37, 2007, pp. 1088-1098.

    1. Grow N random trees, each on a bootstrap of the labelled examples.
    2. In each round and for each tree: its *concomitant ensemble* are all other trees. Their error e is estimated on
       the labelled examples, by the votes of the trees that did not learn from the example (out of bag).
    3. If e fell since the tree last changed (from e'; 0.5 at first), draw fewer than e' W' / e unlabelled examples.
       An example gets the ensemble's label if more than a share theta of the ensemble agrees; W is the sum of these
       shares.
    4. If e W < e' W', grow the tree again on its own bootstrap and these examples. Trees of a round change together.
    5. Stop when no tree changes.

    Reconstructed: W' = min(|U| / 10, 100) before the first change, since the published start of 0 would draw nothing; a
    tree keeps its bootstrap when it grows again, so that its out-of-bag examples stay the same.

    Args:
        n_estimators: N, number of trees, 2 or more.
        theta: share of the ensemble that must agree for a label, 0-1.
        max_rounds: maximum number of rounds; they usually stop earlier, since e falls in each.
        max_features: features per node, as for scikit-learn's trees.
        min_samples_leaf: minimum number of examples in a leaf, as for scikit-learn's trees.
        random_state: None, an integer or a `RandomState`.

    Attributes:
        classes_: the labels, sorted.
        estimators_: the trees.
        in_bag_: bool (N, labelled examples), whether the tree's bootstrap contains the example.
        taught_: one int array per tree, positions of the unlabelled examples that it last learnt from; `taught_y_`,
            their class numbers.
        history_: one dict per round: "error", "weight", "drawn" (number drawn), "changed", each (N,).
        n_rounds_: number of rounds.
    """

    n_estimators: int = 10
    theta: float = 0.75
    max_rounds: int = 100
    max_features: Any = "sqrt"
    min_samples_leaf: int = 1
    random_state: Any = None

    def fit(self, X, y):
        """Fit to labelled and unlabelled examples.

        Args:
            X: float (n, F).
            y: (n,) labels; -1 for an example without a label. At least one example has a label.
        """
        if self.n_estimators < 2:
            raise ValueError(f"n_estimators = {self.n_estimators}: co-Forest needs at least 2 trees.")
        rng = check_random_state(self.random_state)
        x, y, unlabelled = self._split(X, y)
        number, trees = len(x), range(self.n_estimators)
        bags = [rng.randint(number, size=number) for _ in trees]
        self.in_bag_ = np.stack([np.bincount(bag, minlength=number) > 0 for bag in bags])
        self.estimators_ = [self._grow(x[bag], y[bag], rng) for bag in bags]
        self.taught_ = [np.empty(0, np.int64) for _ in trees]
        self.taught_y_ = [np.empty(0, np.int64) for _ in trees]
        self.history_: list[dict[str, np.ndarray]] = []
        error = np.full(self.n_estimators, 0.5)
        weight = np.full(self.n_estimators, min(len(unlabelled) / 10, 100.0))
        on_labelled = self._votes(x)
        on_unlabelled = self._votes(unlabelled)
        for _ in range(self.max_rounds if len(unlabelled) else 0):
            now = {
                "error": np.array([_out_of_bag_error(on_labelled, self.in_bag_, y, tree) for tree in trees]),
                "weight": np.zeros(self.n_estimators),
                "drawn": np.zeros(self.n_estimators, np.int64),
                "changed": np.zeros(self.n_estimators, bool),
            }
            counts = _count(on_unlabelled, len(self.classes_))
            for tree in trees:
                if not now["error"][tree] < error[tree]:
                    continue
                limit = _draw_limit(error[tree], weight[tree], now["error"][tree], len(unlabelled))
                drawn = rng.permutation(len(unlabelled))[:limit]
                label, share = _concomitant_vote(counts, on_unlabelled, tree, drawn)
                agreed = share > self.theta
                now["drawn"][tree], now["weight"][tree] = len(drawn), share[agreed].sum()
                if agreed.any() and now["error"][tree] * now["weight"][tree] < error[tree] * weight[tree]:
                    now["changed"][tree] = True
                    self.taught_[tree], self.taught_y_[tree] = drawn[agreed], label[agreed]
            self.history_.append(now)
            if not now["changed"].any():
                break
            for tree in np.flatnonzero(now["changed"]):
                error[tree], weight[tree] = now["error"][tree], now["weight"][tree]
                self.estimators_[tree] = self._grow(
                    np.concatenate([x[bags[tree]], unlabelled[self.taught_[tree]]]),
                    np.concatenate([y[bags[tree]], self.taught_y_[tree]]),
                    rng,
                )
                on_labelled[tree] = self._vote(tree, x)
                on_unlabelled[tree] = self._vote(tree, unlabelled)
        self.n_rounds_ = len(self.history_)
        return self

    def predict_proba(self, X):
        """Return the share of the trees that vote for each class, float64 (n, C), for examples, float (n, F)."""
        check_is_fitted(self, "estimators_")
        x = validate_data(self, X, reset=False)
        return _count(self._votes(x), len(self.classes_)).T / self.n_estimators

    def _grow(self, x, y, rng):
        return DecisionTreeClassifier(
            max_features=self.max_features, min_samples_leaf=self.min_samples_leaf, random_state=rng.randint(_SEEDS)
        ).fit(x, y)

    def _vote(self, tree, x):
        return self.estimators_[tree].predict(x) if len(x) else np.empty(0, np.int64)

    def _votes(self, x):
        return np.stack([self._vote(tree, x) for tree in range(self.n_estimators)]).astype(np.int16)


def _count(votes, classes):
    """Count the votes for each class: (trees, n) class numbers -> int (classes, n)."""
    return np.stack([(votes == number).sum(0) for number in range(classes)])


def _out_of_bag_error(votes, in_bag, y, tree) -> float:
    """Return the error of a tree's concomitant ensemble on the labelled examples (co-Forest, step 2).

    That is the share of wrong majority votes (a tie goes to the first class) among the examples that at least one other
    tree has not learnt from; 1 without these examples, so that the ensemble teaches nothing.

    Args:
        votes: int (N, n), class number of each tree's vote.
        in_bag: bool (N, n), whether the tree has learnt from the example.
        y: int (n,), the true class numbers.
        tree: the tree that does not vote.
    """
    allowed = ~in_bag
    allowed[tree] = False
    counts = _count(np.where(allowed, votes, -1), int(max(votes.max(), y.max())) + 1)
    judged = allowed.any(0)
    return float(np.mean(counts.argmax(0)[judged] != y[judged])) if judged.any() else 1.0


def _concomitant_vote(counts, votes, tree, examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the majority vote of all trees but one (co-Forest, step 3), and its share of these trees, (k,) each.

    Args:
        counts: int (C, n), votes of all trees for each class.
        votes: int (N, n), class number of each tree's vote.
        tree: the tree that does not vote.
        examples: int (k,), positions among the n examples.
    """
    others = counts[:, examples].copy()
    others[votes[tree, examples], np.arange(len(examples))] -= 1
    return others.argmax(0), others.max(0) / (len(votes) - 1)


def _draw_limit(error_before: float, weight_before: float, error: float, available: int) -> int:
    """Return the maximum number of examples that co-Forest may draw, which keeps their weight below e' W' / e."""
    if error == 0:
        return available
    # An example weighs at most 1, and the weight must stay below the limit: the next smaller integer.
    return int(min(available, max(0, np.ceil(error_before * weight_before / error) - 1)))


@dataclass(eq=False, repr=False)
class SetredClassifier(_SemiSupervised):
    """SETRED: self-training that rejects labels which contradict those of the neighbours.

    Li, Zhou: SETRED: self-training with editing, PAKDD 2005, LNCS 3518, pp. 611-621.

    1. Train the learner on the labelled examples.
    2. In each round, the learner labels unlabelled examples. The most confident examples of each class are candidates,
       in proportion to the class's share among the labelled examples (at least one).
    3. Join labelled examples and candidates in a relative neighbourhood graph, with edge weights 1 / (1 + distance).
       The statistic of a candidate is the weight of its edges to examples with another label (*cut* edges). Its mean
       and variance under random labels are known (`cut_edge_statistic`): keep the candidate if the probability of a
       value this small is below theta.
    4. Train again on all labelled and kept examples. Stop when no unlabelled example is left, or after `max_rounds`.

    Reconstructed: the number of candidates per round; a rejected candidate is not proposed again; edges beyond the
    `n_neighbors`-th neighbour are left out, which keeps the graph affordable (the other edges are exact).

    Args:
        estimator: the learner, with `predict_proba`; None for a decision tree with leaves of at least 5 examples.
        theta: significance level, 0-1.
        max_rounds: maximum number of rounds.
        candidates: number of candidates per round.
        n_neighbors: number of nearest neighbours that may be joined.
        random_state: None, an integer or a `RandomState`.

    Attributes:
        classes_: the labels, sorted.
        estimator_: the learner, trained.
        history_: one dict per round: "proposed" and "kept", positions among the unlabelled examples.
        n_rounds_: number of rounds.
        added_: int (k,), positions of the unlabelled examples that were kept; `added_y_`, their class numbers.
    """

    estimator: Any = None
    theta: float = 0.1
    max_rounds: int = 40
    candidates: int = 100
    n_neighbors: int = 10
    random_state: Any = None

    def fit(self, X, y):
        """Fit to labelled and unlabelled examples.

        Args:
            X: float (n, F); distances are Euclidean, so the features need a common scale.
            y: (n,) labels; -1 for an example without a label. At least one example has a label.
        """
        rng = check_random_state(self.random_state)
        x, y, unlabelled = self._split(X, y)
        prior = np.bincount(y, minlength=len(self.classes_)) / len(y)
        quota = np.maximum(1, np.round(prior * self.candidates)).astype(int)
        left = np.arange(len(unlabelled))
        self.added_, self.added_y_ = np.empty(0, np.int64), np.empty(0, np.int64)
        self.history_: list[dict[str, np.ndarray]] = []
        self._train(x, y, rng)
        for _ in range(self.max_rounds):
            if len(left) == 0 or len(self.classes_) == 1:
                break
            proposed, label = self._propose(unlabelled, left, quota, rng)
            all_x = np.concatenate([x, unlabelled[self.added_], unlabelled[proposed]])
            all_y = np.concatenate([y, self.added_y_, label])
            first = len(all_x) - len(proposed)
            keep = np.zeros(len(proposed), bool)
            for k, (near, distance) in enumerate(neighbourhoods(all_x, first, self.n_neighbors)):
                keep[k] = cut_edge_statistic(distance, all_y[near] != label[k], prior[label[k]])[-1] < self.theta
            left = np.setdiff1d(left, proposed, assume_unique=True)
            self.history_.append({"proposed": proposed, "kept": proposed[keep]})
            if keep.any():
                self.added_ = np.concatenate([self.added_, proposed[keep]])
                self.added_y_ = np.concatenate([self.added_y_, label[keep]])
                self._train(np.concatenate([x, unlabelled[self.added_]]), np.concatenate([y, self.added_y_]), rng)
        self.n_rounds_ = len(self.history_)
        return self

    def predict_proba(self, X):
        """Return the learner's probabilities, float64 (n, C), for examples, float (n, F)."""
        check_is_fitted(self, "estimator_")
        return self.estimator_.predict_proba(validate_data(self, X, reset=False))

    def _train(self, x, y, rng):
        learner = DecisionTreeClassifier(min_samples_leaf=5) if self.estimator is None else clone(self.estimator)
        if "random_state" in learner.get_params():
            learner.set_params(random_state=rng.randint(_SEEDS))
        self.estimator_ = learner.fit(x, y)

    def _propose(self, unlabelled, left, quota, rng):
        left = rng.permutation(left)  # a tree gives many examples the same probability: ties are random
        probability = self.estimator_.predict_proba(unlabelled[left])
        label, confidence = probability.argmax(1), probability.max(1)
        order = np.argsort(-confidence, kind="stable")
        chosen = np.concatenate([order[label[order] == number][: quota[number]] for number in range(len(quota))])
        return left[chosen], label[chosen]
