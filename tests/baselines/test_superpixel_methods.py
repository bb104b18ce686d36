"""The methods that classify superpixels, on synthetic smears."""

import importlib.util
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from wbcstudy.baselines.base import region_dice
from wbcstudy.baselines.bechar2018 import _LEARNERS, FewLabelsSuperpixels
from wbcstudy.baselines.bechar2019 import SuperpixelForest
from wbcstudy.baselines.methods import build_method
from wbcstudy.baselines.superpixels import superpixel_labels
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS, REGIONS, region_mask
from wbcstudy.registry import METHODS

NAMES = ("bechar2019", "bechar2018_tree", "bechar2018_forest", "bechar2018_coforest", "bechar2018_setred")
IMAGES = 8
has_sslearn = importlib.util.find_spec("sslearn") is not None


def quick(name, **params):
    few = {"trees": 10} if name == "bechar2019" else {"trees": 10, "labelled_images": 3, "unlabelled_images": 4}
    return build_method(name, **(few | params))


def dice(reference, prediction, region):
    return region_dice(region_mask(reference, region), region_mask(prediction, region))


@pytest.fixture(scope="module")
def training():
    smears = [make_smear(seed, 160, 160, slide=3) for seed in range(IMAGES)]
    return [smear.image for smear in smears], [smear.mask for smear in smears]


@pytest.fixture(scope="module")
def unseen():
    smears = [make_smear(100 + seed, 160, 160, slide=3) for seed in range(4)]
    return [smear.image for smear in smears], [smear.mask for smear in smears]


