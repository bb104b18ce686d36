"""Fields and '*' of path patterns."""

import time

import pytest

from wbcstudy.data.patterns import check_pattern, fixed_length, pattern_fields, pattern_regex


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("images/{case}.png", "images/a.b.PNG", {"case": "a.b"}),
        ("{group}/{case}.png", "p 1/7.png", {"group": "p 1", "case": "7"}),
        ("{group}_{case}.png", "p1_2_3.png", {"group": "p1", "case": "2_3"}),
        ("{case}_{group}.png", "1_2_p3.png", {"case": "1_2", "group": "p3"}),
        ("{cell_type}/{cell_type}_{case}.png", "mono/mono_1.png", {"cell_type": "mono", "case": "1"}),
        ("{cell_type}/{cell_type}_{case}.png", "mono/baso_1.png", None),
        ("{case}/{case}_mask.png", "a/b_mask.png", None),
        ("{group}/{case}.png", "a/b/c.png", None),
    ],
)
def test_a_path_is_read(pattern, path, fields):
    check_pattern(pattern)
    match = pattern_regex(pattern).fullmatch(path)
    assert (match and match.groupdict()) == fields


def test_fields_in_their_order():
    assert pattern_fields("{group}/*/{case}/{case}_{folder}.png") == ["group", "case", "folder"]
    assert fixed_length("a/{case}_*.png") == len("a/_.png")


def test_the_slowest_pattern_ends():
    pattern = "{group}_{folder}_{case}_*.png"
    check_pattern(pattern)
    started = time.process_time()
    assert pattern_regex(pattern).fullmatch("_" * 250 + "x") is None
    # Not a measurement: endless matching would take years.
    assert time.process_time() - started < 300
