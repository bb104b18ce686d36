"""How certain the choice of a network is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wbcstudy.registry import method_title, varying_part
from wbcstudy.scoring.comparison import Comparison, Position, find_position
from wbcstudy.scoring.decision import Decision
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
    # Planned comparisons are those with one pair, which need not be the recommended one.
    subject = results.config.compare_with if results.planned else best
    if results.planned:
        verdicts = tuple((region, _describe_planned(comparison, subject)) for region, comparison in comparisons.items())
    else:
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
    positions = {region: comparison.position(subject) for region, comparison in comparisons.items()}
    regions = tuple(
        (region, _describe_position(positions[region], comparison.detectable_from(subject, comparison.order)))
        for region, comparison in comparisons.items()
    )
    headline = _headline(positions, all(comparison.trainings_fixed for comparison in comparisons.values()))
    if subject != best:
        headline = f"Planned comparisons with {method_title(subject)}: {headline[:1].lower()}{headline[1:]}"
    more = (
        *_probability_sentence(results),
        *_lead_sentences(results.decision),
        *_confirmation(results),
        *_seed_sentences(comparisons.values()),
        _independence_sentence(results),
    )
    return Certainty(headline, more, regions, verdicts)


def _probability_sentence(results: StudyResults) -> list[str]:
    """State the probability that the recommended pair is not the best of those compared on the test images."""
    if results.rank_stability is None or results.best.method not in results.rank_stability.methods:
        return []
    share = results.rank_stability.probability_not_best(results.best.method)
    percent = "below 1" if share < 0.01 else "above 99" if share > 0.99 else f"{100 * share:.0f}"
    return [
        f"The probability that another one has a higher mean Dice on images like these is {percent} % (mean of "
        f"{join_words(list(results.comparisons))}; bootstrap)."
    ]


def _lead_sentences(decision: Decision) -> list[str]:
    """Describe by how much the best leads on the validation images, and how many others are near."""
    near = [pair for pair in decision.ranked[1:] if decision.best.dice - pair.dice < decision.margin]
    subject = "it" if decision.recommended == decision.best else decision.best.title
    if not near:
        return [f"On the validation images, {subject} leads by {amount(decision.lead)} in Dice."]
    others = "one other pair is" if len(near) == 1 else f"{len(near)} other pairs are"
    lead = f"{subject} leads by only {amount(decision.lead)} in Dice"
    if decision.lead == 0:
        lead = f"{subject} and {near[0].title} have the same Dice"
    return [
        f"On the validation images, {lead}, and {others} within {decision.margin:g}: other validation images could "
        "have led to another choice."
    ]


def _confirmation(results: StudyResults) -> list[str]:
    """Describe whether the test images confirm that the recommended pair is equivalent to the best."""
    decision = results.decision
    if decision.recommended == decision.best:
        return []
    rows = {
        region: comparison.difference(decision.recommended.method, decision.best.method)
        for region, comparison in results.comparisons.items()
    }
    parts = []
    for region, row in rows.items():
        brackets = interval(row["ci_low"], row["ci_high"])
        parts.append(f"{row['difference']:+.3f} for the {region}" + (f" ({brackets})" if brackets else ""))
    sentence = f"On the test images, its mean Dice differs from that of {decision.best.title} by {join_words(parts)}"
    if all(row["equivalent"] for row in rows.values()):
        return [f"{sentence}, which confirms that they are equivalent."]
    return [f"{sentence}; these images do not confirm that they are equivalent."]


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
        sentences = [_of_these(comparison, _lead_over_all(comparison, part, score, images))]
        if np.isfinite(detectable[1]):
            sentences.append(f"The smallest difference detectable with these images is {_amounts(*detectable)}.")
        return " ".join(sentences)
    sentences = [_of_these(comparison, _no_difference(comparison, part, score, images))]
    caution = "This does not mean that there is no difference"
    if np.isfinite(detectable[1]):
        caution += (
            f": differences from {method_title(comparison.leader, part)} below {_amounts(*detectable)} would probably "
            "not be detected with these images"
        )
    return " ".join([*sentences, f"{caution}.", *_lead_over_some(comparison, part)])


def _of_these(comparison: Comparison, sentence: str) -> str:
    """Say that a sentence is about the trained networks only, where there is one seed."""
    if not comparison.trainings_fixed:
        return sentence
    return f"Of these trained networks, {sentence.replace('The ', 'the ', 1) if sentence[:4] == 'The ' else sentence}"


def _describe_planned(comparison: Comparison, reference: str) -> str:
    """Describe the planned comparisons of one region, which are those with a reference."""
    tested = comparison.pairs[comparison.pairs["p_adjusted"].notna()]
    position = find_position(tested, reference)
    kinds = (
        ("significantly better", position.better),
        ("significantly worse", position.worse),
        ("no significant difference", position.undecided),
        ("equivalent", position.equivalent),
    )
    parts = [f"{phrase}: {join_words([method_title(name) for name in names])}" for phrase, names in kinds if names]
    if not parts:
        return f"{capitalise(_images(comparison))} are too few for the planned comparisons."
    return f"Compared with {method_title(reference)} (planned) on {_images(comparison)}, {'; '.join(parts)}."


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
        f"{_names(comparison.beaten, part)}, by {more}{amount(closest['difference'])} "
        f"({_statistics(closest, rows)})."
    ]


def _lead_over_all(comparison: Comparison, part: str, score: str, images: str) -> str:
    leader, number = capitalise(method_title(comparison.leader, part)), len(comparison.beaten)
    rows = {method: comparison.difference(comparison.leader, method) for method in comparison.beaten}
    second = min(rows, key=lambda method: rows[method]["difference"])
    others = _names(comparison.beaten, part)
    if number > 1:
        others = f"{'both' if number == 2 else f'all {number_word(number)}'} other {_plural(part)}"
    lead = "The difference is" if number == 1 else f"Its lead over {method_title(second, part)} is"
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


def _headline(positions: Mapping[str, Position], trainings_fixed: bool) -> str:
    """Describe in one sentence how a method compares with the others.

    Args:
        positions: region -> how the others compare with it.
        trainings_fixed: whether there is one seed, so that only these trained networks are compared.
    """
    better = list(dict.fromkeys(method for position in positions.values() for method in position.better))
    undecided = {method for position in positions.values() for method in position.undecided}
    others = next(iter(positions.values())).others
    noun = "trained network" if trainings_fixed else "pair"
    rest = f"the other {noun}" if others == 1 else f"all {others} other {noun}s"
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
            return f"No significant difference from {rest} ({title}) on these images."
        level = " and the ".join(region for region in positions if region not in ahead)
        return (
            f"Significantly better than {rest} ({title}) for the {' and the '.join(ahead)}; no significant difference "
            f"for the {level}."
        )
    # A method that is significantly worse for one region is no equal alternative.
    equal = undecided - {method for position in positions.values() for method in position.worse}
    if not equal:
        return (
            f"Clear result for images like these: no other {noun} is significantly better, and each of the other "
            f"{others} is significantly worse for the {' or the '.join(positions)}."
        )
    are = "one is" if len(equal) == 1 else f"{len(equal)} are"
    return f"No other {noun} is significantly better, but {are} not significantly worse."


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
        text += f" The smallest difference from it in Dice that these images can show is {_amounts(*detectable)}."
    return text


def _seed_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """Describe how many seeds there were, and how much the mean Dice varied between them."""
    if max(comparison.most_seeds for comparison in comparisons) <= 1:
        return [
            "Each pair was trained with one seed only, so all this is about these trained networks; another seed could "
            "change it. With “seeds: [0, 1, 2]” in the study's file, the study would compare encoders and losses."
        ]
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
    groups = f"{comparison.units} groups for {cases}"
    if results.recorded_groups:
        if comparison.units == comparison.cases:
            return f"The {cases} are from {comparison.cases} different slides or patients."
        cell = ", or of one cell," if results.duplicates else ""
        return f"Images of one slide or patient{cell} count as one: {groups}."
    independent = f"Each of the {cases} counts as independent."
    if comparison.units < comparison.cases:
        independent = f"Images of one cell count as one: {groups}, which count as independent."
    return (
        f"{independent} If several are of one patient, enter the patient in the column "
        "“group” of cases.csv; otherwise this result looks more certain than it is."
    )
