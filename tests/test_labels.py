"""Labels and regions."""

import numpy as np
import pytest

from wbcstudy.labels import LABELS, NUM_LABELS, REGION_COLOURS, REGIONS, region_mask


def test_labels_are_the_first_whole_numbers():
    assert sorted(LABELS.values()) == list(range(NUM_LABELS))


@pytest.mark.parametrize(
    ("region", "expected"),
    [("nucleus", [False, False, True]), ("cytoplasm", [False, True, False]), ("cell", [False, True, True])],
)
def test_a_region_has_its_labels(region, expected):
    assert region_mask(np.array([0, 1, 2], np.uint8), region).tolist() == expected


def test_every_region_has_a_colour_of_its_own():
    assert set(REGION_COLOURS) == set(REGIONS)
    assert len(set(REGION_COLOURS.values())) == len(REGIONS)
