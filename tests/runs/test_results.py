"""Results are read back as they were written; unfinished runs are left out."""

import json

import numpy as np
import pytest

from wbcstudy.config import RunConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import load_run, load_runs, read_predictions, run_seconds, write_predictions, write_record
from wbcstudy.runs.start import start_run


def test_a_run_knows_its_study(tmp_path):
    study = StudyFolder(tmp_path / "s")
    assert study.run("resnet18").study == study.baseline("otsu").study == study


def test_a_record_without_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_record(RunFolder(tmp_path), {"status": "complete", "dice": float("nan")})
    assert not RunFolder(tmp_path).record.exists()


def test_runs_are_loaded_in_order_without_unfinished_ones(tmp_path):
    for encoder, status in [("vgg16", "complete"), ("unet", "failed"), ("resnet34", None)]:
        folder = start_run(RunConfig(study="s", encoder=encoder), tmp_path)
        if status:
            write_record(folder, {"status": status})
    runs = load_runs(StudyFolder(tmp_path / "s"))
    assert [(run.config.encoder, run.complete) for run in runs] == [("unet", False), ("vgg16", True)]
    with pytest.raises(StudyError, match="no finished run"):
        load_run(StudyFolder(tmp_path / "s").run("resnet34__cross_entropy__fold0__seed0"))
    assert load_runs(StudyFolder(tmp_path / "nothing")) == []


def test_case_ids_that_look_like_numbers_or_missing_values_stay_text(tmp_path):
    folder = start_run(RunConfig(study="s"), tmp_path)
    write_record(folder, {"status": "complete"})
    rows = [
        f"r,{case},{region},0,0,0,9,\n" for case in ("001,", "NA,null") for region in ("nucleus", "cytoplasm", "cell")
    ]
    folder.scores.write_text("run,case_id,cell_type,region,tp,fp,fn,tn,dice\n" + "".join(rows))
    scores = load_run(folder).scores
    assert scores["case_id"].tolist()[::3] == ["001", "NA"]
    assert scores["cell_type"].tolist()[3] == "null"
    assert np.isnan(scores["dice"][0])


def test_predictions_read_back(tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (2, 4, 4)).astype(np.uint8)
    write_predictions(RunFolder(tmp_path), ["001", "ü b"], masks)
    read = read_predictions(RunFolder(tmp_path))
    assert list(read) == ["001", "ü b"]
    np.testing.assert_array_equal(read["ü b"], masks[1])
    assert read_predictions(RunFolder(tmp_path / "none")) == {}


def test_predictions_may_differ_in_size(tmp_path):
    masks = [np.full((3, 5), 1, np.uint8), np.zeros((7, 2), np.uint8)]
    write_predictions(RunFolder(tmp_path), ["a", "b"], masks)
    for mask, again in zip(masks, read_predictions(RunFolder(tmp_path)).values(), strict=True):
        np.testing.assert_array_equal(again, mask)


def test_predictions_of_an_earlier_version_read_back(tmp_path):
    masks = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 3
    np.savez_compressed(RunFolder(tmp_path).predictions, case_ids=np.array(["a", "b"]), masks=masks)
    np.testing.assert_array_equal(read_predictions(RunFolder(tmp_path))["b"], masks[1])


def test_a_run_of_an_earlier_version_was_scored_at_image_size(tmp_path):
    folder = RunFolder(tmp_path)
    settings = RunConfig(image_size=128).model_dump(mode="json")
    del settings["score_at"]
    write_yaml(RunConfig(image_size=128), folder.params)
    write_record(folder, {"status": "complete", "config": settings})
    assert load_run(folder).config.score_px == 128
    folder.params.write_text("image_size: 128\n", encoding="utf-8")
    write_record(folder, {"status": "complete"})
    assert load_run(folder).config.score_px == 128
    write_record(folder, {"status": "complete", "config": settings | {"score_at": "native"}})
    assert load_run(folder).config.score_px is None


def test_the_record_says_when_it_was_written(tmp_path):
    write_record(RunFolder(tmp_path), {"status": "complete"})
    assert json.loads((tmp_path / "run.json").read_text())["written"].endswith("+00:00")


def test_a_resumed_run_took_at_least_as_long_as_its_training():
    assert run_seconds({"wall_seconds": 420.0, "fit_seconds": 2400.5}) == 2400.5
    assert run_seconds({"wall_seconds": 420.0, "fit_seconds": 400}) == 420.0
    assert run_seconds({"wall_seconds": 3}) == 3.0
    assert run_seconds({"wall_seconds": None, "fit_seconds": "a minute"}) is None
