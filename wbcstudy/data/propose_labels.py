"""Find out which mask values are background, cytoplasm and nucleus.

Names of classes in the files of annotation programs decide. Otherwise position decides: the background is the most
frequent value at the border of the image, and the nucleus touches the cytoplasm more than the background.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wbcstudy.data.image_files import read_pixels
from wbcstudy.errors import StudyError
from wbcstudy.files import read_bytes
from wbcstudy.labels import LABELS

# Words for classes, in the order in which they are tried: a red blood cell is not a cell to segment.
_WORDS = {
    "background": r"back|\bbg\b|\brbc|\bred\b|eryth|platelet|thromb|unlabel|void|other|artefact|artifact",
    "nucleus": r"nucle|nuc\b|kern|noyau",
    "cytoplasm": r"cyto|plasm|cell|wbc|leu[ck]o|white|baso|eosin|lymph|mono|neutro",
}
# Values below this share of all pixels are strays of smoothing or JPEG.
_LEAST_SHARE = 0.002
# Values this near to a more frequent one are strays of it; class numbers up to `_LAST_CLASS` are never strays.
_NEAR, _LAST_CLASS = 40, 20
_MOST_MAIN_VALUES, _MOST_CLASSES = 12, 256
# Share of its boundary at which a nucleus touches the cytoplasm.
_ENCLOSED = 0.6


@dataclass(frozen=True)
class ProposedLabels:
    """Mask values of the labels.

    Args:
        labels: label name -> values; None for instance maps.
        tolerance: half the distance of the values if the masks have strays, else 0.
        reason: how the values were assigned, in one sentence.
        questions: choices that a person has to confirm.
        instances: whether each value is a cell or nucleus of its own.
    """

    labels: Mapping[str, tuple[int | str, ...]] | None
    tolerance: int = 0
    reason: str = ""
    questions: tuple[str, ...] = ()
    instances: bool = False


@dataclass
class _Values:
    """Counts over masks: pixels of each value, pixels at the image border, and pairs of neighbouring values."""

    pixels: Counter
    border: Counter
    contacts: Counter
    per_mask: list[set[int]]
    colours: bool


def guess_label(name: str) -> str | None:
    """Return the label that a class name means; None for an unknown name. A whole cell counts as cytoplasm."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z]+", " ", name).lower()
    return next((label for label, words in _WORDS.items() if re.search(words, plain)), None)


def propose_labels(masks: Sequence[Path], folder: Path) -> ProposedLabels:
    """Assign the values of some masks of a dataset to labels.

    Args:
        masks: mask files.
        folder: the dataset's folder, which may have a table of classes (labelmap.txt, dataset.json, _classes.csv).
    """
    named = _read_classes([folder, *sorted({path.parent for path in masks})[:20]])
    by_colour = any(isinstance(value, str) for value in named)
    values = _count_values(masks, by_colour)
    if not values.pixels:
        return ProposedLabels(
            {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}, 0, "", ("No mask can be read.",)
        )
    if named:
        return _by_name(named, values)
    background = max(values.border, key=lambda value: (values.border[value], -value))
    if not values.colours and _is_instances(values, background):
        return ProposedLabels(None, 0, "each value is one cell or nucleus", instances=True)
    main, tolerance = _main_values(values)
    if len(main) > _MOST_MAIN_VALUES:
        question = f"The masks have {len(main)} values; the most frequent are listed."
        return _with_questions(_by_position(values, main[:_MOST_MAIN_VALUES], background), tolerance, question)
    return _with_questions(_by_position(_without_strays(values, main), main, background), tolerance)


def _with_questions(proposal: ProposedLabels, tolerance: int, *more: str) -> ProposedLabels:
    if tolerance:
        more += (
            "The masks have values between the listed ones, from smoothing or JPEG. Each takes the nearest listed "
            f"value (tolerance {tolerance}). Where the value of another label is in between, this makes a false rim. "
            "If you can, export the masks again as PNG without smoothing.",
        )
    return ProposedLabels(proposal.labels, tolerance, proposal.reason, (*proposal.questions, *more))


def _by_name(named: Mapping[int | str, str], values: _Values) -> ProposedLabels:
    labels: dict[str, list] = {label: [] for label in LABELS}
    questions = []
    for value, name in named.items():
        label = guess_label(name)
        labels[label or "background"].append(value)
        if label is None:
            questions.append(f"The class {name!r} (value {value}) has an unknown name; it is proposed as background.")
    listed = {int(value[1:], 16) if isinstance(value, str) else value for value in named}
    for value in sorted(set(values.pixels) - listed)[:_MOST_MAIN_VALUES]:
        shown = f"#{value:06x}" if values.colours else value
        labels["background"].append(shown)
        questions.append(
            f"The value {shown} is in masks, but not in the table of classes; it is proposed as background."
        )
    reason = ", ".join(f"{value} is {name}" for value, name in named.items())
    _fill(labels, values.colours)
    return ProposedLabels({name: tuple(v) for name, v in labels.items()}, 0, reason, tuple(questions))


