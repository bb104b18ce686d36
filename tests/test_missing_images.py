"""A finished study whose images are gone (deleted, or on a disk that is not mounted): commands work without them."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.damage import RUN, STUDY, make_base, outputs_in
from tests.helpers.colour_run import paint, round_cells
from tests.helpers.fake_study import SIZE, make_study, write_dataset
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.reporting.results import load_results
from wbcstudy.reporting.text.cautions import caution_sentences
from wbcstudy.runs.folders import StudyFolder


@pytest.fixture
def study(tmp_path):
    """A finished study; its settings file, with its images in tmp_path/outputs/data_of_<study>."""
    return make_base(tmp_path / "outputs")


def test_status_report_segment_and_export_work_without_the_images(study, tmp_path, places, command):
    code, before, _ = command("status", study, "--verify")
    assert code == 0
    images = tmp_path / "outputs" / f"data_of_{STUDY}"
    shutil.move(images, tmp_path / "unmounted")

    code, after, errors = command("status", study, "--verify")
    assert (code, after) == (0, before), errors

    code, printed, errors = command("report", study)
    assert code == 0, printed + errors
    folder = StudyFolder(tmp_path / "outputs" / STUDY)
    page = folder.report.read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", page))
    assert "The images cannot be read, so the figures of test images and the majority vote are left out" in text
    assert "<h1" in page and "Table 1" in text

    field = tmp_path / "field.png"
    Image.fromarray(paint(round_cells(64, 96, [(32, 40)], radius=20))).save(field)
    for model in (STUDY, folder.run(RUN).path):
        out = tmp_path / f"out_{Path(model).name}"
        code, printed, errors = command("segment", field, "--model", model, "--out", out)
        assert code == 0, printed + errors
        assert (out / "cells.csv").is_file()
    code, printed, errors = command("export", STUDY, "--format", "keras", "--out", tmp_path / "a.keras")
    assert code == 0, printed + errors

    with outputs_in(tmp_path / "outputs"):
        from wbcstudy.inference.explore import Explorer

        explorer = Explorer(STUDY)
    assert "There is no" in explorer.message.value or "does not exist" in explorer.message.value

    code, printed, errors = command("run", study, "--dry-run")
    assert code in (0, 2) and "Traceback" not in errors


def test_the_results_are_read_without_the_image_files_alone(places):
    outputs = places / "outputs"
    config = StudyConfig(name="s", encoders=("resnet18",), image_size=SIZE)
    dataset = write_dataset(outputs, config, cases=3)
    config = config.model_copy(update={"dataset": str(dataset)})
    make_study(outputs, config, cases=3)
    write_yaml(config, places / "s.yaml")
    shutil.rmtree(dataset / "images")
    results = load_results(places / "s.yaml")
    assert "Cannot list the images" in results.missing_images and len(results.complete) > 1
    assert any("The images cannot be read" in sentence for sentence in caution_sentences(results))
    assert results.ensemble.empty
