"""SETRED's test of a label against the labels of its neighbours."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors


def neighbourhoods(x, first, n_neighbors):
    """Find neighbours in the relative neighbourhood graph (Toussaint 1980).

    Two examples are joined if no third is nearer to both than they are to each other. An example between another and
    its k-th nearest is itself one of the nearer neighbours. The search among them is therefore exact up to the
    `n_neighbors`-th neighbour.

    Args:
        x: float (n, F).
        first: the neighbours of examples first..n-1 are returned.
        n_neighbors: number of nearest examples to search.

    Yields:
        For each of these examples: positions of its neighbours, int (k,), and their distances (k,). Duplicates of an
        example are among its neighbours.
    """
    number = min(n_neighbors + 1, len(x))
    search = NearestNeighbors(n_neighbors=number).fit(x)
    distances, near = search.kneighbors(x[first:])
    for example, nearest, distance in zip(range(first, len(x)), near, distances, strict=True):
        others = nearest != example
        nearest, distance = nearest[others][:n_neighbors], distance[others][:n_neighbors]
        between = np.linalg.norm(x[nearest][:, None] - x[nearest][None], axis=2)  # [neighbour, third]
        blocked = (np.maximum(distance[None, :], between) < distance[:, None]).any(1)
        yield nearest[~blocked], distance[~blocked]


def cut_edge_statistic(distances, cut, prior) -> tuple[float, float, float, float]:
    """Compute the cut-edge weight statistic of one example, and its distribution under random labels.

    J is the weight of the cut edges, weights being w = 1 / (1 + distance). If each neighbour had another label with
    probability 1 - prior, independently, J would have the mean (1 - prior) sum(w) and the variance
    prior (1 - prior) sum(w^2) (Li, Zhou 2005, after Muhlenbach, Lallich, Zighed 2004).

    Args:
        distances: float (k,), distances to the neighbours.
        cut: bool (k,), whether the neighbour has another label.
        prior: share of the example's label among the labelled examples, 0-1.

    Returns:
        J, its mean, its standard deviation, and the probability of a value this small by a normal approximation; 1 if
        it is undefined (no neighbours, or a single label).
    """
    weight = 1 / (1 + np.asarray(distances, float))
    statistic, mean = float(weight[np.asarray(cut, bool)].sum()), float((1 - prior) * weight.sum())
    deviation = float(np.sqrt(prior * (1 - prior) * (weight**2).sum()))
    probability = float(norm.cdf((statistic - mean) / deviation)) if deviation > 0 else 1.0
    return statistic, mean, deviation, probability