def _by_position(values: _Values, main: Sequence[int], background: int) -> ProposedLabels:
    show = (lambda value: f"#{value:06x}") if values.colours else int
    others = [value for value in main if value != background]
    labels: dict[str, list] = {label: [] for label in LABELS}
    labels["background"].append(show(background))
    questions = []
    reason = f"{show(background)} is the most frequent value at the image border"
    if len(others) <= 1:
        labels["nucleus"] += map(show, others)
        question = "All masks have one value only, so no cell is known."
        if others:
            question = (
                f"Which region the value {show(others[0])} marks: the nucleus is proposed. Look at a mask: if it "
                "covers the pale rim around the dark nucleus, it marks whole cells. Then move it to `cytoplasm`, "
                "and give `nucleus` a value that occurs in no mask."
            )
        questions.append(question)
    else:
        nucleus, cytoplasm, enclosed = _most_enclosed(values, others)
        labels["nucleus"].append(show(nucleus))
        labels["cytoplasm"].append(show(cytoplasm))
        rest = [show(value) for value in others if value not in (nucleus, cytoplasm)]
        labels["background"] += rest
        reason += f"; {enclosed:.0%} of the boundary of {show(nucleus)} touches {show(cytoplasm)}"
        if enclosed < _ENCLOSED:
            questions.append(
                f"Which of {show(nucleus)} and {show(cytoplasm)} is the nucleus: neither is inside the other. If they "
                "are two types of cells, write both under `cytoplasm` or both under `nucleus`."
            )
        if rest:
            questions.append(f"The meaning of {', '.join(map(str, rest))}: background (such as red cells) is proposed.")
    _fill(labels, values.colours)
    return ProposedLabels({name: tuple(v) for name, v in labels.items()}, 0, reason, tuple(questions))


def _fill(labels: dict[str, list], colours: bool) -> None:
    """Give a label without a value one that occurs in no mask."""
    used = {value for listed in labels.values() for value in listed}
    for listed in labels.values():
        if not listed:
            spare = (
                f"#{value:06x}" if colours else value
                for value in ((0x010203, 0x030201) if colours else (254, 253, 252))
            )
            listed.append(next(value for value in spare if value not in used))
            used.add(listed[0])


def _most_enclosed(values: _Values, others: Sequence[int]) -> tuple[int, int, float]:
    """Return the value that is most inside another one, that one, and the share of the boundary between them."""

    def contact(first: int, second: int) -> int:
        return values.contacts[min(first, second), max(first, second)]

    def boundary(value: int) -> int:
        return sum(number for pair, number in values.contacts.items() if value in pair)

    pairs = [(inner, outer) for inner in others for outer in others if inner != outer]
    shares = {(i, o): contact(i, o) / max(1, boundary(i)) for i, o in pairs}
    inner, outer = max(pairs, key=lambda pair: (shares[pair], values.pixels[pair[1]]))
    return inner, outer, shares[inner, outer]


def _count_values(masks: Sequence[Path], by_colour: bool) -> _Values:
    arrays = [array for array in map(_read, masks) if array is not None]
    colours = by_colour or any(array[1] for array in arrays)
    counted = _Values(Counter(), Counter(), Counter(), [], colours)
    for numbers, _, packed in arrays:
        array = packed if colours else numbers
        keys, where, counts = np.unique(array, return_inverse=True, return_counts=True)
        where = where.reshape(array.shape)
        counted.pixels.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        counted.per_mask.append(set(keys.tolist()))
        edge = np.concatenate([where[0], where[-1], where[:, 0], where[:, -1]])
        counted.border.update(keys[edge].tolist())
        for first, second in ((where[1:], where[:-1]), (where[:, 1:], where[:, :-1])):
            differ = first != second
            low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
            pairs, numbers_of = np.unique(low.astype(np.int64) << 32 | high, return_counts=True)
            for pair, number in zip(pairs.tolist(), numbers_of.tolist(), strict=True):
                counted.contacts[int(keys[pair >> 32]), int(keys[pair & 0xFFFFFFFF])] += number
    return counted


