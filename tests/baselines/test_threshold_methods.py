"""The simple baselines and the methods [6] to [8], on synthetic smears."""

import numpy as np
import pytest

from wbcstudy.baselines.methods import build_method
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import NUCLEUS
from wbcstudy.scoring.cleanup import clean_up

NAMES = ("otsu_levels", "forest", "benazzouz2013", "baghli2014", "benomar2021")
QUICK = {"forest": {"trees": 12, "sigmas_px": (2, 4), "spaces": ("rgb", "lab")}}
SLIDE = 3


@pytest.fixture(scope="module")
def training():
    smears = [make_smear(seed, 240, 320, white_cells=(1, 1), slide=SLIDE) for seed in range(4)]
    return [smear.image for smear in smears], [smear.mask for smear in smears]


@pytest.fixture(scope="module")
def fitted(training):
    def fit(name):
        return build_method(name, **QUICK.get(name, {})).fit(*training, np.random.default_rng(0))

    return {name: fit(name) for name in NAMES}


@pytest.fixture(scope="module")
def field():
    return make_smear(11, 768, 1024, white_cells=(5, 6), slide=SLIDE)


def dice(reference, prediction, labels):
    reference, prediction = np.isin(reference, labels), np.isin(prediction, labels)
    return 2 * np.sum(reference & prediction) / (reference.sum() + prediction.sum())


# Well below the result of each, and well above the 0.03 of predicting nucleus everywhere. Two thresholds also select
# dark red cells.
MIN_DICE = {"otsu_levels": 0.05, "forest": 0.8, "benazzouz2013": 0.6, "baghli2014": 0.7, "benomar2021": 0.4}


@pytest.mark.parametrize("name", NAMES)
def test_a_field_of_many_cells_is_segmented(name, fitted, field):
    assert len(field.cells) >= 4
    mask = fitted[name].predict(field.image)
    assert mask.shape == (768, 1024) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1, 2}
    cleaned = clean_up(mask)
    assert dice(field.mask, cleaned, [NUCLEUS]) > MIN_DICE[name]
    detected = [(cleaned[field.nuclei == cell.instance] == NUCLEUS).mean() > 0.3 for cell in field.cells]
    assert sum(detected) >= 2, f"nuclei detected: {detected}"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_masks(name, training, fitted):
    again = build_method(name, **QUICK.get(name, {})).fit(*training, np.random.default_rng(0))
    image = make_smear(7, 100, 130, slide=SLIDE).image
    np.testing.assert_array_equal(again.predict(image), fitted[name].predict(image))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, 255])
def test_a_flat_or_tiny_image_is_segmented_without_an_error(name, value, fitted):
    for shape in ((40, 50, 3), (1, 1, 3), (2, 30, 3)):
        assert fitted[name].predict(np.full(shape, value, np.uint8)).shape == shape[:2]


@pytest.mark.parametrize("name", NAMES)
def test_training_images_without_cells_are_allowed(name, training):
    images, masks = training
    empty = make_smear(4, 192, 192, white_cells=(0, 0), slide=SLIDE)
    assert not empty.mask.any()
    method = build_method(name, **QUICK.get(name, {}))
    method.fit([empty.image, *images[:2]], [empty.mask, *masks[:2]], np.random.default_rng(0))
    assert method.predict(images[3]).any()


def test_training_masks_with_one_label_are_refused_by_methods_that_need_more(training):
    images = training[0][:1]
    masks = [np.zeros(images[0].shape[:2], np.uint8)]
    for name in ("baghli2014", "benomar2021"):
        with pytest.raises(StudyError, match="no training mask has a pixel"):
            build_method(name).fit(images, masks, np.random.default_rng(0))
    for name in ("otsu_levels", "benazzouz2013", "forest"):
        build_method(name, **QUICK.get(name, {})).fit(images, masks, np.random.default_rng(0)).predict(images[0])


def test_channel_and_cut_have_the_best_dice(fitted):
    method = fitted["benomar2021"]
    assert method.choices_[method.channel_, method.cut_] == max(method.choices_.values())
    assert len(method.choices_) == 36
