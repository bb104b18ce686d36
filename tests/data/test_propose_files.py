"""Images are paired with their masks by content and name."""

import numpy as np
import pytest

from tests.helpers.layouts import GREY, save, smear
from wbcstudy.data.propose_files import list_folder, looks_like_mask, pair_files


def pair(folder, images, masks):
    """Write images and masks under names, and return the proposed patterns."""
    for k, name in enumerate(images):
        save(folder / name, smear(k).image)
    for k, name in enumerate(masks):
        save(folder / name, GREY[smear(k).mask])
    return pair_files(folder, list_folder(folder))


@pytest.mark.parametrize(
    ("images", "masks", "patterns"),
    [
        (["a.png", "b.png"], ["a mask.png", "b mask.png"], ("{case}.png", "{case} mask.png")),
        (["a.jpg", "b.png"], ["m/a.png", "m/b.png"], ("{case}.*", "m/{case}.png")),
        (["img_1.png", "img_12.png"], ["seg_1.png", "seg_12.png"], ("img_{case}.png", "seg_{case}.png")),
        (["1_rgb.tif", "11_rgb.tif"], ["1_seg.tif", "11_seg.tif"], ("{case}_rgb.tif", "{case}_seg.tif")),
        (
            ["p1/7.png", "p2/7.png", "p3/7.png"],
            ["p1/7_m.png", "p2/7_m.png", "p3/7_m.png"],
            ("{group}/{case}.png", "{group}/{case}_m.png"),
        ),
        (
            ["mono/1.png", "neut/1.png"],
            ["gt/mono/1.png", "gt/neut/1.png"],
            ("{cell_type}/{case}.png", "gt/{cell_type}/{case}.png"),
        ),
        (
            ["train/x/1.png", "val/x/2.png"],
            ["train/y/1.png", "val/y/2.png"],
            ("{folder}/x/{case}.png", "{folder}/y/{case}.png"),
        ),
        (
            ["imagesTr/a_0000.png", "imagesTs/b_0000.png"],
            ["labelsTr/a.png", "labelsTs/b.png"],
            ("imagesT{folder}/{case}_0000.png", "labelsT{folder}/{case}.png"),
        ),
    ],
)
def test_patterns(tmp_path, images, masks, patterns):
    paired = pair(tmp_path, images, masks)
    assert (paired.images, paired.masks) == patterns and len(paired.pairs) == len(images)


def test_of_two_masks_the_classes_are_used(tmp_path):
    paired = pair(
        tmp_path,
        ["i/a.png", "i/b.png"],
        ["SegmentationObject/a.png", "SegmentationObject/b.png", "SegmentationClass/a.png", "SegmentationClass/b.png"],
    )
    assert paired.masks == "SegmentationClass/{case}.png" and "Each case has 2 masks" in paired.notes[0]


def test_folders_of_unknown_meaning_are_asked(tmp_path):
    names = [f"{folder}/{k}" for k, folder in enumerate(("Zeiss", "Leica", "Olympus"))]
    paired = pair(tmp_path, [f"{name}.png" for name in names], [f"{name}_m.png" for name in names])
    assert (
        paired.images == "{group}/{case}.png" and "The meaning of the folders Leica, Olympus, Zeiss" in paired.notes[0]
    )


def test_nothing_is_paired_by_chance(tmp_path):
    assert pair(tmp_path, ["a.png", "b.png"], ["x.png", "y.png"]) is None
    assert pair_files(tmp_path, []) is None


def test_content_decides(tmp_path):
    save(tmp_path / "a.png", smear(0).image)
    save(tmp_path / "b.png", smear(0).instances)
    (tmp_path / "c.png").write_bytes(b"x")
    assert [looks_like_mask(tmp_path / name) for name in ("a.png", "b.png", "c.png")] == [False, True, None]
    assert looks_like_mask(tmp_path / "missing.png") is None


def test_hidden_and_system_files_are_left_out(tmp_path):
    for name in (".git/a.png", "__MACOSX/b.png", "._c.png", "d/e.png"):
        save(tmp_path / name, np.zeros((4, 4), np.uint8))
    assert list(map(str, list_folder(tmp_path))) == ["d/e.png"]
