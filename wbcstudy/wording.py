"""How numbers and lists are written in sentences: the one home for durations, counts, intervals and p values.

Text that comes from files or users is made printable in `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# More names than this do not read as a sentence; the tables have them all.
MOST_NAMES = 6
_SMALL_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def duration(seconds: float | None) -> str:
    """A duration: "40 s", "3 min 20 s", "1 h 02 min"; empty where it is unknown."""
    if seconds is None or math.isnan(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(value: float | None) -> str:
    """An amount of memory, given in MB (10**6 bytes): "850 MB", "1.2 GB"; empty where it is unknown."""
    if value is None:
        return ""
    return f"{value / 1000:.1f} GB" if value >= 1000 else f"{value:.0f} MB"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 run", "2 runs", "2 losses"."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def number_word(number: int) -> str:
    """A small number as a word: "no", "one" ... "ten", "11"."""
    return _SMALL_NUMBERS[number] if number < len(_SMALL_NUMBERS) else str(number)


def join_words(items: Sequence[str], last: str = "and", most: int | None = None) -> str:
    """A list within a sentence: "a", "a and b", "a, b and c", "a, b and 4 more".

    Args:
        items: the items.
        last: the word before the last item.
        most: items named at most; the others are counted.
    """
    items = [str(item) for item in items]
    if most is not None and len(items) > most:
        items = [*items[:most], f"{len(items) - most} more"]
    *first, final = items or [""]
    return f"{', '.join(first)} {last} {final}" if first else final


def number_range(least: float, most: float, digits: int = 0) -> str:
    """A range of values: "63 to 65", or "63" where both are equal."""
    low, high = f"{least:.{digits}f}", f"{most:.{digits}f}"
    return low if low == high else f"{low} to {high}"


def amount(value: float) -> str:
    """A difference of scores with three decimals, or more where three would show nothing."""
    return f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1g}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """A 95 % interval within a sentence: "95 % interval 0.941 to 0.962"; empty where it is undefined."""
    return "" if math.isnan(low) or math.isnan(high) else f"95 % interval {low:.{digits}f} to {high:.{digits}f}"


def interval_brackets(low: float, high: float, digits: int = 3) -> str:
    """A 95 % interval within a table: "[0.941, 0.962]"; empty where it is undefined."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def p_value(p: float) -> str:
    """A p value: "p < 0.001", "p = 0.012"; empty where it is undefined."""
    if math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def capitalise(text: str) -> str:
    """The text with its first letter in upper case; the others stay as they are."""
    return text[:1].upper() + text[1:]


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ... 11th, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def shorten(text: str, most: int = 1200) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[:most] + " ..."


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def shorten_middle(text: str, most: int) -> str:
    """A text of at most `most` characters: of a longer one, its beginning, an ellipsis and its end."""
    most = max(most, 12)
    end = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - end]}...{text[-end:]}"
