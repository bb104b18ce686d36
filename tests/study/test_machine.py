"""The number of parallel trainings is limited by cores, runs and memory."""

import resource

import pytest

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.study import machine

SMALL = RunConfig(image_size=96)
LARGE = RunConfig(image_size=1024)


@pytest.fixture
def simulate(monkeypatch):
    """A machine with the given cores, free memory and GPU."""

    def make(cores=8, free_mb=64_000.0, gpu=False):
        monkeypatch.setattr("joblib.cpu_count", lambda: cores)
        monkeypatch.setattr(machine, "free_memory_mb", lambda: free_mb)
        monkeypatch.setattr(machine, "_has_gpu", lambda: gpu)

    return make


@pytest.mark.parametrize(
    ("cores", "free_mb", "runs", "jobs"),
    [
        (8, 64_000.0, 18, 8),
        (8, 64_000.0, 3, 3),
        (8, 8_000.0, 18, 2),
        (8, 100.0, 18, 1),
        (1, 64_000.0, 18, 1),
        (8, 64_000.0, 0, 1),
    ],
    ids=["a run per core", "few runs", "little memory", "hardly any memory", "one core", "no runs"],
)
def test_as_many_parallel_runs_as_cores_runs_and_memory_allow(simulate, cores, free_mb, runs, jobs):
    simulate(cores, free_mb)
    assert machine.choose_jobs([SMALL] * runs) == jobs


def test_the_largest_run_counts(simulate):
    simulate(free_mb=32_000.0)
    assert machine.choose_jobs([SMALL] * 7 + [LARGE]) < machine.choose_jobs([SMALL] * 8)


def test_trainings_do_not_share_a_gpu(simulate):
    simulate(gpu=True)
    assert machine.choose_jobs([SMALL] * 8) == 1


def test_earlier_methods_use_all_cores(simulate):
    simulate()
    assert machine.choose_jobs([BaselineConfig()] * 17) == 8


def test_a_containers_memory_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    assert machine.free_memory_mb() == 2.0
    # The cache of files can be freed.
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 400000\n")
    assert machine.free_memory_mb() == 2.4


def test_a_shell_with_too_little_memory_is_named(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda kind: (10**9, 10**9))
    with pytest.raises(StudyError, match=r"limits each program to 1\.0 GB"):
        machine.check_memory_limit()
    monkeypatch.setattr("resource.getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    machine.check_memory_limit()


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"), True),
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("No module named 'x'"), False),
        (ValueError("wrong"), False),
    ],
)
def test_errors_that_mean_too_little_memory(error, memory):
    explained = machine.explain_memory(error)
    assert (explained is not None) == memory
    if memory:
        assert "not enough memory" in str(explained)
