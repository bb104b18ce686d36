"""Scores of four methods."""

import pandas as pd
import pytest

from tests.helpers.made_scores import FOUR_METHODS, noisy_dice, scores_from_array

# The first two do not differ significantly, the others are worse.
OFFSETS = (0.0, 0.0, -0.03, -0.06)


@pytest.fixture(scope="module")
def scores():
    nucleus = scores_from_array(noisy_dice(40, OFFSETS, 1), FOUR_METHODS)
    types = {case: ("monocyte", "basophil", None)[int(case[1:]) % 3] for case in nucleus["case_id"]}
    both = pd.concat([nucleus, nucleus.assign(region="cytoplasm")], ignore_index=True)
    return both.assign(cell_type=both["case_id"].map(types))
