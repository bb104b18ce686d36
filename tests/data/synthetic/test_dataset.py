"""Synthetic smears: the same seed is the same smear, and masks match each other and the image."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.smears import check_laws
from wbcstudy.data.synthetic import dataset as synthetic
from wbcstudy.data.synthetic.dataset import CELL_TYPES, _make_case, make_smear, pixel_size, write_synthetic_dataset
from wbcstudy.errors import StudyError
from wbcstudy.labels import CYTOPLASM, NUCLEUS

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
PACKAGE_ROOT = Path(synthetic.__file__).parents[3]


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ------------------------------------------------------------------------------------------------------ laws of a smear


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    size=st.tuples(st.integers(16, 160), st.integers(16, 160)),
    most=st.integers(0, 4),
    touching=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_masks_fit_each_other_at_any_size(seed, size, most, touching):
    check_laws(make_smear(seed, *size, white_cells=(0, most), touching=touching), *size)


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (50, 33), (96, 96), (768, 1024)])
def test_a_smear_has_its_white_cells(size):
    wanted = 8 if size == (768, 1024) else 1
    smear = make_smear(3, *size, white_cells=(wanted, wanted), touching=0.3)
    check_laws(smear, *size)
    assert len(smear.cells) == wanted
    assert {CYTOPLASM, NUCLEUS} <= set(np.unique(smear.mask))


def test_a_field_without_white_cells_is_background():
    smear = make_smear(0, 64, 64, white_cells=(0, 0))
    assert smear.cells == () and not smear.mask.any() and not smear.instances.any()


# ------------------------------------------------------------------------------------------------------- same and other


def test_same_seed_same_smear_and_other_seed_other_smear():
    one, same, other = make_smear(7, 64, 80), make_smear(7, 64, 80), make_smear(8, 64, 80)
    for name in ("image", "mask", "instances", "nuclei"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert one.cells == same.cells
    assert (one.image != other.image).any() and (one.mask != other.mask).any()


def test_global_randomness_is_neither_used_nor_touched():
    np.random.seed(1)  # noqa: NPY002  the test is about the global generator
    first, after = make_smear(5, 48, 48), np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002
    np.testing.assert_array_equal(first.image, make_smear(5, 48, 48).image)


# --------------------------------------------------------------------------------------------------------- appearance


def test_all_types_are_drawn_and_can_be_chosen():
    drawn = Counter(cell.cell_type for seed in range(40) for cell in make_smear(seed, 32, 32).cells)
    assert set(drawn) == set(CELL_TYPES)
    only = make_smear(0, 256, 256, white_cells=(3, 3), cell_types=["basophil"], main_type="monocyte")
    assert [cell.cell_type for cell in only.cells] == ["monocyte", "basophil", "basophil"]


def test_global_threshold_does_not_solve_it():
    """Red cells hide the cytoplasm from a threshold on green: the task is worth a network."""
    from skimage.filters import threshold_multiotsu

    true = found = both = 0
    for index in range(10):
        smear = _make_case(index, seed=1)
        low, high = threshold_multiotsu(smear.image[..., 1], 3)
        guess = (smear.image[..., 1] > low) & (smear.image[..., 1] <= high)
        cytoplasm = smear.mask == CYTOPLASM
        true, found, both = true + cytoplasm.sum(), found + guess.sum(), both + (guess & cytoplasm).sum()
    assert 2 * both / (true + found) < 0.6


def test_small_images_show_a_whole_cell():
    assert pixel_size(192, 192) == pixel_size(768, 1024) == 0.16
    assert pixel_size(32, 64) == pytest.approx(20.5 / 32, abs=1e-4)
    assert make_smear(0, 32, 64).pixel_size_um == pixel_size(32, 64)


# -------------------------------------------------------------------------------------------------------- the dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_synthetic_dataset(
        tmp_path_factory.mktemp("data") / "smears", cases=10, seed=4, size_px=(48, 64), slides=3
    )


def test_dataset_reads_back(dataset):
    spec = yaml.safe_load((dataset / "dataset.yaml").read_text(encoding="utf-8"))
    assert spec["labels"] == {"background": 0, "cytoplasm": 128, "nucleus": 255} and spec["tolerance"] == 0
    cases = pd.read_csv(dataset / spec["cases"])
    assert list(cases.columns) == ["case_id", "cell_type", "group"] and len(cases) == 10
    for index, case in enumerate(cases.itertuples()):
        smear = _make_case(index, seed=4, size_px=(48, 64), slides=3)
        assert case.cell_type == smear.cells[0].cell_type
        image = np.array(Image.open(dataset / spec["images"].format(case=case.case_id)))
        mask = np.array(Image.open(dataset / spec["masks"].format(case=case.case_id)))
        instances = np.array(Image.open(dataset / "instances" / f"{case.case_id}.png"))
        np.testing.assert_array_equal(image, smear.image)
        np.testing.assert_array_equal(mask, np.array([0, 128, 255])[smear.mask])
        np.testing.assert_array_equal(instances, smear.instances)
    assert spec["pixel_size_um"] == smear.pixel_size_um


def test_types_and_slides_take_turns_without_keeping_step():
    cases = [_make_case(index, seed=0, size_px=16, slides=5, white_cells=(1, 1)) for index in range(50)]
    types = [smear.cells[0].cell_type for smear in cases]
    assert all(set(types[start : start + 5]) == set(CELL_TYPES) for start in range(0, 50, 5))
    on_first_slide = types[::5]
    assert len(set(on_first_slide)) > 1


def test_a_longer_dataset_begins_with_the_shorter_one(dataset, tmp_path):
    longer = digests(write_synthetic_dataset(tmp_path / "d", cases=12, seed=4, size_px=(48, 64), slides=3))
    shorter = digests(dataset)
    assert {name for name in shorter if longer[name] != shorter[name]} == {"cases.csv"}
    assert len(longer) == len(shorter) + 6


def test_same_bytes_in_another_process(dataset, tmp_path):
    code = (
        "from wbcstudy.data.synthetic.dataset import write_synthetic_dataset as w;"
        f"w({str(tmp_path / 'd')!r}, cases=10, seed=4, size_px=(48, 64), slides=3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "77"}, cwd=PACKAGE_ROOT)
    assert digests(tmp_path / "d") == digests(dataset)


def test_an_empty_folder_may_be_filled_and_instances_left_out(tmp_path):
    (tmp_path / "d").mkdir()
    folder = write_synthetic_dataset(tmp_path / "d", cases=1, seed=0, size_px=32, instances=False)
    assert folder == tmp_path / "d" and not (folder / "instances").exists()
    assert "instances" not in (folder / "dataset.yaml").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
def test_a_broken_off_dataset_leaves_nothing(tmp_path, monkeypatch, error):
    write = synthetic._write_case

    def breaks(folder, case_id, *args):
        if case_id == "smear0002":
            raise error
        write(folder, case_id, *args)

    monkeypatch.setattr(synthetic, "_write_case", breaks)
    expected = StudyError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        write_synthetic_dataset(tmp_path / "d", cases=4, seed=0, size_px=32)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_overwritten(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match="not empty"):
        write_synthetic_dataset(folder, cases=1, seed=0, size_px=32)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="file"):
        write_synthetic_dataset(tmp_path / "file" / "d", cases=1, seed=0, size_px=32)


# ------------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"height_px": 15}, "16 to 8192"),
        ({"width_px": 100_000}, "16 to 8192"),
        ({"white_cells": (2, 1)}, "white_cells"),
        ({"white_cells": (-1, 1)}, "white_cells"),
        ({"touching": 1.1}, "touching"),
        ({"touching": float("nan")}, "touching"),
        ({"slide": -3}, "slide"),
        ({"seed": "1"}, "a whole number"),
        ({"seed": True}, "a whole number"),
        ({"height_px": 96.0}, "a whole number"),
        ({"white_cells": (1, 2.5)}, "whole number"),
        ({"touching": "0.5"}, "a probability"),
        ({"cell_types": []}, "cell_types"),
        ({"cell_types": ["monocyt"]}, "monocyte"),
        ({"main_type": "eosinophile"}, "eosinophil"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(StudyError) as error:
        make_smear(**({"seed": 0} | arguments))
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 0}, "cases"),
        ({"cases": "4"}, "whole number"),
        ({"slides": 1.5}, "whole number"),
        ({"slides": 0}, "slides"),
        ({"size_px": 8}, "size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_bad_dataset_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(StudyError, match=message):
        write_synthetic_dataset(tmp_path / "d", **({"cases": 1, "seed": 0} | arguments))
    assert list(tmp_path.iterdir()) == []
