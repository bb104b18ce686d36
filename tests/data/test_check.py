"""A check lists all errors and warnings with their files."""

import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.helpers.checkout import ROOT
from tests.helpers.drawn_cases import draw_case
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset
from wbcstudy.errors import StudyError

FACTS = "case_id,cell_type,group\n000,monocyte,p1\n001,monocyte,p1\n002,basophil,p2\n003,,\n"


def messages(findings):
    return "\n".join(finding.message for finding in findings)


def test_shares_are_those_of_the_masks(make_folder):
    frame = check_dataset(make_folder(facts=FACTS)).frame()
    assert frame.loc[0, ["case_id", "width_px", "height_px", "cell_type", "group"]].tolist() == [
        "000",
        16,
        12,
        "monocyte",
        "p1",
    ]
    # The mask drawn in conftest: 80 px of cell, of which 16 nucleus, in 192.
    np.testing.assert_allclose(
        frame.loc[0, ["background", "cytoplasm", "nucleus"]].astype(float), [112 / 192, 64 / 192, 16 / 192]
    )


def test_name_path_folder_and_dataset_give_one_report(make_folder):
    path = make_folder()
    assert check_dataset(path) == check_dataset(path.parent) == check_dataset(load_dataset(path))


def test_every_broken_file_is_listed_at_once(make_folder):
    path = make_folder(cases=8)
    folder = path.parent
    (folder / "images/000.bmp").write_bytes((folder / "images/000.bmp").read_bytes()[:100])
    (folder / "masks/001.png").write_bytes(b"no image")
    Image.new("L", (5, 4)).save(folder / "masks/002.png")
    Image.new("L", (16, 12), 77).save(folder / "masks/003.png")
    (folder / "masks/004.png").unlink()
    (folder / "images/005.bmp").unlink()
    report = check_dataset(path)
    errors = messages(report.errors)
    for name in (
        "images/000.bmp",
        "masks/001.png",
        "masks/002.png",
        "masks/003.png",
        "images/004.bmp",
        "masks/005.png",
    ):
        assert name in errors
    assert len(report.errors) == 6
    assert not report.ok
    assert [case.case_id for case in report.cases] == ["006", "007"]
    assert "small has errors; fix them first." in report.text()
    assert "2 readable of 7" in report.text()
    assert report.text().count("To fix:") >= 6


def test_both_files_of_a_case_are_read_even_if_the_first_is_broken(make_folder):
    path = make_folder()
    (path.parent / "images/000.bmp").write_bytes(b"")
    (path.parent / "masks/000.png").write_bytes(b"")
    (error,) = check_dataset(path).errors
    assert (
        "images/000.bmp cannot be read" in error.message and "1 more file with this fault: masks/000" in error.message
    )


def test_a_partnerless_file_is_read_too(make_folder):
    path = make_folder()
    (path.parent / "masks/000.png").unlink()
    (path.parent / "images/000.bmp").write_bytes(b"")
    assert "cannot be read" in messages(check_dataset(path).errors)


def test_a_broken_description_is_an_error_of_the_report(make_folder):
    path = make_folder(tolerence=3)
    report = check_dataset(path)
    assert "tolerence" in messages(report.errors)
    assert not report.ok
    assert "<li>" in report.html()


def test_broken_facts_do_not_hide_broken_files(make_folder):
    path = make_folder(facts=FACTS.replace("003,,\n", "004,,\n"))
    (path.parent / "images/000.bmp").write_bytes(b"")
    errors = messages(check_dataset(path).errors)
    assert "has no row for 1 case: 003" in errors
    assert "lists 1 case without an image: 004" in errors
    assert "000.bmp cannot be read" in errors


def test_folders_that_may_be_patients_need_a_group(make_folder):
    path = make_folder(cases=4, images="images/*/{case}.bmp")
    images = path.parent / "images"
    for k in range(4):
        folder = images / f"patient_{k // 2}"
        folder.mkdir(exist_ok=True)
        (images / f"{k:03d}.bmp").rename(folder / f"{k:03d}.bmp")
    expected = "The images are in 2 folders (patient_0 and patient_1), but no case has a group."
    assert expected in messages(check_dataset(path).warnings)
    assert "`images: images/{group}/{case}.bmp`" in check_dataset(path).text()
    text = path.read_text()
    path.write_text(text.replace("images/*/", "images/{folder}/"))
    assert "folders" not in messages(check_dataset(path).warnings)
    path.write_text(text.replace("images/*/", "images/{group}/"))
    assert "4 cases in 2 groups cannot be split: patient_0 (2 cases) and patient_1" in messages(
        check_dataset(path).errors
    )
    assert "write {folder} instead of {group}" in check_dataset(path).text()
    path.write_text(text)
    (path.parent / "cases.csv").write_text("case_id,group\n000,a\n001,a\n002,b\n003,c\n")
    path.write_text(path.read_text() + "cases: cases.csv\n")
    assert "folders" not in messages(check_dataset(path).warnings)


