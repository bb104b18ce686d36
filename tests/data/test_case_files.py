"""Files are matched to cases in all common layouts."""

import pytest

from wbcstudy.data.case_files import find_case_files, read_facts
from wbcstudy.data.spec import DatasetSpec

LABELS = {"background": 0, "cytoplasm": 1, "nucleus": 2}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def find(folder, images="images/{case}.bmp", masks="masks/{case}.png", **more):
    return find_case_files(folder, DatasetSpec(name="a", images=images, masks=masks, labels=LABELS, **more))


@pytest.mark.parametrize(
    ("images", "masks", "names"),
    [
        ("images/{case}.bmp", "masks/{case}.png", ["images/a.bmp", "masks/a.png"]),
        ("images/{case}.bmp", "masks/{case}.png", ["images/a.BMP", "masks/a.PNG"]),
        ("images/{case}.BMP", "masks/{case}.png", ["images/a.bmp", "masks/a.Png"]),
        ("{case}.bmp", "{case}.png", ["a.bmp", "a.png"]),
        ("{case}.png", "{case}_mask.png", ["a.png", "a_mask.png"]),
        ("{case}_image.png", "{case}.png", ["a_image.png", "a.png"]),
        ("{case}/image.png", "{case}/mask.png", ["a/image.png", "a/mask.png"]),
        ("images/{case}.*", "masks/{case}_*.png", ["images/a.jpeg", "masks/a_expert.png"]),
        ("slide */{case}.bmp", "masks/{case}.png", ["slide 1/a.bmp", "masks/a.png"]),
        ("im[1]/x{case}(1).bmp", "m+/{case}.png", ["im[1]/xa(1).bmp", "m+/a.png"]),
        ("{case}/{case}_image.png", "{case}/{case}_mask.png", ["a/a_image.png", "a/a_mask.png"]),
        ("{group}/images/{case}.png", "{group}/masks/{case}.png", ["p1/images/a.png", "p1/masks/a.png"]),
        ("{group}/images/{case}.png", "masks/{case}.png", ["p1/images/a.png", "masks/a.png"]),
        ("images/{case}.png", "masks/{cell_type}/{case}.png", ["images/a.png", "masks/Baso/a.png"]),
    ],
)
def test_layouts(tmp_path, images, masks, names):
    touch(tmp_path, *names, "notes.txt", ".hidden.bmp", "images/._a.bmp", "dataset.yaml")
    files = find(tmp_path, images, masks)
    assert files.problems == ()
    assert [files.images["a"], files.masks["a"]] == [tmp_path / name for name in names]
    assert files.complete == ["a"]


def test_numbers_that_start_again_in_each_folder_become_unique(tmp_path):
    """The layout of LISC."""
    for cell_type, numbers in (("Baso", "12"), ("eosi", "1")):
        for k in numbers:
            mask = f"Ground Truth Segmentation/{cell_type}/areaforexpert1/{k}_expert.bmp"
            touch(tmp_path, f"Main Dataset/{cell_type}/{k}.bmp", mask)
    patterns = (
        "Main Dataset/{cell_type}/{case}.bmp",
        "Ground Truth Segmentation/{cell_type}/areaforexpert1/{case}_expert.bmp",
    )
    files = find(tmp_path, *patterns)
    assert files.problems == ()
    assert list(files.images) == ["Baso_1", "Baso_2", "eosi_1"]
    assert all(path.parts[-3] == files.images[case_id].parent.name for case_id, path in files.masks.items())
    assert files.facts["eosi_1"] == ("eosi", None)


def test_ids_that_are_unique_stay_as_they_are(tmp_path):
    touch(tmp_path, "p1/mono/a.png", "p1/mono/a_m.png", "p2/baso/b.png", "p2/baso/b_m.png")
    files = find(tmp_path, "{group}/{cell_type}/{case}.png", "{group}/{cell_type}/{case}_m.png")
    assert files.problems == ()
    assert files.facts == {"a": ("mono", "p1"), "b": ("baso", "p2")}


def test_groups_and_types_within_file_names(tmp_path):
    touch(tmp_path, *(f"{part}/p{k}_2_{k}_mono.png" for part in ("images", "masks") for k in (1, 2)))
    files = find(tmp_path, "images/{group}_{case}_{cell_type}.png", "masks/{group}_{case}_{cell_type}.png")
    assert files.facts == {"2_1": ("mono", "p1"), "2_2": ("mono", "p2")}


