"""SETRED's test of a label: is it at odds with the neighbours' labels?"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from sklearn.neighbors import NearestNeighbors


def neighbourhoods(x, first, n_neighbors):
    """Neighbours in the relative neighbourhood graph (Toussaint 1980).

    Two examples are joined if no third is nearer to both than they are to each other. Anything that could stand
    between an example and its k-th nearest is among its nearer neighbours, so looking at those alone finds the exact
    edges up to the `n_neighbors`-th neighbour.

    Args:
        x: float (n, F).
        first: neighbours are found of examples first..n-1.
        n_neighbors: how many nearest examples are looked at.

    Yields:
        For each of these examples: numbers of its neighbours, int (k,), and their distances (k,). An example with
        others at its very place has these among its neighbours.
    """
    number = min(n_neighbors + 1, len(x))
    search = NearestNeighbors(n_neighbors=number).fit(x)
    distances, near = search.kneighbors(x[first:])
    for example, found, distance in zip(range(first, len(x)), near, distances, strict=True):
        others = found != example
        found, distance = found[others][:n_neighbors], distance[others][:n_neighbors]
        between = np.linalg.norm(x[found][:, None] - x[found][None], axis=2)  # [neighbour, third]
        blocked = (np.maximum(distance[None, :], between) < distance[:, None]).any(1)
        yield found[~blocked], distance[~blocked]


def cut_edge_statistic(distances, cut, prior) -> tuple[float, float, float, float]:
    """The cut-edge weight statistic of one example, and how it compares with labels drawn at random.

    J is the weight of the cut edges, weights being w = 1 / (1 + distance). If each neighbour had another label with
    probability 1 - prior, independently, J would have the mean (1 - prior) sum(w) and the variance
    prior (1 - prior) sum(w^2) (Li, Zhou 2005, after Muhlenbach, Lallich, Zighed 2004).

    Args:
        distances: float (k,), to the neighbours.
        cut: bool (k,), whether the neighbour has another label.
        prior: share of the example's label among the labelled examples, 0-1.

    Returns:
        J, its mean, its standard deviation, and the probability of a value this small by a normal approximation; that
        is 1 where there is nothing to tell by (no neighbours, or a single label).
    """
    weight = 1 / (1 + np.asarray(distances, float))
    statistic, mean = float(weight[np.asarray(cut, bool)].sum()), float((1 - prior) * weight.sum())
    deviation = float(np.sqrt(prior * (1 - prior) * (weight**2).sum()))
    chance = float(norm.cdf((statistic - mean) / deviation)) if deviation > 0 else 1.0
    return statistic, mean, deviation, chance
