"""The answer of a study: which encoder and loss to use, and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbcstudy.scoring.decision import COSTS, Decision
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.wording import count, interval, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults


def answer_sentences(results: StudyResults) -> list[str]:
    """Return the answer in one to three sentences or paragraphs, the recommended pair first."""
    decision = results.decision
    if not results.config.encoders:
        return ["This study measures earlier methods only, without a network: see Table 3."]
    if decision is None and results.complete and not results.comparable:
        return ["No answer yet: no encoder and loss has been tested on all folds that others were tested on."]
    if decision is None:
        return ["No answer yet: no run is complete with defined scores."]
    table = results.table1
    table = table[table["whole"].astype(bool)].dropna(subset="dice")
    rows = table[table["recommended"].astype(bool)].set_index("region")
    number = len(table[["encoder", "loss"]].drop_duplicates())
    sentences = [_recommendation(decision)]
    pooled, means, ranges = [], [], []
    for region in TABLE_REGIONS:
        if region in rows.index:
            row = rows.loc[region]
            pooled.append(f"{row['dice']:.3f} for the {region}")
            brackets = interval(row["dice_ci_low"], row["dice_ci_high"])
            means.append(f"{row['dice_mean']:.3f} for the {region}" + (f" ({brackets})" if brackets else ""))
        values = table.loc[table["region"] == region, "dice"]
        if len(values):
            ranges.append(f"{number_range(values.min(), values.max(), 3)} for the {region}")
    if pooled:
        images = count(int(rows["n"].max()), "test image")
        sentences.append(
            f"On {images}, scored at {score_size(results)}, its Dice is {' and '.join(pooled)} (1 is perfect). "
            f"Its mean Dice over images is {' and '.join(means)}."
        )
    if number <= 1:
        return [*sentences, "There is nothing to compare it with."]
    pairs = "Both pairs" if number == 2 else f"All {number} pairs"
    sentences[-1] += f" {pairs} of encoder and loss reach a Dice of {' and '.join(ranges)}."
    return sentences


def score_size(results: StudyResults) -> str:
    """Return the size at which the pixels of the scores were counted: "128 x 128 px"."""
    return f"{results.config.image_size} x {results.config.image_size} px"


def _recommendation(decision: Decision) -> str:
    """Return the recommendation and its reason. What is said here holds for Table 1 and the cost figure, too."""
    chosen, best, margin = decision.recommended, decision.best, f"{decision.margin:g}"
    if len(decision.ranked) == 1:
        return f"{chosen.title} is the only pair of encoder and loss that was measured."
    cost = COSTS.get(decision.cost, "")
    if chosen != best:
        share = 100 * decision.work[chosen.method] / decision.work[best.method]
        return (
            f"Use {chosen.title}: the cheapest pair that is equivalent to the best on the validation images, "
            f"{best.title} (their mean Dice differs by less than {margin} in each region). It needs {share:.0f} % of "
            f"the {cost}."
        )
    first, number = f"Use {chosen.title}: the highest Dice on the validation images.", len(decision.cheaper)
    if not cost:
        return f"{first} Cheaper pairs were not looked for, because the costs are not known."
    if not number:
        return f"{first} No other pair is cheaper (by {cost})."
    cheaper = "One pair is" if number == 1 else f"{number} pairs are"
    if not decision.images:
        return (
            f"{first} {cheaper} cheaper (by {cost}), but it is not known whether any is equivalent: these runs kept no "
            "scores of single validation images."
        )
    return (
        f"{first} {cheaper} cheaper (by {cost}), but {count(decision.images, 'validation image')} do not show that "
        f"{'it is' if number == 1 else 'any is'} equivalent (mean Dice within {margin} in each region)."
    )
