"""run.json: its fields are checked, and the files that it describes."""

import json
import shutil

import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import FORMAT, seal_record
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import write_json
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.records import VERIFY, changed_documents, read_run_record
from wbcstudy.runs.results import load_run, load_usable_runs, record_documents, write_record


@pytest.fixture
def study(tmp_path):
    """Two finished runs."""
    make_study(tmp_path, StudyConfig(name="s", encoders=("resnet18",)))
    return tmp_path / "s"


@pytest.fixture
def folder(study):
    return RunFolder(study / "runs" / "resnet18__dice__fold0__seed0")


def forget_digests(folder):
    """Make the record that wbcstudy 0.2 wrote."""
    record = json.loads(folder.record.read_text())
    write_json(folder.record, {name: record[name] for name in record if name not in ("format", "sha256", "files")})


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


def test_every_result_has_a_digest_and_those_of_other_versions_are_not_needed(folder):
    record = read_run_record(folder.record)
    assert set(record["files"]) == {path.name for path in folder.path.iterdir()} - {
        "run.json",
        "train.ipynb",
        "train.html",
    }
    record_documents(folder)
    assert {"train.ipynb", "train.html"} <= set(read_run_record(folder.record)["files"])
    folder.page.write_text("saved again")
    assert folder.find_problem(VERIFY) is None
    assert changed_documents(folder.path, folder.read_record()) == ["train.html"]
    folder.predictions.unlink()
    assert folder.find_problem(VERIFY) is None
    folder.params.write_text("\n".join(line.partition("  #")[0] for line in folder.params.read_text().split("\n")))
    assert folder.find_problem(VERIFY) is None
    forget_digests(folder)
    assert load_run(folder).complete and "files" not in folder.read_record()


@pytest.mark.parametrize("digests", [True, False])
def test_damaged_scores_are_named_and_the_other_run_is_kept(folder, digests):
    other = RunFolder(folder.path.with_name("resnet18__cross_entropy__fold0__seed0"))
    if not digests:
        forget_digests(folder)
    good = folder.scores.read_text()
    lines = good.splitlines(keepends=True)
    damages = [
        "".join(lines[: len(lines) // 2]),
        "".join(lines[:-3]),
        good[:-20],
        *([good.replace("test_0_0", "test_0_9")] if digests else []),
        "".join([*lines, *lines[1:4]]),
        "".join([lines[0], lines[1].replace(",nucleus,", ",nucleus,1"), *lines[2:]]),
        "",
        other.scores.read_text(),
    ]
    for text in damages:
        folder.scores.write_text(text)
        with pytest.raises(DamagedFileError, match=r"resnet18__dice__fold0__seed0: .*scores\.csv") as caught:
            load_run(folder)
        assert "wbcstudy run params/s.yaml --repeat-damaged" in caught.value.fix
        runs, problems = load_usable_runs(folder.study)
        assert [run.name for run in runs] == [other.name] and list(problems) == [folder.name]


def test_files_of_another_run_are_noticed(folder):
    other = folder.path.with_name("resnet18__cross_entropy__fold0__seed0")
    shutil.copy(other / "run.json", folder.record)
    with pytest.raises(DamagedFileError, match=r"run\.json is that of another run, resnet18__cross_entropy"):
        load_run(folder)
    shutil.rmtree(folder.path)
    shutil.copytree(other, folder.path)
    with pytest.raises(DamagedFileError, match=r"run\.json is that of another run"):
        load_run(folder)


def test_scores_of_other_cases_than_the_split_are_noticed(folder):
    folds = [{"train": ["a"], "validation": ["b"], "test": ["c"]}]
    write_json(folder.study.split, seal_record({"dataset": "", "settings": {}, "folds": folds}))
    record = json.loads(folder.record.read_text())
    with pytest.raises(DamagedFileError, match=r"its split is not that of split\.json"):
        load_run(folder)
    del record["split_hash"]
    write_record(folder, record)
    with pytest.raises(DamagedFileError, match=r"the cases of scores\.csv are not those of split\.json"):
        load_run(folder)
