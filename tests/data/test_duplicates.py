"""Duplicates are images with equal pixels, images of the same cell, and copies by their name."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import (
    Duplicate,
    DuplicateFinder,
    find_duplicates,
    known_duplicates,
    load_or_find_duplicates,
    merge_groups,
    read_duplicates,
)
from wbcstudy.errors import StudyError


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def test_equal_images_are_recognised_in_any_format(make_folder):
    path = make_folder(images="images/{case}.*")
    Image.open(path.parent / "images/000.bmp").save(path.parent / "images/002.png")
    (path.parent / "images/002.bmp").unlink()
    assert find_duplicates(load_dataset(path)) == (Duplicate("000", "002", "pixels", 1.0),)


def test_a_turned_copy_is_found_unless_near_duplicates_are_off(make_folder):
    path = make_folder()
    with Image.open(path.parent / "images/001.bmp") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path.parent / "images/003.bmp")
    (found,) = find_duplicates(load_dataset(path))
    assert found.case_ids == ("001", "003") and found.kind == "near" and found.correlation > 0.99
    assert find_duplicates(load_dataset(path), near=False) == ()


def test_copies_of_one_image_have_the_name_before_rf():
    finder, exact = DuplicateFinder(), DuplicateFinder(near=False)
    for seed, name in enumerate(("a_jpg.rf.0123456789abcdef", "a_jpg.rf.fedcba9876543210", "b_jpg.rf.0123456789", "a")):
        finder.add(name, noise(seed))
        exact.add(name, noise(seed))
    assert finder.find() == (Duplicate("a_jpg.rf.0123456789abcdef", "a_jpg.rf.fedcba9876543210", "name"),)
    assert exact.find() == ()


def test_copies_of_augmentor_have_the_source_in_their_name():
    """The library Augmentor names copies <folder>_original_<source>_<UUID>."""
    finder, uuid = DuplicateFinder(), "-4b1e-4c5f-9d3a-0123456789ab"
    names = (f"set_original_7.png_0123abcd{uuid}", f"set_original_7.png_4567abcd{uuid}", f"7_4567abcd{uuid}")
    for seed, name in enumerate(names):
        finder.add(name, noise(seed))
    assert finder.find() == (Duplicate(*names[:2], "name"),)


def test_the_public_dataset_1_has_14_known_pairs():
    pairs = known_duplicates("segmentation_wbc_1")
    assert len(pairs) == 14 and ("112", "139") in [pair.case_ids for pair in pairs]
    assert known_duplicates("segmentation_wbc_2") == known_duplicates("our_smears") == ()


class TestSaved:
    def test_are_searched_once(self, make_folder, tmp_path, monkeypatch):
        path, dataset = tmp_path / "duplicates.json", load_dataset(make_folder())
        assert read_duplicates(path) == () and len(read_duplicates(path, "segmentation_wbc_1")) == 14
        assert load_or_find_duplicates(path, dataset) == read_duplicates(path) == ()
        record = json.loads(path.read_text())
        del record["format"]
        record["duplicates"] = [Duplicate("000", "001", "near", 0.97)._asdict()]
        path.write_text(json.dumps(record))
        assert load_or_find_duplicates(path, dataset) == (Duplicate("000", "001", "near", 0.97),)

    def test_a_damaged_file_is_refused(self, make_folder, tmp_path):
        path, dataset = tmp_path / "duplicates.json", load_dataset(make_folder())
        load_or_find_duplicates(path, dataset)
        path.write_text(path.read_text().replace("true", "false"))
        with pytest.raises(StudyError, match=r"duplicates.json has changed since it was written"):
            load_or_find_duplicates(path, dataset)

    def test_are_searched_again_if_the_files_or_the_setting_change(self, make_folder, tmp_path):
        path, spec = tmp_path / "duplicates.json", make_folder()
        load_or_find_duplicates(path, load_dataset(spec))
        with Image.open(spec.parent / "images/001.bmp") as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(spec.parent / "images/003.bmp")
        assert len(load_or_find_duplicates(path, load_dataset(spec))) == 1
        assert load_or_find_duplicates(path, load_dataset(spec), near=False) == ()


class TestMergeGroups:
    def test_joins_groups_through_links(self):
        groups = {"a": "slide 1", "b": "slide 1", "c": "slide 2"}
        merged = merge_groups(groups, [("b", "c"), ("d", "e"), ("e", "f")])
        assert merged["a"] == merged["b"] == merged["c"] == "slide 1"
        assert merged["d"] == merged["e"] == merged["f"] == "duplicates of d"

    def test_keeps_groups_without_links(self):
        assert merge_groups({"a": "1", "b": "2"}, []) == {"a": "1", "b": "2"}
        assert merge_groups({}, []) == {}

    @given(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("xyz")),
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=5),
    )
    def test_never_separates_a_group_or_a_link(self, groups, links):
        merged = merge_groups(groups, links)
        assert set(merged) == set(groups) | {case_id for link in links for case_id in link}
        assert all(merged[a] == merged[b] for a in groups for b in groups if groups[a] == groups[b])
        assert all(merged[a] == merged[b] for a, b in links)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_search_among_few_images_is_possible(number):
    finder = DuplicateFinder()
    for k in range(number):
        finder.add(str(k), noise(k))
    assert finder.find() == ()
