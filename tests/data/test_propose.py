"""`wbcstudy init` proposes what a folder needs."""

import numpy as np
import pytest

from tests.helpers.layouts import GREY, LAYOUTS, cellpose, save, segmentation_wbc, smear
from wbcstudy.config_io import read_study
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.propose import init_folder
from wbcstudy.data.spec import read_spec
from wbcstudy.errors import StudyError


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_common_layout_is_right_without_a_change(tmp_path, layout):
    folder = tmp_path / "Our cells"
    cases = layout(folder)
    lines = init_folder(folder, tmp_path / "ours.yaml")
    dataset = load_dataset(folder)
    assert {case.case_id for case in dataset.cases} == set(cases), "\n".join(lines)
    for case in dataset.cases:
        image, mask = read_case(dataset, case)
        np.testing.assert_array_equal(mask, smear(cases[case.case_id]).mask)
        assert image.shape[:2] == mask.shape
    study = read_study(tmp_path / "ours.yaml")
    assert study.dataset == str(folder) and study.image_size == 128


def test_instance_maps_are_cells_and_the_region_is_asked(tmp_path):
    cellpose(tmp_path / "set")
    lines = "\n".join(init_folder(tmp_path / "set", tmp_path / "ours.yaml"))
    dataset = load_dataset(tmp_path / "set")
    assert [case.case_id for case in dataset.cases] == [f"{k:03d}" for k in range(4)]
    for k, case in enumerate(dataset.cases):
        assert ((read_case(dataset, case)[1] == 2) == (smear(k).instances > 0)).all()
    assert "nuclei or whole cells" in lines and "CHECK" in (tmp_path / "set/dataset.yaml").read_text()


def test_nothing_is_overwritten(tmp_path):
    segmentation_wbc(tmp_path / "set")
    study = tmp_path / "ours.yaml"
    study.write_text("dataset: synthetic\n")
    with pytest.raises(StudyError, match="nothing is overwritten"):
        init_folder(tmp_path / "set", study)
    assert not (tmp_path / "set" / "dataset.yaml").exists() and study.read_text() == "dataset: synthetic\n"
    (tmp_path / "set" / "dataset.yaml").write_text("name: mine\n")
    with pytest.raises(StudyError, match="nothing is overwritten"):
        init_folder(tmp_path / "set", tmp_path / "other.yaml")
    assert (tmp_path / "set" / "dataset.yaml").read_text() == "name: mine\n" and not (tmp_path / "other.yaml").exists()


def test_names_with_control_characters_cannot_break_the_file(tmp_path):
    for k, name in enumerate(("a\nname: x", "b\x1b[31m", "c: #d", "'{e}'")):
        save(tmp_path / "set" / name / f"{k}.png", smear(k).image)
        save(tmp_path / "set" / name / f"{k}_mask.png", GREY[smear(k).mask])
    init_folder(tmp_path / "set", tmp_path / "ours.yaml")
    text = (tmp_path / "set" / "dataset.yaml").read_text()
    assert read_spec(tmp_path / "set" / "dataset.yaml").images == "{group}/{case}.png" and "\x1b" not in text


def test_a_folder_without_masks(tmp_path):
    with pytest.raises(StudyError, match="no images with masks: 0 images among 0 files"):
        init_folder(tmp_path, tmp_path / "ours.yaml")
    for k in range(3):
        save(tmp_path / f"{k}.png", smear(k).image)
    (tmp_path / "0_mask.png").write_bytes(b"not an image")
    with pytest.raises(StudyError, match="no images with masks: 4 images"):
        init_folder(tmp_path, tmp_path / "ours.yaml")
    with pytest.raises(StudyError, match="no folder"):
        init_folder(tmp_path / "nowhere", tmp_path / "ours.yaml")


def test_the_command(tmp_path, command):
    segmentation_wbc(tmp_path / "set")
    code, printed, errors = command("init", tmp_path / "set", "--out", tmp_path / "ours.yaml")
    assert (code, errors) == (0, "") and "4 images with a mask" in printed and "wbcstudy data check" in printed
    code, _, errors = command("init", tmp_path / "set", "--out", tmp_path / "other.yaml")
    assert code == 2 and "nothing is overwritten" in errors
