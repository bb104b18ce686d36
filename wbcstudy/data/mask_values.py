"""The values of a mask that `dataset.yaml` lists: numbers, ranges, colours, and which label each stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageColor

from wbcstudy.errors import show_value
from wbcstudy.labels import IGNORED, LABELS

if TYPE_CHECKING:
    from wbcstudy.data.spec import DatasetSpec

# Every number above 0 that no other label lists: the k-th cell of an instance map.
INSTANCES = "instances"
# A label that no mask has.
NONE = "none"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_RANGE = re.compile(r"(\d{1,5})\s*-\s*(\d{1,5})")
_LARGEST = 65535
_CHANNELS = 3
# Masks whose listed numbers are all below this hold class numbers, whose distance means nothing.
_CLASSES = 32

Value = int | str


def parse_labels(given: Any) -> dict[str, tuple[Value, ...]]:
    """Return the values of each label as dataset.yaml lists them; colours as '#rrggbb'.

    Raises:
        ValueError: what is expected, and the value that differs.
    """
    if not isinstance(given, Mapping) or set(given) != set(LABELS):
        raise ValueError(f"exactly these labels, each with one or more values: {', '.join(LABELS)}")
    lists = {name: _as_list(name, given[name]) for name in LABELS}
    lists = _join_triples(lists)
    labels = {name: tuple(_value(name, value) for value in values) for name, values in lists.items()}
    flat = [value for values in labels.values() for value in values if value != NONE]
    if len({_is_colour(value) for value in flat}) > 1:
        raise ValueError("either numbers for all labels or '#rrggbb' colours for all labels")
    _check_once(flat)
    if labels["background"] in ((NONE,), (INSTANCES,)) or len(flat) < 2:
        raise ValueError("values of background and of at least one other label")
    return labels


def parse_ignore(given: Any) -> tuple[Value, ...]:
    """Return the ignored values: numbers, ranges or colours; errors as `parse_labels`."""
    values = [] if given in (None, [], ()) else _as_list("ignore", given)
    values = _join_triples({"ignore": values})["ignore"]
    parsed = tuple(_value("ignore", value) for value in values)
    if {INSTANCES, NONE} & set(parsed):
        raise ValueError("numbers, ranges or colours")
    return parsed


def check_together(labels: Mapping[str, tuple[Value, ...]], ignore: tuple[Value, ...]) -> None:
    """Raise ValueError if a value is both a label and ignored, or colours and numbers are mixed."""
    flat = [value for values in labels.values() for value in values if value != NONE]
    if len({_is_colour(value) for value in (*flat, *ignore)}) > 1:
        raise ValueError("either numbers or '#rrggbb' colours for `labels` and `ignore`")
    _check_once([*flat, *ignore])


def has_colours(labels: Mapping[str, tuple[Value, ...]]) -> bool:
    """Return whether labels are given as colours."""
    return any(_is_colour(value) for values in labels.values() for value in values)


def number_ranges(spec: DatasetSpec) -> list[tuple[int, int, int]]:
    """Return (first, last, label) of all listed numbers, sorted; `INSTANCES` is left out."""
    return sorted((*_ends(value), label) for value, label in _listed(spec) if value not in (INSTANCES, NONE))


def colour_points(spec: DatasetSpec) -> list[tuple[tuple[int, ...], int]]:
    """Return (RGB, label) of all listed colours, in the order of the labels."""
    return [(ImageColor.getrgb(str(value)), label) for value, label in _listed(spec) if value != NONE]


def instances_label(spec: DatasetSpec) -> int | None:
    """Return the label of the numbers of cells, or None."""
    return next((label for value, label in _listed(spec) if value == INSTANCES), None)


def has_class_numbers(spec: DatasetSpec) -> bool:
    """Return whether all listed numbers are so small that they are class numbers, not grey levels."""
    return not has_colours(spec.labels) and all(
        last < _CLASSES for _, last, label in number_ranges(spec) if label != IGNORED
    )


def enough_tolerance(spec: DatasetSpec) -> int:
    """Return half the largest gap between values of different labels: with it, every value between two has a label."""
    if has_colours(spec.labels):
        points = [(np.array(rgb, float), label) for rgb, label in colour_points(spec)]
        gaps = [np.linalg.norm(a - b) for a, one in points for b, other in points if one < other]
    else:
        ranges = number_ranges(spec)
        neighbours = pairwise(ranges)
        gaps = [low - high for (_, high, one), (low, _, other) in neighbours if one != other]
    return ceil(max(gaps, default=0) / 2)


def _listed(spec: DatasetSpec) -> Iterator[tuple[Value, int]]:
    for name, label in LABELS.items():
        yield from ((value, label) for value in spec.labels[name])
    yield from ((value, IGNORED) for value in spec.ignore)


def _as_list(name: str, given: Any) -> list[Any]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values or None in values:
        raise ValueError(
            f"a value for {name}. A colour needs quotes ('#ff0000'); without them YAML reads it as a comment"
        )
    return values


def _join_triples(lists: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Replace [r, g, b] by its colour: in a list, with other colours, or where it would repeat a number."""
    flat = [value for values in lists.values() for value in values]
    numbers = [value for value in flat if isinstance(value, int)]
    colours = any(isinstance(value, list | tuple) or _is_colour(value) for value in flat)
    if colours or len(set(numbers)) < len(numbers):
        lists = {name: [values] if _is_triple(values) else values for name, values in lists.items()}
    return {name: [_hex(value) if _is_triple(value) else value for value in values] for name, values in lists.items()}


def _is_triple(value: Any) -> bool:
    whole = isinstance(value, list | tuple) and all(type(part) is int and 0 <= part <= 255 for part in value)
    return whole and len(value) == _CHANNELS


def _hex(rgb: list[int]) -> str:
    return f"#{bytes(rgb).hex()}"


def _is_colour(value: Any) -> bool:
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def _value(name: str, value: Any) -> Value:
    if isinstance(value, str) and (_is_colour(value) or value in (INSTANCES, NONE)):
        return value.lower()
    if isinstance(value, str) and (match := _RANGE.fullmatch(value.strip())):
        first, last = map(int, match.groups())
        if first <= last <= _LARGEST:
            return f"{first}-{last}"
    if type(value) is int and 0 <= value <= _LARGEST:
        return value
    raise ValueError(
        f"whole numbers from 0 to 65535, ranges as '1-255', '{INSTANCES}', '{NONE}', or quoted colours '#rrggbb' or "
        f"[red, green, blue]; {name} has {show_value(value)}"
    )


def _ends(value: Value) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, last = value.split("-")
    return int(first), int(last)


def _check_once(values: list[Value]) -> None:
    repeated = {str(value) for value in values if values.count(value) > 1}
    ranges = sorted((_ends(value), str(value)) for value in values if not _is_colour(value) and value != INSTANCES)
    for (before, _), (after, text) in pairwise(ranges):
        if after[0] <= before[1]:
            repeated.add(text)
    if repeated:
        raise ValueError(f"every value once, but {', '.join(sorted(repeated))} is listed more than once")
