"""Choice of the network on the validation images."""

import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.scoring.selection import rank_pairs


@pytest.fixture
def runs(tmp_path):
    return make_study(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet")), cases=2)


def test_the_best_is_chosen_on_validation_and_never_on_test_images(runs):
    for run in runs:
        wins = run.config.encoder == "unet" and run.config.loss == "dice"
        for region in ("nucleus", "cytoplasm"):
            run.record["validation"][region] |= {"tp": 90 if wins else 80, "fp": 10, "fn": 10}
            run.record["scores"][region] |= {"dice": 0.0 if wins else 1.0}
    best = rank_pairs(runs)[0]
    assert (best.encoder, best.loss, best.dice, best.method) == ("unet", "dice", 0.9, "unet__dice")
    assert best.title == "U-Net with Dice loss"
    assert rank_pairs([]) == []


def test_a_region_that_the_validation_images_lack_has_no_influence(runs):
    for run in runs:
        wins = run.config.encoder == "unet" and run.config.loss == "dice"
        # All correctly predict no cytoplasm, but for a stray pixel of the best.
        run.record["validation"]["cytoplasm"] |= {"tp": 0, "fp": int(wins), "fn": 0, "dice": 0.0 if wins else None}
        run.record["validation"]["nucleus"] |= {"tp": 90 if wins else 80, "fp": 10, "fn": 10}
    best = rank_pairs(runs)[0]
    assert (best.encoder, best.loss, best.dice) == ("unet", "dice", 0.9)
    for run in runs:
        run.record["validation"]["nucleus"] |= {"tp": 0, "fn": 0}
    assert rank_pairs(runs) == []