def test_a_star_for_folders_with_the_same_numbers_is_explained_once(tmp_path):
    touch(tmp_path, *(f"{part}/{k}/{n}.png" for part in ("images", "masks") for k in "abc" for n in "12"))
    problems = find(tmp_path, "images/*/{case}.png", "masks/*/{case}.png").problems
    assert len(problems) == 2
    assert all("start again in each folder" in problem.fix and "{cell_type}" in problem.fix for problem in problems)
    assert "3 more files repeat a case" in problems[0].message


def test_a_mask_that_fits_two_images(tmp_path):
    touch(tmp_path, "images/p1/1.png", "images/p2/1.png", "masks/1.png")
    (problem,) = find(tmp_path, "images/{group}/{case}.png", "masks/{case}.png").problems
    assert "fits 2 images" in problem.message and "{group}" in problem.fix


def test_unpaired_files_of_folders_with_the_same_numbers(tmp_path):
    touch(tmp_path, "images/p1/1.png", "images/p2/1.png", "masks/p1/1.png", "masks/p3/1.png")
    files = find(tmp_path, "images/{group}/{case}.png", "masks/{group}/{case}.png")
    without_mask, without_image = files.problems
    assert "images/p2/1.png" in without_mask.message and "masks/p3/1.png" in without_image.message
    assert files.complete == ["p1_1"]


def test_ids_that_become_equal_with_their_folder_are_reported(tmp_path):
    names = ["a/b_1", "a_b/1", "c/1"]
    touch(tmp_path, *(f"{part}/{name}.png" for part in ("images", "masks") for name in names))
    problems = find(tmp_path, "images/{group}/{case}.png", "masks/{group}/{case}.png").problems
    assert any("Case 'a_b_1' has two images" in problem.message for problem in problems)


def test_cases_come_sorted(tmp_path):
    touch(tmp_path, *(f"{part}/{k}.{end}" for k in "cab" for part, end in (("images", "bmp"), ("masks", "png"))))
    assert list(find(tmp_path).images) == ["a", "b", "c"]


def test_an_image_without_mask_and_a_mask_without_image(tmp_path):
    touch(tmp_path, "images/a.bmp", "images/b.bmp", "masks/b.png", "masks/c.png")
    first, second = find(tmp_path).problems
    assert "1 image without mask: " in first.message
    assert "images/a.bmp" in first.message
    assert "1 mask without image: " in second.message
    assert "masks/c.png" in second.message
    assert find(tmp_path).complete == ["b"]


def test_of_many_unpaired_files_five_are_named_and_all_counted(tmp_path):
    touch(tmp_path, *(f"images/{k}.bmp" for k in range(9)), "masks/0.png")
    (problem,) = find(tmp_path).problems
    assert "8 images without mask" in problem.message
    assert problem.message.count(".bmp") == 5
    assert "and 3 more" in problem.message


def test_an_empty_folder(tmp_path):
    touch(tmp_path, "masks/a.png", "images/readme.txt")
    (problem,) = find(tmp_path).problems
    assert "No file in" in problem.message
    assert "images/readme.txt" in problem.message


def test_a_folder_that_is_missing(tmp_path):
    touch(tmp_path, "images/a.bmp")
    assert any("masks: No such file or directory" in problem.message for problem in find(tmp_path).problems)


def test_two_images_of_one_case(tmp_path):
    touch(tmp_path, "images/a.bmp", "images/a.png", "masks/a.png")
    (problem,) = find(tmp_path, images="images/{case}.*").problems
    assert "Case 'a' has two images" in problem.message


@pytest.mark.parametrize("link", ["images/a.bmp", "masks"])
def test_a_link_out_of_the_folder_is_refused(tmp_path, link):
    touch(tmp_path, "elsewhere/a.bmp", "elsewhere/a.png", "set/images/b.bmp", "set/masks.old/b.png")
    (tmp_path / "set" / link).symlink_to(tmp_path / "elsewhere" / ("a.bmp" if link.endswith("bmp") else ""))
    assert any("a link to a file outside" in problem.message for problem in find(tmp_path / "set").problems)


def test_a_link_within_the_folder_is_fine(tmp_path):
    touch(tmp_path, "real/a.bmp", "masks/a.png")
    (tmp_path / "images").symlink_to(tmp_path / "real")
    assert find(tmp_path).problems == ()


def test_instance_maps(tmp_path):
    touch(tmp_path, "a.png", "a_mask.png", "a_cells.png", "b.png", "b_mask.png")
    files = find(tmp_path, "{case}.png", "{case}_mask.png", instances="{case}_cells.png")
    assert files.instances == {"a": tmp_path / "a_cells.png"}
    (problem,) = files.problems
    assert "1 image without instance map" in problem.message


