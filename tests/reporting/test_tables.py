import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.errors import StudyError
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.comparison import compare_runs
from wbcstudy.reporting.tables.layout import layout_table1, layout_table2, weights_note
from wbcstudy.reporting.tables.paper import load_paper_table, make_table1, make_table2, pick_drawn, pick_examples
from wbcstudy.reporting.tables.render import make_layouts
from wbcstudy.reporting.tables.table3 import MeasuredMethod, layout_table3, load_measured, make_table3
from wbcstudy.reporting.text.facts import tell_answer, tell_cautions
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_predictions, write_record
from wbcstudy.scoring.evaluation import write_scores
from wbcstudy.scoring.intervals import bootstrap_interval
from wbcstudy.scoring.metrics import COUNTS
from wbcstudy.scoring.selection import pick_best, read_scores, whole_runs

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


def test_what_has_only_some_of_the_folds_is_shown_and_does_not_compete(tmp_path):
    gone = [f"unet__dice__fold{fold}__seed0" for fold in (1, 2)]
    runs = runs_of(tmp_path, failed=gone[:1], losses=("dice",), folds=3)
    runs = [run for run in runs if run.name != gone[1]]
    for run in runs:
        if run.complete:
            # As if its one fold were easy.
            counts = {"tp": 95 if run.config.encoder == "unet" else 80, "fp": 10, "fn": 10, "tn": 1}
            run.record["validation"] = {"nucleus": counts, "cytoplasm": counts}
    assert pick_best(runs).encoder == "resnet18"
    table = make_table1(runs)
    assert table["folds"].tolist() == [1, 1, 3, 3] and table["whole"].tolist() == [False, False, True, True]
    layout = layout_table1(table)
    assert texts(layout)[0][3] == f"{table.loc[0, 'dice']:.4f}"
    assert not any(cell.best for _, cells in layout.rows for cell in cells)
    assert any("since no seed has all folds: U-Net, Dice loss." in note for note in layout.notes)
    assert make_table2(runs, "unet")["dice"].isna().all()
    assert {run.config.encoder for run in whole_runs(runs)} == {"resnet18"}
    assert tell_answer(runs)[0].startswith("ResNet-18 with Dice loss, the only one measured.")
    assert set(compare_runs(runs).scores["encoder"]) == {"resnet18"}
    config = StudyConfig(name="s", encoders=("resnet18", "unet"), losses=("dice",), folds=3)
    said = tell_cautions(StudyFolder(tmp_path / "s"), config, runs)
    assert any(words.endswith("all the folds that others have: U-Net with Dice loss.") for words in said)
    # With a second seed on one fold, the first counts, which has all.
    two = StudyConfig(name="s", encoders=("unet", "vgg16"), losses=("dice",), folds=2, seeds=(0, 1))
    more = make_study(tmp_path / "b", two)
    table = make_table1([run for run in more if run.name != "unet__dice__fold1__seed1"])
    assert table["seeds"].tolist() == [1, 1, 2, 2] and table["whole"].all()
    # Neither has both: no bold, no answer.
    crossed = [run for run in more if run.config.seed == 0 and run.config.fold == (run.config.encoder == "unet")]
    assert "no encoder and loss has been tested on all the folds" in tell_answer(crossed)[0]
    assert not make_table1(crossed)["whole"].any()
    # One alone is compared with nothing.
    alone = [run for run in more if run.config.encoder == "unet" and run.config.fold == run.config.seed]
    assert tell_answer(alone)[0].startswith("U-Net with Dice loss, the only one measured.")


def test_intervals_draw_whole_slides(tmp_path):
    runs = make_study(tmp_path, StudyConfig(name="s", encoders=("unet",), losses=("dice",)), cases=20)
    slides = {case: case.split("_")[-1][-1] for case in runs[0].scores["case_id"]}
    alone, together = make_table1(runs).iloc[0], make_table1(runs, slides).iloc[0]
    scores = runs[0].scores.query("region == 'nucleus'")
    groups = [slides[case] for case in scores["case_id"]]
    expected = bootstrap_interval(scores["dice"], groups)
    assert (together["dice_ci_low"], together["dice_ci_high"]) == (expected.low, expected.high)
    assert together["dice_ci_low"] != alone["dice_ci_low"] and together["dice_mean"] == alone["dice_mean"]


def test_the_best_is_chosen_on_validation_and_never_on_test(tmp_path):
    runs = runs_of(tmp_path)
    for run in runs:
        wins = run.config.encoder == "unet" and run.config.loss == "dice"
        for region in ("nucleus", "cytoplasm"):
            run.record["validation"][region] |= {"tp": 90 if wins else 80, "fp": 10, "fn": 10}
            run.record["scores"][region] |= {"dice": 0.0 if wins else 1.0}
    best = pick_best(runs)
    assert (best.encoder, best.loss, best.dice) == ("unet", "dice", 0.9)
    assert best.title == "U-Net with Dice loss"
    assert set(make_table2(runs, best.encoder)["encoder"]) == {"unet"}


