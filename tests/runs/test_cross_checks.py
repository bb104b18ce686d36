"""Files of a run without digests, of wbcstudy 0.2, are compared with its scores."""

import json
import shutil

import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.files import write_json
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.records import VERIFY


@pytest.fixture
def folder(tmp_path):
    """A finished run without digests."""
    make_study(tmp_path, StudyConfig(name="s", encoders=("resnet18",)))
    folder = RunFolder(tmp_path / "s" / "runs" / "resnet18__dice__fold0__seed0")
    record = json.loads(folder.record.read_text())
    write_json(folder.record, {name: record[name] for name in record if name not in ("format", "sha256", "files")})
    return folder


@pytest.mark.parametrize("name", ["calibration.csv", "boundary.csv", "predictions.npz"])
def test_without_digests_a_file_of_another_run_is_noticed_by_its_sums(folder, name):
    assert folder.find_problem(VERIFY) is None
    shutil.copy(folder.path.with_name("resnet18__cross_entropy__fold0__seed0") / name, folder.path / name)
    problem = folder.find_problem(VERIFY)
    reason = "is of another run" if name == "boundary.csv" else "not agree with scores.csv"
    assert name in problem.message and reason in problem.message
