import numpy as np
import pandas as pd
import pytest
from fake_study import make_study

from wbcstudy.config import StudyConfig
from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.layout import layout_table1, layout_table2, weights_note
from wbcstudy.reporting.render import make_layouts
from wbcstudy.reporting.table3 import MeasuredMethod, layout_table3, make_table3
from wbcstudy.reporting.tables import (
    load_paper_table,
    make_table1,
    make_table2,
    pick_best,
    pick_drawn,
    pick_examples,
)
from wbcstudy.runs import write_predictions
from wbcstudy.scoring.metrics import COUNTS

CONTRACT1 = ["encoder", "loss", "region", "precision", "dice", "dice_mean", "dice_ci_low", "dice_ci_high"]
CONTRACT1 += ["best_epoch", "epochs"]


def runs_of(tmp_path, failed=(), empty=(), **settings):
    settings = {"name": "s", "encoders": ("resnet18", "unet"), "losses": ("dice", "cross_entropy")} | settings
    return make_study(tmp_path, StudyConfig(**settings), failed, empty, cases=4)


def texts(layout):
    return [[cell.text for cell in cells] for _, cells in layout.rows]


def test_every_run_is_drawn_or_of_very_many_the_first_of_each_encoder_and_loss(tmp_path):
    config = StudyConfig(name="s", encoders=("unet", "resnet18"), seeds=(3, 1))
    runs = make_study(tmp_path, config, cases=2, failed=["unet__dice__fold0__seed1"])
    assert len(pick_drawn(runs)) == 7
    names = ["unet__cross_entropy__fold0__seed1", "unet__dice__fold0__seed3"]
    names += ["resnet18__cross_entropy__fold0__seed1", "resnet18__dice__fold0__seed1"]
    assert [run.name for run in pick_drawn(runs, most=6)] == names


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
    table = make_table1(runs_of(tmp_path))
    assert list(table)[: len(CONTRACT1)] == CONTRACT1
    pairs = table[["encoder", "loss"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["unet", "cross_entropy"], ["unet", "dice"], ["resnet18", "cross_entropy"], ["resnet18", "dice"]]
    assert table["region"].tolist() == ["nucleus", "cytoplasm"] * 4
    assert (table["n"] == 4).all() and table["best_epoch"].dtype == "Int64"


def test_table1_pools_the_pixels_of_one_run(tmp_path):
    runs = runs_of(tmp_path, encoders=("resnet18",), losses=("dice",))
    row = make_table1(runs).iloc[0]
    nucleus = runs[0].scores.query("region == 'nucleus'")
    tp, fp, fn, _ = (nucleus[name].sum() for name in COUNTS)
    assert row["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert row["dice_mean"] == pytest.approx(nucleus["dice"].mean())
    assert row["dice_ci_low"] <= row["dice_mean"] <= row["dice_ci_high"]


def test_table1_pools_folds_and_averages_seeds(tmp_path):
    runs = runs_of(tmp_path, encoders=("resnet18",), losses=("dice",), folds=2, seeds=(0, 7))
    row = make_table1(runs).iloc[0]
    by_seed = []
    for seed in (0, 7):
        scores = pd.concat([run.scores for run in runs if run.config.seed == seed]).query("region == 'nucleus'")
        tp, fp, fn, _ = (scores[name].sum() for name in COUNTS)
        by_seed.append(2 * tp / (2 * tp + fp + fn))
    assert row["dice"] == pytest.approx(np.mean(by_seed))
    # Eight cases, each tested once per seed, are eight images and not sixteen.
    assert (row["n"], row["seeds"], row["folds"], row["runs"], row["failed"]) == (8, 2, 2, 4, 0)
    assert row["epochs"] == np.median([run.record["epochs"] for run in runs])


def test_failed_runs_are_counted_and_shown(tmp_path):
    gone = ("unet__dice__fold0__seed0", "resnet18__dice__fold0__seed1", "unet__dice__fold0__seed1")
    table = make_table1(runs_of(tmp_path, failed=gone, seeds=(0, 1)))
    unet = table[(table["encoder"] == "unet") & (table["loss"] == "dice")]
    assert unet["dice"].isna().all() and (unet["failed"] == 2).all() and (unet["n"] == 0).all()
    layout = layout_table1(table)
    assert texts(layout)[1][1:4] == ["Dice loss", "failed", ""]
    assert any("ResNet-18, Dice loss: 1 of 2" in note for note in layout.notes)


def test_the_best_is_chosen_on_validation_and_never_on_test(tmp_path):
    runs = runs_of(tmp_path)
    for run in runs:
        wins = run.config.encoder == "unet" and run.config.loss == "dice"
        for region in ("nucleus", "cytoplasm"):
            run.record["validation"][region] |= {"tp": 90 if wins else 80, "fp": 10, "fn": 10}
            run.record["scores"][region] |= {"dice": 0.0 if wins else 1.0}
    best = pick_best(runs)
    assert (best.encoder, best.loss, best.dice) == ("unet", "dice", 0.9)
    assert best.title == "U-Net with the Dice loss"
    assert set(make_table2(runs, best.encoder)["encoder"]) == {"unet"}


def test_no_runs_only_failed_runs_and_undefined_scores(tmp_path):
    assert pick_best([]) is None and make_table1([]).empty and make_table2([], None).empty
    every = ("resnet18__dice__fold0__seed0", "resnet18__cross_entropy__fold0__seed0")
    failed = runs_of(tmp_path, failed=every, encoders=("resnet18",))
    assert pick_best(failed) is None
    assert set(make_table3(failed)["kind"]) == {"quoted"}
    undefined = runs_of(tmp_path / "undefined", empty=every, encoders=("resnet18",))
    assert pick_best(undefined) is None
    assert make_table1(undefined)["dice"].isna().all()
    for runs in ([], failed, undefined):
        table1, table2, table3 = (layout for _, layout in make_layouts(runs))
        assert "no run is complete" in table2.title and len(table3.rows) == 7 and len(table1.heads) >= 4


def test_a_complete_run_without_its_scores_says_what_to_do(tmp_path):
    runs = runs_of(tmp_path, encoders=("resnet18",), losses=("dice",))
    runs[0].folder.scores.unlink()
    with pytest.raises(StudyError, match=r"scores\.csv is missing"):
        make_table1(runs)


def test_table2_is_arranged_as_in_the_paper(tmp_path):
    layout = layout_table2(make_table2(runs_of(tmp_path, encoders=("resnet50",)), "resnet50"))
    columns = [("Nucleus", "Cross-entropy"), ("Nucleus", "Dice loss")]
    assert list(layout.heads) == [("", "Metric"), *columns, *(("Cytoplasm", loss) for _, loss in columns)]
    assert [row[0] for row in texts(layout)] == ["Precision", "Sensitivity", "Specificity", "Dice", "IoU"]
    dice = layout.rows[3][1]
    assert [cell.paper for cell in dice] == ["", "0.9577", "0.9419", "0.9314", "0.9214"]
    assert sum(cell.best for cell in dice) == 2


def test_table2_keeps_identities(tmp_path):
    table = make_table2(runs_of(tmp_path), "resnet18")
    assert list(table) == ["encoder", "loss", "region", "precision", "sensitivity", "specificity", "dice", "iou"]
    np.testing.assert_allclose(table["iou"], table["dice"] / (2 - table["dice"]))


def test_table3_keeps_quoted_and_measured_apart(tmp_path):
    runs = runs_of(tmp_path)
    otsu = MeasuredMethod("otsu", "Otsu 1979", "three-level Otsu", runs[0].scores)
    table = make_table3(runs, [otsu])
    assert table.groupby("kind", sort=False)["method"].nunique().to_dict() == {"quoted": 7, "measured": 2}
    assert table.loc[table["kind"] == "quoted", "accuracy"].isna().all()
    assert table.loc[table["kind"] == "measured", ["accuracy", "dice_mean", "n"]].notna().all(axis=None)
    layout = layout_table3(table)
    assert not any(cell.best for group, cells in layout.rows if "Quoted" in group for cell in cells)
    assert texts(layout)[0][:3] == ["Benazzouz et al. [6]", "Otsu + classification", "0.9502"]
    assert texts(layout)[-2][:2] == ["Otsu 1979", "three-level Otsu"]


def test_an_encoder_or_loss_that_the_paper_has_not_gets_no_paper_number(tmp_path):
    layout = layout_table1(make_table1(runs_of(tmp_path, losses=("binary_cross_entropy", "dice"))))
    cells = {row[1].text: row for _, row in layout.rows}
    assert not any(cell.paper for cell in cells["Binary cross-entropy"])
    assert any(cell.paper for cell in cells["Dice loss"])


def test_the_best_of_a_column_is_bold_and_one_row_has_no_best(tmp_path):
    layout = layout_table1(make_table1(runs_of(tmp_path)))
    assert all(any(cells[column].best for _, cells in layout.rows) for column in range(2, 8))
    alone = layout_table1(make_table1(runs_of(tmp_path / "alone", encoders=("unet",), losses=("dice",))))
    assert not any(cell.best for _, cells in alone.rows for cell in cells)


def test_tables_say_what_the_encoders_started_from():
    scratch = StudyConfig(encoders=("resnet18", "unet"))
    paper = StudyConfig(encoders=("resnet18", "unet"), encoder_weights="imagenet", freeze_encoder=True)
    assert weights_note(scratch.runs()) == "Trained from scratch, no ImageNet weights."
    assert weights_note(paper.runs()) == "Encoders started from ImageNet weights, kept as they were."
    assert "file /A/B.h5" in weights_note([StudyConfig(encoder_weights="/A/B.h5")])


def test_examples_are_drawn_by_seed_from_the_best_run(tmp_path):
    runs = runs_of(tmp_path, failed=["unet__dice__fold0__seed0"])
    for index, run in enumerate(runs):
        write_predictions(run.folder, [f"c{n}" for n in range(9)], np.full((9, 4, 4), index % 3, np.uint8))
    best = pick_best(runs)
    first = pick_examples(runs, best, seed=1)
    position = next(
        i for i, run in enumerate(runs) if (run.config.encoder, run.config.loss) == (best.encoder, best.loss)
    )
    assert len(first) == 5 and set(first) <= {f"c{n}" for n in range(9)}
    assert all((mask == position % 3).all() for mask in first.values())
    assert list(pick_examples(runs, best, seed=1)) == list(first) != list(pick_examples(runs, best, seed=2))
    assert len(pick_examples(runs, best, count=50)) == 9
    assert pick_examples(runs, None) == {} == pick_examples([], best)
