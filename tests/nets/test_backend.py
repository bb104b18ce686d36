"""How TensorFlow is started, and in which precision it computes."""

import os
import platform
import subprocess
import sys
import textwrap

import pytest

from wbcstudy.errors import StudyError
from wbcstudy.nets import backend
from wbcstudy.nets.backend import ONEDNN, load_keras, resolve_precision


@pytest.mark.skipif(platform.machine() != "x86_64", reason="TensorFlow has oneDNN's kernels for x86 only")
@pytest.mark.parametrize(("asked", "used"), [(None, "True"), ("0", "False")])
def test_trainings_take_the_fast_kernels_unless_told_otherwise(asked, used):
    code = """
        from wbcstudy.nets.backend import start_training
        start_training(0)
        from tensorflow.python.framework import test_util
        print(test_util.IsMklEnabled())
    """
    env = {name: value for name, value in os.environ.items() if name != ONEDNN} | ({ONEDNN: asked} if asked else {})
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == used, done.stderr


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5"])
def test_a_wrong_number_of_threads_is_refused(text, monkeypatch):
    monkeypatch.setenv("WBCSTUDY_THREADS", text)
    with pytest.raises(StudyError, match="WBCSTUDY_THREADS"):
        load_keras.__wrapped__()


def test_precision_auto_is_one_of_the_two():
    assert resolve_precision("auto") in ("float32", "bfloat16")
    assert resolve_precision("bfloat16") == "bfloat16"


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [([(8, 0)], "bfloat16"), ([(7, 5)], "float32"), ([(8, 6), (7, 0)], "float32"), ([None], "float32")],
)
def test_precision_auto_is_bfloat16_on_cards_that_are_made_for_it(monkeypatch, capabilities, precision):
    import tensorflow as tf

    details = {f"card{index}": capability for index, capability in enumerate(capabilities)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(details))
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda card: {"compute_capability": details[card]} if details[card] else {},
    )
    assert resolve_precision("auto") == precision


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx2", "float32"),
        ("avx2 avx512f avx512_vnni", "float32"),
        ("avx2 avx512f avx512_bf16", "bfloat16"),
        ("avx2 avx512f avx512_bf16 amx_tile amx_bf16", "bfloat16"),
    ],
)
def test_precision_auto_is_bfloat16_on_processors_with_units_for_it(monkeypatch, flags, precision):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(backend, "_processor_flags", lambda: set(flags.split()))
    assert resolve_precision("auto") == precision
