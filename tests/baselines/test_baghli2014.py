"""Dempster's rule in closed form, compared with its definition over all subsets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcstudy.baselines.baghli2014 import _combine_evidence, _masses, _pignistic


def dempster(sources):
    """The rule by its definition: each choice of one focal set per source votes for the sets' intersection."""
    numbers = range(len(sources[0]) - 1)
    focal = [frozenset({number}) for number in numbers] + [frozenset(numbers)]
    joint = dict.fromkeys(focal, 0.0)
    for choice in product(range(len(focal)), repeat=len(sources)):
        common = frozenset.intersection(*(focal[k] for k in choice))
        if common:
            joint[common] += np.prod([source[k] for source, k in zip(sources, choice, strict=True)])
    total = sum(joint.values())
    return [joint[labels] / total for labels in focal]


def random_sources(seed, count, labels):
    return np.random.default_rng(seed).dirichlet(np.full(labels + 1, 0.5), count)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 4))
@settings(max_examples=80, deadline=None)
def test_the_closed_form_is_dempsters_rule(seed, count, labels):
    sources = random_sources(seed, count, labels)
    np.testing.assert_allclose(_combine_evidence(sources), dempster(sources), atol=1e-9)


def test_the_closed_form_agrees_with_pyds():
    pyds = pytest.importorskip("pyds", reason="py_dempster_shafer is not installed; the rule by its definition is")
    for seed in range(20):
        sources = random_sources(seed, 3, 3)
        names = ["a", "b", "c", "abc"]
        first, *others = [pyds.MassFunction(dict(zip(names, row.tolist(), strict=True))) for row in sources]
        for other in others:
            first = first & other
        combined = _combine_evidence(sources)
        np.testing.assert_allclose(combined, [first[name] for name in names], atol=1e-12)
        shared = first.pignistic()
        np.testing.assert_allclose(_pignistic(combined), [shared[name] for name in "abc"], atol=1e-12)


def test_the_textbook_example_of_two_physicians():
    # Zadeh's example: two sources that nearly contradict each other agree on the label that both find unlikely.
    combined = _combine_evidence([[0.99, 0.0, 0.01, 0.0], [0.0, 0.99, 0.01, 0.0]])
    np.testing.assert_allclose(combined, [0, 0, 1, 0])


def test_sources_that_contradict_each_other_completely_give_unknown():
    combined = _combine_evidence([[[1, 0, 0], [0.5, 0.5, 0]], [[0, 1, 0], [0.5, 0.5, 0]]])
    np.testing.assert_allclose(combined, [[0, 0, 1], [0.5, 0.5, 0]])
    np.testing.assert_allclose(_pignistic(combined), 0.5)


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_properties(seed):
    sources = random_sources(seed, 3, 3)
    combined = _combine_evidence(sources)
    np.testing.assert_allclose(_combine_evidence(sources[::-1]), combined, atol=1e-12)
    np.testing.assert_allclose(_combine_evidence([_combine_evidence(sources[:2]), sources[2]]), combined, atol=1e-12)
    np.testing.assert_allclose(_combine_evidence([*sources, [0, 0, 0, 1]]), combined, atol=1e-12)
    np.testing.assert_allclose(_pignistic(combined).sum(), 1)
    assert (combined >= 0).all()


def test_masses_keep_a_rest_for_unknown_if_likelihoods_vanish():
    result = _masses(np.array([[-1e6, -1e6 + np.log(3), -np.inf], [0.0, 0.0, 0.0]]), 0.8)
    np.testing.assert_allclose(result, [[0.2, 0.6, 0, 0.2], [0.8 / 3, 0.8 / 3, 0.8 / 3, 0.2]])
