"""Where a grid runs, and with how many threads."""

from pathlib import Path

import pytest

from wbcstudy.errors import StudyError
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.snakemake import Executor, choose_executor


def test_the_number_of_parallel_runs_is_the_users():
    executor = choose_executor("local", None, 3, [])
    assert executor.jobs == 3 and executor.describe().startswith("3 runs at a time")
    assert executor.arguments(StudyFolder.of("demo"))[:2] == ["--cores", "3"]


def test_the_users_own_snakemake_profile_is_ignored():
    assert Executor(1).arguments(StudyFolder.of("demo"))[-2:] == ["--profile", "none"]


def test_threads_that_the_user_limits_are_kept(monkeypatch):
    monkeypatch.setenv("WBCSTUDY_THREADS", "1")
    executor = Executor(2)
    assert executor.environment()["WBCSTUDY_THREADS"] == "1"
    assert "1 thread each" in executor.describe()


@pytest.mark.parametrize(("executor", "profile"), [("cloud", None), ("local", Path("profiles/slurm"))])
def test_other_executors_are_refused(executor, profile):
    with pytest.raises(StudyError, match="cannot be used"):
        choose_executor(executor, profile, None, [])
