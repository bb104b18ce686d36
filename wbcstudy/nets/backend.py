"""Start TensorFlow and Keras: quietly, with a set number of threads, seeded, in a precision."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wbcstudy.errors import StudyError

# TensorFlow reads this variable once, when it starts.
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Linux' names of the units with which a processor is faster in bfloat16: AMX, and AVX-512's dot product of bfloat16
# pairs (measured for both, benchmarks/notes.md). Without them, bfloat16 is many times slower than float32.
_BFLOAT16_UNITS = {"amx_bf16", "avx512_bf16"}


@functools.cache
def load_keras():
    """Import Keras on TensorFlow, quietly, with `$WBCSTUDY_THREADS` threads.

    Every function that needs Keras or TensorFlow calls this first. Importing the modules of this package is then fast,
    and the number of threads is set before TensorFlow starts them.

    Returns:
        The module `keras`.

    Raises:
        StudyError: `$WBCSTUDY_THREADS` is not a positive integer, or Keras is already running on another backend.
    """
    # The user's choices for other work.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    # Several trainings may share a GPU; by default the first would take all of its memory.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    threads = thread_count()
    # The CUDA and oneDNN libraries print while they are loaded, before any log level is read.
    with _quiet_start() if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3" else contextlib.nullcontext():
        # Level 2 would still print errors about missing GPUs; problems that concern users are exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise StudyError(
            f"Keras runs on {keras.backend.backend()!r}.",
            expected="the TensorFlow backend",
            fix="Restart this program without KERAS_BACKEND, and import wbcstudy before keras.",
        )
    # ~/.keras/keras.json may hold others.
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    if threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:
            # A notebook that has already used TensorFlow keeps its threads.
            pass
    return keras


def start_training(seed: int) -> None:
    """Prepare TensorFlow for a training: select the fastest kernels, then `set_seed`.

    By default, TensorFlow uses oneDNN's kernels only on processors with units for networks. Trainings are faster with
    them on other processors too. Predictions for one image at a time (`wbcstudy segment`) are slower and keep
    TensorFlow's default (benchmarks/notes.md). The last digits of results depend on the kernels. If
    `$TF_ENABLE_ONEDNN_OPTS` is set, its value is used. If TensorFlow is already running, the kernels do not change.

    Args:
        seed: 0 to 2**32 - 1.
    """
    os.environ.setdefault(ONEDNN, "1")
    set_seed(seed)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and Keras, and make TensorFlow's operations deterministic until the process ends.

    Args:
        seed: 0 to 2**32 - 1.
    """
    keras = load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def thread_count() -> int | None:
    """Return the number in `$WBCSTUDY_THREADS`, None if it is not set.

    Raises:
        StudyError: it is not a positive integer.
    """
    text = os.environ.get("WBCSTUDY_THREADS", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise StudyError(
            f"WBCSTUDY_THREADS={text!r} is not a number of threads.",
            expected="the number of processor cores for one training, 1 or more",
            fix="Set it to a whole number, or unset it to use all cores.",
        )
    return int(text)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Hide what C code writes to the error stream, unless the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        try:
            stderr = os.dup(2)
        except OSError:
            # There is no error stream.
            yield
            return
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stderr, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def resolve_precision(precision: str) -> str:
    """Resolve `precision: auto` on this machine.

    Args:
        precision: "float32", "bfloat16" or "auto".

    Returns:
        "float32" or "bfloat16". For "auto", bfloat16 if all GPUs (NVIDIA's compute capability 8.0, Ampere, or later)
        or, without a GPU, the processor (AMX or AVX512_BF16 units) compute in it.
    """
    if precision != "auto":
        return precision
    load_keras()
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        # Older GPUs compute in bfloat16 without units for it. GPUs of other vendors have no compute capability.
        capabilities = [
            tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus
        ]
        return "bfloat16" if min(capabilities) >= (8, 0) else "float32"
    return "bfloat16" if _BFLOAT16_UNITS & _processor_flags() else "float32"


def _processor_flags() -> set[str]:
    """Return the processor's units by Linux' names; on other systems, none."""
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return set()
