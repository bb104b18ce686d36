import math

import pytest

from wbcstudy import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (-2, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_durations(seconds, text):
    assert wording.duration(seconds) == text


def test_columns_are_aligned_and_long_names_keep_both_ends():
    assert wording.align([("a", "b"), ("long", "c")]) == ["a     b", "long  c"]
    assert wording.shorten_middle("abcdefghijklmnopqrst", 13) == "abcde...pqrst"
    assert wording.shorten_middle("short", 13) == "short"


def test_lists_read_as_sentences():
    assert wording.join_words([]) == ""
    assert wording.join_words(["a"]) == "a"
    assert wording.join_words(["a", "b"], "or") == "a or b"
    assert wording.join_words(["a", "b", "c"]) == "a, b and c"
    assert wording.join_words(list("abcdef"), most=2) == "a, b and 4 more"


def test_numbers():
    assert wording.count(1, "loss") == "1 loss" and wording.count(3, "loss") == "3 losses"
    assert [wording.number_word(n) for n in (0, 2, 11)] == ["no", "two", "11"]
    assert wording.number_range(3, 3) == "3" and wording.number_range(0.1, 0.25, 2) == "0.10 to 0.25"
    assert wording.amount(0.0123) == "0.012" and wording.amount(0.0001234) == "0.0001" and wording.amount(0) == "0.000"
    assert [wording.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "112th",
    ]  # fmt: skip
    assert wording.megabytes(850) == "850 MB" and wording.megabytes(1234) == "1.2 GB" and wording.megabytes(None) == ""


def test_what_is_undefined_is_left_empty():
    assert (
        wording.interval(math.nan, math.nan)
        == wording.p_value(math.nan)
        == wording.interval_brackets(1, math.nan)
        == ""
    )
    assert wording.interval(0.9411, 0.9622) == "95 % interval 0.941 to 0.962"
    assert wording.p_value(0.0001) == "p < 0.001" and wording.p_value(0.0123) == "p = 0.012"
