"""The runs of a study beside one another: computed once, then told in words, tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.reporting.layout import Layout
from wbcstudy.reporting.render import write_table
from wbcstudy.reporting.run_tables import (
    CURVE_TITLES,
    layout_calibration,
    layout_costs,
    list_devices,
    make_calibration,
    make_costs,
    read_curves,
)
from wbcstudy.reporting.statistics_tables import layout_cell_types, layout_ranks, make_cell_types, make_ranks
from wbcstudy.reporting.tables import TABLE_REGIONS, Best, pick_best, read_scores, whole_runs
from wbcstudy.runs import Run, StudyFolder
from wbcstudy.scoring.methods import Groups, case_table, method_title
from wbcstudy.scoring.ranks import friedman_nemenyi
from wbcstudy.scoring.verdict import Comparison, compare_methods, describe, span_words

if TYPE_CHECKING:
    from wbcstudy.reporting.canvas import StudyFigure

ALPHA = 0.05
# Cost in a table -> as an axis says it. The first that all methods have is drawn.
_COST_AXES = {
    "seconds_per_image": "seconds per image",
    "multiply_adds": "multiply-adds per image",
    "parameters": "parameters",
}
# What says how heavy a network is, the surest first -> as a sentence has it. Runs of an earlier version lack the first.
_WORK = {"multiply_adds": "arithmetic", "seconds_per_image": "time for an image"}


@dataclass(frozen=True)
class StudyComparison:
    """Who is better than whom in a study, by the test images.

    Args:
        best: encoder and loss that were chosen on the validation images; None where no run has scores.
        regions: region -> comparison of all methods; without regions that have no score.
        scores: of all complete runs that can be compared (`tables.whole_runs`).
        groups: case id -> group, of the cases that have one.
        costs: as `run_tables.make_costs` makes it.
        timed: whether times can be held against each other: all ran on one kind of machine, with one kind of numbers.
    """

    best: Best | None
    regions: Mapping[str, Comparison]
    scores: pd.DataFrame = field(repr=False)
    groups: Groups = field(repr=False)
    costs: pd.DataFrame = field(repr=False)
    timed: bool = True

    @property
    def chosen(self) -> str | None:
        """The best pair as a method: `resnet18__dice`."""
        return f"{self.best.encoder}__{self.best.loss}" if self.best else None

    @property
    def several(self) -> bool:
        """Whether there is anything to compare."""
        return any(len(found.order) > 1 for found in self.regions.values())


def compare_runs(runs: Iterable[Run], groups: Groups | None = None) -> StudyComparison:
    """Compare all encoders and losses of a study, per region, on the test images.

    Args:
        runs: finished and failed runs; the failed are left out, and with them what has not all folds.
        groups: case id -> slide, patient or laboratory (`Dataset.groups`); images of one group count as one.
    """
    runs = list(runs)
    scores = read_scores(whole_runs(runs))
    found = {}
    for region in TABLE_REGIONS if len(scores) else ():
        one = compare_methods(scores, region, "dice", ALPHA, groups=groups)
        if one.leader is not None:
            found[region] = one
    done = [run for run in runs if run.complete]
    places = {(run.record.get("device"), run.record.get("arithmetic") or run.config.precision) for run in done}
    costs = make_costs(runs)
    return StudyComparison(pick_best(runs), found, scores, dict(groups or {}), costs, timed=len(places) < 2)


def _comparable(names: Mapping[str, str], comparison: StudyComparison) -> list[str]:
    """Of kinds of cost, those that are not of a machine where there are several."""
    return [name for name in names if comparison.timed or name != "seconds_per_image"]


class Certainty(NamedTuple):
    """How sure a study's answer is, in words. All empty where there is one method or none.

    Args:
        headline: the one sentence to remember.
        more: sentences behind it.
        regions: (region, what the test images say of the chosen method there).
        verdicts: (region, the same for all methods, in full), see `scoring.verdict`.
    """

    headline: str = ""
    more: tuple[str, ...] = ()
    regions: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()

    def sentences(self) -> list[str]:
        """All of it as paragraphs."""
        told = [" ".join([self.headline, *self.more])] if self.headline else ["There is nothing to compare."]
        return told + [f"{region.capitalize()}: {words}" for region, words in (*self.regions, *self.verdicts)]


def tell_certainty(comparison: StudyComparison) -> Certainty:
    """How sure the choice is, for a reader without statistics.

    Args:
        comparison: of the study.
    """
    if not comparison.several or comparison.chosen is None:
        return Certainty()
    found = comparison.regions
    verdicts = tuple((region, describe(one)) for region, one in found.items())
    if not any(one.pairs["p_holm"].notna().any() for one in found.values()):
        units = min(one.units for one in found.values())
        grouped = any(one.units != one.cases for one in found.values())
        s, are = ("", "is") if units == 1 else ("s", "are")
        what = f"group{s} of test images (slide or patient)" if grouped else f"test image{s}"
        more = ("Images of one slide or patient are alike, so they count as one.",) if grouped else ()
        more += ("More of them would tell, or “folds: 5” in the study's file, by which every image is tested once.",)
        return Certainty(f"Nobody can say yet: {units} {what} {are} too few to tell any two apart.", more, (), verdicts)
    standing = {region: _standing(one.pairs, comparison.chosen) for region, one in found.items()}
    regions = tuple(
        (region, _place(*standing[region], _detectable(one, comparison.chosen))) for region, one in found.items()
    )
    # "Choose with care" names others than those that cannot be told apart, of which this speaks.
    beaten = any(better for better, _, _ in standing.values())
    cheaper = [] if beaten else _cheaper(comparison, [part[2] for part in standing.values()])
    more = (*cheaper, *_seeds(comparison), _independent(comparison))
    return Certainty(_headline(standing), more, regions, verdicts)


def _independent(comparison: StudyComparison) -> str:
    """What was counted as independent."""
    one = max(comparison.regions.values(), key=lambda one: one.cases)
    if one.units < one.cases:
        return f"Images of one slide or patient count as one: {one.units} for {one.cases} test images."
    if comparison.groups:
        return f"The {one.cases} test images are of as many slides or patients."
    return (
        f"Each of the {one.cases} test images counts by itself. Where several are of one patient, the column “group” "
        "of cases.csv should say so, or all this looks surer than it is."
    )


def _headline(standing: Mapping[str, tuple[list[str], list[str], list[str]]]) -> str:
    better = list(dict.fromkeys(method for part in standing.values() for method in part[0]))
    undecided = {method for part in standing.values() for method in part[2]}
    others = sum(map(len, next(iter(standing.values()))))
    if better:
        names = _some([method_title(method) for method in better])
        was = "was" if len(better) == 1 else "were"
        return f"Choose with care: on the test images {names} {was} better than it by more than chance."
    if not undecided:
        return f"Quite sure, for images like these: it is better than {_others(others, others)}, by more than chance."
    if others == 1:
        (other,) = undecided
        clear = [region for region, (_, worse, _) in standing.items() if worse]
        open_ = [region for region in standing if region not in clear]
        if clear:
            better, alike = " and the ".join(clear), " and the ".join(open_)
            return (
                f"It is better than {method_title(other)} for the {better}, by more than chance; for the {alike} these "
                "images cannot tell the two apart."
            )
        return f"Not sure that it is better than {method_title(other)}: these images cannot tell the two apart."
    # What is worse in one region may not be as good, whatever the others say.
    alike = undecided - {method for part in standing.values() for method in part[1]}
    if not alike:
        return (
            f"Quite sure, for images like these: none is better by more than chance, and each of the {others} others "
            f"is worse by more than chance for the {' or the '.join(standing)}."
        )
    more = "another" if len(alike) == 1 else f"{len(alike)} others"
    return (
        f"It is among the best, but not surely the best: none is better by more than chance, and {more} may be as good."
    )


def _detectable(found: Comparison, method: str) -> tuple[float, float]:
    return found.detectable_from(method, [other for other in found.order if other != method])


def _place(better: list[str], worse: list[str], undecided: list[str], detectable: tuple[float, float]) -> str:
    """Where the chosen method stands in one region."""
    total, parts = len(better) + len(worse) + len(undecided), []
    for words, methods in (("better than", worse), ("not told apart from", undecided), ("worse than", better)):
        if methods:
            # "2 of the 7 others" once; then the number says enough.
            others = len(methods) if parts else _others(len(methods), total)
            if methods is undecided and len(methods) == total > 1:
                others = f"any of the {total} others"
            parts.append(f"{words} {others}")
    words = ", ".join(parts)
    words = f"{words[:1].upper()}{words[1:]}."
    if np.isfinite(detectable[1]):
        told = span_words(*detectable).rstrip(",")
        words += f" The smallest difference in Dice that these images could well have shown is {told}."
    return words


def _others(number: int, total: int) -> str:
    if number == total:
        return "the other one" if total == 1 else f"all {total} others"
    return f"{number} of the {total} others"


def _seeds(comparison: StudyComparison) -> list[str]:
    found = comparison.regions.values()
    if max(one.most_trainings for one in found) <= 1:
        return ["Each was trained with one seed only, so another training could change this."]
    said = []
    if min(one.trainings for one in found) <= 1:
        said.append("Some were trained with one seed only, so another training of these could change this.")
    spreads = [one.sd_seeds for one in found if np.isfinite(one.sd_seeds)]
    if spreads:
        said.append(
            "From seed to seed the mean Dice over all test images had a standard deviation of up to about "
            f"{max(spreads):.3f}."
        )
    return said


def _standing(pairs: pd.DataFrame, method: str) -> tuple[list[str], list[str], list[str]]:
    """The methods that are better than one, worse than it, and not told apart from it."""
    better, worse, undecided = [], [], []
    for row in pairs.itertuples():
        if method in (row.method_a, row.method_b):
            other = row.method_b if row.method_a == method else row.method_a
            (undecided if not row.p_holm < ALPHA else worse if row.better == method else better).append(other)
    return better, worse, undecided


def _cheaper(comparison: StudyComparison, undecided: Sequence[list[str]]) -> list[str]:
    """The method with clearly less work that no region tells apart from the chosen one."""
    alike = [method for method in undecided[0] if all(method in part for part in undecided)]
    costs = comparison.costs.set_index("encoder").reindex(
        [comparison.best.encoder, *(_encoder(name) for name in alike)]
    )
    # Of all, since one whose work is unknown may be the lightest.
    known = next((name for name in _comparable(_WORK, comparison) if costs[name].gt(0).all()), None)
    if known is None:
        return []
    own, *each = costs[known]
    shares = {method: value / own for method, value in zip(alike, each, strict=True) if value <= 0.8 * own}
    if not shares:
        return []
    lightest = min(shares, key=shares.get)
    part = f"{100 * shares[lightest]:.0f} %"
    if len(alike) == 1:
        return [f"{method_title(lightest)} is lighter: it takes {part} of the {_WORK[known]}."]
    return [f"The lightest of these is {method_title(lightest)}, with {part} of its {_WORK[known]}."]


def _encoder(method: str) -> str:
    return method.partition("__")[0]


def _some(words: list[str]) -> str:
    shown = words if len(words) <= 3 else [*words[:2], f"{len(words) - 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def make_comparison_tables(runs: Iterable[Run], comparison: StudyComparison) -> dict[str, tuple[pd.DataFrame, Layout]]:
    """The tables of the comparison that have something to say, each as its tidy frame and its layout.

    Args:
        runs: finished and failed runs.
        comparison: of these.

    Returns:
        "ranks" (Table 4, for two methods or more), "cell_types" (5; all methods in the frame, the chosen one in the
        layout), "costs" (6), "calibration" (7).
    """
    runs, made = list(runs), {}
    if comparison.several:
        ranks = make_ranks(comparison.scores, alpha=ALPHA, groups=comparison.groups)
        made["ranks"] = ranks, layout_ranks(ranks, _group_note(comparison))
    if len(comparison.scores):
        types = make_cell_types(comparison.scores, groups=comparison.groups)
        made["cell_types"] = types, layout_cell_types(types[types["method"] == comparison.chosen])
    devices = list_devices(runs)
    ran = [f"Computed on {'; '.join(devices)}."] if devices else []
    ran += [] if comparison.timed else ["Encoders were not all computed alike, so their times cannot be compared."]
    made["costs"] = comparison.costs, layout_costs(comparison.costs, ran)
    calibration = make_calibration(runs)
    made["calibration"] = calibration, layout_calibration(calibration)
    return {name: (frame, layout) for name, (frame, layout) in made.items() if layout.rows}


def make_comparison_figures(runs: Iterable[Run], comparison: StudyComparison) -> dict[str, StudyFigure]:
    """The figures of the comparison that have something to show: file stem -> figure.

    Args:
        runs: finished and failed runs.
        comparison: of these.

    Returns:
        "ranks", "differences_<region>", "calibration", "cost_quality".
    """
    # The page needs the words and tables only, and matplotlib takes a second.
    from wbcstudy.reporting.statistics_figures import fig_cost_quality, fig_differences, fig_ranks, fig_reliability

    figures = {}
    if comparison.several:
        tests = {
            region: friedman_nemenyi(comparison.scores, region, "dice", ALPHA, groups=comparison.groups)
            for region in comparison.regions
        }
        if any(len(test.mean_ranks) > 1 and test.n > 1 for test in tests.values()):
            figures["ranks"] = fig_ranks(tests, "groups of images" if _group_note(comparison) else "images")
        for region, found in comparison.regions.items():
            figures[f"differences_{region}"] = fig_differences(found.pairs, region, found.order, ALPHA)
    chosen = [run for run in runs if f"{run.config.encoder}__{run.config.loss}" == comparison.chosen]
    curves = read_curves(chosen)
    if curves:
        figures["calibration"] = fig_reliability({CURVE_TITLES.get(name, name): one for name, one in curves.items()})
    if comparison.several:
        methods, cost, quality, label = _cost_quality(comparison)
        if methods:
            figures["cost_quality"] = fig_cost_quality(
                methods, cost, quality, label, "mean Dice, nucleus and cytoplasm", comparison.chosen
            )
    return figures


def write_comparison(study: StudyFolder, runs: Iterable[Run], comparison: StudyComparison) -> dict[str, StudyFigure]:
    """Write the tables and figures of the comparison into the study's folder, and return the figures.

    Args:
        study: where.
        runs: finished and failed runs.
        comparison: of these.
    """
    from wbcstudy.reporting.canvas import write_figure

    runs = list(runs)
    for frame, layout in make_comparison_tables(runs, comparison).values():
        write_table(frame, layout, study.tables)
    figures = make_comparison_figures(runs, comparison)
    for stem, figure in figures.items():
        write_figure(figure, study.figures, stem)
    return figures


def _cost_quality(comparison: StudyComparison) -> tuple[list[str], list[float], list[float], str]:
    costs = comparison.costs.set_index("encoder")
    tables = [case_table(comparison.scores, region) for region in comparison.regions]
    quality = pd.concat([table.dropna().mean() for table in tables], axis=1).mean(axis=1, skipna=False).dropna()
    encoders = [_encoder(method) for method in quality.index]
    for name in _comparable(_COST_AXES, comparison):
        known = costs[name].reindex(encoders).to_numpy(dtype=float)
        if len(known) and not np.isnan(known).any():
            return list(quality.index), known.tolist(), quality.tolist(), _COST_AXES[name]
    return [], [], [], ""


def _group_note(comparison: StudyComparison) -> list[str]:
    grouped = any(found.units != found.cases for found in comparison.regions.values())
    units = min((found.units for found in comparison.regions.values()), default=0)
    return [f"Images of one group (slide, patient) count as one: {units} groups."] if grouped else []
