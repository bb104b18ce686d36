"""Table 7: calibration."""

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig

CASES = 12


def test_calibration_is_that_of_the_pixels_of_all_runs_of_a_pair(tmp_path):
    config = StudyConfig(name="s", encoders=("unet", "mobilenet", "resnet18"), losses=("dice",))
    results = make_results(tmp_path, config, cases=CASES, older=["unet__dice__fold0__seed0"])
    table = results.calibration.set_index(["method", "region"])
    assert len(table) == 6 and (table["n"] == CASES * 32 * 32).all()
    assert table["ece"].between(0, 1).all() and (table["largest_gap"] >= table["ece"]).all()
    notes = results.tables["calibration"][1].notes
    assert notes[-1] == ("Left out, because their runs kept no probabilities: 1 of 3 pairs (U-Net with Dice loss).")
