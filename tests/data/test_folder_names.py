"""The meaning of folders is guessed from their names, or asked."""

import pytest

from wbcstudy.data.folder_names import facts_in_names, folder_field


@pytest.mark.parametrize(
    ("names", "field", "asked"),
    [
        (["Baso", "eosi", "lymp", "mixt"], "{cell_type}", False),
        (["Basophil", "Neutrophils", "Lymphocytes"], "{cell_type}", False),
        (["train", "valid", "test"], "{folder}", False),
        (["Dataset 1", "Dataset 2"], "{folder}", False),
        (["Patient_01", "Patient_02", "Patient_03"], "{group}", False),
        (["slide1", "slide2"], "{group}", True),
        (["001", "002", "017"], "{group}", False),
        (["Zeiss", "Leica"], "{folder}", True),
        (["Zeiss", "Leica", "Olympus"], "{group}", True),
    ],
)
def test_folders(names, field, asked):
    questions = []
    assert folder_field(names, set(), questions) == field
    assert bool(questions) == asked


def test_a_field_is_used_once():
    used = set()
    assert [folder_field(["P1", "P2", "P3"], used, []) for _ in range(3)] == ["{group}", "{folder}", "*"]


@pytest.mark.parametrize(
    ("names", "start"),
    [
        (["mono_1", "mono_2", "baso_1"], "{cell_type}_"),
        (["patient1-a", "patient1-b", "patient2-a"], "{group}-"),
        (["IMG_1", "IMG_2", "DSC_1"], ""),
        (["mono_1", "baso_2"], ""),
        (["mono1", "mono2"], ""),
    ],
)
def test_starts_of_file_names(names, start):
    assert facts_in_names(names) == start
