"""Table 10: distances between boundaries."""

import pandas as pd
import pytest

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.tables.boundary import layout_boundary
from wbcstudy.reporting.tables.layout import NOTHING

CASES = 12
OLD = "unet__dice__fold0__seed0"


@pytest.fixture
def results(tmp_path):
    config = StudyConfig(name="s", encoders=("unet", "mobilenet", "resnet18"), losses=("dice",))
    blur = {"mobilenet": 0.01, "resnet18": 0.2}
    return make_results(tmp_path, config, cases=CASES, older=[OLD], blur=blur)


def test_means_are_those_of_the_runs_files(results):
    table = results.boundary.set_index(["region", "method"])
    assert len(table) == 6 and (table["n"] == CASES).all()
    file = pd.read_csv(results.study.run("mobilenet__dice__fold0__seed0").boundary)
    for region, name in (("nucleus", "nsd"), ("cytoplasm", "hd95_px"), ("cell", "assd_px")):
        row = table.loc[region, "mobilenet__dice"]
        assert row[name] == pytest.approx(file[file["region"] == region][name].mean())
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    better, worse = table.loc["cell", "mobilenet__dice"], table.loc["cell", "resnet18__dice"]
    assert better["assd_px"] < worse["assd_px"]


def test_pairs_without_file_and_masks_are_named(results):
    notes = results.tables["boundary"][1].notes
    assert notes[-1].endswith("not available: 1 of 3 pairs (U-Net with Dice loss).")


def test_a_missing_file_is_computed_from_the_predicted_masks(results):
    expected = results.boundary
    for run in results.complete:
        run.folder.boundary.unlink(missing_ok=True)
    computed = with_runs(results).boundary
    pd.testing.assert_frame_equal(computed, expected)


def test_micrometres_are_shown_where_they_are_known(results):
    heads = [head for _, head in layout_boundary(results.boundary, 0.1).heads]
    assert "NSD at 2 px (0.2 µm)" in heads and "ASSD, µm" in heads
    assert "µm" not in str(layout_boundary(results.boundary).heads)


def test_unknown_distances_have_a_dash_in_every_unit(results):
    table = results.boundary.iloc[:1].assign(hd95_px=float("nan"), assd_px=1.8)
    (_, cells), *_ = layout_boundary(table, 0.1).rows
    assert [cell.text for cell in cells[-2:]] == [NOTHING, "0.180"] and cells[-4].text.startswith(NOTHING)
