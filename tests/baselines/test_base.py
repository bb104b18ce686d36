"""What every earlier method promises, and what the table of methods offers."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from wbcstudy.baselines.base import Method, draw_pixels, draw_training_pixels
from wbcstudy.baselines.methods import METHODS, MethodRow, build_method, method_row, search_parameters
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS

IMAGE = np.full((8, 9, 3), 200, np.uint8)
MASK = np.zeros((8, 9), np.uint8)
AVAILABLE = [row.name for row in METHODS.values() if row.available]


class Constant(Method):
    """Predicts one label, and keeps what it was given."""

    required_labels = (NUCLEUS,)

    def __init__(self, label=NUCLEUS):
        self.label = label

    def _fit(self, images, masks, rng):
        self.seen_ = (len(images), int(rng.integers(2**32)))

    def _predict(self, image):
        return np.full(image.shape[:2], self.label)


def nucleus_mask():
    mask = MASK.copy()
    mask[2:5, 2:5] = NUCLEUS
    return mask


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
    assert [one.title for one in METHODS.values()].count(row.title) == 1
    assert row.quoted_as is None or row.reference in {"6", "7", "8", "9", "10", "11"}


def test_a_misspelt_name_or_parameter_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match="Did you mean 'benazzouz2013'"):
        method_row("benazouz2013")
    with pytest.raises(StudyError, match=r"no parameter 'tree'[\s\S]*trees"):
        build_method("forest", tree=3)


def test_a_method_whose_extra_is_missing_says_what_to_install(monkeypatch):
    assert find_spec("no_such_package") is None
    row = MethodRow("extra", "Extra", "", "", "forest:ColourForest", False, needs="no_such_package")
    monkeypatch.setattr("wbcstudy.baselines.methods.METHODS", {"extra": row})
    assert not row.available
    with pytest.raises(StudyError, match="no_such_package"):
        build_method("extra")


@pytest.mark.parametrize(
    ("images", "masks", "says"),
    [
        ([], [], "0 images and 0 masks"),
        ([IMAGE], [MASK, MASK], "1 images and 2 masks"),
        ([IMAGE / 255], [MASK], "float64"),
        ([IMAGE[..., 0]], [MASK], r"shape \(8, 9\)"),
        ([IMAGE], [MASK[:4]], r"mask 0 is uint8 of shape \(4, 9\)"),
        ([IMAGE], [MASK.astype(int)], "int64"),
        ([IMAGE], [MASK + 255], "value 255"),
        ([IMAGE, IMAGE], [MASK, MASK], "no training mask has a pixel of 'nucleus'"),
    ],
)
def test_training_cases_that_cannot_be_used_are_refused(images, masks, says):
    with pytest.raises(StudyError, match=says):
        Constant().fit(images, masks, np.random.default_rng(0))


def test_fit_and_predict_take_images_of_differing_sizes():
    method = Constant().fit([IMAGE, IMAGE[:5]], [nucleus_mask(), MASK[:5]], np.random.default_rng(0))
    assert method.labels_ == (BACKGROUND, NUCLEUS)
    predicted = method.predict(IMAGE[:3])
    assert predicted.shape == (3, 9) and predicted.dtype == np.uint8
    with pytest.raises(StudyError, match="float32"):
        method.predict(IMAGE.astype(np.float32))


def test_pixels_are_drawn_evenly_over_labels_and_never_twice():
    mask = nucleus_mask()
    mask[7, 7:] = CYTOPLASM
    drawn = draw_pixels(mask, 5, np.random.default_rng(0))
    assert np.bincount(mask.ravel()[drawn]).tolist() == [5, 2, 5]
    assert len(set(drawn.tolist())) == drawn.size
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    rows, labels = draw_training_pixels([image, image], [mask, mask], lambda one: one / 2, 5, np.random.default_rng(0))
    assert rows.shape == (24, 3) and rows.dtype == np.float32
    red_to_label = dict(zip(image[..., 0].ravel() / 2, mask.ravel(), strict=True))
    assert [red_to_label[row[0]] for row in rows] == labels.tolist()


def test_the_search_scores_on_validation_cases_and_keeps_the_best(monkeypatch):
    built = []

    def build(name, **params):
        built.append(Constant(**params))
        return built[-1]

    monkeypatch.setattr("wbcstudy.baselines.methods.build_method", build)
    row = MethodRow("toy", "Toy", "", "", "", True, search={"label": (BACKGROUND, CYTOPLASM, NUCLEUS)})
    reference = np.full((8, 9), CYTOPLASM, np.uint8)
    reference[:4] = NUCLEUS  # a constant nucleus has Dice 2 * 36 / (36 + 72) for it, and 0 for the cytoplasm
    training = ([IMAGE] * 9, [nucleus_mask()] * 9)
    best, tried = search_parameters(row, training, ([IMAGE], [reference]), np.random.default_rng(0), max_training=4)
    assert best == {"label": CYTOPLASM}  # as good as the nucleus, and first
    assert [one["score"] for one in tried] == pytest.approx([0, 1 / 3, 1 / 3])
    assert tried[2]["nucleus"] == pytest.approx(2 / 3) and tried[2]["cytoplasm"] == 0
    assert {one.seen_[0] for one in built} == {4}
    assert len({one.seen_[1] for one in built}) == 1, "settings differ by their random numbers"

    # No cell and none predicted: undefined, so any other score wins over it.
    empty = search_parameters(row, training, ([IMAGE], [MASK]), np.random.default_rng(0))[1]
    assert np.isnan(empty[0]["score"]) and empty[1]["score"] == 0
    with pytest.raises(StudyError, match="without validation cases"):
        search_parameters(row, training, ([], []), np.random.default_rng(0))


def test_nothing_to_search_runs_nothing():
    assert search_parameters(METHODS["otsu_levels"], ([], []), ([], []), np.random.default_rng(0)) == ({}, [])
