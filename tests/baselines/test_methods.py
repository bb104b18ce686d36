"""The table of earlier methods."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tests.helpers.constant_method import IMAGE
from tests.helpers.quick_methods import (
    SIMPLE_METHODS,
    build_quick,
    dice,
    fit_again,
    fit_quick,
    make_large_training,
)
from wbcstudy.baselines.base import Method
from wbcstudy.baselines.methods import build_method, method_row
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUCLEUS
from wbcstudy.registry import METHODS, MethodRow
from wbcstudy.scoring.cleanup import clean_up

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


# Well below the result of each, and well above the 0.03 of predicting nucleus everywhere. Two thresholds also select
# dark red cells.
MIN_DICE = {"otsu_levels": 0.05, "forest": 0.8, "benazzouz2013": 0.6, "baghli2014": 0.7, "benomar2021": 0.4}


@pytest.fixture(scope="module")
def field():
    return make_smear(11, 768, 1024, white_cells=(5, 6), slide=3)


@pytest.mark.parametrize("name", SIMPLE_METHODS)
def test_a_field_of_many_cells_is_segmented(name, field):
    assert len(field.cells) >= 4
    mask = fit_quick(name).predict(field.image)
    assert mask.shape == (768, 1024) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1, 2}
    cleaned = clean_up(mask)
    assert dice(field.mask, cleaned, "nucleus") > MIN_DICE[name]
    detected = [(cleaned[field.nuclei == cell.instance] == NUCLEUS).mean() > 0.3 for cell in field.cells]
    assert sum(detected) >= 2, f"nuclei detected: {detected}"


@pytest.mark.parametrize("name", SIMPLE_METHODS)
def test_the_same_seed_gives_the_same_masks(name):
    again = fit_again(name, build_quick(name))
    image = make_smear(7, 100, 130, slide=3).image
    np.testing.assert_array_equal(again.predict(image), fit_quick(name).predict(image))


@pytest.mark.parametrize("name", SIMPLE_METHODS)
@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_or_tiny_image_is_segmented_without_an_error(name, value):
    for shape in ((40, 50, 3), (1, 1, 3), (2, 30, 3)):
        assert fit_quick(name).predict(np.full(shape, value, np.uint8)).shape == shape[:2]


@pytest.mark.parametrize("name", SIMPLE_METHODS)
def test_training_images_without_cells_are_allowed(name):
    images, masks = make_large_training()
    empty = make_smear(4, 192, 192, white_cells=(0, 0), slide=3)
    assert not empty.mask.any()
    method = build_quick(name)
    method.fit([empty.image, *images[:2]], [empty.mask, *masks[:2]], np.random.default_rng(0))
    assert method.predict(images[3]).any()


def test_training_masks_with_one_label_are_refused_by_methods_that_need_more():
    images = make_large_training()[0][:1]
    masks = [np.zeros(images[0].shape[:2], np.uint8)]
    for name in ("baghli2014", "benomar2021"):
        with pytest.raises(StudyError, match="no training mask has a pixel"):
            build_method(name).fit(images, masks, np.random.default_rng(0))
    for name in ("otsu_levels", "benazzouz2013", "forest"):
        build_quick(name).fit(images, masks, np.random.default_rng(0)).predict(images[0])
