"""The methods that classify superpixels, on synthetic smears."""

import importlib.util
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from wbcstudy.baselines.bechar2018 import LEARNERS, FewLabelsSuperpixels
from wbcstudy.baselines.bechar2019 import SuperpixelForest
from wbcstudy.baselines.khouani2020 import MaskRcnn, instance_targets
from wbcstudy.baselines.methods import METHODS, build_method
from wbcstudy.baselines.superpixels import oracle_ceiling, superpixel_labels
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS, REGIONS, region_mask

NAMES = ("bechar2019", "bechar2018_tree", "bechar2018_forest", "bechar2018_coforest", "bechar2018_setred")
IMAGES = 8
has_sslearn = importlib.util.find_spec("sslearn") is not None
has_torchvision = importlib.util.find_spec("torchvision") is not None


def quick(name, **params):
    few = {"trees": 10} if name == "bechar2019" else {"trees": 10, "labelled_images": 3, "unlabelled_images": 4}
    return build_method(name, **(few | params))


def dice(reference, prediction, region):
    one, other = region_mask(reference, region), region_mask(prediction, region)
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.fixture(scope="module")
def training():
    smears = [make_smear(seed, 160, 160, slide=3) for seed in range(IMAGES)]
    return [one.image for one in smears], [one.mask for one in smears]


@pytest.fixture(scope="module")
def unseen():
    smears = [make_smear(100 + seed, 160, 160, slide=3) for seed in range(4)]
    return [one.image for one in smears], [one.mask for one in smears]


@pytest.fixture(scope="module")
def fitted(training):
    return {name: quick(name).fit(*training, np.random.default_rng(0)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_score_is_above_the_ceiling_of_its_superpixels_and_all_learn(fitted, unseen, name):
    images, masks = unseen
    method = fitted[name]
    patches = [method.superpixels(image) for image in images]
    ceiling = oracle_ceiling(masks, patches)
    for region in REGIONS:
        score = np.mean([dice(m, method.predict(i), region) for i, m in zip(images, masks, strict=True)])
        assert 0.5 < score <= ceiling[region] < 1, region


@pytest.mark.parametrize("name", NAMES)
def test_a_superpixel_gets_one_label(fitted, unseen, name):
    image = unseen[0][0]
    mask, patches = fitted[name].predict(image), fitted[name].superpixels(image)
    assert mask.dtype == np.uint8 and mask.shape == image.shape[:2]
    assert np.array_equal(superpixel_labels(mask, patches)[patches], mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_with_several_cells(fitted, name):
    method, field = fitted[name], make_smear(7, 768, 1024, white_cells=(4, 6), slide=3)
    if name == "bechar2019":
        # Its normalisation goes by the image's mean colour, which is not that of a crop around one cell.
        fields = [make_smear(seed, 384, 512, white_cells=(2, 3), slide=3) for seed in range(3)]
        method = clone(method).fit(
            [one.image for one in fields], [one.mask for one in fields], np.random.default_rng(0)
        )
    mask = method.predict(field.image)
    assert mask.shape == (768, 1024)
    assert dice(field.mask, mask, "nucleus") > 0.7 and dice(field.mask, mask, "cell") > 0.6
    found = [np.isin(mask[field.instances == cell.instance], (CYTOPLASM, NUCLEUS)).mean() for cell in field.cells]
    assert min(found) > 0.4


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_mask_and_manners(fitted, training, unseen, name):
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
    method.fit([one.image for one in smears], [one.mask for one in smears], np.random.default_rng(0))
    assert method.predict(np.full((40, 30, 3), 230, np.uint8)).shape == (40, 30)
    assert method.predict(smears[0].image[:1, :1]).shape == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_one_label_teach_that_label(name):
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
def test_masks_of_unlabelled_images_are_not_looked_at(fitted, training, unseen, learner):
    method = fitted[f"bechar2018_{learner}"]
    images, masks = training
    spoilt = [mask if k in method.labelled_ else np.full_like(mask, NUCLEUS) for k, mask in enumerate(masks)]
    again = clone(method).fit(images, spoilt, np.random.default_rng(0))
    assert all(np.array_equal(again.predict(image), method.predict(image)) for image in unseen[0][:2])


def test_supervised_learners_use_labelled_images_alone(fitted):
    assert len(fitted["bechar2018_tree"].unlabelled_) == len(fitted["bechar2018_forest"].unlabelled_) == 0


def test_the_background_is_thinned_and_images_are_capped(training):
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
def test_a_wrong_parameter_is_named(training, method, word):
    with pytest.raises(StudyError, match=word):
        method.fit(*training, np.random.default_rng(0))


def test_every_learner_has_a_row():
    rows = {row.fixed.get("learner") for row in METHODS.values() if row.builder.startswith("bechar2018:")}
    assert rows == set(LEARNERS)


def test_without_sslearn_the_error_says_how_to_get_it(training, monkeypatch):
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


# --- Mask R-CNN


def test_instances_by_hand():
    mask = np.zeros((6, 9), np.uint8)
    mask[1:4, 1:5] = CYTOPLASM
    mask[2, 2:4] = NUCLEUS
    mask[4, 7] = CYTOPLASM
    targets = instance_targets(mask)
    assert targets["labels"].tolist() == [1, 1, 2]  # two cells, one nucleus
    assert targets["boxes"].tolist() == [[1, 1, 5, 4], [7, 4, 8, 5], [2, 2, 4, 3]]
    assert targets["masks"].sum((1, 2)).tolist() == [12, 1, 2]
    empty = instance_targets(np.zeros((6, 9), np.uint8))
    assert empty["boxes"].shape == (0, 4) and empty["masks"].shape == (0, 6, 9)


def test_without_torchvision_the_error_says_how_to_get_it(training, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(StudyError, match="torchvision"):
        MaskRcnn().fit(*training, np.random.default_rng(0))


@pytest.mark.skipif(not has_torchvision, reason="the extra package torchvision is not installed")
@pytest.mark.slow
def test_mask_rcnn_learns_a_step_and_predicts(training, unseen):
    method = MaskRcnn(image_size_px=64, epochs=1, device="cpu")
    mask = method.fit(training[0][:2], training[1][:2], np.random.default_rng(0)).predict(unseen[0][0])
    assert mask.shape == unseen[1][0].shape and set(np.unique(mask)) <= {BACKGROUND, CYTOPLASM, NUCLEUS}
