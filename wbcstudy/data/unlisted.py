"""The error for mask values that dataset.yaml does not list: one for all masks, with the lines to paste."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wbcstudy.data.mask_values import enough_tolerance, has_class_numbers, has_colours
from wbcstudy.errors import StudyError
from wbcstudy.wording import count, join_words

if TYPE_CHECKING:
    from wbcstudy.data.spec import DatasetSpec

# More unlisted values than this in one mask are noise, fewer may be labels of their own.
_FEW_VALUES = 4
_MOST_VALUES = 6
_MOST_NAMES = 5
# Values in a line to paste.
_MOST_PASTED = 40


@dataclass(frozen=True)
class UnlistedValues:
    """The unlisted values of one mask.

    Args:
        path: the mask.
        row: row of the first such pixel, from 0.
        column: its column.
        value: its value as dataset.yaml would list it, with a note on palettes.
        counts: value -> pixels, of all unlisted values.
        pixels: number of pixels of the mask.
        indices: whether the values are palette indices.
        colours: whether the mask has colours, while the listed values are numbers.
    """

    path: Path
    row: int
    column: int
    value: str
    counts: Counter[str]
    pixels: int
    indices: bool = False
    colours: bool = False


class UnlistedValuesError(StudyError):
    """One or more masks have values that dataset.yaml does not list.

    Args:
        masks: the unlisted values of each mask, of one `kind`.
        spec: the dataset's `labels`, `ignore` and `tolerance`.
    """

    def __init__(self, masks: Sequence[UnlistedValues], spec: DatasetSpec) -> None:
        self.masks, self.spec = tuple(sorted(masks, key=lambda mask: mask.path)), spec
        self.counts: Counter[str] = sum((mask.counts for mask in masks), Counter())
        super().__init__(self._describe(), expected=self._accepted(), fix=self._advise())

    def __reduce__(self):
        return type(self), (self.masks, self.spec)

    @property
    def kind(self) -> str:
        """What the values seem to be: "colours" where numbers are listed, "blurred" borders, or "values"."""
        first = self.masks[0]
        if first.colours:
            return "colours"
        few = first.indices or has_class_numbers(self.spec) or len(first.counts) <= _FEW_VALUES
        return "values" if few else "blurred"

    def _describe(self) -> str:
        first, *others = self.masks
        has = "colours" if self.kind == "colours" else "values that are not listed under `labels`"
        position = f"at row {first.row}, column {first.column}"
        if others:
            names = join_words([mask.path.name for mask in self.masks], most=_MOST_NAMES)
            numbers = Counter(value for mask in self.masks for value in mask.counts)
            frequent = self.counts.most_common(_MOST_VALUES)
            listed = ", ".join(f"{value} ({n} px in {count(numbers[value], 'mask')})" for value, n in frequent)
            more = ", ..." if len(numbers) > len(frequent) else ""
            return (
                f"{len(self.masks)} masks have {has} ({names}): {listed}{more}. "
                f"For example, {first.path} has {first.value} {position}."
            )
        if self.kind == "colours":
            return f"Mask {first.path} has colours: {first.value} {position}. All colours: {list_values(self.counts)}."
        return (
            f"Mask {first.path} has the value {first.value} {position}, which is not listed under `labels`. "
            f"Unlisted values: {list_values(self.counts)}."
        )

    def _accepted(self) -> str:
        if self.kind == "colours":
            return "grey levels, since the labels in dataset.yaml are numbers"
        values = self.spec.labels.items()
        listed = "; ".join(f"{label}: {', '.join(map(str, label_values))}" for label, label_values in values)
        if self.spec.tolerance and not self.masks[0].indices:
            return f"values within {self.spec.tolerance:g} of {listed}"
        return f"only {listed}"

    def _advise(self) -> str:
        if self.kind == "colours":
            colours = ", ".join(value for value, _ in self.counts.most_common(_MOST_PASTED))
            return (
                "Give the labels in dataset.yaml as colours, each in quotes, for example `nucleus: "
                f"{self.counts.most_common()[-1][0]}`. The masks have: {colours}."
            )
        enough = enough_tolerance(self.spec)
        if self.kind == "blurred":
            share = self.counts.total() / sum(mask.pixels for mask in self.masks)
            return (
                f"{len(self.counts)} values in {share:.1%} of the pixels look like blurred borders. Export the masks "
                f"without anti-aliasing and not as JPEG. If that is impossible, set `tolerance: {enough}`, half the "
                "gap between the labels, to give them the nearest label."
            )
        values = [value for value, _ in self.counts.most_common()]
        one = len(values) == 1
        fix = (
            f"Add {values[0] if one else 'each value'} to its label under `labels` in dataset.yaml, or to `ignore` if "
            f"it marks a border or an area without label: `ignore: [{', '.join(self._ignored(values))}]`"
        )
        if self.masks[0].indices or has_class_numbers(self.spec):
            fix += ". A tolerance would not help: the distance between class numbers means nothing."
            if len(values) > _FEW_VALUES and not self.masks[0].indices:
                fix += (
                    " If the masks number the cells (1, 2, 3, ...), write `instances` for the label of the cells: "
                    "`labels: {background: 0, cytoplasm: none, nucleus: instances}`."
                )
            return fix
        return (
            f"{fix}. If {'it is a blurred border' if one else 'they are blurred borders'}, `tolerance` gives "
            f"{'it' if one else 'them'} the nearest label: {enough}, half the gap between the labels, or less."
        )

    def _ignored(self, values: Iterable[str]) -> list[str]:
        """Return the values of a line `ignore` that has these values too; consecutive numbers as ranges."""
        before = [f"'{value}'" if str(value).startswith("#") else str(value) for value in self.spec.ignore]
        if has_colours(self.spec.labels):
            return [*before, *values][:_MOST_PASTED]
        ranges: list[list[int]] = []
        for number in sorted(map(int, values)):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return [*before, *(str(low) if low == high else f"{low}-{high}" for low, high in ranges)][:_MOST_PASTED]


def merge_unlisted(errors: Sequence[UnlistedValuesError]) -> list[UnlistedValuesError]:
    """Return one error for all masks of each kind, in the order of the first of each."""
    kinds: dict[str, list[UnlistedValuesError]] = {}
    for error in errors:
        kinds.setdefault(error.kind, []).append(error)
    return [
        UnlistedValuesError([mask for error in same for mask in error.masks], same[0].spec) for same in kinds.values()
    ]


def list_values(counts: Counter[str]) -> str:
    """Return the most frequent values with their numbers of pixels."""
    frequent = counts.most_common(_MOST_VALUES)
    return ", ".join(f"{key} ({n} px)" for key, n in frequent) + (", ..." if len(counts) > len(frequent) else "")
