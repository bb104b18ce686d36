"""How sure the choice is, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from wbcstudy.registry import method_title, varying_part
from wbcstudy.scoring.comparison import ALPHA, Comparison, pair_row

if TYPE_CHECKING:
    from wbcstudy.reporting.comparison import StudyComparison

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


# More names than this do not read as a sentence; the rank table has them all.
_MOST_NAMES = 6


def describe(found: Comparison, column: str = "dice") -> str:
    """The words of `verdict` for a comparison.

    Args:
        found: as `compare_methods` makes it.
        column: the ratio, as it is to be named.
    """
    kind = varying_part(found.order)
    many = f"{kind}es" if kind == "loss" else f"{kind}s"
    score = f"{found.region} {'Dice' if column == 'dice' else column}"
    images = _images(found)
    if found.leader is None:
        return f"No {score} was measured, so there is nothing to compare."
    if len(found.order) == 1:
        return f"Only one method was measured ({method_title(found.leader)}), so there is nothing to compare."
    if np.isinf(found.seen[0]) and not found.beaten:
        are = "is" if found.cases == 1 else "are"
        return (
            f"{_capital(images)} {are} too few to compare {_number(len(found.order))} {many}: no difference in "
            f"{score}, however large, could be told from chance. That does not mean that there is none."
        )
    if found.undecided:
        sentences = [_undecided(found, kind, many, score, images), _unseen(found, kind), *_ahead(found, kind)]
    else:
        sentences = [_decided(found, kind, many, score, images), _seen(found)]
    return " ".join([*sentences, *_seed_sentences(found, kind, score)])


def _undecided(found: Comparison, kind: str, many: str, score: str, images: str) -> str:
    together = [method for method in found.order if method == found.leader or method in found.undecided]
    count = len(together)
    leader, names = _capital(method_title(found.leader, kind)), _names(together, kind, many)
    if not found.all_undecided:
        others = _names(found.undecided, kind, many)
        return f"{leader} leads by {score}, but {others} cannot be told apart from it on {images}."
    if count == len(found.order) > 2:
        names = f"The {_number(count)} {many} ({names})" if count <= _MOST_NAMES else f"The {_number(count)} {many}"
    elif together == list(found.order[:count]) and count < len(found.order):
        names = f"The first {_number(count)} {many} ({names})"
    return f"{_capital(names)} cannot be told apart by {score} on {images}."


def _unseen(found: Comparison, kind: str) -> str:
    # Losses cost the same.
    advice = " Choose among them by their cost." if found.all_undecided and kind != "loss" else ""
    if not np.isfinite(found.seen[1]):
        return "That does not mean that there is no difference." + advice
    return (
        f"That does not mean that there is no difference: one below {span_words(*found.seen)} would probably "
        "have gone unseen here (one of that size is found in four studies out of five)." + advice
    )


def _ahead(found: Comparison, kind: str) -> list[str]:
    if not found.beaten:
        return []
    rows = [pair_row(found.pairs, found.leader, method) for method in found.beaten]
    nearest = min(rows, key=lambda row: row["difference"])
    more = " or more" if len(rows) > 1 else ""
    names = _names(found.beaten, kind, "others")
    return [
        f"{_capital(method_title(found.leader, kind))} is better than {names}, typically by "
        f"{_with_interval(nearest)}{more}; {_p(rows)}."
    ]


def _decided(found: Comparison, kind: str, many: str, score: str, images: str) -> str:
    leader, count = _capital(method_title(found.leader, kind)), len(found.beaten)
    rows = [pair_row(found.pairs, found.leader, method) for method in found.beaten]
    nearest = min(rows, key=lambda row: row["difference"])
    rest = _names(found.beaten, kind, many)
    if 1 < count == len(found.order) - 1:
        rest = f"both other {many}" if count == 2 else f"all {_number(count)} other {many}"
    first = f"{leader} is better than {rest} by {score} on {images}."
    if count == 1:
        return f"{first} The typical difference is {_with_interval(nearest)}; {_p(rows)}."
    return f"{first} It is ahead of {method_title(nearest['other'], kind)} by {_with_interval(nearest)}; {_p(rows)}."


def _seen(found: Comparison) -> str:
    if not np.isfinite(found.seen[1]):
        return ""
    return (
        f"The smallest difference that these images would probably have shown is {span_words(*found.seen)}".rstrip(",")
        + "."
    )


def _seed_sentences(found: Comparison, kind: str, score: str) -> list[str]:
    if found.most_trainings <= 1:
        return ["Each was trained with one seed only, so another training could change this."]
    said = ["Some were trained with one seed only."] if found.trainings <= 1 else []
    if np.isfinite(found.sd_seeds):
        few = "" if found.trainings in (1, found.most_trainings) else f"{found.trainings} to "
        said.append(
            f"From seed to seed the mean {score} of one {kind}, over all test images, had a standard deviation of up "
            f"to about {_amount(found.sd_seeds)} ({few}{found.most_trainings} seeds)."
        )
    return said


def _names(methods: Sequence[str], kind: str, many: str) -> str:
    titles = [method_title(method, kind) for method in methods]
    if len(titles) > _MOST_NAMES:
        return f"{_number(len(titles))} {many} from {titles[0]} to {titles[-1]}"
    *first, last = titles
    return f"{', '.join(first)} and {last}" if first else last


def _images(found: Comparison) -> str:
    plural = "image" if found.cases == 1 else "images"
    among = f" from {found.units} group{'' if found.units == 1 else 's'}" if found.units != found.cases else ""
    these = "this one" if found.cases == 1 else f"these {found.cases}"
    return f"{these} {plural}{among}"


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def span_words(least: float, most: float) -> str:
    """Two amounts as a sentence has them: "about 0.012", or "0.012 to 0.034, depending on which two"."""
    low, high = _amount(least), _amount(most)
    return f"about {low}" if low == high else f"{low} to {high}, depending on which two,"


def _amount(value: float) -> str:
    """Three decimals, more for what would be shown as nothing."""
    return f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1g}"


def _with_interval(row: dict) -> str:
    if np.isnan(row["ci_low"]):
        return _amount(row["difference"])
    return f"{_amount(row['difference'])} (95 % interval {_amount(row['ci_low'])} to {_amount(row['ci_high'])})"


def _p(rows: Sequence[dict]) -> str:
    largest = max(row["p_holm"] for row in rows)
    known = "below 0.001" if largest < 0.001 else f"{'at most ' if len(rows) > 1 else ''}{largest:.3f}"
    return f"the chance of such a result without any difference is {known} (Holm-adjusted p)"


# What says how heavy a network is, the surest first -> as a sentence has it. Runs of an earlier version lack the first.
_WORK = {"multiply_adds": "arithmetic", "seconds_per_image": "time for an image"}


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
