"""A study with two finished runs."""

import pytest

from tests.helpers.fake_study import make_study
from wbcstudy.config import StudyConfig
from wbcstudy.runs.folders import RunFolder


@pytest.fixture
def study(tmp_path):
    """Two finished runs."""
    make_study(tmp_path, StudyConfig(name="s", encoders=("resnet18",)))
    return tmp_path / "s"


@pytest.fixture
def folder(study):
    return RunFolder(study / "runs" / "resnet18__dice__fold0__seed0")
