"""Judge the stray pixels of all masks of a dataset by their share, value and place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from wbcstudy.data.findings import Finding
from wbcstudy.data.mask_values import enough_tolerance, has_class_numbers, number_ranges
from wbcstudy.data.masks import ReadMask
from wbcstudy.data.spec import DatasetSpec
from wbcstudy.data.unlisted import list_values
from wbcstudy.labels import IGNORED, LABELS
from wbcstudy.wording import count, join_words

# Above this share of a label's pixels, a false rim changes what networks learn.
_MOST_RIM = 0.05
# Above this share of all pixels, stray pixels are more than blurred borders of few pixels.
_MANY = 0.05


@dataclass
class MaskChecks:
    """What the masks of a dataset have in common.

    Args:
        spec: the dataset's description.
        paths: masks with stray pixels.
        strays: value -> stray pixels in all masks.
        rims: label name -> pixels of false rims.
        pixels: label -> pixels, in masks with stray pixels.
        ignored: pixels without label, and of all masks.
    """

    spec: DatasetSpec
    paths: list[Path] = field(default_factory=list)
    strays: Counter[str] = field(default_factory=Counter)
    rims: Counter[str] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    ignored: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, path: Path, mask: ReadMask) -> None:
        """Add a mask."""
        self.ignored[0] += int((mask.labels == IGNORED).sum())
        self.ignored[1] += mask.labels.size
        if mask.strays:
            self.paths.append(path)
            self.strays += mask.strays
            self.rims += mask.rims
            self.pixels.update(dict(enumerate(np.bincount(mask.labels.ravel()).tolist())))

    def errors(self) -> list[Finding]:
        """Return one error for each label that has false rims of many pixels."""
        return [self._rim(name) for name in self.rims if self._rim_share(name) > _MOST_RIM]

    def warnings(self) -> list[Finding]:
        """Return a warning about all stray pixels, one for each label with few rims, and one about ignored pixels."""
        findings = [self._rim(name) for name in self.rims if self._rim_share(name) <= _MOST_RIM]
        if self.strays:
            findings.append(self._strays())
        if self.ignored[0] > self.ignored[1] / 2:
            share = self.ignored[0] / self.ignored[1]
            message = f"{share:.0%} of all mask pixels are ignored, and neither train nor score."
            findings.append(Finding(message, "Check the values under `ignore` in dataset.yaml."))
        return findings

    def _strays(self) -> Finding:
        share = self.strays.total() / self.pixels.total()
        message = (
            f"{_names(self.paths)}: {count(self.strays.total(), 'stray pixel')} ({share:.1%} of "
            f"{'its' if len(self.paths) == 1 else 'their'} pixels) get the label of the nearest value. "
            f"Values: {list_values(self.strays)}."
        )
        if has_class_numbers(self.spec):
            fix = (
                "These masks have class numbers, whose distance means nothing: set `tolerance: 0`, and list each value."
            )
        elif share > _MANY:
            fix = "These are more than blurred borders: list the frequent values under `labels` or `ignore`."
        else:
            fix = "If they are blurred borders, ignore this. Otherwise list the frequent values in dataset.yaml."
        enough = enough_tolerance(self.spec)
        if self.spec.tolerance > enough:
            fix += f" `tolerance: {enough}` is enough, half the gap between the labels; more hides other values."
        return Finding(message, fix)

    def _rim_share(self, name: str) -> float:
        return self.rims[name] / max(1, self.pixels[LABELS[name]])

    def _rim(self, name: str) -> Finding:
        others = join_words([other for other in LABELS if other != name])
        message = (
            f"{_names(self.paths)}: a false rim of {name} appears where only {others} are: {self.rims[name]} px, "
            f"{self._rim_share(name):.1%} of all {name}. The masks are anti-aliased: a border between two labels has "
            f"the value of a third. {self.strays.total() / self.pixels.total():.1%} of the pixels are stray."
        )
        fix = (
            "Export the masks without anti-aliasing, and resize masks by nearest neighbour. If that is impossible, "
            f"list the values between the labels in dataset.yaml: {_between(self.spec)}. Borders then neither train "
            "nor score."
        )
        return Finding(message, fix)


def _names(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} masks ({join_words([p.name for p in paths], most=5)})"


def _between(spec: DatasetSpec) -> str:
    """Return the ranges of numbers between the listed ones, as dataset.yaml lists them."""
    if spec.uses_colours:
        return "ignore: ['#808080']"
    ranges = number_ranges(spec)
    gaps = [(before[1] + 1, after[0] - 1) for before, after in pairwise(ranges)]
    return f"`ignore: [{', '.join(f'{low}-{high}' for low, high in gaps if low <= high)}]`"
