"""Cautions at the top of the report."""

import json

from tests.helpers.checkout import ROOT
from tests.helpers.fake_study import DATASET, make_results, score_away, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.data.duplicates import Duplicate
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.results import StudyResults
from wbcstudy.reporting.text.cautions import caution_sentences, leak_sentences
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record


def cautions_with(results, phrase):
    return [sentence for sentence in caution_sentences(with_runs(results)) if phrase in sentence]


def test_trainings_that_ended_at_the_limit_of_epochs(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet")), cases=2)
    assert cautions_with(results, "limit of epochs") == []
    for run in results.runs[:2]:
        run.record.update(epochs=run.config.epochs, best_epoch=run.config.epochs)
    results.runs[1].record["best_epoch"] -= 1
    (sentence,) = cautions_with(results, "limit of epochs")
    assert sentence.startswith(
        "2 of 4 trainings ended at the limit of epochs, without early stopping; in 1 the last epoch was the best: "
    )
    assert sentence.endswith("More epochs may improve the scores.")


def test_all_trainings_that_ended_at_the_limit_are_counted_where_none_could_stop_early(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet"), epochs=10, patience=10)
    results = make_results(tmp_path, config, cases=2)
    for run in results.runs:
        run.record.update(epochs=10, best_epoch=10)
    results.runs[0].record["best_epoch"] = 8
    (sentence,) = cautions_with(results, "limit of epochs")
    assert sentence.startswith("All 4 trainings ended at the limit of epochs, without early stopping; in 3 the last")
    # A fixed length whose best epoch is not the last needs no caution.
    for run in results.runs:
        run.record["best_epoch"] = 8
    assert cautions_with(results, "limit of epochs") == []


def test_many_pairs_are_counted_and_not_named(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "resnet34", "unet", "vgg16", "vgg19", "mobilenet"), epochs=10)
    results = make_results(tmp_path, config, cases=2)
    for run in results.runs:
        run.record.update(epochs=10, best_epoch=10)
    results.runs[0].record["best_epoch"] = 8
    (sentence,) = cautions_with(results, "limit of epochs")
    assert "; in 11 the last epoch was the best (11 of 12 pairs). More" in sentence


def test_networks_with_another_precision(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet", "vgg16"), losses=("dice",), folds=2, precision="auto")
    results = make_results(tmp_path, config, cases=2)
    for run in results.runs:
        run.record["arithmetic"] = "float32"
    assert not cautions_with(results, "float")
    records = {run.name: run.record for run in results.runs}
    records["vgg16__dice__fold0__seed0"]["arithmetic"] = records["vgg16__dice__fold1__seed0"]["arithmetic"] = "bfloat16"
    records["resnet18__dice__fold1__seed0"]["arithmetic"] = "bfloat16"
    assert cautions_with(results, "float") == [
        "The networks were trained with different precision: bfloat16 for some runs of ResNet-18 with Dice loss and "
        "VGG-16 with Dice loss, float32 for the rest. Do not compare their times, and compare small differences in "
        "Dice with care."
    ]
    # Failed runs do not count, nor do those without a record of their precision.
    for record in records.values():
        if record["arithmetic"] == "bfloat16":
            record["status"] = "failed"
    del records["unet__dice__fold0__seed0"]["arithmetic"]
    assert not cautions_with(results, "float")


def test_runs_on_different_data_versions_and_splits(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet")), cases=2)
    results.runs[0].record["dataset"] = DATASET | {"fingerprint": "other"}
    results.runs[1].record["split_hash"] = "other"
    results.runs[2].record["commit"] = "fedcba"
    text = " ".join(caution_sentences(results))
    assert "2 different versions of the dataset" in text and "2 different splits" in text
    assert "2 different versions of wbcstudy" in text


def test_runs_of_a_changed_notebook(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18",)), cases=2)
    shipped = {"name": "notebooks/2_train.ipynb", "sha256": "0", "shipped": True}
    for run in results.runs:
        run.record["notebook"] = shipped
    assert cautions_with(results, "notebook") == []
    changed = results.runs[0]
    changed.record["notebook"] = {"name": "my_notebooks/2_train.ipynb", "sha256": "1", "shipped": False}
    (sentence,) = cautions_with(results, "notebook")
    assert f"a notebook other than the shipped one: {changed.name} (my_notebooks/2_train.ipynb)." in sentence


def test_runs_with_own_parts(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18",)), cases=2)
    assert cautions_with(results, "own parts") == []
    run = results.runs[0]
    tversky = {"name": "Tversky", "settings": {"alpha": 0.3}, "sha256": "0"}
    run.record["own_parts"] = {"loss": [tversky], "callbacks": [{"name": "Watch", "settings": {}, "sha256": "1"}]}
    (sentence,) = cautions_with(results, "own parts")
    assert f"{run.name} (loss Tversky (alpha 0.3) and callback Watch)" in sentence
    assert "instead of the one in the name of the run" in sentence
    assert f"loss Tversky (alpha 0.3) and callback Watch, in {run.name}." in methods_paragraph(results)


def test_failed_and_missing_scores_are_cautions(transfer_results):
    score_away(transfer_results.runs[:2], {"resnet18": 0.1, "unet": 0.1})
    record = {"status": "failed", "error": "There is no model.\nExpected: one"}
    write_record(transfer_results.runs[2].folder.transfer("away"), record)
    cautions = " ".join(caution_sentences(transfer_results))
    assert f"{transfer_results.runs[2].name} could not be scored on away: There is no model." in cautions
    assert "Some runs have not been scored on away yet" in cautions
    assert "There is no model." in write_report(transfer_results).read_text(encoding="utf-8")


class TestLeaks:
    def test_an_earlier_split_of_dataset_1_is_known_without_its_images(self):
        study = StudyFolder(ROOT / "outputs" / "reference" / "segmentation_wbc_1")
        results = StudyResults(study, StudyConfig(name=study.name, dataset=study.name), [], {})
        (sentence,) = leak_sentences(results)
        assert sentence.startswith(
            "5 of 60 test images (071, 072, 091, 157 and 169) and 2 validation images (056 and 089) show the same cell "
            "as a training image."
        )
        assert "may be too high" in sentence

    def test_recorded_duplicates_are_one_group_and_stand_on_the_first_screen(self, tmp_path):
        results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18", "unet")), cases=6)
        cases = sorted(results.scores.case_id.unique())
        fold = {"train": ["t0", "t1"], "validation": ["v0"], "test": cases}
        results.study.split.write_text(json.dumps({"dataset": "ff", "settings": {}, "folds": [fold]}))
        pairs = [
            Duplicate(cases[0], cases[1], "near", 0.98)._asdict(),
            Duplicate(cases[2], "t1", "near", 0.99)._asdict(),
        ]
        results.study.duplicates.write_text(json.dumps({"dataset": "ff", "near": True, "duplicates": pairs}))
        results = with_runs(results)
        assert leak_sentences(results)[0].startswith(f"1 of 6 test images ({cases[2]}) shows the same cell")
        assert {comparison.units for comparison in results.comparisons.values()} == {5}
        page = write_report(results).read_text("utf-8")
        assert page.index("shows the same cell") < page.index("How certain is this?")

    def test_a_split_that_divides_no_pair_needs_no_caution(self, tmp_path):
        results = make_results(tmp_path, StudyConfig(name="s", encoders=("resnet18",)), cases=2)
        assert leak_sentences(results) == []
