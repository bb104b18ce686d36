"""How certain the choice of a network is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wbcstudy.registry import method_title, varying_part
from wbcstudy.scoring.comparison import Comparison, Position, find_lightest
from wbcstudy.wording import (
    MOST_NAMES,
    amount,
    capitalise,
    count,
    interval,
    join_words,
    number_word,
    p_value,
)

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# Column of the costs, the most reliable first -> noun in a sentence. Runs of an earlier version lack the first.
_WORK = {"multiply_adds": "multiply-adds", "seconds_per_image": "time per image"}


class Certainty(NamedTuple):
    """How certain the choice is. Everything is empty if there are fewer than two methods.

    Args:
        headline: the most important sentence.
        more: sentences that follow it.
        regions: (region, how the chosen method compares with the others).
        verdicts: (region, comparison of all methods).
    """

    headline: str = ""
    more: tuple[str, ...] = ()
    regions: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[tuple[str, str], ...] = ()

    def paragraphs(self) -> list[str]:
        """Return everything as paragraphs."""
        first = " ".join([self.headline, *self.more]) if self.headline else "There is nothing to compare."
        return [first, *(f"{capitalise(region)}: {text}" for region, text in (*self.regions, *self.verdicts))]


def describe_certainty(results: StudyResults) -> Certainty:
    """Describe how certain the choice is, for a reader without statistics."""
    if not results.several or results.best is None:
        return Certainty()
    comparisons, best = results.comparisons, results.best.method
    verdicts = tuple((region, _describe_comparison(comparison)) for region, comparison in comparisons.items())
    if not any(comparison.tested for comparison in comparisons.values()):
        units = min(comparison.units for comparison in comparisons.values())
        noun = "group of test images (slide or patient)" if results.grouped else "test image"
        nouns = "groups of test images (slides or patients)" if results.grouped else "test images"
        return Certainty(
            f"Too few test images: with {units} {noun if units == 1 else nouns}, no difference can be significant.",
            ("Use more images, or “folds: 5” in the study's file, which tests every image once.",),
            (),
            verdicts,
        )
    positions = {region: comparison.position(best) for region, comparison in comparisons.items()}
    regions = tuple(
        (region, _describe_position(positions[region], comparison.detectable_from(best, comparison.order)))
        for region, comparison in comparisons.items()
    )
    # A method that is significantly better matters more than a lighter one.
    beaten = any(position.better for position in positions.values())
    lighter = [] if beaten else _lighter_sentences(results, positions)
    more = (*lighter, *_seed_sentences(comparisons.values()), _independence_sentence(results))
    return Certainty(_headline(positions), more, regions, verdicts)


def _describe_comparison(comparison: Comparison, column: str = "dice") -> str:
    """Describe which methods of a comparison differ significantly.

    Args:
        comparison: result of `compare_methods`.
        column: the ratio that was compared.
    """
    part = varying_part(comparison.order)
    score = f"{comparison.region} {'Dice' if column == 'dice' else column}"
    if comparison.leader is None:
        return f"No {score} was measured, so there is nothing to compare."
    if len(comparison.order) == 1:
        title = method_title(comparison.leader)
        return f"Only one method was measured ({title}), so there is nothing to compare."
    images = _images(comparison)
    detectable = comparison.detectable_from(comparison.leader, comparison.undecided or comparison.beaten)
    if np.isinf(detectable[0]) and not comparison.beaten:
        methods = f"{number_word(len(comparison.order))} {_plural(part)}"
        return (
            f"{capitalise(images)} {'is' if comparison.cases == 1 else 'are'} too few to compare {methods}: no "
            f"difference in {score} can be significant. This does not mean that there is none."
        )
    if not comparison.undecided:
        sentences = [_lead_over_all(comparison, part, score, images)]
        if np.isfinite(detectable[1]):
            sentences.append(f"The smallest difference detectable with these images is {_amounts(*detectable)}.")
        return " ".join(sentences)
    sentences = [_no_difference(comparison, part, score, images)]
    caution = "This does not mean that there is no difference"
    if np.isfinite(detectable[1]):
        caution += f": differences below {_amounts(*detectable)} would probably not be detected with these images"
    # Losses cost the same.
    advice = ["Choose among them by cost."] if comparison.all_undecided and part != "loss" else []
    return " ".join([*sentences, f"{caution}.", *advice, *_lead_over_some(comparison, part)])


def _no_difference(comparison: Comparison, part: str, score: str, images: str) -> str:
    together = [name for name in comparison.order if name == comparison.leader or name in comparison.undecided]
    number, names = len(together), _names(together, part)
    if not comparison.all_undecided:
        others = _names(comparison.undecided, part)
        leader = capitalise(method_title(comparison.leader, part))
        return f"{leader} leads in {score} on {images}, but is not significantly better than {others}."
    listed = f" ({names})" if number <= MOST_NAMES else ""
    if number == len(comparison.order) > 2:
        names = f"the {number_word(number)} {_plural(part)}{listed}"
    elif together == list(comparison.order[:number]) and number < len(comparison.order):
        names = f"the first {number_word(number)} {_plural(part)}{listed}"
    return f"{capitalise(names)} do not differ significantly in {score} on {images}."


def _lead_over_some(comparison: Comparison, part: str) -> list[str]:
    if not comparison.beaten:
        return []
    rows = [comparison.difference(comparison.leader, method) for method in comparison.beaten]
    closest = min(rows, key=lambda row: row["difference"])
    more = "at least " if len(rows) > 1 else ""
    return [
        f"{capitalise(method_title(comparison.leader, part))} is significantly better than "
        f"{_names(comparison.beaten, part)}, typically by {more}{amount(closest['difference'])} "
        f"({_statistics(closest, rows)})."
    ]


def _lead_over_all(comparison: Comparison, part: str, score: str, images: str) -> str:
    leader, number = capitalise(method_title(comparison.leader, part)), len(comparison.beaten)
    rows = {method: comparison.difference(comparison.leader, method) for method in comparison.beaten}
    second = min(rows, key=lambda method: rows[method]["difference"])
    others = _names(comparison.beaten, part)
    if number > 1:
        others = f"{'both' if number == 2 else f'all {number_word(number)}'} other {_plural(part)}"
    lead = "The typical difference is" if number == 1 else f"Its typical lead over {method_title(second, part)} is"
    statistics = _statistics(rows[second], list(rows.values()))
    return (
        f"{leader} is significantly better than {others} in {score} on {images}. "
        f"{lead} {amount(rows[second]['difference'])} ({statistics})."
    )


def _statistics(row: Mapping, rows: Sequence[Mapping]) -> str:
    """Return the interval of one difference, and the largest p value of several."""
    largest = max(other["p_adjusted"] for other in rows)
    p = p_value(largest)
    p = f"adjusted {p.replace('=', '≤') if len(rows) > 1 else p}"
    digits = 3 if amount(row["ci_low"]) == f"{row['ci_low']:.3f}" else 4
    return "; ".join(text for text in (interval(row["ci_low"], row["ci_high"], digits), p) if text)


def _names(methods: Sequence[str], part: str) -> str:
    titles = [method_title(method, part) for method in methods]
    if len(titles) > MOST_NAMES:
        return f"{number_word(len(titles))} {_plural(part)} from {titles[0]} to {titles[-1]}"
    return join_words(titles)


def _plural(part: str) -> str:
    return {"loss": "losses", "encoder": "encoders"}.get(part, "methods")


def _images(comparison: Comparison) -> str:
    groups = f" from {count(comparison.units, 'group')}" if comparison.units != comparison.cases else ""
    return ("this one image" if comparison.cases == 1 else f"these {comparison.cases} images") + groups


def _amounts(least: float, most: float) -> str:
    low, high = amount(least), amount(most)
    return f"about {low}" if low == high else f"{low} to {high} (depending on the pair)"


def _headline(positions: Mapping[str, Position]) -> str:
    better = list(dict.fromkeys(method for position in positions.values() for method in position.better))
    undecided = {method for position in positions.values() for method in position.undecided}
    others = next(iter(positions.values())).others
    rest = "the other pair" if others == 1 else f"all {others} other pairs"
    if better:
        names = join_words([method_title(method) for method in better], most=3 if len(better) <= 3 else 2)
        return (
            f"Choose with care: on the test images, {names} {'is' if len(better) == 1 else 'are'} significantly better."
        )
    if not undecided:
        return f"Clear result for images like these: significantly better than {rest}."
    if others == 1:
        title = method_title(*undecided)
        ahead = [region for region, position in positions.items() if position.worse]
        if not ahead:
            return f"No significant difference from {title} on these images."
        level = " and the ".join(region for region in positions if region not in ahead)
        return (
            f"Significantly better than {title} for the {' and the '.join(ahead)}; no significant difference for the "
            f"{level}."
        )
    # A method that is significantly worse for one region is no equal alternative.
    equal = undecided - {method for position in positions.values() for method in position.worse}
    if not equal:
        return (
            "Clear result for images like these: no other pair is significantly better, and each of the other "
            f"{others} is significantly worse for the {' or the '.join(positions)}."
        )
    are = "one is" if len(equal) == 1 else f"{len(equal)} are"
    return f"No other pair is significantly better, but {are} not significantly worse."


def _describe_position(position: Position, detectable: tuple[float, float]) -> str:
    """Describe how the chosen method compares with the others in one region."""
    total, parts = position.others, []
    kinds = (
        ("significantly better than", position.worse),
        ("no significant difference from", position.undecided),
        ("significantly worse than", position.better),
    )
    for phrase, methods in kinds:
        if methods:
            # "2 of the 7 others" once; after that the number is enough.
            whole = "the other pair" if total == 1 else f"the other {total}"
            number = whole if len(methods) == total else f"{len(methods)}" if parts else f"{len(methods)} of {whole}"
            parts.append(f"{phrase} {number}")
    text = f"{capitalise('; '.join(parts))}."
    if np.isfinite(detectable[1]):
        text += f" The smallest difference in Dice detectable with these images is {_amounts(*detectable)}."
    return text


def _seed_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """Describe how many seeds there were, and how much the mean Dice varied between them."""
    if max(comparison.most_seeds for comparison in comparisons) <= 1:
        return ["Each pair was trained with one seed only; another seed could change this result."]
    sentences = []
    if min(comparison.fewest_seeds for comparison in comparisons) <= 1:
        sentences.append("Some pairs were trained with one seed only; another seed could change this result.")
    spreads = [comparison.sd_seeds for comparison in comparisons if np.isfinite(comparison.sd_seeds)]
    if spreads:
        sentences.append(
            "Between seeds, the mean Dice over all test images had a standard deviation of up to "
            f"{amount(max(spreads))}."
        )
    return sentences


def _independence_sentence(results: StudyResults) -> str:
    comparison = max(results.comparisons.values(), key=lambda comparison: comparison.cases)
    cases = f"{comparison.cases} test images"
    if comparison.units < comparison.cases:
        return f"Images of one slide or patient count as one: {comparison.units} groups for {cases}."
    if results.groups:
        return f"The {cases} are from {comparison.cases} different slides or patients."
    return (
        f"Each of the {cases} counts as independent. If several are of one patient, enter the patient in the column "
        "“group” of cases.csv; otherwise this result looks more certain than it is."
    )


def _lighter_sentences(results: StudyResults, positions: Mapping[str, Position]) -> list[str]:
    """Name the lightest method without a significant difference from the chosen one, if it is clearly lighter."""
    best, costs = results.best, results.costs.set_index("encoder")
    candidates = set.intersection(*(set(position.undecided) for position in positions.values()))
    encoders = {name.partition("__")[0] for name in candidates} | {best.encoder}
    # Times of different machines cannot be compared, and the one whose work is unknown may be the lightest.
    columns = [name for name in _WORK if results.same_machine or name != "seconds_per_image"]
    column = next((name for name in columns if costs[name].reindex(sorted(encoders)).gt(0).all()), None)
    if column is None:
        return []
    work = {method: costs.loc[method.partition("__")[0], column] for method in (*candidates, best.method)}
    lightest = find_lightest(positions.values(), work, best.method)
    if lightest is None:
        return []
    title, share = method_title(lightest[0]), f"{100 * lightest[1]:.0f} % of its {_WORK[column]}"
    if len(candidates) == 1:
        return [f"{title} is lighter: it needs {share}."]
    return [f"The lightest of these is {title}, which needs {share}."]
