"""The same fault of many files is one message, whose advice is right for all of them."""

import os

import pytest

from wbcstudy.data.arrays import read_cases, read_scored_case, read_training_cases
from wbcstudy.data.check import check_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.scale import describe_scale
from wbcstudy.errors import StudyError

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


def test_blurred_masks_and_masks_with_another_value_are_two_faults(make_dataset):
    data = make_dataset([[77], list(range(20, 30)), [77], list(range(30, 40))])
    first, second = check_dataset(data, near_duplicates=False).errors[:2]
    assert first.message.startswith("2 masks have values") and "`ignore: [77]`" in first.fix
    assert "20 values in" in second.fix and "`tolerance: 64`" in second.fix
    with pytest.raises(StudyError, match=r"2 masks have values") as caught:
        read_cases(data, ["000"], 32)
    assert "There is 1 other fault; `wbcstudy data check" in caught.value.fix


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
