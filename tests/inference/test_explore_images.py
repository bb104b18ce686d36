"""The images that the app lists, and the names of saved files."""

import pytest

from wbcstudy.errors import StudyError
from wbcstudy.inference.explore_images import ORDERS, ListedImage, read_upload, sort_images, write_unless_different

IMAGES = [
    ListedImage("b", "b.png", "monocyte", {"nucleus": 0.5, "cell": 0.7}),
    ListedImage("c", "c.png", "", {}),
    ListedImage("a", "a.png", "eosinophil", {"nucleus": 0.9, "cell": 0.8}),
    ListedImage("d", "d.png", "monocyte", {"nucleus": float("nan"), "cell": 0.95}),
]


@pytest.mark.parametrize(("order", "names"), zip(ORDERS, ("badc", "dabc", "abdc", "abcd"), strict=True))
def test_images_without_score_or_type_come_last(order, names):
    assert "".join(image.name for image in sort_images(IMAGES, order)) == names


def test_the_list_names_dice_type_and_image():
    assert [image.label for image in IMAGES[:2]] == ["Dice 0.600 · monocyte · b", "not scored · c"]
    assert ListedImage("x.png", "x.png", content=b"").label == "x.png"


def test_names_of_files_have_no_folders_and_no_odd_characters():
    assert ListedImage("../a b/ü?.", "x").stem == "_a_b_ü_."
    assert ListedImage("../my field.png", "x", content=b"").stem == "uploaded/my_field"
    assert ListedImage("...", "x").stem == "image"


def test_a_file_that_is_no_image_is_named():
    with pytest.raises(StudyError, match=r"notes\.png cannot be read") as caught:
        read_upload("notes.png", b"no image")
    assert "Choose another file" in str(caught.value)


def test_equal_files_are_written_once_and_others_are_kept(tmp_path):
    def write(content):
        def write_files(results, name):
            path = results.file("cells", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            return [path]

        return write_files

    names = [write_unless_different(tmp_path, "a", write(text))[0].name for text in ("1", "2", "1", "2", "3")]
    assert names == ["a.csv", "a-2.csv", "a.csv", "a-2.csv", "a-3.csv"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a-2.csv", "a-3.csv", "a.csv", "cells"]
