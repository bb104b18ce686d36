"""Some of the kills of benchmarks/interrupt_writes.py; the script does all ten."""

import importlib.util

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset


@pytest.fixture(scope="module")
def script():
    path = ROOT / "benchmarks" / "interrupt_writes.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "moment"), [("split", "before"), ("split", "half"), ("run", "before"), ("environment", "half")]
)
def test_a_kill_loses_nothing_and_the_next_start_leaves_nothing(script, tmp_path, phase, moment):
    write_synthetic_dataset(tmp_path / "given" / "cells", cases=15, seed=3, size_px=32, slides=5)
    assert script.interrupt(phase, moment, tmp_path / "given", tmp_path) == []
