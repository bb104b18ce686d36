"""Table 3: quoted and measured methods."""

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.tables.table3 import MeasuredMethod, layout_table3
from wbcstudy.reporting.text.cautions import caution_sentences
from wbcstudy.runs.results import write_record
from wbcstudy.scoring.evaluation import write_scores
from wbcstudy.scoring.metrics import add_ratios


def test_quoted_and_measured_methods_are_separate(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet")), cases=4)
    results.measured = [MeasuredMethod("otsu", "Otsu 1979", "three-level Otsu", results.runs[0].scores)]
    table = results.table3
    assert table.groupby("kind", sort=False)["method"].nunique().to_dict() == {"quoted": 7, "measured": 2}
    assert table.loc[table["kind"] == "quoted", "accuracy"].isna().all()
    assert table.loc[table["kind"] == "measured", ["accuracy", "dice_mean", "n"]].notna().all(axis=None)
    layout = layout_table3(table)
    assert not any(cell.best for group, cells in layout.rows if "Quoted" in group for cell in cells)
    texts = [[cell.text for cell in cells] for _, cells in layout.rows]
    assert texts[0][:3] == ["Benazzouz et al. [6]", "Otsu + classification", "0.9502"]
    assert texts[-2][:2] == ["Otsu 1979", "three-level Otsu"]


def test_failed_folds_of_an_earlier_method(tmp_path):
    methods = ("otsu_levels", "smoothed_forest", "benazzouz2013")
    config = StudyConfig(name="s", encoders=("unet",), losses=("dice",), folds=2, baselines=methods)
    results = make_results(tmp_path, config, cases=4)
    for run in config.baseline_runs():
        folder = results.study.baseline(run.name)
        if run.method == "benazzouz2013" or (run.method == "otsu_levels" and run.fold == 1):
            write_record(folder, {"status": "failed", "error": "Out of\nmemory.", "advice": "Buy some."})
            continue
        facts = {"reference": "6", "algorithm": run.method, "title": run.method}
        write_record(folder, {"status": "complete", "method": facts, "fit_seconds": 1.0, "seconds_per_image": 0.1})
        for variant in ("raw", "cleaned", "central"):
            scores = results.runs[run.fold].scores.assign(run=f"{run.name}__seed0")
            if run.method == "otsu_levels":
                perfect = {"tp": scores["tp"] + scores["fn"], "fp": 0, "fn": 0, "tn": scores["tn"] + scores["fp"]}
                scores = add_ratios(scores.assign(**perfect))
            write_scores(scores, folder.scores_of(variant))
    table = results.table3
    raw = table[(table["variant"] == "raw") & (table["region"] == "nucleus")].set_index("method")
    assert raw.loc["otsu_levels", ["folds", "failed"]].tolist() == [1, 1]
    assert raw.loc["benazzouz2013", ["n", "failed"]].tolist() == [0, 2]
    layout = layout_table3(table)
    rows = {cells[1].text: cells for group, cells in layout.rows if "Measured" in group}
    assert not any(cell.best for cell in rows["otsu_levels"])
    assert any(cells[2].text == "failed" for cells in rows.values())
    assert any("otsu_levels (1 fold)" in note for note in layout.notes)
    cautions = caution_sentences(results)
    assert any(
        sentence.startswith("3 of 6 runs of earlier methods failed: otsu_levels__fold1") for sentence in cautions
    )
    assert "otsu_levels__fold1: Out of memory. Buy some." in cautions
