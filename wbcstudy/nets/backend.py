"""Where TensorFlow and Keras start: quietly, with the threads that were asked for, seeded on request."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wbcstudy.errors import StudyError

# TensorFlow's own variable; read once, when it starts.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"


@functools.cache
def load_keras():
    """Import Keras on TensorFlow, quietly, with the number of threads that `$WBCSTUDY_THREADS` asks for.

    Every function that needs Keras or TensorFlow calls this first: importing our modules then costs nothing, and
    the threads are set before TensorFlow starts them.

    Returns:
        The module `keras`.

    Raises:
        StudyError: `$WBCSTUDY_THREADS` is not a positive integer, or Keras runs on another backend.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Several trainings may share a card; by default the first would take all of its memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    threads = _threads()
    # The loader of the CUDA and oneDNN libraries talks before any log level is read.
    with _quiet_start() if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3" else contextlib.nullcontext():
        # Level 2 would still print errors about absent GPUs; what concerns a user comes as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise StudyError(
            f"Keras runs on {keras.backend.backend()!r}.",
            expected="the TensorFlow backend",
            fix="Unset KERAS_BACKEND, or set it to tensorflow.",
        )
    if threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            # A notebook that has already used TensorFlow keeps the threads it started with.
            pass
    return keras


def start_training(seed: int) -> None:
    """Get TensorFlow ready for a training: the fastest kernels for it, and `set_seed`.

    TensorFlow takes oneDNN's kernels by itself only where the processor has units for networks. Trainings are faster
    with them elsewhere too; what shows the network one image at a time (`wbcstudy segment`) is slower, and keeps
    TensorFlow's choice (benchmarks/notes.md). Kernels differ in the last digits, and so do trainings with them.
    `$TF_ENABLE_ONEDNN_OPTS`, where it is set, is obeyed. A process in which TensorFlow runs already keeps its kernels.

    Args:
        seed: 0 to 2**32 - 1.
    """
    os.environ.setdefault(ONEDNN, "1")
    set_seed(seed)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make every operation of TensorFlow deterministic from here on.

    Deterministic operations cannot be switched off again within a process.

    Args:
        seed: 0 to 2**32 - 1.
    """
    keras = load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _threads() -> int | None:
    text = os.environ.get("WBCSTUDY_THREADS", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise StudyError(
            f"WBCSTUDY_THREADS={text!r} cannot be used.",
            expected="the number of processor cores for one training, 1 or more",
            fix="Set it to a whole number, or unset it to use all cores.",
        )
    return int(text)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep what C code writes to the error stream; show it only where the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        try:
            saved = os.dup(2)
        except OSError:
            # No error stream at all (a windowed program).
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def resolve_precision(precision: str) -> str:
    """What `precision: auto` is on this machine.

    Args:
        precision: "float32", "bfloat16" or "auto".

    Returns:
        "float32" or "bfloat16"; auto is bfloat16 where the GPU (of NVIDIA's compute capability 8.0, Ampere, or later)
        or the processor's AMX units compute in it.
    """
    if precision != "auto":
        return precision
    load_keras()
    import tensorflow as tf

    if cards := tf.config.list_physical_devices("GPU"):
        # Older cards can, but have no units for it. One whose capability is not told is not NVIDIA's.
        able = [tf.config.experimental.get_device_details(card).get("compute_capability", (0, 0)) for card in cards]
        return "bfloat16" if min(able) >= (8, 0) else "float32"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        # Not Linux.
        return "float32"
    return "bfloat16" if "amx_bf16" in flags else "float32"
