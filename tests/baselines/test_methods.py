"""The table of earlier methods."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tests.helpers.constant_method import IMAGE
from wbcstudy.baselines.base import Method
from wbcstudy.baselines.methods import build_method, method_row
from wbcstudy.errors import StudyError
from wbcstudy.registry import METHODS, MethodRow

AVAILABLE = [row.name for row in METHODS.values() if row.available]


@pytest.mark.parametrize("name", AVAILABLE)
def test_methods_are_scikit_learn_estimators(name):
    method = build_method(name)
    assert isinstance(method, Method)
    params = method.get_params()
    copy = clone(method)
    assert copy is not method and copy.get_params() == params
    assert set(METHODS[name].search) | set(METHODS[name].fixed) <= set(params)
    assert all(params[key] == value for key, value in METHODS[name].fixed.items())
    with pytest.raises(NotFittedError):
        method.predict(IMAGE)


@pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.name)
def test_searches_are_small_and_titles_differ(row):
    assert np.prod([len(values) for values in row.search.values()]) <= 12
    assert [other.title for other in METHODS.values()].count(row.title) == 1
    assert row.quoted_as is None or row.reference in {"6", "7", "8", "9", "10", "11"}


def test_an_unknown_name_or_parameter_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match="Did you mean 'benazzouz2013'"):
        method_row("benazouz2013")
    with pytest.raises(StudyError, match=r"no parameter 'tree'[\s\S]*trees"):
        build_method("forest", tree=3)


def test_the_error_about_a_missing_package_names_it(monkeypatch):
    assert find_spec("no_such_package") is None
    row = MethodRow("extra", "Extra", "", "", "forest:ColourForest", False, needs="no_such_package")
    monkeypatch.setattr("wbcstudy.baselines.methods.METHODS", {"extra": row})
    assert not row.available
    with pytest.raises(StudyError, match="no_such_package"):
        build_method("extra")
