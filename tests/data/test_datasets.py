"""Datasets are loaded by name or path, and their fingerprint changes with their content."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import wbcstudy.data.synthetic.dataset as synthetic
from wbcstudy.data.datasets import DATASETS, Case, load_dataset, read_case
from wbcstudy.errors import StudyError

FACTS = "case_id,cell_type,group\n000,monocyte,p1\n001,,p1\n002,basophil,p2\n003,monocyte,\n"


def test_a_folder_becomes_cases(make_folder):
    path = make_folder(facts=FACTS, title="Ours", citation="Us, 2024", licence="CC0", pixel_size_um=0.1)
    dataset = load_dataset(path)
    assert dataset.cases[0] == Case(
        "000", path.parent / "images/000.bmp", path.parent / "masks/000.png", "monocyte", "p1"
    )
    assert [case.cell_type for case in dataset.cases] == ["monocyte", None, "basophil", "monocyte"]
    assert [case.group for case in dataset.cases] == ["p1", "p1", "p2", None]
    spec = dataset.spec
    assert (dataset.title, spec.citation, spec.licence, spec.pixel_size_um) == ("Ours", "Us, 2024", "CC0", 0.1)
    image, mask = read_case(dataset, dataset.case("002"))
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((12, 16, 3), np.uint8, (12, 16), np.uint8)
    assert set(np.unique(mask)) == {0, 1, 2}


def test_a_dataset_prints_as_a_small_tree(make_folder):
    text = repr(load_dataset(make_folder(facts=FACTS, title="Ours", tolerance=5)))
    assert text.splitlines()[0] == "small: Ours"
    assert "├── cell types: basophil 1, monocyte 2, unknown 1" in text
    assert text.splitlines()[-1] == "└── mask values: background 0; cytoplasm 128; nucleus 255 (within 5)"


def test_a_path_may_be_the_file_or_the_folder_relative_or_not(make_folder, tmp_path, monkeypatch):
    path = make_folder()
    monkeypatch.chdir(tmp_path)
    same = {load_dataset(given).fingerprint for given in (path, str(path), path.parent, "set", "./set/dataset.yaml")}
    assert len(same) == 1


def test_a_relative_path_is_looked_for_in_the_checkout_too(make_folder, tmp_path, monkeypatch):
    make_folder(place=tmp_path / "checkout" / "mine")
    (tmp_path / "checkout" / "notebooks").mkdir()
    (tmp_path / "checkout" / "notebooks" / "2_train.ipynb").touch()
    monkeypatch.chdir(tmp_path / "checkout" / "notebooks")
    monkeypatch.delenv("WBCSTUDY_ROOT", raising=False)
    assert load_dataset("mine/dataset.yaml").name == "small"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("synthetik", "Did you mean 'synthetic'?"),
        ("segmentation_wbc_3", "Did you mean 'segmentation_wbc_"),
        ("nowhere/dataset.yaml", "There is no dataset at nowhere/dataset.yaml"),
        (".", "There is no dataset.yaml in the folder ."),
    ],
)
def test_names_and_paths_that_lead_nowhere(tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as caught:
        load_dataset(given)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["segmentation_wbc_1", "segmentation_wbc_2"])
def test_for_a_dataset_that_was_not_downloaded_the_command_is_given(tmp_path, name):
    with pytest.raises(StudyError, match="wbcstudy data fetch segmentation_wbc"):
        load_dataset(name, tmp_path)


def test_an_unknown_case_is_answered_with_the_nearest(make_folder):
    with pytest.raises(StudyError, match="Unknown case '00'"):
        load_dataset(make_folder()).case("00")


def test_the_first_problem_of_a_folder_is_raised(make_folder):
    path = make_folder()
    (path.parent / "masks" / "002.png").unlink()
    with pytest.raises(StudyError, match=r"1 image without mask: .*images/002\.bmp"):
        load_dataset(path)
    with pytest.raises(StudyError, match=r"has no row for 3 cases: 001, 002 and 003"):
        load_dataset(make_folder(place=path.parent.parent / "other", facts="case_id\n000\n"))


def test_a_mask_of_another_size_than_its_image(make_folder):
    path = make_folder()
    Image.new("L", (5, 4)).save(path.parent / "masks" / "001.png")
    dataset = load_dataset(path)
    with pytest.raises(StudyError, match=r"masks/001\.png is 5x4 px, its image .*images/001\.bmp is 16x12 px"):
        read_case(dataset, dataset.case("001"))


def test_facts_in_folder_names_are_used_where_the_table_has_none(make_folder):
    path = make_folder(images="{cell_type}/{case}.bmp", facts="case_id,group\n000,p1\n001,p1\n002,p2\n003,\n")
    (path.parent / "images").rename(path.parent / "mono")
    dataset = load_dataset(path)
    assert {case.cell_type for case in dataset.cases} == {"mono"} and dataset.groups["002"] == "p2"
    (path.parent / "cases.csv").write_text("case_id,cell_type\n000,\n001,monocyte\n002,\n003,\n")
    assert [case.cell_type for case in load_dataset(path).cases] == ["mono", "monocyte", "mono", "mono"]


class TestFingerprint:
    def test_does_not_depend_on_the_path_or_the_title(self, make_folder, tmp_path):
        first, second = (
            make_folder(facts=FACTS),
            make_folder(facts=FACTS, place=tmp_path / "b", title="Other", citation="x"),
        )
        assert load_dataset(first).fingerprint == load_dataset(second).fingerprint

    @pytest.mark.parametrize("change", ["image", "mask", "facts", "label", "tolerance", "fewer"])
    def test_changes_with_everything_a_training_uses(self, make_folder, change):
        path = make_folder(facts=FACTS)
        before = load_dataset(path).fingerprint
        folder = path.parent
        if change in ("image", "mask"):
            file = folder / ("images/000.bmp" if change == "image" else "masks/000.png")
            pixels = np.array(Image.open(file))
            pixels[0, 0] = 255
            Image.fromarray(pixels).save(file)
        elif change == "facts":
            (folder / "cases.csv").write_text(FACTS.replace("p2", "p3"))
        elif change == "fewer":
            (folder / "images/003.bmp").unlink()
            (folder / "masks/003.png").unlink()
            (folder / "cases.csv").write_text(FACTS.replace("003,monocyte,\n", ""))
        else:
            old, new = ("128", "129") if change == "label" else ("name: small", "name: small\ntolerance: 3")
            path.write_text(path.read_text().replace(old, new))
        assert load_dataset(path).fingerprint != before


def small_synthetic(monkeypatch, cases=2):
    row = DATASETS["synthetic"]
    tiny = type(row)(**{**vars(row), "generator": {**row.generator, "cases": cases, "size_px": 48}})
    monkeypatch.setattr("wbcstudy.data.datasets.DATASETS", {**DATASETS, "synthetic": tiny})


class TestSynthetic:
    def test_is_made_on_first_use_and_kept(self, tmp_path, monkeypatch):
        small_synthetic(monkeypatch)
        first = load_dataset("synthetic", tmp_path)
        assert first.folder.name == "synthetic-v1"
        assert (len(first.cases), first.name, first.title) == (2, "synthetic", "Synthetic white cells")
        monkeypatch.setattr(synthetic, "write_synthetic_dataset", None)
        assert load_dataset("synthetic", tmp_path).fingerprint == first.fingerprint
        assert [path.name for path in tmp_path.iterdir()] == ["synthetic-v1"]

    def test_of_several_runs_that_start_at_once_the_first_wins(self, tmp_path, monkeypatch):
        small_synthetic(monkeypatch)
        barrier, write = threading.Barrier(3), synthetic.write_synthetic_dataset

        def all_at_once(*args, **kwargs):
            barrier.wait(30)
            write(*args, **kwargs)

        monkeypatch.setattr(synthetic, "write_synthetic_dataset", all_at_once)
        with ThreadPoolExecutor(3) as pool:
            made = pool.map(lambda _: load_dataset("synthetic", tmp_path).fingerprint, range(3))
            assert len(set(made)) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["synthetic-v1"]

    def test_no_write_permission(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StudyError, match=r"Cannot write to .*synthetic"):
            load_dataset("synthetic", tmp_path / "file")

    @pytest.mark.parametrize("name", ["synthetic", "synthetic_fields"])
    def test_the_rows_arguments_are_those_of_the_generator(self, tmp_path, name):
        arguments = {**DATASETS[name].generator, "cases": 1, "size_px": 64}
        synthetic.write_synthetic_dataset(tmp_path / "made", **arguments)
        assert load_dataset(tmp_path / "made").name == name


def test_the_table_of_datasets_is_consistent():
    assert all(name == row.name and row.title and row.description for name, row in DATASETS.items())
    assert len({row.folder for row in DATASETS.values()}) == len(DATASETS)
    with pytest.raises(TypeError):
        DATASETS["new"] = DATASETS["synthetic"]


def test_importing_loads_no_heavy_library():
    heavy = "'tensorflow', 'keras', 'skimage', 'sklearn', 'scipy', 'matplotlib', 'pooch', 'requests'"
    code = "import sys, wbcstudy.data.check, wbcstudy.data.fetch, wbcstudy.data.arrays, wbcstudy.data.splits\n"
    code += f"sys.exit(', '.join({{{heavy}}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
