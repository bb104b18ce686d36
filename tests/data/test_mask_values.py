"""The values that dataset.yaml lists under `labels` and `ignore`."""

import pytest

from wbcstudy.data.mask_values import check_together, parse_ignore, parse_labels


def labels(background, cytoplasm, nucleus):
    return parse_labels({"background": background, "cytoplasm": cytoplasm, "nucleus": nucleus})


@pytest.mark.parametrize(
    "given",
    [
        ([0, 0, 0], [0, 255, 0], [0, 0, 255]),
        ("#000000", [0, 255, 0], [[0, 0, 255]]),
        ([[0, 0, 0]], "#00FF00", "#0000ff"),
    ],
)
def test_triples_are_colours(given):
    assert labels(*given) == {"background": ("#000000",), "cytoplasm": ("#00ff00",), "nucleus": ("#0000ff",)}


def test_several_triples_of_one_label():
    assert labels([[0, 0, 0], [255, 0, 0]], [0, 255, 0], [0, 0, 255])["background"] == ("#000000", "#ff0000")


def test_lists_of_three_different_numbers_are_numbers():
    assert labels([0, 1, 2], [3, 4, 5], [6, 7, 8])["nucleus"] == (6, 7, 8)


def test_ranges_and_words():
    parsed = labels(0, "none", "1 - 255")
    assert parsed == {"background": (0,), "cytoplasm": ("none",), "nucleus": ("1-255",)}
    assert labels(0, 1, "instances")["nucleus"] == ("instances",)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ((0, 1, "1-255"), "every value once"),
        ((0, "1-9", "9-20"), "every value once"),
        ((0, 1, "9-3"), "ranges as"),
        ((0, 1, 70000), "65535"),
        ((0, 1, True), "whole numbers"),
        ((0, 1, "blue"), "quoted colours"),
        ((0, "#00ff00", 2), "either numbers"),
        ((0, "none", "none"), "at least one other"),
        (("instances", 1, 2), "values of background"),
        ((None, 1, 2), "needs quotes"),
    ],
)
def test_what_cannot_be_a_value(given, match):
    with pytest.raises(ValueError, match=match):
        labels(*given)


def test_ignored_values():
    assert parse_ignore(255) == (255,)
    assert parse_ignore([255, "3-9"]) == (255, "3-9")
    assert parse_ignore([224, 224, 192]) == ("#e0e0c0",)
    assert parse_ignore(None) == ()
    with pytest.raises(ValueError, match="numbers, ranges or colours"):
        parse_ignore("instances")


@pytest.mark.parametrize(("ignore", "match"), [((1,), "every value once"), (("#ff0000",), "either numbers")])
def test_labels_and_ignored_values_fit_together(ignore, match):
    with pytest.raises(ValueError, match=match):
        check_together(labels(0, 1, 2), ignore)