@pytest.fixture(scope="module")
def fitted(training):
    return {name: quick(name).fit(*training, np.random.default_rng(0)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_all_methods_segment_unseen_images(fitted, unseen, name):
    images, masks = unseen
    method = fitted[name]
    for region in REGIONS:
        score = np.mean([dice(m, method.predict(i), region) for i, m in zip(images, masks, strict=True)])
        assert 0.5 < score < 1, region


@pytest.mark.parametrize("name", NAMES)
def test_a_superpixel_gets_one_label(fitted, unseen, name):
    image = unseen[0][0]
    mask, (patches, _) = fitted[name].predict(image), fitted[name]._describe(image)
    assert mask.dtype == np.uint8 and mask.shape == image.shape[:2]
    assert np.array_equal(superpixel_labels(mask, patches)[patches], mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_with_several_cells(fitted, name):
    method, field = fitted[name], make_smear(7, 768, 1024, white_cells=(4, 6), slide=3)
    if name == "bechar2019":
        # Its normalisation depends on the mean colour of the image, which differs between fields and crops.
        fields = [make_smear(seed, 384, 512, white_cells=(2, 3), slide=3) for seed in range(3)]
        method = clone(method).fit(
            [smear.image for smear in fields], [smear.mask for smear in fields], np.random.default_rng(0)
        )
    mask = method.predict(field.image)
    assert mask.shape == (768, 1024)
    assert dice(field.mask, mask, "nucleus") > 0.7 and dice(field.mask, mask, "cell") > 0.6
    shares = [np.isin(mask[field.instances == cell.instance], (CYTOPLASM, NUCLEUS)).mean() for cell in field.cells]
    assert min(shares) > 0.4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_mask(fitted, training, unseen, name):
    fresh = clone(fitted[name])
    assert fresh.get_params() == fitted[name].get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(unseen[0][0])
    fresh.fit(*training, np.random.default_rng(0))
    assert all(np.array_equal(fresh.predict(image), fitted[name].predict(image)) for image in unseen[0][:2])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_several_sizes_and_without_cells(name):
    smears = [
        make_smear(1, 96, 128, slide=3),
        make_smear(2, 120, 80, slide=3),
        make_smear(3, 64, 64, white_cells=(0, 0), slide=3),
    ]
    method = quick(name, **({} if name == "bechar2019" else {"labelled_images": 3}))
    method.fit([smear.image for smear in smears], [smear.mask for smear in smears], np.random.default_rng(0))
    assert method.predict(np.full((40, 30, 3), 230, np.uint8)).shape == (40, 30)
    assert method.predict(smears[0].image[:1, :1]).shape == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_masks_with_one_label_give_that_label(name):
    images = [make_smear(seed, 64, 64).image for seed in range(3)]
    masks = [np.zeros((64, 64), np.uint8)] * 3
    method = quick(name).fit(images, masks, np.random.default_rng(0))
    assert (method.predict(images[0]) == BACKGROUND).all()


def test_labelled_and_unlabelled_are_whole_and_different_images(fitted):
    method = fitted["bechar2018_coforest"]
    assert len(method.labelled_) == 3 and len(method.unlabelled_) == 4
    assert len(set(method.labelled_) | set(method.unlabelled_)) == 7
    # All four learners of one seed see the same masks.
    assert all(np.array_equal(fitted[name].labelled_, method.labelled_) for name in NAMES[1:])


@pytest.mark.parametrize("learner", ["coforest", "setred"])
def test_masks_of_unlabelled_images_are_not_used(fitted, training, unseen, learner):
    method = fitted[f"bechar2018_{learner}"]
    images, masks = training
    wrong_masks = [mask if k in method.labelled_ else np.full_like(mask, NUCLEUS) for k, mask in enumerate(masks)]
    again = clone(method).fit(images, wrong_masks, np.random.default_rng(0))
    assert all(np.array_equal(again.predict(image), method.predict(image)) for image in unseen[0][:2])


def test_supervised_learners_use_labelled_images_only(fitted):
    assert len(fitted["bechar2018_tree"].unlabelled_) == len(fitted["bechar2018_forest"].unlabelled_) == 0


def test_background_superpixels_and_images_are_limited(training):
    method = SuperpixelForest(trees=2, max_images=2, background_per_image=10).fit(*training, np.random.default_rng(0))
    assert method.forest_.n_features_in_ == 12  # three channels, four statistics
    assert (
        clone(method)
        .set_params(spaces=("rgb", "lab"), statistics="mean")
        .fit(*training, np.random.default_rng(0))
        .forest_.n_features_in_
        == 6
    )


@pytest.mark.parametrize(
    ("method", "word"),
    [
        (SuperpixelForest(normalisation="gray"), "gray"),
        (SuperpixelForest(spaces=("cmyk",)), "cmyk"),
        (SuperpixelForest(statistics="median"), "median"),
        (FewLabelsSuperpixels("svm"), "svm"),
        (FewLabelsSuperpixels(labelled_images=0), "labelled_images"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_errors_name_the_invalid_parameter(training, method, word):
    with pytest.raises(StudyError, match=word):
        method.fit(*training, np.random.default_rng(0))


def test_every_learner_has_a_row():
    rows = {row.fixed.get("learner") for row in METHODS.values() if row.builder.startswith("bechar2018:")}
    assert rows == set(_LEARNERS)


def test_without_sslearn_the_error_names_the_package(training, monkeypatch):
    monkeypatch.setitem(sys.modules, "sslearn", None)
    monkeypatch.delitem(sys.modules, "sslearn.wrapper", raising=False)
    with pytest.raises(StudyError, match="sslearn"):
        FewLabelsSuperpixels("sslearn_setred", labelled_images=2).fit(*training, np.random.default_rng(0))


@pytest.mark.skipif(not has_sslearn, reason="the extra package sslearn is not installed")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("learner", ["sslearn_coforest", "sslearn_setred"])
def test_sslearns_learners_run(training, unseen, learner):
    method = FewLabelsSuperpixels(learner, labelled_images=3, unlabelled_images=4, superpixels_per_image=100, trees=3)
    mask = method.fit(*training, np.random.default_rng(0)).predict(unseen[0][0])
    assert dice(unseen[1][0], mask, "cell") > 0.5
    again = clone(method).fit(*training, np.random.default_rng(0)).predict(unseen[0][0])
    assert np.array_equal(mask, again)
