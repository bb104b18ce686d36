"""How many test images and seeds a study needs to detect a difference: `wbcstudy plan`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wbcstudy.config import StudyConfig
from wbcstudy.data.datasets import load_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.power import Spread, detectable_difference, estimate_spread, needed_images
from wbcstudy.scoring.selection import TABLE_REGIONS, comparable_runs, group_runs, read_scores
from wbcstudy.scoring.statistics import FEWEST_UNITS
from wbcstudy.study.plan import read_plan
from wbcstudy.wording import count, number_range

# Measured on 20 test images of Dataset 2: `estimate_spread` of the runs of vgg16_scratch, vgg16_hed and
# vgg16_hed_frozen in outputs/reference/, three seeds each. For the nucleus the estimate of `seeds` was 0, which is too
# good to plan with: that of the cytoplasm is used.
REFERENCE_SPREAD = {
    "nucleus": Spread(0.0138, 0.0019, 0.0147, units=20),
    "cytoplasm": Spread(0.0329, 0.0019, 0.0178, units=20),
}
_SEEDS = (1, 3, 5, 10)


@dataclass(frozen=True)
class SampleSize:
    """What a study needs to detect a difference, and what it can detect now.

    Args:
        difference: the wished difference in mean Dice.
        methods: number of pairs of encoder and loss.
        comparisons: number of comparisons of all regions together, which share the error rate of 5 %.
        planned: whether only planned comparisons count.
        needed: number of seeds -> region -> test images; None where no number is enough.
        seeds: number of seeds in the settings.
        images: number of test images (or groups of them) of the study; None if it is unknown.
        detectable: region -> difference that the study detects with these images and seeds; empty if unknown.
        share: share of all images that are test images.
        source: where the spread comes from.
    """

    difference: float
    methods: int
    comparisons: int
    planned: bool
    needed: Mapping[int, Mapping[str, int | None]]
    seeds: int
    images: int | None
    detectable: Mapping[str, float]
    share: float
    source: str

    def lines(self) -> list[str]:
        """Return a small table with its explanation, one line each."""
        kind = "planned" if self.planned else "all pairs"
        regions = list(next(iter(self.needed.values())))
        rows = [["seeds", *(f"test images, {region}" for region in regions), "images in all", ""]]
        for seeds, images in self.needed.items():
            known = [number for number in images.values() if number is not None]
            total = f"{math.ceil(max(known) / self.share)}" if len(known) == len(images) else "-"
            note = "about these trained networks only" if seeds == 1 else ""
            rows.append(
                [str(seeds), *("-" if number is None else f"{number}" for number in images.values()), total, note]
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines = [
            f"To detect a difference of {self.difference:g} in mean Dice with a power of 80 %, at an error rate of 5 %",
            f"over {count(self.comparisons, 'comparison')} ({count(self.methods, 'network')}, {kind}, "
            f"{count(len(regions), 'region')}):",
            "",
            *table,
            "",
        ]
        if any(number is None for images in self.needed.values() for number in images.values()):
            lines.append("-: no number of images is enough, since the scores vary too much between seeds.")
        if self.detectable:
            detected = ", ".join(f"{value:.3f} ({region})" for region, value in self.detectable.items())
            lines.append(
                f"This study: {count(self.images, 'test image')}, {count(self.seeds, 'seed')}. It detects {detected}."
            )
        return [*lines, f"Spread of the scores: {self.source}."]


def plan_sample_size(source: str | Path, difference: float | None = None) -> SampleSize:
    """Compute how many test images and seeds a study needs.

    The spread of the scores comes from the study's finished runs, or else from `REFERENCE_SPREAD`. With one seed, the
    study's own spread lacks the part between seeds, which then is that of the reference.

    Args:
        source: file, folder or name of the study.
        difference: the wished difference in mean Dice, 0-1; the study's `equivalence_margin` if None.

    Raises:
        StudyError: the file cannot be used, it has fewer than two networks, or the difference is out of range.
    """
    study = read_plan(source).study
    difference = study.equivalence_margin if difference is None else difference
    if not 0 < difference < 1:
        raise StudyError(
            f"--difference {difference:g} cannot be used.",
            expected="a difference in mean Dice between 0 and 1",
            fix="For example: --difference 0.01",
        )
    methods = len(study.encoders) * len(study.losses)
    if methods < 2:
        raise StudyError(
            f"{source} has {count(methods, 'network')}, so there is nothing to compare.",
            expected="at least two encoders or losses",
            fix=f"Add an encoder or a loss in {source}.",
        )
    planned = study.compare_with != "none"
    comparisons = len(TABLE_REGIONS) * (methods - 1 if planned else math.comb(methods, 2))
    folder = StudyFolder.of(study.name)
    runs = comparable_runs(load_runs(folder, [run.name for run in study.runs()])) if folder.path.is_dir() else []
    groups, images = _read_images(study, folder)
    spread, described = _choose_spread(runs, groups)
    options = (methods, comparisons)
    return SampleSize(
        difference=difference,
        methods=methods,
        comparisons=comparisons,
        planned=planned,
        needed={
            seeds: {region: _needed_images(spread[region], difference, seeds, *options) for region in spread}
            for seeds in _SEEDS
        },
        seeds=len(study.seeds),
        images=images,
        detectable={
            region: detectable_difference(spread[region], images, len(study.seeds), *options) for region in spread
        }
        if images and images > 1
        else {},
        share=1.0 if study.folds > 1 else study.test_fraction,
        source=described,
    )


def _needed_images(spread: Spread, difference: float, *options: int) -> int | None:
    number = needed_images(spread, difference, *options)
    # With fewer, nothing is tested.
    return None if number is None else max(number, FEWEST_UNITS)


def _read_images(study: StudyConfig, folder: StudyFolder) -> tuple[Groups, int | None]:
    """Return the groups of the cases, and the number of independent test images; None where both are unknown."""
    try:
        dataset = load_dataset(study.dataset)
    except StudyError:
        return {}, None
    split = read_json(folder.split) or {}
    tested = {case for fold in split.get("folds", ()) for case in fold["test"]}
    groups = dataset.groups
    if tested:
        return groups, len({groups.get(case, case) for case in tested})
    number = len({groups.get(case.case_id, case.case_id) for case in dataset.cases})
    return groups, number if study.folds > 1 else round(number * study.test_fraction)


def _choose_spread(runs: Iterable[Run], groups: Groups) -> tuple[dict[str, Spread], str]:
    """Return the spread per region and where it comes from."""
    runs = list(runs)
    reference = "20 test images of Dataset 2, VGG-16, three seeds (this study has no finished runs to take it from)"
    if len(group_runs(runs)) < 2:
        return REFERENCE_SPREAD, reference
    scores = read_scores(runs)
    own = {region: estimate_spread(scores, region, groups=groups) for region in TABLE_REGIONS}
    if any(math.isnan(spread.cases) for spread in own.values()):
        return REFERENCE_SPREAD, reference
    source = f"{len(runs)} finished runs of this study"
    if all(math.isnan(spread.seeds) for spread in own.values()):
        own = {region: _add_seeds(spread, REFERENCE_SPREAD[region]) for region, spread in own.items()}
        seeds = number_range(*sorted(spread.seeds for spread in REFERENCE_SPREAD.values()), digits=3)
        source += f"; between seeds {seeds}, from VGG-16 on Dataset 2, because this study has one seed"
    return own, source


def _add_seeds(spread: Spread, reference: Spread) -> Spread:
    """Add the reference's spread between seeds to that of a study with one seed, whose `cases` hold a part of it."""
    residual = min(reference.residual, spread.cases / math.sqrt(2))
    return Spread(math.sqrt(max(0.0, spread.cases**2 - 2 * residual**2)), reference.seeds, residual, spread.units)
