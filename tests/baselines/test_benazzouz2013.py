import numpy as np

from wbcstudy.baselines.base import region_dice
from wbcstudy.baselines.benazzouz2013 import OtsuGrowing, dark_nuclei
from wbcstudy.labels import CYTOPLASM, NUCLEUS


def toy_cells():
    """Two cells with different cytoplasm in plasma, and a patch of the colour of one cytoplasm that touches neither."""
    rows, columns = np.indices((120, 200))
    image = np.full((120, 200, 3), (230, 225, 220), np.uint8)
    mask = np.zeros((120, 200), np.uint8)
    image[5:25, 90:110] = (200, 190, 150)
    for column, colour in ((50, (200, 190, 150)), (150, (170, 170, 210))):
        distance = np.hypot(rows - 60, columns - column)
        image[distance < 30], mask[distance < 30] = colour, CYTOPLASM
        image[distance < 15], mask[distance < 15] = (90, 40, 140), NUCLEUS
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def test_each_nucleus_grows_its_own_cytoplasm():
    image, mask = toy_cells()
    method = OtsuGrowing(max_distance=5.0, max_reach_px=40).fit([image], [mask], np.random.default_rng(0))
    predicted = method.predict(image)
    for label in (CYTOPLASM, NUCLEUS):
        assert region_dice(mask == label, predicted == label) > 0.9
    assert not predicted[:28].any(), "a pixel without connection joined"
    near = method.set_params(max_reach_px=6).predict(image)
    assert 0 < np.sum(near == CYTOPLASM) < np.sum(predicted == CYTOPLASM)
    assert dark_nuclei(image, 1, 1, 10_000).sum() == 0, "all nuclei are smaller"
