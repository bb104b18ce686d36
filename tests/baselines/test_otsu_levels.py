import numpy as np

from wbcstudy.baselines.otsu_levels import OtsuLevels, otsu_thresholds
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


def test_three_grey_levels_are_separated():
    channel = np.repeat([20, 100, 220], 50).astype(np.uint8).reshape(10, 15)
    low, high = otsu_thresholds(channel, 3)
    assert 20 <= low < 100 <= high < 220
    assert np.isneginf(otsu_thresholds(channel[:3], 3)).all(), "two values cannot make three levels"
    assert np.isneginf(otsu_thresholds(channel, 2, where=channel > 255)).all()
    within = otsu_thresholds(channel, 2, where=channel > 50)[0]
    assert 100 <= within < 220

    image = np.repeat(channel[..., None], 3, axis=2)
    mask = OtsuLevels().fit([image], [np.zeros_like(channel)], np.random.default_rng(0)).predict(image)
    expected = np.select([channel == 20, channel == 100], [NUCLEUS, CYTOPLASM], BACKGROUND)
    np.testing.assert_array_equal(mask, expected)
