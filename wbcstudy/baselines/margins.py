"""Which training pixels and which variables are worth keeping, asked of a random forest.

The trees of a forest vote, and how clear the vote for an instance's own label is, is its margin. Votes count only from
trees that did not learn from the instance: grown-out trees know their own instances by heart, and with them nearly
every margin is 1.
"""

import numpy as np

from wbcstudy.baselines.pixels import check_number


def out_of_bag_votes(forest, features: np.ndarray) -> np.ndarray:
    """Votes of the trees that did not learn from an instance.

    Scikit-learn's `oob_decision_function_` averages probabilities; where pixels of one colour have two labels, leaves
    are mixed and that is no count of votes.

    Args:
        forest: random forest with bootstrap samples, fitted on `features`.
        features: float (N, F), in the order of fitting.

    Returns:
        int64 (N, K): votes for each of `forest.classes_`; a row of zeros where every tree learnt from the instance.
    """
    features = np.asarray(features, dtype=np.float32)
    votes = np.zeros((len(features), len(forest.classes_)), np.int64)
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        outside = np.ones(len(features), bool)
        outside[drawn] = False
        rows = np.flatnonzero(outside)
        if rows.size:
            # Trees of a forest predict the class's position.
            votes[rows, tree.predict(features[rows]).astype(np.intp)] += 1
    return votes


def ensemble_margins(votes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """How clearly each instance was voted right: (votes for its label - most votes for another) / votes.

    Args:
        votes: int (N, K).
        positions: int (N,): each instance's own label, as a position 0..K-1.

    Returns:
        float64 (N,) from -1 (all for one wrong label) to 1 (all right); NaN where nobody voted.
    """
    rows = np.arange(len(votes))
    total = votes.sum(axis=1)
    right = votes[rows, positions]
    others = votes.copy()
    others[rows, positions] = 0
    difference = (right - others.max(axis=1)).astype(float)
    return np.divide(difference, total, out=np.full(len(votes), np.nan), where=total > 0)


def select_instances(margins: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Of each label, the instances that are right but closest to being wrong.

    Instances with a negative margin count as noise. Of the others the lowest margins are kept, up to
    `ceil(share * instances of the label)`, so that the labels keep their proportions. Of equal margins the first in
    order are kept. A label of noise alone keeps its highest margins instead: it must not vanish.

    Args:
        margins: float (N,), NaN where unknown; those are never kept, unless a label has nothing else.
        labels: int (N,).
        share: of each label's instances, above 0 up to 1.

    Returns:
        int64 indices of the kept instances, in rising order.

    Raises:
        StudyError: a share outside these limits.
    """
    check_share("share", share)
    kept = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        wanted = int(np.ceil(share * mine.size - 1e-9))
        known = np.where(np.isnan(margins[mine]), -np.inf, margins[mine])
        right = mine[known >= 0]
        if right.size:
            kept.append(right[np.argsort(margins[right], kind="stable")[:wanted]])
        else:
            kept.append(mine[np.argsort(-known, kind="stable")[:wanted]])
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def select_variables(importances: np.ndarray, share: float) -> np.ndarray:
    """The fewest variables that together hold a share of the importance.

    Taking those above the mean fails where one variable dominates: it alone is left.

    Args:
        importances: float (F,), 0 or more.
        share: of their sum, above 0 up to 1. A share of 1 keeps all variables, those of no importance too.

    Returns:
        int64 positions of the kept variables, the most important first (of equals the first); all of them where no
        variable has any importance.

    Raises:
        StudyError: a share outside these limits.
    """
    check_share("share", share)
    order = np.argsort(-importances, kind="stable")
    total = importances.sum()
    if share == 1 or not total > 0:
        return order
    # The tolerance is for sums like .1 + .2, which should reach .3.
    enough = np.cumsum(importances[order]) >= (share - 1e-9) * total
    return order[: int(np.argmax(enough)) + 1]


def check_share(name: str, value: float) -> None:
    """Raise a `StudyError` unless a parameter is above 0 and at most 1."""
    check_number(name, value, np.nextafter(0, 1), 1)
