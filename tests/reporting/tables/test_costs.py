"""Table 6: costs."""

import pytest

from tests.helpers.fake_study import COSTS, make_results
from wbcstudy.config import StudyConfig

CASES = 12


def test_costs_are_of_the_encoder_whatever_the_loss(tmp_path):
    config = StudyConfig(name="s", encoders=("mobilenet", "resnet18"), losses=("dice", "cross_entropy"))
    results = make_results(tmp_path, config, cases=CASES)
    results.runs[0].record["seconds_per_image"] *= 3
    costs = results.costs
    assert costs["encoder"].tolist() == ["mobilenet", "resnet18"] and costs["runs"].tolist() == [2, 2]
    assert costs["multiply_adds"].tolist() == [COSTS["mobilenet"] * 1e9, COSTS["resnet18"] * 1e9]
    assert costs.loc[0, "seconds_per_image"] == pytest.approx(2 * COSTS["mobilenet"] / 300)
