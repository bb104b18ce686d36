"""The yardsticks and the methods [6] to [8], on synthetic smears."""

import numpy as np
import pytest

from wbcstudy.baselines.benazzouz2013 import OtsuGrowing, dark_nuclei
from wbcstudy.baselines.benomar2021 import decorrelation_stretch
from wbcstudy.baselines.methods import build_method
from wbcstudy.baselines.otsu_levels import otsu_thresholds
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.scoring.cleanup import clean_up

NAMES = ("otsu_levels", "forest", "benazzouz2013", "baghli2014", "benomar2021")
QUICK = {"forest": {"trees": 12, "sigmas_px": (2, 4), "spaces": ("rgb", "lab")}}
SLIDE = 3


@pytest.fixture(scope="module")
def training():
    smears = [make_smear(seed, 240, 320, white_cells=(1, 1), slide=SLIDE) for seed in range(4)]
    return [one.image for one in smears], [one.mask for one in smears]


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


# Well below what each reaches, and well above the 0.03 of calling all nucleus. Two thresholds find dark red cells too.
LEAST = {"otsu_levels": 0.05, "forest": 0.8, "benazzouz2013": 0.6, "baghli2014": 0.7, "benomar2021": 0.4}


@pytest.mark.parametrize("name", NAMES)
def test_a_field_of_many_cells_is_segmented(name, fitted, field):
    assert len(field.cells) >= 4
    mask = fitted[name].predict(field.image)
    assert mask.shape == (768, 1024) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1, 2}
    cleaned = clean_up(mask)
    assert dice(field.mask, cleaned, [NUCLEUS]) > LEAST[name]
    found = [(cleaned[field.nuclei == cell.instance] == NUCLEUS).mean() > 0.3 for cell in field.cells]
    assert sum(found) >= 2, f"nuclei found: {found}"


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
def test_training_images_without_any_cell_are_no_obstacle(name, training):
    images, masks = training
    empty = make_smear(4, 192, 192, white_cells=(0, 0), slide=SLIDE)
    assert not empty.mask.any()
    method = build_method(name, **QUICK.get(name, {}))
    method.fit([empty.image, *images[:2]], [empty.mask, *masks[:2]], np.random.default_rng(0))
    assert method.predict(images[3]).any()


def test_training_masks_of_one_label_are_refused_where_nothing_can_be_learnt(training):
    images = training[0][:1]
    masks = [np.zeros(images[0].shape[:2], np.uint8)]
    for name in ("baghli2014", "benomar2021"):
        with pytest.raises(StudyError, match="no training mask has a pixel"):
            build_method(name).fit(images, masks, np.random.default_rng(0))
    for name in ("otsu_levels", "benazzouz2013", "forest"):
        build_method(name, **QUICK.get(name, {})).fit(images, masks, np.random.default_rng(0)).predict(images[0])


def test_three_grey_levels_are_told_apart():
    channel = np.repeat([20, 100, 220], 50).astype(np.uint8).reshape(10, 15)
    low, high = otsu_thresholds(channel, 3)
    assert 20 <= low < 100 <= high < 220
    assert np.isneginf(otsu_thresholds(channel[:3], 3)).all(), "two values cannot make three levels"
    assert np.isneginf(otsu_thresholds(channel, 2, where=channel > 255)).all()
    within = otsu_thresholds(channel, 2, where=channel > 50)[0]
    assert 100 <= within < 220

    image = np.repeat(channel[..., None], 3, axis=2)
    mask = build_method("otsu_levels").fit([image], [np.zeros_like(channel)], np.random.default_rng(0)).predict(image)
    expected = np.select([channel == 20, channel == 100], [NUCLEUS, CYTOPLASM], BACKGROUND)
    np.testing.assert_array_equal(mask, expected)


def toy_cells():
    """Two cells of differing cytoplasm in plasma, and a patch like one cytoplasm that touches neither."""
    rows, columns = np.indices((120, 200))
    image = np.full((120, 200, 3), (230, 225, 220), np.uint8)
    mask = np.zeros((120, 200), np.uint8)
    image[5:25, 90:110] = (200, 190, 150)
    for column, colour in ((50, (200, 190, 150)), (150, (170, 170, 210))):
        away = np.hypot(rows - 60, columns - column)
        image[away < 30], mask[away < 30] = colour, CYTOPLASM
        image[away < 15], mask[away < 15] = (90, 40, 140), NUCLEUS
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def test_each_nucleus_grows_its_own_cytoplasm():
    image, mask = toy_cells()
    method = OtsuGrowing(max_distance=5.0, max_reach_px=40).fit([image], [mask], np.random.default_rng(0))
    predicted = method.predict(image)
    assert dice(mask, predicted, [CYTOPLASM]) > 0.9 and dice(mask, predicted, [NUCLEUS]) > 0.9
    assert not predicted[:28].any(), "growth does not jump"
    near = method.set_params(max_reach_px=6).predict(image)
    assert 0 < np.sum(near == CYTOPLASM) < np.sum(predicted == CYTOPLASM)
    assert dark_nuclei(image, 1, 1, 10_000).sum() == 0, "all nuclei are smaller"


def test_stretched_colours_have_equal_variances_and_no_correlation():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 30, (4000, 1))
    colours = 128 + common + rng.normal(0, [3, 6, 9], (4000, 3))
    matrix = decorrelation_stretch(colours)
    stretched = np.column_stack([colours, np.ones(len(colours))]) @ matrix
    covariance = np.cov(stretched, rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, np.eye(3) * np.var(colours, axis=0).mean(), atol=1e-6 * covariance.max())
    np.testing.assert_allclose(stretched.mean(axis=0), colours.mean(axis=0))


@pytest.mark.parametrize("colours", [np.full((5, 3), 77), np.array([[1, 2, 3]])])
def test_one_colour_is_left_alone(colours):
    matrix = decorrelation_stretch(colours)
    np.testing.assert_allclose(np.column_stack([colours, np.ones(len(colours))]) @ matrix, colours)


def test_the_channel_and_the_cut_are_reported(fitted):
    method = fitted["benomar2021"]
    assert method.choices_[method.channel_, method.cut_] == max(method.choices_.values())
    assert len(method.choices_) == 36
