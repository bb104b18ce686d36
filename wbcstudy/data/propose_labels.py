"""Find out which mask values are background, cytoplasm and nucleus.

Names of classes in the files of annotation programs decide. Otherwise position decides: the background is the most
frequent value at the border of the image, and the nucleus touches the cytoplasm more than the background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wbcstudy.data.class_names import guess_label, read_class_table
from wbcstudy.data.image_files import read_pixels
from wbcstudy.errors import StudyError
from wbcstudy.labels import LABELS

# A value is a stray of smoothing or JPEG unless this share of the flat pixels has it, and this share of it is flat. A
# pixel is flat if it is equal to its four neighbours.
_LEAST_SHARE, _LEAST_FLAT = 0.002, 0.2
# JPEG changes grey levels by about so much.
_JITTER = 12
# Values this near to a more frequent one are strays of it; class numbers up to `_LAST_CLASS` are never strays.
_NEAR, _LAST_CLASS = 40, 20
_MOST_MAIN_VALUES = 12
# Pixels that are read: 500 MB.
_MOST_PIXELS = 60_000_000
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
    """Counts over masks.

    Args:
        arrays: the masks, uint32 (H, W): numbers, or colours as 0xrrggbb.
        colours: whether the values are colours.
        pixels: pixels of each value.
        flat: flat pixels of each value.
        border: pixels of each value at the border of the image.
        contacts: pairs of neighbouring pixels of two values, the lower first.
    """

    arrays: list[np.ndarray]
    colours: bool
    pixels: Counter
    flat: Counter
    border: Counter
    contacts: Counter


def propose_labels(masks: Sequence[Path], folder: Path) -> ProposedLabels:
    """Assign the values of some masks of a dataset to labels.

    Args:
        masks: mask files.
        folder: the dataset's folder, which may have a table of classes (labelmap.txt, dataset.json, _classes.csv).
    """
    named = read_class_table([folder, *sorted({path.parent for path in masks})[:20]])
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
    clean = _without_strays(values, main) if tolerance else values
    return _with_questions(_by_position(clean, main, background), tolerance)


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
    read, size = [], 0
    for path in masks:
        array = _read(path)
        if array is not None:
            read.append(array)
            size += array[0].size
        if size > _MOST_PIXELS:
            break
    colours = by_colour or any(has_colours for _, has_colours, _ in read)
    values = _Values([packed if colours else numbers for numbers, _, packed in read], colours, *map(Counter, [()] * 4))
    for array in values.arrays:
        keys, where, counts = np.unique(array, return_inverse=True, return_counts=True)
        where = where.reshape(array.shape)
        jitter = 0 if colours or array.max(initial=0) <= _LAST_CLASS else _JITTER
        for counter, indices in (
            (values.flat, where[_flat(array, jitter)]),
            (values.border, where[_edge(array.shape)]),
        ):
            counter.update(dict(zip(keys.tolist(), np.bincount(indices, minlength=len(keys)).tolist(), strict=True)))
        values.pixels.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        values.contacts.update(_contacts(array))
    return values


def _flat(array: np.ndarray, jitter: int) -> np.ndarray:
    """Return the pixels that differ from no neighbour by more than `jitter`, boolean (H, W); none at the border."""
    array = array.astype(np.int64)
    flat = np.zeros(array.shape, bool)
    inner = array[1:-1, 1:-1]
    others = (array[:-2, 1:-1], array[2:, 1:-1], array[1:-1, :-2], array[1:-1, 2:])
    flat[1:-1, 1:-1] = np.logical_and.reduce([abs(inner - other) <= jitter for other in others])
    return flat


def _edge(shape: tuple[int, int]) -> np.ndarray:
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def _contacts(array: np.ndarray) -> Counter:
    """Count the pairs of neighbouring pixels of two values, the lower first."""
    contacts: Counter = Counter()
    for first, second in ((array[1:], array[:-1]), (array[:, 1:], array[:, :-1])):
        differ = first != second
        low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
        pairs, numbers = np.unique(low.astype(np.uint64) << np.uint64(32) | high, return_counts=True)
        for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            contacts[pair >> 32, pair & 0xFFFFFFFF] += number
    return contacts


def _read(path: Path) -> tuple[np.ndarray, bool, np.ndarray] | None:
    """Return the numbers of a mask, whether it has colours, and its colours as 0xrrggbb; None if it cannot be read."""
    try:
        pixels = read_pixels(path)
        rgb = pixels.colours().astype(np.int64) if pixels.has_scale() else None
        stored = pixels.values if pixels.values.ndim > 2 else pixels.numbers()
    except (StudyError, ValueError):
        # The check of the dataset names damaged files.
        return None
    has_colours = stored.ndim > 2 and bool((stored != stored[..., :1]).any())
    numbers = np.clip(stored if stored.ndim == 2 else stored[..., 0], 0, 2**32 - 1).astype(np.uint32)
    packed = numbers if rgb is None else (rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]).astype(np.uint32)
    return numbers, has_colours, packed


def _is_instances(values: _Values, background: int) -> bool:
    """Whether the values of each mask are 1, 2, ... k, with k differing between masks and above the labels' numbers."""
    if background:
        return False
    per_mask = [set(np.unique(array).tolist()) - {0} for array in values.arrays]
    most = [max(numbers, default=0) for numbers in per_mask]
    whole = all(numbers == set(range(1, len(numbers) + 1)) for numbers in per_mask)
    others = [value for value in values.pixels if value]
    if not others or not whole or max(most) < 2 or len(set(most)) < 2:
        return False
    return max(most) > 3 or (len(others) > 1 and _most_enclosed(values, others)[2] < _ENCLOSED)


