"""How many trainings at a time: never more than there are cores, runs and memory for."""

import pytest

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.study import machine

SMALL = RunConfig(image_size=96)
LARGE = RunConfig(image_size=1024)


@pytest.fixture
def grants(monkeypatch):
    """A machine of the given cores and free memory, without a GPU unless said."""

    def make(cores=8, free_mb=64_000.0, gpu=False):
        monkeypatch.setattr(machine, "count_cores", lambda: cores)
        monkeypatch.setattr(machine, "free_memory_mb", lambda: free_mb)
        monkeypatch.setattr(machine, "has_gpu", lambda: gpu)

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
    ids=["a run per core", "few runs", "little memory", "no memory to speak of", "one core", "nothing to do"],
)
def test_as_many_runs_at_a_time_as_cores_runs_and_memory_allow(grants, cores, free_mb, runs, jobs):
    grants(cores, free_mb)
    assert machine.choose_jobs([SMALL] * runs) == jobs


def test_one_large_run_bounds_them_all(grants):
    grants(free_mb=32_000.0)
    assert machine.choose_jobs([SMALL] * 7 + [LARGE]) < machine.choose_jobs([SMALL] * 8)


def test_trainings_do_not_share_a_gpu(grants):
    grants(gpu=True)
    assert machine.choose_jobs([SMALL] * 8) == 1


def test_earlier_methods_alone_use_all_cores(grants):
    grants()
    assert machine.choose_jobs([BaselineConfig()] * 17) == 8


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("", 4)])
def test_a_container_gets_the_cores_of_its_quota(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert machine.count_cores() == cores


def test_a_container_gets_the_memory_of_its_limit(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    assert machine.free_memory_mb() == 2.0
    # What the cache of files holds is given back to who needs it.
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 400000\n")
    assert machine.free_memory_mb() == 2.4
