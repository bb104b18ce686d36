"""Decide which network a study recommends. The report, its figures and `wbcstudy segment` all use this decision.

The recommended network is the cheapest one that is equivalent to the best. The best has the highest validation Dice.
A cheaper network is equivalent if its mean Dice over the validation images differs by less than a margin in every
region; this has to be shown, so that without enough validation images the best network itself is recommended. Test
images have no influence: they only show how good the recommended network is, and how certain the decision is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from wbcstudy.registry import ENCODERS
from wbcstudy.runs.results import Run
from wbcstudy.scoring.case_tables import Groups
from wbcstudy.scoring.selection import (
    TABLE_REGIONS,
    Best,
    comparable_runs,
    drop_absent_regions,
    group_runs,
    rank_pairs,
)
from wbcstudy.scoring.statistics import ALPHA, paired_differences


@dataclass(frozen=True)
class Decision:
    """The recommended network and the reasons.

    Args:
        recommended: the cheapest network that is equivalent to the best, or the best.
        ranked: all networks that compete, by validation Dice, best first.
        margin: largest difference in mean Dice that does not matter.
        work: method -> its cost: multiply-adds per image.
        cheaper: methods with a lower cost than the best, cheapest first.
        equivalent: those of them that are equivalent to the best.
        images: number of validation images with scores; 0 if the runs kept no scores per image.
    """

    recommended: Best
    ranked: tuple[Best, ...]
    margin: float
    work: Mapping[str, float] = field(repr=False)
    cheaper: tuple[str, ...]
    equivalent: tuple[str, ...]
    images: int

    @property
    def best(self) -> Best:
        """The network with the highest validation Dice."""
        return self.ranked[0]

    @property
    def lead(self) -> float:
        """Validation Dice of the best minus that of the next; NaN without another network."""
        return self.best.dice - self.ranked[1].dice if len(self.ranked) > 1 else np.nan


def decide(
    runs: Iterable[Run],
    margin: float = 0.01,
    groups: Groups | None = None,
    regions: Sequence[str] = TABLE_REGIONS,
) -> Decision | None:
    """Choose the network to recommend, by its validation scores and its cost.

    Args:
        runs: runs of one study.
        margin: largest difference in mean Dice that does not matter.
        groups: case id -> slide, patient or laboratory; images of a group count as one.
        regions: regions in each of which networks have to be equivalent.

    Returns:
        None if no comparable run has defined validation scores.
    """
    runs = comparable_runs(runs)
    ranked = rank_pairs(runs, regions)
    if not ranked:
        return None
    costs = multiply_adds(runs)
    work = {pair.method: costs[pair.encoder] for pair in ranked}
    # Of equal validation scores, the cheaper network comes first.
    ranked.sort(key=lambda pair: (-pair.dice, work[pair.method]))
    best = ranked[0]
    # `sorted` keeps the order by validation Dice for equal costs: the losses of one encoder.
    cheaper = [pair for pair in ranked if work[pair.method] < work[best.method]]
    cheaper.sort(key=lambda pair: work[pair.method])
    scores = _read_validation_scores(runs, [best, *cheaper])
    equivalent = find_equivalent(scores, best.method, margin, groups, regions) if len(scores) else set()
    chosen = [pair for pair in cheaper if pair.method in equivalent]
    return Decision(
        recommended=chosen[0] if chosen else best,
        ranked=tuple(ranked),
        margin=margin,
        work=work,
        cheaper=tuple(pair.method for pair in cheaper),
        equivalent=tuple(pair.method for pair in chosen),
        images=scores["case_id"].nunique() if len(scores) else 0,
    )


def multiply_adds(runs: Iterable[Run]) -> dict[str, float]:
    """Return encoder -> multiply-adds for one image of the study's size, the median over its complete runs.

    The number does not depend on the machine. Runs of an earlier version lack it; it then comes from the registry.
    """
    numbers: dict[str, list[float]] = {}
    for run in runs:
        if run.complete:
            known = ENCODERS[run.config.encoder].multiply_adds_per_px * run.config.image_size**2
            numbers.setdefault(run.config.encoder, []).append(run.record.get("multiply_adds") or known)
    return {encoder: float(np.median(values)) for encoder, values in numbers.items()}


def _read_validation_scores(runs: Iterable[Run], pairs: Sequence[Best]) -> pd.DataFrame:
    """Read the scores per validation image of some networks; empty if a run of the first network lacks them."""
    groups = group_runs(runs)
    frames: list[pd.DataFrame] = []
    for pair in pairs:
        parts = [run.validation_scores for run in groups[pair.pair]]
        if all(part is not None for part in parts):
            frames += parts
        elif pair == pairs[0]:
            break
    return drop_absent_regions(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()


def find_equivalent(
    scores: pd.DataFrame,
    best: str,
    margin: float,
    groups: Groups | None = None,
    regions: Sequence[str] = TABLE_REGIONS,
) -> set[str]:
    """Return the methods whose mean Dice differs from that of the best by less than the margin in every region.

    Two one-sided t tests per region, with the standard errors of `paired_differences`. All regions have to pass, which
    needs no adjustment (intersection-union test). The methods are adjusted by Holm's procedure: the probability that
    any method is wrongly called equivalent is at most 5 %.

    Args:
        scores: rows as `score_masks` makes them, of the best and of the methods to test.
        best: method to compare with.
        margin: largest difference that does not matter.
        groups: case id -> group, where cases are not independent.
        regions: regions in each of which methods have to be equivalent; those without scores are ignored.

    Source:
        Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680; Berger, Hsu (1996), Statistical
        Science 11, 283-319; Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    methods = list(dict.fromkeys(scores["run"].str.partition("__fold")[0]))
    planned = [(best, method) for method in methods if method != best]
    present = [region for region in regions if (scores["region"] == region).any()]
    return equivalent_to(paired_differences(scores, present, groups=groups, planned=planned), best, margin)


def equivalent_to(pairs: pd.DataFrame, best: str, margin: float) -> set[str]:
    """Return the methods that are equivalent to one in every region, see `find_equivalent`.

    Args:
        pairs: rows of `paired_differences`.
        best: method to compare with.
        margin: largest difference that does not matter.
    """
    from scipy.stats import t

    pairs = pairs[(pairs["method_a"] == best) | (pairs["method_b"] == best)]
    difference, se, df = (pairs[name].to_numpy(dtype=float) for name in ("difference", "se", "df"))
    room = margin - np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of the two tests, the one of the nearer end of the margin has the larger p. Without any spread it is certain.
        p = np.where(se > 0, t.sf(room / se, df), np.where(room > 0, 0.0, 1.0))
    # Too few images for a test.
    p = np.where(np.isnan(se), 1.0, p)
    other = pairs["method_a"].where(pairs["method_a"] != best, pairs["method_b"])
    largest = pd.Series(p, index=other).groupby(level=0).max().sort_values(kind="stable")
    steps = largest * np.arange(len(largest), 0, -1)
    return set(steps.index[steps.cummax() < ALPHA])
