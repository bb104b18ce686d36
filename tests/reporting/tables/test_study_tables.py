"""All tables of a study: which there are, their numbers and their notes."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import COSTS, make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.figures.examples import pick_worst
from wbcstudy.reporting.figures.study_figures import _make_figures, write_figures
from wbcstudy.reporting.tables.costs import layout_costs
from wbcstudy.reporting.tables.layout import NOTHING
from wbcstudy.reporting.tables.study_tables import write_tables

CASES = 12
ALWAYS = ["table1", "table2", "table3"]


def study_of(folder, encoders=("mobilenet", "resnet18"), losses=("dice",), **options):
    config = StudyConfig(name="s", encoders=encoders, losses=losses)
    return make_results(folder, config, cases=CASES, **options)


def test_tables_and_figures_are_written_and_numbered_in_order(tmp_path):
    results = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), blur={"resnet18": 0.03})
    paths = write_tables(results)
    assert [layout.number for _, layout in results.tables.values()] == [1, 2, 3, 4, 5, 6, 7]
    names = [f"table{n}.{suffix}" for n in range(1, 8) for suffix in ("csv", "html", "tex")]
    assert [path.name for path in paths] == [*names, "ensemble.csv"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(with_runs(results))] == before
    cell_types = pd.read_csv(results.study.tables / "table5.csv")
    # All pairs in the file, the chosen one in the table.
    assert cell_types["method"].nunique() == 3
    assert {group for group, _ in results.tables["cell_types"][1].rows} == {results.best.title}
    write_figures(results)
    names = {"figure2", "worst", "learning_curves", "scores", "ranks", "calibration", "cost_quality"}
    assert {path.stem for path in results.study.figures.glob("*.png")} == (
        names | {"differences_nucleus", "differences_cytoplasm"}
    )


def test_earlier_and_single_runs_leave_out_what_is_unknown(tmp_path):
    results = study_of(tmp_path, ("resnet18",), older=["resnet18__dice__fold0__seed0"])
    assert list(results.tables) == [*ALWAYS, "cell_types", "costs"]
    drawn = {stem for stem, figure in _make_figures(results).items() if figure.axes}
    assert drawn == {"learning_curves", "scores"}
    costs = results.costs.iloc[0]
    assert costs["parameters"] == 14_340_000 and np.isnan(costs["multiply_adds"])
    # From the history, which earlier versions have.
    assert costs["seconds_per_epoch"] == 2.5
    layout = layout_costs(results.costs)
    assert [cell.text for cell in layout.rows[0][1]] == ["ResNet-18", "14.3", NOTHING, "2.50", NOTHING, "1.23"]
    assert layout.notes[1].startswith(f"{NOTHING}: not recorded by the runs of 1 of 1 encoders (ResNet-18)")
    assert pick_worst(results) == ({}, [])
    nothing = with_runs(results, [])
    assert list(nothing.tables) == ALWAYS
    assert not any(figure.axes for figure in _make_figures(nothing).values())


def test_costs_are_of_the_encoder_whatever_the_loss(tmp_path):
    results = study_of(tmp_path, losses=("dice", "cross_entropy"))
    results.runs[0].record["seconds_per_image"] *= 3
    costs = results.costs
    assert costs["encoder"].tolist() == ["mobilenet", "resnet18"] and costs["runs"].tolist() == [2, 2]
    assert costs["multiply_adds"].tolist() == [COSTS["mobilenet"] * 1e9, COSTS["resnet18"] * 1e9]
    assert costs.loc[0, "seconds_per_image"] == pytest.approx(2 * COSTS["mobilenet"] / 300)


def test_calibration_is_that_of_the_pixels_of_all_runs_of_a_pair(tmp_path):
    results = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), older=["unet__dice__fold0__seed0"])
    table = results.calibration.set_index(["method", "region"])
    assert len(table) == 6 and (table["n"] == CASES * 32 * 32).all()
    assert table["ece"].between(0, 1).all() and (table["largest_gap"] >= table["ece"]).all()
    notes = results.tables["calibration"][1].notes
    assert notes[-1] == ("Left out, because their runs kept no probabilities: 1 of 3 pairs (U-Net with Dice loss).")
