"""Selection of training pixels and variables by a random forest.

The margin of an instance measures how clearly the trees of a forest vote for its label. Only trees that did not learn
from the instance vote: fully grown trees memorise their own instances, and with them nearly every margin would be 1.
"""

import numpy as np

from wbcstudy.baselines.pixels import check_number


def out_of_bag_votes(forest, features: np.ndarray) -> np.ndarray:
    """Count the votes of the trees that did not learn from an instance.

    scikit-learn's `oob_decision_function_` averages probabilities, which differ from votes if leaves are mixed (pixels
    of one colour with two labels).

    Args:
        forest: random forest with bootstrap samples, fitted on `features`.
        features: float (N, F), in the order of fitting.

    Returns:
        int64 (N, K): votes for each of `forest.classes_`; a row of zeros if every tree learnt from the instance.
    """
    features = np.asarray(features, dtype=np.float32)
    votes = np.zeros((len(features), len(forest.classes_)), np.int64)
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        outside = np.ones(len(features), bool)
        outside[drawn] = False
        rows = np.flatnonzero(outside)
        if rows.size:
            # The trees of a forest predict positions in `forest.classes_`.
            votes[rows, tree.predict(features[rows]).astype(np.intp)] += 1
    return votes


def ensemble_margins(votes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Compute the margin of each instance: (votes for its label - most votes for another label) / votes.

    It is float64 (N,) from -1 (all votes for one wrong label) to 1 (all votes correct), NaN without votes; from votes,
    int (N, K), and positions, int (N,), of the instances' labels, 0..K-1.
    """
    rows = np.arange(len(votes))
    total = votes.sum(axis=1)
    correct = votes[rows, positions]
    others = votes.copy()
    others[rows, positions] = 0
    difference = (correct - others.max(axis=1)).astype(float)
    return np.divide(difference, total, out=np.full(len(votes), np.nan), where=total > 0)


def select_instances(margins: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Select the correctly classified instances with the lowest margins of each label.

    Instances with a negative margin count as noise. Of the others the lowest margins are kept, up to
    `ceil(share * instances of the label)`, so that the labels keep their proportions. Equal margins are kept in their
    order. A label that is all noise keeps its highest margins instead, so that it does not vanish.

    Args:
        margins: float (N,), NaN if unknown; these are kept only if a label has no others.
        labels: int (N,).
        share: maximum share of each label's instances, above 0 up to 1.

    Returns:
        int64 indices of the kept instances, in rising order.

    Raises:
        StudyError: a share outside these limits.
    """
    check_share("share", share)
    kept = []
    for label in np.unique(labels):
        instances = np.flatnonzero(labels == label)
        limit = int(np.ceil(share * instances.size - 1e-9))
        known = np.where(np.isnan(margins[instances]), -np.inf, margins[instances])
        correct = instances[known >= 0]
        if correct.size:
            kept.append(correct[np.argsort(margins[correct], kind="stable")[:limit]])
        else:
            kept.append(instances[np.argsort(-known, kind="stable")[:limit]])
    return np.sort(np.concatenate(kept))


def select_variables(importances: np.ndarray, share: float) -> np.ndarray:
    """Select the smallest number of variables that together hold a share of the importance.

    Selecting all variables above the mean fails if one variable dominates: only that one would remain.

    Args:
        importances: float (F,), 0 or more.
        share: share of their sum, above 0 up to 1. A share of 1 keeps all variables, also those without importance.

    Returns:
        int64 positions of the kept variables, the most important first (ties in order); all of them if no variable has
        any importance.

    Raises:
        StudyError: a share outside these limits.
    """
    check_share("share", share)
    order = np.argsort(-importances, kind="stable")
    total = importances.sum()
    if share == 1 or not total > 0:
        return order
    # With a tolerance for rounding: .1 + .2 must reach .3.
    enough = np.cumsum(importances[order]) >= (share - 1e-9) * total
    return order[: int(np.argmax(enough)) + 1]


def check_share(name: str, value: float) -> None:
    """Raise a `StudyError` unless a parameter is above 0 and at most 1."""
    check_number(name, value, np.nextafter(0, 1), 1)
