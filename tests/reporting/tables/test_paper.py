"""Tables 1 and 2: from run folders to frames and layouts."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.tables.paper import layout_table1, layout_table2, load_paper_table, make_ensemble
from wbcstudy.reporting.tables.study_tables import write_tables
from wbcstudy.reporting.text.answer import answer_sentences
from wbcstudy.reporting.text.cautions import caution_sentences
from wbcstudy.scoring.intervals import mean_interval
from wbcstudy.scoring.metrics import COUNTS

CONTRACT1 = ["encoder", "loss", "region", "precision", "dice", "dice_mean", "dice_ci_low", "dice_ci_high"]
CONTRACT1 += ["best_epoch", "epochs"]


def study_of(tmp_path, failed=(), empty=(), cases=4, **settings):
    settings = {"name": "s", "encoders": ("resnet18", "unet"), "losses": ("dice", "cross_entropy")} | settings
    return make_results(tmp_path, StudyConfig(**settings), failed=failed, empty=empty, cases=cases)


def texts(layout):
    return [[cell.text for cell in cells] for _, cells in layout.rows]


def test_the_papers_numbers_are_shipped_and_consistent():
    table1, table2, table3 = (load_paper_table(number) for number in (1, 2, 3))
    assert len(table1) == 36 and set(table1["encoder"]) == set(ENCODERS)
    best = table1.loc[table1[table1["region"] == "nucleus"]["dice"].idxmax()]
    assert (best["encoder"], best["loss"], best["dice"], best["epochs"]) == ("resnet50", "cross_entropy", 0.9577, 13)
    f, p, s = table2["dice"], table2["precision"], table2["sensitivity"]
    # The paper's numbers are pooled: its own identities hold, to the digits it prints.
    np.testing.assert_allclose(table2["iou"], f / (2 - f), atol=2e-4)
    np.testing.assert_allclose(f, 2 * p * s / (p + s), atol=2e-4)
    assert table3["method"].nunique() == 7 and table3["precision"].between(0, 1).all()


def test_table1_has_the_contracts_columns_and_the_papers_order(tmp_path):
    table = study_of(tmp_path).table1
    assert list(table)[: len(CONTRACT1)] == CONTRACT1
    pairs = table[["encoder", "loss"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["unet", "cross_entropy"], ["unet", "dice"], ["resnet18", "cross_entropy"], ["resnet18", "dice"]]
    assert table["region"].tolist() == ["nucleus", "cytoplasm"] * 4
    assert (table["n"] == 4).all() and table["best_epoch"].dtype == "Int64"


def test_table1_pools_the_pixels_of_one_run(tmp_path):
    results = study_of(tmp_path, encoders=("resnet18",), losses=("dice",))
    row = results.table1.iloc[0]
    nucleus = results.runs[0].scores.query("region == 'nucleus'")
    tp, fp, fn, _ = (nucleus[name].sum() for name in COUNTS)
    assert row["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert row["dice_mean"] == pytest.approx(nucleus["dice"].mean())
    # Four images are too few for an interval.
    assert np.isnan([row["dice_ci_low"], row["pooled_ci_low"]]).all()
    assert any("too few" in note for note in layout_table1(results.table1).notes)


def test_both_dice_have_an_interval(tmp_path):
    table = study_of(tmp_path, encoders=("resnet18",), losses=("dice",), cases=20).table1
    assert (table["dice_ci_low"] < table["dice_mean"]).all() and (table["dice_mean"] < table["dice_ci_high"]).all()
    assert (table["pooled_ci_low"] < table["dice"]).all() and (table["dice"] < table["pooled_ci_high"]).all()
    layout = layout_table1(table)
    assert [text.count("[") for text in texts(layout)[0][2:5]] == [0, 1, 1]
    assert not any("too few" in note for note in layout.notes)


def test_table1_pools_folds_and_averages_seeds(tmp_path):
    results = study_of(tmp_path, encoders=("resnet18",), losses=("dice",), folds=2, seeds=(0, 7))
    row = results.table1.iloc[0]
    by_seed = []
    for seed in (0, 7):
        runs = [run for run in results.runs if run.config.seed == seed]
        scores = pd.concat([run.scores for run in runs]).query("region == 'nucleus'")
        tp, fp, fn, _ = (scores[name].sum() for name in COUNTS)
        by_seed.append(2 * tp / (2 * tp + fp + fn))
    assert row["dice"] == pytest.approx(np.mean(by_seed))
    # Eight cases, each tested once per seed, are eight images and not sixteen.
    assert (row["n"], row["seeds"], row["folds"], row["runs"], row["failed"]) == (8, 2, 2, 4, 0)
    assert row["epochs"] == np.median([run.record["epochs"] for run in results.runs])


def test_failed_runs_are_counted_and_shown(tmp_path):
    failed = ("unet__dice__fold0__seed0", "resnet18__dice__fold0__seed1", "unet__dice__fold0__seed1")
    table = study_of(tmp_path, failed=failed, seeds=(0, 1)).table1
    unet = table[(table["encoder"] == "unet") & (table["loss"] == "dice")]
    assert unet["dice"].isna().all() and (unet["failed"] == 2).all() and (unet["n"] == 0).all()
    layout = layout_table1(table)
    assert texts(layout)[1][1:4] == ["Dice loss", "failed", ""]
    assert any("ResNet-18, Dice loss: 1 of 2" in note for note in layout.notes)


def test_a_pair_without_all_folds_is_shown_and_not_compared(tmp_path):
    missing = [f"unet__dice__fold{fold}__seed0" for fold in (1, 2)]
    results = study_of(tmp_path, failed=missing[:1], losses=("dice",), folds=3)
    runs = [run for run in results.runs if run.name != missing[1]]
    for run in runs:
        if run.complete:
            # As if its one fold were easy.
            counts = {"tp": 95 if run.config.encoder == "unet" else 80, "fp": 10, "fn": 10, "tn": 1}
            run.record["validation"] = {"nucleus": counts, "cytoplasm": counts}
    results = with_runs(results, runs)
    assert results.best.encoder == "resnet18"
    table = results.table1
    assert table["folds"].tolist() == [1, 1, 3, 3] and table["whole"].tolist() == [False, False, True, True]
    layout = layout_table1(table)
    assert texts(layout)[0][3] == f"{table.loc[0, 'dice']:.4f}"
    assert not any(cell.best for _, cells in layout.rows for cell in cells)
    assert any("because no seed has all folds: U-Net, Dice loss." in note for note in layout.notes)
    assert {run.config.encoder for run in results.comparable} == {"resnet18"}
    assert answer_sentences(results)[0].startswith("ResNet-18 with Dice loss is the only pair")
    assert set(results.comparable_scores["encoder"]) == {"resnet18"}
    cautions = caution_sentences(results)
    assert "Not compared, because no seed has all folds that others have: U-Net with Dice loss." in cautions


def test_of_several_seeds_those_with_all_folds_are_compared(tmp_path):
    results = study_of(tmp_path, encoders=("unet", "vgg16"), losses=("dice",), folds=2, seeds=(0, 1))
    table = with_runs(results, [run for run in results.runs if run.name != "unet__dice__fold1__seed1"]).table1
    assert table["seeds"].tolist() == [1, 1, 2, 2] and table["whole"].all()
    # Neither has both folds: no bold, no answer.
    crossed = [
        run for run in results.runs if run.config.seed == 0 and run.config.fold == (run.config.encoder == "unet")
    ]
    assert "no encoder and loss has been tested on all folds" in answer_sentences(with_runs(results, crossed))[0]
    assert not with_runs(results, crossed).table1["whole"].any()
    # One pair alone is compared with nothing.
    alone = [run for run in results.runs if run.config.encoder == "unet" and run.config.fold == run.config.seed]
    assert answer_sentences(with_runs(results, alone))[0].startswith("U-Net with Dice loss is the only pair")


def test_images_of_one_slide_are_one_unit_of_the_interval(tmp_path):
    results = study_of(tmp_path, encoders=("unet",), losses=("dice",), cases=20)
    slides = {case: case.split("_")[-1][-1] for case in results.runs[0].scores["case_id"]}
    alone, together = results.table1.iloc[0], with_runs(results, groups=slides).table1.iloc[0]
    scores = results.runs[0].scores.query("region == 'nucleus'")
    expected = mean_interval(scores["dice"], [slides[case] for case in scores["case_id"]])
    assert (together["dice_ci_low"], together["dice_ci_high"]) == pytest.approx((expected.low, expected.high))
    assert together["dice_ci_low"] != pytest.approx(alone["dice_ci_low"])
    assert together["dice_mean"] == pytest.approx(alone["dice_mean"])


def test_a_region_that_no_test_image_has_has_no_score(tmp_path):
    results = study_of(tmp_path)
    for run in results.runs:
        stray = run.scores["region"] == "cytoplasm"
        run.scores.loc[stray, ["tp", "fn"]] = 0
        run.scores.loc[stray, "dice"] = 0.0
    table = results.table1.set_index("region")
    assert table.loc["cytoplasm", "dice"].isna().all() and table.loc["nucleus", "dice"].notna().all()
    assert set(results.scores["region"]) == {"nucleus", "cell"}


def test_no_runs_only_failed_runs_and_undefined_scores(tmp_path):
    every = ("resnet18__dice__fold0__seed0", "resnet18__cross_entropy__fold0__seed0")
    failed = study_of(tmp_path / "failed", failed=every, encoders=("resnet18",))
    undefined = study_of(tmp_path / "undefined", empty=every, encoders=("resnet18",))
    assert set(failed.table3["kind"]) == {"quoted"} and undefined.table1["dice"].isna().all()
    nothing = with_runs(failed, [])
    assert nothing.table1.empty and nothing.table2.empty
    for results in (nothing, failed, undefined):
        assert results.best is None
        tables = {name: layout for name, (_, layout) in results.tables.items()}
        assert "no run is complete" in tables["table2"].title and len(tables["table3"].rows) >= 7
        assert len(tables["table1"].heads) >= 4


def test_a_complete_run_without_its_scores_says_what_to_do(tmp_path):
    results = study_of(tmp_path, encoders=("resnet18",), losses=("dice",))
    results.runs[0].folder.scores.unlink()
    with pytest.raises(StudyError, match=r"scores\.csv is missing"):
        results.table1  # noqa: B018  (computed on access)


def test_table2_is_arranged_as_in_the_paper(tmp_path):
    layout = layout_table2(study_of(tmp_path, encoders=("resnet50",)).table2)
    columns = [("Nucleus", "Cross-entropy"), ("Nucleus", "Dice loss")]
    assert list(layout.heads) == [("", "Metric"), *columns, *(("Cytoplasm", loss) for _, loss in columns)]
    assert [row[0] for row in texts(layout)] == ["Precision", "Sensitivity", "Specificity", "Dice", "IoU"]
    dice = layout.rows[3][1]
    assert [cell.paper for cell in dice] == ["", "0.9577", "0.9419", "0.9314", "0.9214"]
    assert sum(cell.best for cell in dice) == 2


def test_table2_is_of_the_best_encoder_and_keeps_identities(tmp_path):
    results = study_of(tmp_path)
    table = results.table2
    assert list(table) == ["encoder", "loss", "region", "precision", "sensitivity", "specificity", "dice", "iou"]
    assert set(table["encoder"]) == {results.best.encoder}
    np.testing.assert_allclose(table["iou"], table["dice"] / (2 - table["dice"]))


def test_an_encoder_or_loss_that_the_paper_lacks_has_no_paper_number(tmp_path):
    layout = layout_table1(study_of(tmp_path, losses=("binary_cross_entropy", "dice")).table1)
    cells = {row[1].text: row for _, row in layout.rows}
    assert not any(cell.paper for cell in cells["Binary cross-entropy"])
    assert any(cell.paper for cell in cells["Dice loss"])


def test_the_highest_of_a_column_is_bold_and_one_row_has_none(tmp_path):
    layout = layout_table1(study_of(tmp_path).table1)
    assert all(any(cells[column].best for _, cells in layout.rows) for column in range(2, 8))
    alone = layout_table1(study_of(tmp_path / "alone", encoders=("unet",), losses=("dice",)).table1)
    assert not any(cell.best for _, cells in alone.rows for cell in cells)


def test_the_majority_is_a_last_row_of_table1_and_no_encoder_of_its_file(tmp_path):
    results = study_of(tmp_path)
    votes = results.runs[0].scores.assign(run="ensemble__vote__fold0__seed0", dice=1.0)
    table = results.table1
    layout = layout_table1(table, ensemble=make_ensemble(votes, 4))
    *others, (_, last) = layout.rows
    assert last[0].text == "Majority of all 4" and len(last) == len(layout.heads)
    assert not any(cell.best for cell in last) and any(cell.best for _, cells in others for cell in cells)
    assert any(note.startswith("Majority:") for note in layout.notes)
    three = layout_table1(table, ensemble=make_ensemble(votes, 3))
    assert three.rows[-1][1][0].text == "Majority of 3 of the 4"
    assert any(
        note.endswith("1 pair without predicted masks or without all folds and seeds did not vote.")
        for note in three.notes
    )
    none = make_ensemble(pd.DataFrame(), 2)
    assert layout_table1(table, ensemble=none).rows == layout_table1(table).rows
    assert write_tables(results)[-1].name == "ensemble.csv"
    assert "ensemble" not in set(pd.read_csv(results.study.tables / "table1.csv")["encoder"])
    assert pd.read_csv(results.study.tables / "ensemble.csv")["voters"].tolist() == [4, 4]