def _main_values(values: _Values) -> tuple[list[int], int]:
    """Return the values that are not strays, most frequent first, and the tolerance that strays need."""
    total, main = values.flat.total(), []
    if not values.colours and max(values.pixels) <= _LAST_CLASS:
        return [value for value, _ in values.pixels.most_common()], 0
    few = len(values.pixels) <= _MOST_MAIN_VALUES
    for value, number in values.flat.most_common():
        distance = min((_distance(value, other, values.colours) for other in main), default=np.inf)
        steady = number >= _LEAST_SHARE * total and number >= _LEAST_FLAT * values.pixels[value]
        if few or (steady and distance > _NEAR):
            main.append(value)
    if len(main) == len(values.pixels):
        return main, 0
    gaps = [_distance(a, b, values.colours) for a in main for b in main if a < b]
    return main, int(np.ceil(min(gaps, default=2) / 2))


def _without_strays(values: _Values, main: Sequence[int]) -> _Values:
    """Return the counts with each stray pixel, and each rim of strays, as the nearest flat pixel of a main value."""
    from scipy.ndimage import distance_transform_edt

    pixels, contacts = Counter(), Counter()
    for array in values.arrays:
        keys, where = np.unique(array, return_inverse=True)
        distances = np.array([[_distance(key, value, values.colours) for value in main] for key in keys.tolist()])
        nearest = np.array(main, np.uint32)[distances.argmin(axis=1)][where].reshape(array.shape)
        near = (distances.min(axis=1) <= _JITTER)[where].reshape(array.shape)
        rims = ~(_flat(nearest, 0) & near)
        if rims.all():
            continue
        rows, columns = distance_transform_edt(rims, return_distances=False, return_indices=True)
        clean = nearest[rows, columns]
        keys, counts = np.unique(clean, return_counts=True)
        pixels.update(dict(zip(keys.tolist(), counts.tolist(), strict=True)))
        contacts.update(_contacts(clean))
    return replace(values, pixels=pixels, contacts=contacts)


def _distance(first: int, second: int, colours: bool) -> float:
    if not colours:
        return abs(first - second)
    return float(np.linalg.norm([(first >> shift & 255) - (second >> shift & 255) for shift in (16, 8, 0)]))