def test_both_unicode_forms_of_an_accent_match(tmp_path):
    """macOS writes an accent as a separate character after its letter."""
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    touch(tmp_path, f"images/{composed}.bmp", f"masks/{apart}.png", f"images/{apart}2.bmp", f"masks/{apart}2.png")
    files = find(tmp_path)
    assert files.problems == ()
    # The case ids are those of the images.
    assert sorted(files.complete) == sorted([composed, f"{apart}2"])
    (tmp_path / "cases.csv").write_text(f"case_id,group\n{apart},p1\n{composed}2,p2\n", encoding="utf-8")
    facts, problems = read_facts(tmp_path / "cases.csv", files.images)
    assert problems == [] and facts == {composed: (None, "p1"), f"{apart}2": (None, "p2")}
    touch(tmp_path, f"images/{apart}.bmp")
    assert any("has two images" in problem.message for problem in find(tmp_path).problems)


def test_a_table_outside_the_folder_is_not_read(tmp_path):
    (tmp_path / "secret.csv").write_text("case_id,group\n001,p1\n")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "cases.csv").symlink_to("../secret.csv")
    facts, (problem,) = read_facts(folder / "cases.csv", ["001"], folder)
    assert facts == {} and "is a link to a file outside" in problem.message


class TestFacts:
    def read(self, tmp_path, text, case_ids=("001", "002"), encoding="utf-8"):
        (tmp_path / "cases.csv").write_bytes(text.encode(encoding))
        return read_facts(tmp_path / "cases.csv", case_ids)

    @pytest.mark.parametrize(
        "text",
        [
            "case_id,cell_type,group\n001,monocyte,p1\n002,,p2\n",
            "\ufeffcase_id;cell_type;group\r\n001;monocyte;p1\r\n002;;p2\r\n",
            'group\tcase_id\tcell_type\tage\np1\t001\t"monocyte"\t7\np2\t002\t \t8',
            "case_id, cell_type, group\n001, monocyte, p1\n002, , p2\n",
            "case_id,cell_type,group\n001,monocyte,p1\n,,\n002,,p2\n,,\n, ,,,\n",
        ],
        ids=["plain", "excel", "tabs", "spaces", "empty rows"],
    )
    def test_the_ways_it_is_saved(self, tmp_path, text):
        facts, problems = self.read(tmp_path, text)
        assert problems == []
        assert facts == {"001": ("monocyte", "p1"), "002": (None, "p2")}

    def test_all_fields_are_text(self, tmp_path):
        facts, _ = self.read(tmp_path, "case_id,cell_type,group\n001,1,007\n002,NA,nan\n")
        assert facts == {"001": ("1", "007"), "002": ("NA", "nan")}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("case_id,group\n1,a\n002,b\n", "lists 1 case without an image: 1"),
            ("case_id,group\n001,a\n", "has no row for 1 case: 002"),
            ("case_id,group\n001,a\n001,b\n002,c\n", "lists case '001' twice"),
            ("case_id,group\n001,a,b\n002,c\n", "too many fields in line 2"),
            ("case,group\n001,a\n", "has no column 'case_id'; its columns are: case, group"),
            ("case_id,celltype\n001,a\n", "has a column 'celltype'"),
            ("name,type\n001,a\n", "has no column 'case_id'"),
            ("", "has no column 'case_id'; its columns are: none"),
        ],
    )
    def test_each_slip_is_named(self, tmp_path, text, message):
        _, problems = self.read(tmp_path, text)
        assert any(message in problem.message and "cases.csv" in problem.message for problem in problems)

    def test_lost_zeros_are_explained(self, tmp_path):
        _, problems = self.read(tmp_path, "case_id\n1\n2\n")
        assert all("Excel drops the zeros" in problem.fix for problem in problems)

    def test_ids_with_a_suffix_are_explained(self, tmp_path):
        _, problems = self.read(tmp_path, "case_id\n001.png\n002.png\n")
        assert all("without the suffix: write 001 for 001.png" in problem.fix for problem in problems)

    def test_not_utf8(self, tmp_path):
        _, (problem,) = self.read(tmp_path, "case_id,group\n001,Müller\n", encoding="latin-1")
        assert "not UTF-8" in problem.message

    def test_missing(self, tmp_path):
        _, (problem,) = read_facts(tmp_path / "cases.csv", ["001"])
        assert "No such file" in problem.message
