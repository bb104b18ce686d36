"""All tables of a study: which there are, their numbers and their notes."""

import pandas as pd

from tests.helpers.fake_study import SIZE, make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.data.datasets import read_case
from wbcstudy.data.duplicates import Duplicate
from wbcstudy.labels import LABELS
from wbcstudy.reporting.tables.costs import layout_costs
from wbcstudy.reporting.tables.layout import NOTHING
from wbcstudy.reporting.tables.study_tables import write_tables

CASES = 12
ALWAYS = ["table1", "table2", "table3"]


def study_of(folder, encoders=("mobilenet", "resnet18"), losses=("dice",), **options):
    config = StudyConfig(name="s", encoders=encoders, losses=losses)
    return make_results(folder, config, cases=CASES, **options)


def test_tables_are_written_and_numbered_in_order(tmp_path):
    results = study_of(tmp_path, ("unet", "mobilenet", "resnet18"), blur={"resnet18": 0.03})
    paths = write_tables(results)
    assert [layout.number for _, layout in results.tables.values()] == [1, 2, 3, 4, 5, 6, 7, 10, 11]
    names = [f"table{n}.{suffix}" for n in [*range(1, 8), 10, 11] for suffix in ("csv", "html", "tex")]
    assert [path.name for path in paths] == [*names, "ensemble.csv"]
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(with_runs(results))] == before
    cell_types = pd.read_csv(results.study.tables / "table5.csv")
    # All pairs in the file, the chosen one in the table.
    assert cell_types["method"].nunique() == 3
    assert {group for group, _ in results.tables["cell_types"][1].rows} == {results.best.title}


def test_earlier_and_single_runs_leave_out_what_is_unknown(tmp_path):
    results = study_of(tmp_path, ("resnet18",), older=["resnet18__dice__fold0__seed0"])
    assert list(results.tables) == [*ALWAYS, "cell_types", "costs", "areas"]
    costs = results.costs.iloc[0]
    assert costs["parameters"] == 14_340_000 and costs["multiply_adds"] == 82_912 * SIZE**2
    # From the history, which earlier versions have.
    assert costs["seconds_per_epoch"] == 2.5
    layout = layout_costs(results.costs)
    assert [cell.text for cell in layout.rows[0][1]] == ["ResNet-18", "14.3", "0.0849", "2.50", NOTHING, "1.23"]
    assert layout.notes[1].startswith(f"{NOTHING}: not recorded by the runs of 1 of 1 encoders (ResNet-18)")
    nothing = with_runs(results, [])
    assert list(nothing.tables) == ALWAYS


def test_the_ceiling_of_a_dataset_is_a_note_below_table_1(tmp_path):
    results = study_of(tmp_path, dataset={"name": "segmentation_wbc_1", "cases": 300})
    notes = results.tables["table1"][1].notes
    assert any("nucleus 0.981, cytoplasm 0.942 and cell 0.983 (14 pairs of images)" in note for note in notes)


def test_two_masks_of_one_image_are_the_ceiling_of_an_own_dataset(tmp_path):
    results = study_of(tmp_path)
    first, second = (case.case_id for case in results.dataset.cases[:2])
    assert not any("Ceiling" in note for note in results.tables["table1"][1].notes)
    results = with_runs(results)
    vars(results)["duplicates"] = (Duplicate(first, second, "pixels", 1.0),)
    masks = [read_case(results.dataset, results.dataset.case(case))[1] for case in (first, second)]
    nuclei = [mask == LABELS["nucleus"] for mask in masks]
    expected = 2 * (nuclei[0] & nuclei[1]).sum() / (nuclei[0].sum() + nuclei[1].sum())
    (note,) = (note for note in results.tables["table1"][1].notes if "Ceiling" in note)
    assert f"two masks of the same image, nucleus {expected:.3f}" in note and "(1 pair of images)" in note
