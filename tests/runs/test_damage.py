"""Files of a finished run that differ from what run.json describes are named."""

import json
import shutil

import pytest

from wbcstudy.config_io import seal_record
from wbcstudy.errors import DamagedFileError
from wbcstudy.files import write_json
from wbcstudy.runs.damage import VERIFY, changed_documents
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.records import read_run_record
from wbcstudy.runs.results import load_run, load_usable_runs, record_documents, write_record


def forget_digests(folder):
    """Make the record that wbcstudy 0.2 wrote."""
    record = json.loads(folder.record.read_text())
    write_json(folder.record, {name: record[name] for name in record if name not in ("format", "sha256", "files")})


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
