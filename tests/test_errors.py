"""The error for users, and text that is safe to print."""

import pickle

import pytest

from wbcstudy.errors import StudyError, explain_windows_path, printable, printable_name, show_value


def test_an_error_has_three_parts_in_a_terminal_and_in_a_notebook():
    error = StudyError("epochs: -1", expected="a whole number above 0", fix="Change epochs.")
    assert str(error) == "epochs: -1\nExpected: a whole number above 0\nTo fix:   Change epochs."
    assert error._render_traceback_() == [str(error)]


def test_an_error_of_a_worker_process_keeps_its_parts():
    error = pickle.loads(pickle.dumps(StudyError("a", expected="b", fix="c")))
    assert (error.message, error.expected, error.fix) == ("a", "b", "c")


def test_terminal_commands_and_bytes_that_are_not_text_are_escaped():
    assert printable("a\x1b[2Jb\udcff\u2028 ä\n") == "a\\x1b[2Jb\\udcff\\u2028 ä\n"
    assert "\x1b" not in str(StudyError("\x1b[2J", expected="\x1b", fix="\x1b"))


def test_long_text_and_values_are_cut():
    assert len(printable("x" * 5000)) == 2000 and printable("x" * 5000).endswith(" ...")
    assert show_value(16**5000) == "<a whole number of 20001 bits>"
    assert len(show_value([["x" * 10_000] * 1000] * 1000)) < 10_000


def test_a_name_is_one_line():
    assert printable_name("a\nb\t\u202ec") == "a\\nb\\t\\u202ec"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (r"There is no C:\Users\anna\images.", "'/mnt/c/Users/anna/images'"),
        (r"There is no d:\One Drive\a b\x.yaml.", "'/mnt/d/One Drive/a b/x.yaml'"),
        ("no file 'D:/data/x.yaml'", "'/mnt/d/data/x.yaml'"),
        (f"dataset: {'E:' + chr(92) + 'x'!r} cannot be used", "'/mnt/e/x'"),
        (r"There is no \\server\lab\x.", "Mount it"),
        ("There is no C:Usersannaimages.", "backslashes the shell has removed"),
        ("https://example.org/a: b", ""),
        ("resnet18: epochs:10, images/a:b.png", ""),
    ],
)
def test_a_path_of_windows_is_explained(text, advice):
    error = StudyError(text, expected="a file", fix="Check the path.")
    assert advice in error.fix and error.fix.endswith("Check the path.")
    assert bool(explain_windows_path(text)) == bool(advice)
    again = pickle.loads(pickle.dumps(error))
    assert again.fix == StudyError(text, expected="", fix=error.fix).fix == error.fix
