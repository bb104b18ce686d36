"""The fields of run.json are checked."""

import json

import pytest

from wbcstudy.config_io import FORMAT, seal_record
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import write_json
from wbcstudy.runs.results import load_run, load_usable_runs, write_record


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "running"),
        ("epochs", -1),
        ("epochs", True),
        ("epochs", 10**30),
        ("best_epoch", 2.5),
        ("parameters", "many"),
        ("wall_seconds", [1]),
        ("config", []),
        ("config", {"epochs": {"deep": 1}}),
        ("dataset", "synthetic"),
        ("trained_on", {"height_px": [0, 0, 0], "width_px": [1, 1, 1]}),
        ("trained_on", {"height_px": [192, 192], "width_px": [192, 192, 192]}),
        ("trained_on", {"height_px": 192}),
        ("scores", {"nucleus": {"tp": -1, "fp": 0, "fn": 0, "tn": 0}}),
        ("scores", {"nucleus": {"dice": 0.5}}),
        ("scores", {"nucleus": []}),
        ("validation", {"nucleus": {"tp": 1, "fp": 0, "fn": 0, "tn": 0, "dice": 1.5}}),
        ("files", {"scores.csv": {"bytes": "many", "sha256": ""}}),
        ("packages", ["numpy"]),
    ],
)
def test_a_value_of_a_wrong_type_or_range_is_named(folder, field, value):
    record = json.loads(folder.record.read_text())
    write_json(folder.record, seal_record(record | {field: value}))
    with pytest.raises(DamagedFileError, match=rf"run\.json is damaged: {field}") as caught:
        load_run(folder)
    assert "Input should" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ['{"status": "complete", "epochs": NaN}', '{"status": 1e999}', "[" * 100_000, "\xff"])
def test_a_text_that_is_not_json_is_named(folder, text):
    folder.record.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedFileError, match="not valid JSON"):
        load_run(folder)


def test_a_newer_record_and_settings_of_another_version_say_so(folder, study):
    record = json.loads(folder.record.read_text())
    write_json(folder.record, record | {"format": FORMAT + 1, "status": {"new": "shape"}})
    with pytest.raises(StudyError, match="made by a newer wbcstudy"):
        load_run(folder)
    assert folder.read_status() == "unreadable"
    write_record(folder, record | {"config": record["config"] | {"weight_decay": 0.1}})
    with pytest.raises(StudyError, match=r"made by wbcstudy 0\.1\.0, with settings .* weight_decay"):
        load_run(folder)
    runs, problems = load_usable_runs(folder.study)
    assert [run.config.loss for run in runs] == ["cross_entropy"] and list(problems) == [folder.name]


def test_further_fields_are_kept(folder):
    record = json.loads(folder.record.read_text())
    write_record(folder, record | {"score_at": "original", "dataset": record["dataset"] | {"sites": 3}})
    assert load_run(folder).record["score_at"] == "original"


def test_an_edited_number_is_noticed(folder):
    text = folder.record.read_text()
    folder.record.write_text(text.replace('"peak_memory_mb": 1234.5', '"peak_memory_mb": 234.5'))
    with pytest.raises(DamagedFileError, match="has changed since it was written"):
        load_run(folder)
    # Other spaces and another order are the same content.
    folder.record.write_text(json.dumps(json.loads(text), sort_keys=True))
    assert load_run(folder).record["peak_memory_mb"] == 1234.5
