"""Decide how many trainings to run in parallel on this machine, without loading TensorFlow."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from pathlib import Path

from wbcstudy.config import BaselineConfig, RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.nets.cost import processor_name

# Memory of Python, Keras and TensorFlow with weights, gradients and Adam's two moments, in MB (10**6 bytes).
_RUN_BASE_MB = 2000
# Memory that a training keeps per pixel of a batch for its backward pass, in bytes; measured for the largest encoder.
_RUN_BYTES_PER_PIXEL = 9000
_BASELINE_MB = 1500
# Share of the free memory to use; the rest is left for other programs.
_MEMORY_SHARE = 0.8
# Processor time of all cores that a desktop needs.
_BUSY_PERCENT = 30
# Resource limits of a container.
_CONTROL_GROUP = Path("/sys/fs/cgroup")
# TensorFlow alone maps 1.8 GB of addresses, a small training twice as much.
_MIN_ADDRESS_GB = 4.0
# Each training gets its share of the cores, in TensorFlow and in NumPy.
THREAD_LIMITS = ("WBCSTUDY_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# In the messages of errors that mean too little memory.
_MEMORY_TEXTS = ("failed to map segment", "cannot allocate memory", "can't start new thread", "out of memory")


def choose_jobs(configs: Sequence[RunConfig | BaselineConfig]) -> int:
    """Return the number of runs to do in parallel: limited by cores, runs and free memory.

    Several trainings with one thread each finish a grid sooner than one training with all threads, since the
    convolutions of small images do not parallelise well (benchmarks/notes.md). With a GPU, trainings run one at a
    time: they would compete for the card and its memory.

    Args:
        configs: settings of the runs to do.

    Returns:
        1 or more.
    """
    from joblib import cpu_count

    if not configs or _has_gpu():
        return 1
    fitting = int(_MEMORY_SHARE * free_memory_mb() / max(map(_run_memory_mb, configs)))
    return max(1, min(cpu_count(), len(configs), fitting))


def check_memory_limit() -> None:
    """Stop before the first training if this shell limits the memory of programs too much (`ulimit -v`).

    Raises:
        StudyError: it does.
    """
    limit = _address_limit_gb()
    if limit is not None and limit < _MIN_ADDRESS_GB:
        raise _too_little_memory(f"This shell limits each program to {limit:.1f} GB of memory (ulimit -v).")


def explain_memory(error: BaseException) -> StudyError | None:
    """Return the message for an error that means too little memory; None for any other error."""
    chain = [str(error).lower(), str(error.__cause__ or error.__context__ or "").lower()]
    texts = any(text in message for text in _MEMORY_TEXTS for message in chain)
    if not (isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or texts):
        return None
    limit = _address_limit_gb()
    limited = f" This shell limits each program to {limit:.1f} GB (ulimit -v)." if limit is not None else ""
    return _too_little_memory(f"There is not enough memory.{limited}")


def _too_little_memory(message: str) -> StudyError:
    return StudyError(
        message,
        expected=f"at least {_MIN_ADDRESS_GB:g} GB; large images and batches need more",
        fix="Close other programs, raise the limit (`ulimit -v unlimited`; on a cluster, request memory for an "
        "interactive job), or lower image_size and batch_size.",
    )


def _address_limit_gb() -> float | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit / 1e9


def _run_memory_mb(config: RunConfig | BaselineConfig) -> float:
    """Return an upper estimate of a run's memory, in MB (10**6 bytes)."""
    if isinstance(config, BaselineConfig):
        return _BASELINE_MB
    return _RUN_BASE_MB + _RUN_BYTES_PER_PIXEL * config.batch_size * config.image_size**2 / 1e6


def free_memory_mb() -> float:
    """Return the memory that new programs can use without swapping, in MB; a container's limit counts."""
    import psutil

    free = psutil.virtual_memory().available / 1e6
    limit, used = _read_control_group("memory.max"), _read_control_group("memory.current")
    if limit.isdigit() and used.isdigit():
        # The cache of files counts as used, but is freed when programs need the memory.
        lines = _read_control_group("memory.stat").splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        free = min(free, (int(limit) - int(used) + cached) / 1e6)
    return max(0.0, free)


def is_busy() -> bool:
    """Return whether other programs use more than a part of the processor, so that times measured now are too long."""
    import psutil

    return psutil.cpu_percent(interval=0.3) > _BUSY_PERCENT


def device() -> str:
    """Return the name of the GPU that trainings use or, without one, of the processor, without loading TensorFlow."""
    if _has_gpu():
        files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        models = [line.split(":", 1)[1].strip() for file in files for line in _read_lines(file) if "Model:" in line]
        return "GPU " + (models[0] if models else "NVIDIA")
    return f"CPU {processor_name()}"


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _has_gpu() -> bool:
    """Return whether new programs can use an NVIDIA GPU. Looks at files, since starting TensorFlow takes seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible not in ("", "-1") and Path("/proc/driver/nvidia/version").exists()


def _read_control_group(name: str) -> str:
    try:
        return (_CONTROL_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