@pytest.mark.parametrize("field", ["*", "{cell_type}", "{group}", "{folder}"])
def test_the_shared_case_of_numbers_that_start_again(tmp_path, field):
    source = ROOT.parent / "shared" / "cases" / "folder-per-class-same-numbers"
    if not source.is_dir():
        pytest.skip("the shared cases are not here")
    folder = shutil.copytree(source, tmp_path / "set")
    text = (folder / "dataset.yaml").read_text()
    (folder / "dataset.yaml").write_text(text.replace("*", field))
    report = check_dataset(folder)
    if field == "*":
        assert "start again in each folder" in report.text() and len(report.errors) == 2
        return
    assert report.ok and len(report.cases) == 6
    facts = {(case.cell_type, case.group) for case in report.cases}
    named = {"{cell_type}": [("Baso", None), ("Lymp", None), ("Neut", None)], "{folder}": [(None, None)]}
    assert facts == set(named.get(field, [(None, "Baso"), (None, "Lymp"), (None, "Neut")]))


def test_duplicates_are_listed_and_shown(make_folder):
    path = make_folder(cases=6)
    images, masks = path.parent / "images", path.parent / "masks"
    with Image.open(images / "000.bmp") as image:
        image.save(images / "003.bmp")
        image.rotate(180).save(images / "004.bmp")
    mask = np.array(Image.open(masks / "003.png"))
    mask[0, :4] = 128
    Image.fromarray(mask).save(masks / "003.png")
    report = check_dataset(path)
    assert [pair.duplicate.case_ids for pair in report.pairs] == [("000", "003"), ("000", "004")]
    assert "2 pairs of images show the same cell" in messages(report.warnings)
    assert (
        "images/003.bmp are the same image, but their masks differ in 4 pixels (Dice: nucleus 1.000, cytoplasm 0.970"
        in messages(report.warnings)
    )
    assert "000 = 003  equal pixels" in report.text() and "000 = 004  same cell, correlation " in report.text()
    # Two pairs, and the cases with the outlines of their masks.
    assert report.html().count("data:image/png") == 4 + len(report.cases)
    assert len(check_dataset(path, near_duplicates=False).pairs) == 1


def test_what_is_unusual_is_a_warning(make_folder):
    path = make_folder(cases=6, tolerance=5, facts=FACTS + "004,neutrophil,\n005,monocyte,\n")
    folder = path.parent
    Image.open(folder / "images/000.bmp").save(folder / "images/003.bmp")
    mask = np.array(Image.open(folder / "masks/001.png"))
    mask[0, :3] = 4
    Image.fromarray(mask).save(folder / "masks/001.png")
    Image.new("L", (16, 12)).save(folder / "masks/004.png")
    Image.fromarray(np.full((12, 16, 3), 63, np.uint8) - np.eye(12, 16, dtype=np.uint8)[..., None]).save(
        folder / "images/005.bmp"
    )
    report = check_dataset(path)
    assert report.ok
    warnings = messages(report.warnings)
    assert "masks/001.png: 3 stray pixels (1.6% of its pixels)" in warnings
    assert "images/000.bmp and" in warnings
    assert "images/003.bmp show the same cell, but their cell types and groups differ" in warnings
    assert "masks/004.png contains no cell" in warnings
    assert "images/005.bmp is nearly black: its brightest value is 63" in warnings
    assert "1 of 6 cases have no cell type" in warnings
    assert "Cell types with a single case: basophil and neutrophil." in warnings
    assert "stray pixels  3 in 1 mask" in report.text()


def test_a_label_that_never_occurs(make_folder):
    path = make_folder(labels={"background": [0, 128], "cytoplasm": 100, "nucleus": 255})
    report = check_dataset(path)
    assert report.ok
    assert "No mask contains cytoplasm; networks are compared by the nucleus only." in messages(report.warnings)


def test_masks_without_any_cell_cannot_be_used(make_folder):
    path = make_folder(labels={"background": [0, 128, 255], "cytoplasm": 100, "nucleus": 101})
    report = check_dataset(path)
    assert not report.ok and "contains a cell, so no network can be trained" in messages(report.errors)


def test_the_expected_value_is_named(make_folder):
    path = make_folder()
    # Without quotes YAML takes it for a comment.
    path.write_text(path.read_text().replace("nucleus: 255", "nucleus: #0000ff"))
    report = check_dataset(path)
    assert "A colour needs quotes" in report.text() and "A colour needs quotes" in report.html()