def test_a_region_that_the_validation_images_have_not_chooses_nothing(tmp_path):
    runs = runs_of(tmp_path)
    for run in runs:
        wins = run.config.encoder == "unet" and run.config.loss == "dice"
        # All rightly find no cytoplasm, but for a stray pixel of the best.
        run.record["validation"]["cytoplasm"] |= {"tp": 0, "fp": int(wins), "fn": 0, "dice": 0.0 if wins else None}
        run.record["validation"]["nucleus"] |= {"tp": 90 if wins else 80, "fp": 10, "fn": 10}
    best = pick_best(runs)
    assert (best.encoder, best.loss, best.dice) == ("unet", "dice", 0.9)
    for run in runs:
        run.record["validation"]["nucleus"] |= {"tp": 0, "fn": 0}
    assert pick_best(runs) is None


def test_a_region_that_no_test_image_has_is_no_score(tmp_path):
    runs = runs_of(tmp_path)
    for run in runs:
        stray = run.scores["region"] == "cytoplasm"
        run.scores.loc[stray, ["tp", "fn"]] = 0
        run.scores.loc[stray, "dice"] = 0.0
    table = make_table1(runs).set_index("region")
    assert table.loc["cytoplasm", "dice"].isna().all() and table.loc["nucleus", "dice"].notna().all()
    assert set(read_scores(runs)["region"]) == {"nucleus", "cell"}


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


def test_failed_folds_of_an_earlier_method_are_told(tmp_path):
    methods = ("otsu_levels", "smoothed_forest", "benazzouz2013")
    config = StudyConfig(name="s", encoders=("unet",), losses=("dice",), folds=2, baselines=methods)
    runs = make_study(tmp_path, config, cases=4)
    study = StudyFolder(tmp_path / "s")
    for one in config.baseline_runs():
        folder = study.baseline(one.name)
        if one.method == "benazzouz2013" or (one.method == "otsu_levels" and one.fold == 1):
            write_record(folder, {"status": "failed", "error": "Out of\nmemory.", "advice": "Buy some."})
            continue
        about = {"reference": "6", "algorithm": one.method, "title": one.method}
        write_record(folder, {"status": "complete", "method": about, "fit_seconds": 1.0, "seconds_per_image": 0.1})
        for variant in ("raw", "cleaned", "central"):
            scores = runs[one.fold].scores.assign(run=f"{one.name}__seed0")
            scores.loc[:, "dice"] = 1.0 if one.method == "otsu_levels" else scores["dice"]
            write_scores(scores, folder.scores_of(variant))
    table = make_table3(runs, load_measured(study, config))
    raw = table[(table["variant"] == "raw") & (table["region"] == "nucleus")].set_index("method")
    assert raw.loc["otsu_levels", ["folds", "failed"]].tolist() == [1, 1]
    assert raw.loc["benazzouz2013", ["n", "failed"]].tolist() == [0, 2]
    layout = layout_table3(table)
    rows = {cells[1].text: cells for group, cells in layout.rows if "Measured" in group}
    assert not any(cell.best for cell in rows["otsu_levels"]) and rows["benazzouz2013"][2].text == "failed"
    assert any("otsu_levels (1 fold)" in note for note in layout.notes)
    said = tell_cautions(study, config, runs)
    assert any(words.startswith("3 of 6 runs of earlier methods failed: otsu_levels__fold1") for words in said)
    assert "otsu_levels__fold1: Out of memory. Buy some." in said


def test_networks_that_computed_otherwise_than_the_rest_are_named(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet", "vgg16"), losses=("dice",), folds=2, precision="auto")
    runs = make_study(tmp_path, config, cases=2)

    def told():
        return [words for words in tell_cautions(StudyFolder(tmp_path / "s"), config, runs) if "float" in words]

    for run in runs:
        run.record["arithmetic"] = "float32"
    assert not told()
    of = {run.name: run.record for run in runs}
    of["vgg16__dice__fold0__seed0"]["arithmetic"] = of["vgg16__dice__fold1__seed0"]["arithmetic"] = "bfloat16"
    of["resnet18__dice__fold1__seed0"]["arithmetic"] = "bfloat16"
    assert told() == [
        "Not all networks computed with the same kind of numbers: with bfloat16 partly ResNet-18 with Dice loss, "
        "VGG-16 with Dice loss; with float32 the rest. Their times cannot be compared, and small differences of Dice "
        "only with care."
    ]
    # A failed run has computed nothing, and one that does not say what it computed in tells nothing.
    for name in of:
        if of[name]["arithmetic"] == "bfloat16":
            of[name]["status"] = "failed"
    del of["unet__dice__fold0__seed0"]["arithmetic"]
    assert not told()


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
