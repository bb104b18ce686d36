"""Find out which mask values are background, cytoplasm and nucleus.

Names of classes in the files of annotation programs decide. Otherwise position decides: the background is the most
frequent value at the border of the image, and the nucleus touches the cytoplasm more than the background.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from wbcstudy.data.class_names import guess_label, read_class_table
from wbcstudy.data.mask_counts import (
    LAST_CLASS,
    MaskCounts,
    count_values,
    is_border,
    most_enclosed,
    value_distance,
    without_strays,
)
from wbcstudy.data.mask_values import INSTANCES, NONE
from wbcstudy.labels import LABELS
from wbcstudy.wording import join_words

# A value is a stray of smoothing or JPEG unless this share of the flat pixels has it, and this share of it is flat. A
# pixel is flat if it is equal to its four neighbours.
_LEAST_SHARE, _LEAST_FLAT = 0.002, 0.2
_IGNORED_CLASS = re.compile(r"(?i)ignore|void|unlabel")
# Values this near to a more frequent one are strays of it; class numbers up to `LAST_CLASS` are never strays.
_NEAR = 40
_MOST_MAIN_VALUES = 12
# Share of its boundary at which a nucleus touches the cytoplasm.
_ENCLOSED = 0.6


@dataclass(frozen=True)
class ProposedLabels:
    """Mask values of the labels.

    Args:
        labels: label name -> values.
        tolerance: half the distance of the values if the masks have strays, else 0.
        reason: how the values were assigned, in one sentence.
        questions: choices that a person has to confirm.
        instances: whether each value is a cell or nucleus of its own.
        ignore: values of pixels without label.
    """

    labels: Mapping[str, tuple[int | str, ...]]
    tolerance: int = 0
    reason: str = ""
    questions: tuple[str, ...] = ()
    instances: bool = False
    ignore: tuple[int | str, ...] = ()


def propose_labels(masks: Sequence[Path], folder: Path) -> ProposedLabels:
    """Assign the values of some masks of a dataset to labels.

    Args:
        masks: mask files.
        folder: the dataset's folder, which may have a table of classes (labelmap.txt, dataset.json, _classes.csv).
    """
    named = read_class_table([folder, *sorted({path.parent for path in masks})[:20]])
    by_colour = any(isinstance(value, str) for value in named)
    values = count_values(masks, by_colour)
    if not values.pixels:
        return ProposedLabels(
            {"background": (0,), "cytoplasm": (1,), "nucleus": (2,)}, 0, "", ("No mask can be read.",)
        )
    if named:
        return _by_name(named, values)
    background = max(values.border, key=lambda value: (values.border[value], -value))
    if not values.colours and _is_instances(values, background):
        labels = {"background": (0,), "cytoplasm": (NONE,), "nucleus": (INSTANCES,)}
        question = (
            "Which region the masks mark, nuclei or whole cells: each value is one of them. Nuclei are proposed; for "
            "whole cells, exchange the values of `cytoplasm` and `nucleus`."
        )
        return ProposedLabels(labels, 0, "each value is one cell or nucleus", (question,), instances=True)
    main, tolerance = _main_values(values)
    if len(main) > _MOST_MAIN_VALUES:
        question = f"The masks have {len(main)} values; the most frequent are listed."
        return _with_questions(_by_position(values, main[:_MOST_MAIN_VALUES], background), tolerance, question)
    clean = without_strays(values, main) if tolerance else values
    return _with_questions(_by_position(clean, main, background), tolerance)


def _with_questions(proposal: ProposedLabels, tolerance: int, *more: str) -> ProposedLabels:
    """Add the treatment of values between the listed ones, if there are any (a tolerance above 0)."""
    background, cytoplasm, nucleus = (values[0] for values in proposal.labels.values())
    numbers = sorted(value for values in proposal.labels.values() for value in values if isinstance(value, int))
    if tolerance and len(numbers) == len(LABELS) and nucleus == numbers[1]:
        rims = tuple(f"{low + 1}-{high - 1}" for low, high in pairwise(numbers))
        question = (
            "The masks have values between the listed ones, from smoothing. They are proposed as ignored, since the "
            f"rim between {background} and {cytoplasm} has the value {nucleus} of the nucleus in places. If you can, "
            "export the masks again as PNG without smoothing."
        )
        return replace(proposal, ignore=(*proposal.ignore, *rims), questions=(*proposal.questions, *more, question))
    if tolerance:
        more += (
            "The masks have values between the listed ones, from smoothing or JPEG. Each takes the nearest listed "
            f"value (tolerance {tolerance}). Where the value of another label is in between, this makes a false rim. "
            "If you can, export the masks again as PNG without smoothing.",
        )
    return replace(proposal, tolerance=tolerance, questions=(*proposal.questions, *more))


def _by_name(named: Mapping[int | str, str], values: MaskCounts) -> ProposedLabels:
    labels: dict[str, list] = {label: [] for label in LABELS}
    ignore, questions = [], []
    for value, name in named.items():
        label = guess_label(name)
        if label is None and _IGNORED_CLASS.search(name):
            ignore.append(value)
            continue
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
    return ProposedLabels(_listed(labels), 0, reason, tuple(questions), ignore=tuple(ignore))


def _by_position(values: MaskCounts, main: Sequence[int], background: int) -> ProposedLabels:
    show = (lambda value: f"#{value:06x}") if values.colours else int
    others = [value for value in main if value != background]
    labels: dict[str, list] = {label: [] for label in LABELS}
    labels["background"].append(show(background))
    ignore, questions = [], []
    if len(others) > 2 and (borders := [value for value in others if is_border(values, value)]) and len(borders) < 3:
        others = [value for value in others if value not in borders]
        ignore += map(show, borders)
        shown = join_words(ignore)
        questions.append(f"The meaning of {shown}: a thin border around cells, proposed as ignored.")
    reason = f"{show(background)} is the most frequent value at the image border"
    if len(others) <= 1:
        labels["nucleus"] += map(show, others)
        question = "All masks have one value only, so no cell is known."
        if others:
            question = (
                f"Which region the value {show(others[0])} marks: the nucleus is proposed. Look at a mask: if it "
                "covers the pale rim around the dark nucleus, it marks whole cells. Then exchange the values "
                "of `cytoplasm` and `nucleus`."
            )
        questions.append(question)
    else:
        nucleus, cytoplasm, enclosed = most_enclosed(values, others)
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
    return ProposedLabels(_listed(labels), 0, reason, tuple(questions), ignore=tuple(ignore))


def _listed(labels: Mapping[str, list]) -> dict[str, tuple]:
    """Return the values of each label; 'none' for a label without any."""
    return {name: tuple(values) or (NONE,) for name, values in labels.items()}


def _is_instances(values: MaskCounts, background: int) -> bool:
    """Whether the values of each mask are 1, 2, ... k, with k differing between masks and above the labels' numbers."""
    if background:
        return False
    per_mask = [set(np.unique(array).tolist()) - {0} for array in values.arrays]
    most = [max(numbers, default=0) for numbers in per_mask]
    whole = all(numbers == set(range(1, len(numbers) + 1)) for numbers in per_mask)
    others = [value for value in values.pixels if value]
    if not others or not whole or max(most) < 2 or len(set(most)) < 2:
        return False
    return max(most) > 3 or (len(others) > 1 and most_enclosed(values, others)[2] < _ENCLOSED)


def _main_values(values: MaskCounts) -> tuple[list[int], int]:
    """Return the values that are not strays, most frequent first, and the tolerance that strays need."""
    total, main = values.flat.total(), []
    if not values.colours and max(values.pixels) <= LAST_CLASS:
        return [value for value, _ in values.pixels.most_common()], 0
    few = len(values.pixels) <= _MOST_MAIN_VALUES
    for value, number in values.flat.most_common():
        distance = min((value_distance(value, other, values.colours) for other in main), default=np.inf)
        steady = number >= _LEAST_SHARE * total and number >= _LEAST_FLAT * values.pixels[value]
        if few or (steady and distance > _NEAR):
            main.append(value)
    if len(main) == len(values.pixels):
        return main, 0
    gaps = [value_distance(a, b, values.colours) for a in main for b in main if a < b]
    return main, int(np.ceil(min(gaps, default=2) / 2))
