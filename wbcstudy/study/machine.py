"""What this machine grants, and how many trainings at a time suit it. No TensorFlow."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from wbcstudy.config import BaselineConfig, RunConfig

# Python, Keras and TensorFlow with a network's weights, their gradients and Adam's two moments, in MB (10**6 bytes).
_RUN_BASE_MB = 2000
# What a training keeps of each pixel of a batch for its backward pass, in bytes; measured, of the largest encoder.
_RUN_BYTES_PER_PIXEL = 9000
_BASELINE_MB = 1500
# Of the memory that is free at the start; the rest is for what else the machine does.
_MEMORY_SHARE = 0.8


def choose_jobs(waiting: Sequence[RunConfig | BaselineConfig]) -> int:
    """How many runs at the same time: as many as there are cores, runs and room in memory.

    One training with one thread on each core gets through a grid faster than one training with all threads
    (benchmarks/README.md): convolutions of small images do not divide well. Where there is a GPU it is one at a time,
    since trainings that share a card wait for one another and for its memory.

    Args:
        waiting: the runs that are to be done.

    Returns:
        1 or more.
    """
    if not waiting or has_gpu():
        return 1
    needed = max(map(run_memory_mb, waiting))
    room = int(_MEMORY_SHARE * free_memory_mb() / needed)
    return max(1, min(count_cores(), len(waiting), room))


def run_memory_mb(config: RunConfig | BaselineConfig) -> float:
    """An upper estimate of the memory that a run takes, in MB (10**6 bytes)."""
    if isinstance(config, BaselineConfig):
        return _BASELINE_MB
    return _RUN_BASE_MB + _RUN_BYTES_PER_PIXEL * config.batch_size * config.image_size**2 / 1e6


def count_cores() -> int:
    """Cores that a scheduler or container grants, not what the machine has."""
    # Slurm, taskset and Docker's --cpuset-cpus set the affinity, Docker's --cpus and Kubernetes a quota.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_control_group("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, cores)


def free_memory_mb() -> float:
    """Memory that programs started now can have without swapping, in MB; a container's limit counts."""
    import psutil

    free = psutil.virtual_memory().available / 1e6
    limit, used = _read_control_group("memory.max"), _read_control_group("memory.current")
    if limit.isdigit() and used.isdigit():
        # Files that were read count as used, until someone needs the room.
        told = dict(line.split(maxsplit=1) for line in _read_control_group("memory.stat").splitlines() if " " in line)
        cached = told.get("inactive_file", "0")
        free = min(free, (int(limit) - int(used) + (int(cached) if cached.isdigit() else 0)) / 1e6)
    return max(0.0, free)


def has_gpu() -> bool:
    """Whether there is an NVIDIA card that programs started now may use.

    Told from files, since starting TensorFlow takes seconds.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return hidden not in ("", "-1") and Path("/proc/driver/nvidia/version").exists()


def _read_control_group(name: str) -> str:
    try:
        return (_CONTROL_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


# A container sees its own group here.
_CONTROL_GROUP = Path("/sys/fs/cgroup")