@pytest.mark.parametrize(
    ("cases", "groups", "message"),
    [
        (2, None, "2 cases cannot be split"),
        (8, 2, "8 cases in 2 groups cannot be split"),
        (8, 1, "8 cases in 1 group cannot be split"),
        (8, 3, ""),
    ],
)
def test_a_dataset_that_cannot_be_split_cannot_be_used(make_folder, cases, groups, message):
    rows = "".join(f"{k:03d},p{k % groups}\n" for k in range(cases)) if groups else ""
    path = make_folder(cases=cases, facts=f"case_id,group\n{rows}" if groups else None)
    report = check_dataset(path)
    assert (report.ok, message in messages(report.errors)) == (not message, True)
    # It can still be used for evaluation.
    assert check_dataset(path, to_split=False).ok


def test_equal_images_count_as_one_unit_of_a_split(make_folder):
    path = make_folder()
    for k in (1, 2):
        shutil.copy(path.parent / "images/000.bmp", path.parent / f"images/{k:03d}.bmp")
    assert "4 cases in 2 groups cannot be split" in messages(check_dataset(path).errors)


def test_groups_that_nothing_reads_or_that_are_missing(make_folder, tmp_path):
    rows = "".join(f"{k:03d},monocyte,p{k}\n" for k in range(4))
    path = make_folder(facts="case_id,cell_type,patient\n" + rows, place=tmp_path / "a")
    assert "column 'patient' is not used" in messages(check_dataset(path).warnings)
    path = make_folder(facts="case_id,cell_type,group\n" + rows.replace("p3", ""), place=tmp_path / "b")
    assert "1 of 4 cases have no group" in messages(check_dataset(path).warnings)
    path = make_folder(facts="case_id,cell_type,group,\n" + rows, place=tmp_path / "c")
    assert check_dataset(path).warnings == ()


@pytest.mark.parametrize(("orientation", "level"), [(3, "warnings"), (6, "errors")])
def test_an_image_is_rotated_by_exif_and_its_mask_is_not(make_folder, orientation, level):
    path = make_folder(images="images/{case}.*")
    (path.parent / "images/000.bmp").unlink()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(draw_case()[0]).save(path.parent / "images/000.jpg", exif=exif)
    (finding,) = getattr(check_dataset(path), level)
    assert "images/000.jpg" in finding.message and "EXIF orientation" in finding.message
    # A mask with the same orientation matches.
    mask = Image.open(path.parent / "masks/000.png")
    mask.save(path.parent / "masks/000.png", exif=exif)
    report = check_dataset(path)
    assert (report.errors, report.warnings) == ((), ())


@pytest.mark.parametrize(("size", "level"), [((5, 4), "errors"), ((16, 12), "warnings")])
def test_instance_maps_that_do_not_fit(make_folder, size, level):
    path = make_folder(instances="cells/{case}.png")
    (path.parent / "cells").mkdir()
    for k in range(4):
        mask = np.array(Image.open(path.parent / f"masks/{k:03d}.png"))
        Image.fromarray((mask > 0).astype(np.uint16)).save(path.parent / f"cells/{k:03d}.png")
    assert check_dataset(path).warnings == ()
    Image.new("I;16", size).save(path.parent / "cells/002.png")
    findings = getattr(check_dataset(path), level)
    assert len(findings) == 1
    assert "cells/002.png" in findings[0].message


def test_an_empty_folder(make_folder):
    report = check_dataset(make_folder(cases=0))
    assert "No file in" in messages(report.errors)
    assert report.frame().empty
    assert "cases         0" in report.text()


def test_nothing_to_check(tmp_path):
    with pytest.raises(StudyError, match="There is no dataset"):
        check_dataset(tmp_path / "nowhere")


def test_only_one_case_is_in_memory(make_folder, tmp_path):
    peaks = []
    for cases in (3, 3, 12):
        path = make_folder(cases=cases, place=tmp_path / f"{len(peaks)}_{cases}")
        for file in (path.parent / "images").iterdir():
            Image.effect_noise((300, 300), 50).convert("RGB").save(file)
            Image.new("L", (300, 300)).save(path.parent / "masks" / f"{file.stem}.png")
        tracemalloc.start()
        check_dataset(path, near_duplicates=False)  # The search for these keeps a thumbnail of each image.
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first check includes the memory that Pillow allocates once.
    assert peaks[2] < 1.3 * peaks[1]


def test_a_clean_dataset(make_folder):
    path = make_folder(citation="Us, 2024")
    report = check_dataset(path)
    assert report.ok
    assert (report.errors, report.warnings, len(report.cases)) == ((), (), 4)
    text = report.text()
    for line in (
        "cases         4",
        "image sizes   16x12 px (4)",
        "4 of 4 are not square (up to 1.33 to 1)",
        "cite          Us, 2024",
        "small can be used.",
    ):
        assert line in text