def _read(path: Path) -> tuple[np.ndarray, bool, np.ndarray] | None:
    """Return the numbers of a mask, whether it has colours, and its colours as 0xrrggbb; None if it cannot be read."""
    try:
        pixels = read_pixels(path)
        rgb = pixels.colours().astype(np.int64) if pixels.has_scale() else None
        stored = pixels.values if pixels.values.ndim > 2 else pixels.numbers()
    except (StudyError, ValueError):
        # The check of the dataset names damaged files.
        return None
    packed = stored if rgb is None else rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    if stored.ndim == 2:
        return stored, False, packed
    return stored[..., 0].astype(np.int64), bool((stored != stored[..., :1]).any()), packed


def _is_instances(values: _Values, background: int) -> bool:
    """Whether the values of each mask are 1, 2, ... k, with k differing between masks and above the labels' numbers."""
    if background:
        return False
    most = [max(mask) for mask in values.per_mask]
    whole = all(mask - {0} == set(range(1, len(mask - {0}) + 1)) for mask in values.per_mask)
    others = [value for value in values.pixels if value]
    if not others or not whole or max(most) < 2 or len(set(most)) < 2:
        return False
    return max(most) > 3 or (len(others) > 1 and _most_enclosed(values, others)[2] < _ENCLOSED)


def _main_values(values: _Values) -> tuple[list[int], int]:
    """Return the values that are not strays, most frequent first, and the tolerance that strays need."""
    total, main = values.pixels.total(), []
    if not values.colours and max(values.pixels) <= _LAST_CLASS:
        return [value for value, _ in values.pixels.most_common()], 0
    few = len(values.pixels) <= _MOST_MAIN_VALUES
    for value, number in values.pixels.most_common():
        distance = min((_distance(value, other, values.colours) for other in main), default=np.inf)
        if few or (number >= _LEAST_SHARE * total and distance > _NEAR):
            main.append(value)
    if len(main) == len(values.pixels):
        return main, 0
    gaps = [_distance(a, b, values.colours) for a in main for b in main if a < b]
    return main, int(np.ceil(min(gaps, default=2) / 2))


def _without_strays(values: _Values, main: Sequence[int]) -> _Values:
    """Return the counts with each stray value as the nearest of the main ones."""
    nearest = {v: min(main, key=lambda other: _distance(v, other, values.colours)) for v in values.pixels}
    pixels, contacts = Counter(), Counter()
    for value, number in values.pixels.items():
        pixels[nearest[value]] += number
    for (first, second), number in values.contacts.items():
        pair = nearest[first], nearest[second]
        if pair[0] != pair[1]:
            contacts[min(pair), max(pair)] += number
    return _Values(pixels, values.border, contacts, values.per_mask, values.colours)


def _distance(first: int, second: int, colours: bool) -> float:
    if not colours:
        return abs(first - second)
    return float(np.linalg.norm([(first >> shift & 255) - (second >> shift & 255) for shift in (16, 8, 0)]))


def _read_classes(folders: Iterable[Path]) -> dict[int | str, str]:
    """Return value -> class name from the table of an annotation program."""
    readers = {
        "labelmap.txt": _read_labelmap,  # CVAT
        "dataset.json": _read_nnunet,
        "_classes.csv": _read_roboflow,
        "class_names.txt": _read_labelme,
    }
    for folder in folders:
        for name, reader in readers.items():
            try:
                text = read_bytes(folder / name, 1_000_000).decode("utf-8-sig")
                if classes := reader(text):
                    return classes
            except (OSError, ValueError, TypeError, AttributeError, RecursionError):
                # A file of another program with the same name.
                continue
    return {}


def _read_labelmap(text: str) -> dict[int | str, str]:
    rows = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return {"#" + bytes(map(int, row[1].split(","))).hex(): row[0] for row in rows if len(row) > 1}


def _read_nnunet(text: str) -> dict[int | str, str]:
    labels = json.loads(text)["labels"].items()
    return {
        int(value): str(name) for name, value in (pair if str(pair[1]).isdigit() else pair[::-1] for pair in labels)
    }


def _read_labelme(text: str) -> dict[int | str, str]:
    """Return the classes of labelme2voc: one per line from 0, after a line for ignored pixels."""
    names = [line.strip() for line in text.splitlines() if line.strip() not in ("", "__ignore__")]
    return dict(enumerate(names)) if len(names) < _MOST_CLASSES else {}


def _read_roboflow(text: str) -> dict[int | str, str]:
    rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    return {int(row[0]): row[1].strip() for row in rows[1:] if len(row) > 1}
