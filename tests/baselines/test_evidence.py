"""Dempster's rule in closed form against the rule itself, over all subsets."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcstudy.baselines.baghli2014 import combine_evidence, majority_labels, masses, pignistic
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


def dempster(sources):
    """The rule by its definition: each choice of one focal set per source votes for the sets' intersection."""
    labels = range(len(sources[0]) - 1)
    focal = [frozenset({label}) for label in labels] + [frozenset(labels)]
    joint = dict.fromkeys(focal, 0.0)
    for choice in product(range(len(focal)), repeat=len(sources)):
        common = frozenset.intersection(*(focal[k] for k in choice))
        if common:
            joint[common] += np.prod([source[k] for source, k in zip(sources, choice, strict=True)])
    total = sum(joint.values())
    return [joint[one] / total for one in focal]


def random_sources(seed, count, labels):
    return np.random.default_rng(seed).dirichlet(np.full(labels + 1, 0.5), count)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 4))
@settings(max_examples=80, deadline=None)
def test_the_closed_form_is_dempsters_rule(seed, count, labels):
    sources = random_sources(seed, count, labels)
    np.testing.assert_allclose(combine_evidence(sources), dempster(sources), atol=1e-9)


def test_the_closed_form_agrees_with_pyds():
    pyds = pytest.importorskip("pyds", reason="py_dempster_shafer is not installed; the rule by its definition is")
    for seed in range(20):
        sources = random_sources(seed, 3, 3)
        names = ["a", "b", "c", "abc"]
        first, *others = [pyds.MassFunction(dict(zip(names, row.tolist(), strict=True))) for row in sources]
        for one in others:
            first = first & one
        combined = combine_evidence(sources)
        np.testing.assert_allclose(combined, [first[name] for name in names], atol=1e-12)
        shared = first.pignistic()
        np.testing.assert_allclose(pignistic(combined), [shared[name] for name in "abc"], atol=1e-12)


def test_the_textbook_case_of_two_physicians():
    # Zadeh's: two who nearly contradict each other agree on the one thing that both hold unlikely.
    combined = combine_evidence([[0.99, 0.0, 0.01, 0.0], [0.0, 0.99, 0.01, 0.0]])
    np.testing.assert_allclose(combined, [0, 0, 1, 0])


def test_sources_that_contradict_each_other_wholly_leave_nothing_known():
    combined = combine_evidence([[[1, 0, 0], [0.5, 0.5, 0]], [[0, 1, 0], [0.5, 0.5, 0]]])
    np.testing.assert_allclose(combined, [[0, 0, 1], [0.5, 0.5, 0]])
    np.testing.assert_allclose(pignistic(combined), 0.5)


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_laws(seed):
    sources = random_sources(seed, 3, 3)
    combined = combine_evidence(sources)
    np.testing.assert_allclose(combine_evidence(sources[::-1]), combined, atol=1e-12)
    np.testing.assert_allclose(combine_evidence([combine_evidence(sources[:2]), sources[2]]), combined, atol=1e-12)
    np.testing.assert_allclose(combine_evidence([*sources, [0, 0, 0, 1]]), combined, atol=1e-12)
    np.testing.assert_allclose(pignistic(combined).sum(), 1)
    assert (combined >= 0).all()


def test_masses_keep_a_rest_for_unknown_even_where_likelihoods_vanish():
    found = masses(np.array([[-1e6, -1e6 + np.log(3), -np.inf], [0.0, 0.0, 0.0]]), 0.8)
    np.testing.assert_allclose(found, [[0.2, 0.6, 0, 0.2], [0.8 / 3, 0.8 / 3, 0.8 / 3, 0.2]])


def test_a_region_has_the_label_of_most_of_its_pixels():
    regions = np.array([[0, 0, 0, 1, 1], [2, 2, 3, 3, 3]])
    mask = np.array([[2, 2, 0, 0, 1], [1, 2, 1, 1, 0]], np.uint8)
    assert majority_labels(regions, mask).tolist() == [NUCLEUS, BACKGROUND, CYTOPLASM, CYTOPLASM]
