"""The same fault of many files is one message, whose advice is right for all of them."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from wbcstudy.data.arrays import read_cases, read_scored_case, read_training_cases
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.scale import describe_scale
from wbcstudy.data.unlisted import UnlistedValuesError
from wbcstudy.errors import StudyError

CLASSES = {"background": 0, "cytoplasm": 1, "nucleus": 2}


@pytest.fixture
def make_dataset(make_folder):
    """A function that writes a dataset and changes its masks; returns the dataset."""

    def make(masks, **fields):
        file = make_folder(cases=len(masks), **fields)
        for number, values in enumerate(masks):
            path = file.parent / "masks" / f"{number:03d}.png"
            mask = np.array(Image.open(path))
            mask[0, : len(values)] = values
            Image.fromarray(mask).save(path)
        return load_dataset(file)

    return make


READERS = {
    "training": lambda data, ids: read_training_cases(data, ids, 32),
    "test": lambda data, ids: read_cases(data, ids, 32),
    "report": lambda data, ids: read_scored_case(data, ids[1], None),
    "scale": describe_scale,
}


@pytest.mark.parametrize("reader", READERS)
def test_all_masks_with_unlisted_values_are_one_error_with_the_lines_to_paste(make_dataset, reader):
    # The training part holds the cases 1 and 2 only; the lines are those for all.
    data = make_dataset([[], [7, 7], [7, 9], [40]], ignore=[99])
    with pytest.raises(StudyError) as caught:
        READERS[reader](data, ["001", "002"])
    text = str(caught.value)
    assert "3 masks have values that are not listed under `labels` (001.png, 002.png and 003.png)" in text
    assert "7 (3 px in 2 masks), 9 (1 px in 1 mask), 40 (1 px in 1 mask)" in text
    assert "`ignore: [99, 7, 9, 40]`" in text


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


def test_blurred_masks_and_masks_with_another_value_are_two_faults(make_dataset):
    data = make_dataset([[77], list(range(20, 30)), [77], list(range(30, 40))])
    first, second = check_dataset(data, near_duplicates=False).errors[:2]
    assert first.message.startswith("2 masks have values") and "`ignore: [77]`" in first.fix
    assert "20 values in" in second.fix and "`tolerance: 64`" in second.fix
    with pytest.raises(StudyError, match=r"2 masks have values") as caught:
        read_cases(data, ["000"], 32)
    assert "There is 1 other fault; `wbcstudy data check" in caught.value.fix


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


def test_unreadable_images_are_one_error(make_dataset):
    data = make_dataset([[], [], [], []])
    for case in data.cases[1:]:
        os.truncate(case.image_path, 100)
    with pytest.raises(StudyError, match=r"2 more files with this fault: images/002\.bmp and images/003\.bmp"):
        find_duplicates(data)


def test_a_single_fault_names_its_file_alone(make_dataset):
    data = make_dataset([[], [7], []])
    with pytest.raises(StudyError) as caught:
        read_cases(data, ["001"], 32)
    assert "001.png has the value 7 at row 0, column 0" in caught.value.message
    assert "masks have" not in caught.value.message


def test_the_error_keeps_its_message_between_processes(make_dataset):
    from wbcstudy.data.datasets import read_case

    data = make_dataset([[7]])
    with pytest.raises(UnlistedValuesError) as caught:
        read_case(data, data.cases[0])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.counts == caught.value.counts
