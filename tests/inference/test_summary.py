"""The lines at the end of `wbcstudy segment`."""

from pathlib import Path

from wbcstudy.inference.inputs import Inputs, LeftOut
from wbcstudy.inference.summary import Failure, Summary, group_failures

SAVE, COPY = "Save it with 8 bits per channel.", "Copy it again."


def test_advice_is_given_once_with_the_number_of_images():
    failed = {f"field{number}": Failure("It has 16 bits.", SAVE) for number in range(30)}
    failed["cut"] = Failure("It is cut.", COPY)
    lines = list(Summary(40, 0, 7, failed, ("A note.",), Path("gallery.html")).lines())
    assert lines[0] == "A note." and lines[1] == "31 images could not be segmented:"
    (line,) = [line for line in lines if "It has 16 bits." in line]
    assert line.startswith("  field0: It has 16 bits. (30 images with this fault: field0, field1, field2")
    assert "  cut: It is cut." in lines
    assert f"To fix (30 images): {SAVE}" in lines and f"To fix (1 image): {COPY}" in lines
    assert lines[-1] == "7 cells in 9 images, 31 failed."


def test_the_same_fault_of_many_files_is_one_line_and_other_faults_are_others():
    paths = {f"a{number}": Path(f"/smears/a{number}.png") for number in range(9)}
    failed = {name: Failure(f"{path} cannot be read: {len(name)} bytes of 400.") for name, path in paths.items()}
    failed |= {"b": Failure("/smears/b.png cannot be read: it is empty.")}
    assert [len(names) for names in group_failures(failed, paths)] == [9, 1]
    many = {f"c{number}": Failure(chr(97 + number % 26) * (1 + number // 26)) for number in range(30)}
    lines = list(Summary(40, 0, 7, many, (), Path("gallery.html")).lines())
    assert "  and 10 more, see images.csv" in lines


def test_a_folder_that_cannot_be_read_is_not_a_success():
    def summary(problem):
        left_out = [LeftOut(Path("a"), "cannot be opened", is_folder=True, problem=problem)]
        return Summary(1, 1, 2, {}, (), Path("gallery.html"), Inputs({"b": Path("b.png")}, left_out))

    assert not summary(True).ok and summary(False).ok
    assert list(summary(True).lines())[-1] == "2 cells in 1 image (1 already done), 1 left out (listed in images.csv)."
