"""The package for bioimage.io."""

import io
import zipfile

import pytest
import yaml
from PIL import Image

from tests.helpers.colour_run import write_colour_run
from wbcstudy.inference.export import _missing_packages


@pytest.mark.slow
@pytest.mark.skipif(bool(_missing_packages("bioimageio")), reason="the extra `export` is not installed")
def test_bioimageio_core_accepts_the_package(tmp_path, command):
    run = write_colour_run(tmp_path / "outputs", size=32, trained=64, pixel_size_um=0.25)
    path = tmp_path / "cells.zip"
    options = ["--author", "Ana Example", "--author", "Ben Example", "--licence", "cc by 4.0"]
    options += ["--cite", "Example et al. (2020), https://doi.org/10.1234/abc."]
    code, _, errors = command("export", run, "--format", "bioimageio", "--out", path, *options)
    assert code == 0, errors
    with zipfile.ZipFile(path) as package:
        names = {"rdf.yaml", "weights.onnx", "README.md", "cover.png", "sample_image.png", "sample_labels.png"}
        assert names <= set(package.namelist())
        described = yaml.safe_load(package.read("rdf.yaml"))
        assert Image.open(io.BytesIO(package.read("cover.png"))).size == (64, 32)
    assert [author["name"] for author in described["authors"]] == ["Ana Example", "Ben Example"]
    assert described["license"] == "CC-BY-4.0" and described["cite"][0]["doi"] == "10.1234/abc"
    # 0.25 um in images of 64 px, of which the network sees 32 px.
    axes = [
        axis for tensor in ("inputs", "outputs") for axis in described[tensor][0]["axes"] if axis["type"] == "space"
    ]
    assert [(axis["unit"], axis["scale"]) for axis in axes] == [("micrometer", 0.5)] * 4
    from bioimageio.core import load_description_and_test

    tested = load_description_and_test(path)
    summary = tested.validation_summary
    assert summary.status == "passed", summary.display()


@pytest.mark.skipif(bool(_missing_packages("bioimageio")), reason="the extra `export` is not installed")
def test_a_licence_that_is_not_known_is_refused(tmp_path, command):
    run = write_colour_run(tmp_path / "outputs", size=32)
    options = ["--format", "bioimageio", "--licence", "free for all"]
    code, _, errors = command("export", run, *options, "--out", tmp_path / "cells.zip")
    assert code == 2 and "free for all is not known" in errors and "SPDX" in errors
    assert not list(tmp_path.glob("cells*"))
