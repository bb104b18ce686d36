"""split.json and dataset.json are read as they were written, or refused with a message."""

import json

import pytest

from wbcstudy.config_io import seal_record
from wbcstudy.data.records import Split, read_dataset_record, read_split
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import write_json

FOLD = {"train": ["a"], "validation": ["b"], "test": ["c"]}
SPLIT = {"dataset": "0", "settings": {"folds": 1}, "folds": [FOLD]}


def test_a_split_is_read_back_with_and_without_digest(tmp_path):
    for record in (SPLIT, seal_record(SPLIT), seal_record(SPLIT | {"duplicates": [["a", "b"]]})):
        write_json(tmp_path / "split.json", record)
        assert read_split(tmp_path / "split.json")[0] == (Split(("a",), ("b",), ("c",)),)
    assert read_split(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "record",
    [
        SPLIT | {"folds": []},
        SPLIT | {"folds": [FOLD | {"test": []}]},
        SPLIT | {"folds": [FOLD | {"test": ["a"]}]},
        SPLIT | {"folds": [FOLD | {"test": [3]}]},
        SPLIT | {"folds": [["a", "b", "c"]]},
        SPLIT | {"settings": None},
        {"folds": [FOLD]},
    ],
)
def test_a_damaged_split_is_named(tmp_path, record):
    write_json(tmp_path / "split.json", record)
    with pytest.raises(DamagedFileError, match=r"split\.json is damaged"):
        read_split(tmp_path / "split.json")


def test_an_edited_record_and_one_of_a_newer_version_are_refused(tmp_path):
    path = tmp_path / "dataset.json"
    write_json(path, seal_record({"name": "a", "cases": 3, "label_shares": {"nucleus": 0.1}}))
    assert read_dataset_record(path)["cases"] == 3
    record = json.loads(path.read_text())
    write_json(path, record | {"cases": 4})
    with pytest.raises(DamagedFileError, match="has changed"):
        read_dataset_record(path)
    write_json(path, record | {"format": 99})
    with pytest.raises(StudyError, match="newer wbcstudy"):
        read_dataset_record(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedFileError, match="folder"):
        read_dataset_record(path)
