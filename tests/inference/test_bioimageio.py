"""The package for bioimage.io."""

import zipfile

import pytest

from tests.helpers.colour_run import write_colour_run
from wbcstudy.inference.export import _missing_packages, export_network


@pytest.mark.slow
@pytest.mark.skipif(bool(_missing_packages("bioimageio")), reason="the extra `export` is not installed")
def test_bioimageio_core_accepts_the_package(tmp_path):
    run = write_colour_run(tmp_path / "outputs", size=32)
    path = export_network(run, "bioimageio", tmp_path / "cells.zip")
    with zipfile.ZipFile(path) as package:
        assert {"rdf.yaml", "weights.onnx", "README.md"} <= set(package.namelist())
    from bioimageio.core import load_description_and_test

    tested = load_description_and_test(path)
    summary = tested.validation_summary
    assert summary.status == "passed", summary.display()
