"""The base class of the earlier methods."""

import numpy as np
import pytest

from tests.helpers.constant_method import IMAGE, MASK, ConstantMethod, nucleus_mask
from wbcstudy.baselines.base import draw_training_pixels, region_dice
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ([], [], "0 images and 0 masks"),
        ([IMAGE], [MASK, MASK], "1 images and 2 masks"),
        ([IMAGE / 255], [MASK], "float64"),
        ([IMAGE[..., 0]], [MASK], r"shape \(8, 9\)"),
        ([IMAGE], [MASK[:4]], r"mask 0 is uint8 of shape \(4, 9\)"),
        ([IMAGE], [MASK.astype(int)], "int64"),
        ([IMAGE], [MASK + 7], "value 7"),
        ([IMAGE, IMAGE], [MASK, MASK], "no training mask has a pixel of 'nucleus'"),
    ],
)
def test_invalid_training_cases_are_refused(images, masks, message):
    with pytest.raises(StudyError, match=message):
        ConstantMethod().fit(images, masks, np.random.default_rng(0))


def test_images_may_differ_in_size():
    method = ConstantMethod().fit([IMAGE, IMAGE[:5]], [nucleus_mask(), MASK[:5]], np.random.default_rng(0))
    assert method.labels_ == (BACKGROUND, NUCLEUS)
    predicted = method.predict(IMAGE[:3])
    assert predicted.shape == (3, 9) and predicted.dtype == np.uint8
    with pytest.raises(StudyError, match="float32"):
        method.predict(IMAGE.astype(np.float32))


def test_pixels_are_drawn_evenly_over_labels_and_never_twice():
    mask = nucleus_mask()
    mask[7, 7:] = CYTOPLASM
    # Each pixel has a different red.
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    rng = np.random.default_rng(0)
    rows, labels = draw_training_pixels([image, image], [mask, mask], lambda image: image / 2, 5, rng)
    assert rows.shape == (24, 3) and rows.dtype == np.float32
    for part in (slice(12), slice(12, 24)):
        assert np.bincount(labels[part]).tolist() == [5, 2, 5] and len(set(rows[part, 0])) == 12
    red_to_label = dict(zip(image[..., 0].ravel() / 2, mask.ravel(), strict=True))
    assert [red_to_label[row[0]] for row in rows] == labels.tolist()


def test_dice_of_two_regions():
    first, second = np.array([True, True, False, False]), np.array([True, False, True, True])
    assert region_dice(first, second) == pytest.approx(2 / 5) and region_dice(first, first) == 1
    assert np.isnan(region_dice(first[2:], first[2:]))
