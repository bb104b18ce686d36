"""Scores of four methods, and a study that is scored on another dataset."""

import pandas as pd
import pytest

from tests.helpers.fake_study import AWAY, make_results
from tests.helpers.made_scores import FOUR_METHODS, noisy_dice, scores_from_array
from wbcstudy.config import StudyConfig
from wbcstudy.files import write_json

# The first two do not differ significantly, the others are worse.
OFFSETS = (0.0, 0.0, -0.03, -0.06)


@pytest.fixture(scope="module")
def scores():
    nucleus = scores_from_array(noisy_dice(40, OFFSETS, 1), FOUR_METHODS)
    types = {case: ("monocyte", "basophil", None)[int(case[1:]) % 3] for case in nucleus["case_id"]}
    both = pd.concat([nucleus, nucleus.assign(region="cytoplasm")], ignore_index=True)
    return both.assign(cell_type=both["case_id"].map(types))


@pytest.fixture
def transfer_results(tmp_path):
    config = StudyConfig(name="demo", encoders=("resnet18", "unet"), losses=("dice",), folds=2, also_score=("away",))
    results = make_results(tmp_path, config, cases=8)
    facts = vars(AWAY) | {"shared": list(AWAY.shared)}
    write_json(results.study.other_datasets, {"datasets": [facts]})
    return results
