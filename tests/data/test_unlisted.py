"""Unlisted values of many masks are one error, with the lines that make the masks readable."""

import pickle

import numpy as np
import pytest
from PIL import Image

from wbcstudy.data.arrays import read_cases
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.unlisted import UnlistedValuesError
from wbcstudy.errors import StudyError

CLASSES = {"background": 0, "cytoplasm": 1, "nucleus": 2}


def test_the_lines_to_paste_make_the_dataset_readable(make_dataset):
    data = make_dataset([[3, 4, 5], [255], [255, 9]], labels=CLASSES)
    masks = [np.minimum(np.array(Image.open(case.mask_path)), 255) for case in data.cases]
    for case, mask in zip(data.cases, masks, strict=True):
        grey = np.where(mask == 128, 1, mask)
        grey[2:, :] = np.where(grey[2:, :] == 255, 2, grey[2:, :])
        Image.fromarray(grey.astype(np.uint8)).save(case.mask_path)
    with pytest.raises(StudyError) as caught:
        read_cases(data, ["000"], 32)
    line = next(part for part in caught.value.fix.split("`") if part.startswith("ignore:"))
    assert line == "ignore: [3-5, 9, 255]"
    file = data.folder / "dataset.yaml"
    file.write_text(f"{file.read_text()}\n{line}\n")
    assert len(read_cases(load_dataset(file), ["000", "001", "002"], 32)) == 3


def test_colours_of_all_masks_are_listed_where_numbers_were_expected(make_dataset):
    data = make_dataset([[], []])
    for case, colour in zip(data.cases, ([255, 0, 0], [0, 0, 255]), strict=True):
        Image.fromarray(np.full((12, 16, 3), colour, np.uint8)).save(case.mask_path)
    (error,) = [e for e in check_dataset(data, near_duplicates=False).errors if "colours" in e.message]
    assert "2 masks have colours" in error.message
    assert "'#ff0000'" in error.fix and "'#0000ff'" in error.fix


def test_many_numbers_of_a_class_mask_may_be_cells(make_dataset):
    data = make_dataset([list(range(3, 12))], labels=CLASSES)
    mask = np.array(Image.open(data.cases[0].mask_path))
    Image.fromarray(np.where(mask > 100, 1, mask)).save(data.cases[0].mask_path)
    with pytest.raises(StudyError) as caught:
        read_cases(data, ["000"], 32)
    assert "nucleus: instances" in caught.value.fix and "`ignore: [3-11]`" in caught.value.fix


def test_the_error_keeps_its_message_between_processes(make_dataset):
    data = make_dataset([[7]])
    with pytest.raises(UnlistedValuesError) as caught:
        read_case(data, data.cases[0])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.counts == caught.value.counts
