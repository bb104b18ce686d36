"""The answer of a study: which encoder and loss to use, and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import NOTHING, interval_text
from wbcstudy.reporting.text.methods_paragraph import combination
from wbcstudy.scoring.decision import Decision
from wbcstudy.scoring.selection import TABLE_REGIONS, method_names
from wbcstudy.wording import count, number_range

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
    # Means over the images, as in the small table: the Dice of all pixels together, also in Table 1, is another number.
    table = table[table["whole"].astype(bool)].dropna(subset="dice_mean")
    rows = table[table["recommended"].astype(bool)].set_index("region")
    number = len(set(method_names(table)))
    sentences = [_recommendation(decision)]
    means, ranges = [], []
    for region in TABLE_REGIONS:
        if region in rows.index:
            means.append(f"{rows.loc[region, 'dice_mean']:.3f} for the {region}")
        values = table.loc[table["region"] == region, "dice_mean"]
        if len(values):
            ranges.append(f"{number_range(values.min(), values.max(), 3)} for the {region}")
    if means:
        size = "their own size" if results.score_px is None else f"{results.score_px} x {results.score_px} px"
        sentences.append(
            f"On {count(int(rows['n'].max()), 'test image')}, scored at {size}, its mean Dice is {' and '.join(means)} "
            "(1 is perfect)."
        )
    if number <= 1:
        return [*sentences, "There is nothing to compare it with."]
    noun, _, parts = combination(results.config).partition(" ")
    pairs = f"Both {noun}s" if number == 2 else f"All {number} {noun}s"
    sentences[-1] += f" {pairs} {parts} reach a mean Dice of {' and '.join(ranges)}."
    return sentences


def answer_table(results: StudyResults) -> tuple[list[str], list[list[str]], str]:
    """Return heads, rows and note of the small table below the answer; no rows where nothing is compared.

    The rows are the recommended pair, the best on the validation images, and the one with the highest mean Dice on the
    test images, which a reader of Table 1 and of the cost figure sees and may take for the better choice.
    """
    decision, table = results.decision, results.table1
    if decision is None or not results.several:
        return [], [], ""
    table = table[table["whole"].astype(bool)]
    table = table.assign(method=method_names(table))
    means = table.groupby("method", sort=False)["dice_mean"].mean()
    reasons = {decision.recommended.method: ["recommended"]}
    reasons.setdefault(decision.best.method, []).append("best on the validation images")
    reasons.setdefault(means.idxmax(), []).append("highest on the test images")
    regions = [region for region in TABLE_REGIONS if region in results.comparisons]
    rows = []
    for method, reason in reasons.items():
        scores = table[table["method"] == method].set_index("region")
        cells = []
        for region in regions:
            row = scores.loc[region]
            cells.append(interval_text(row["dice_mean"], row["dice_ci_low"], row["dice_ci_high"], digits=3))
        cost = f"{decision.work[method] / 1e9:.3g}" if method in decision.work else NOTHING
        rows.append([method_title(method), "; ".join(reason), *cells, cost])
    first = "Encoder, start and loss" if results.config.starts else "Encoder and loss"
    heads = [first, "", *(f"Mean Dice, {region}" for region in regions), "Multiply-adds, billions"]
    interval = "with its 95 % interval" if table["dice_ci_low"].notna().any() else "(too few images for an interval)"
    note = f"Mean Dice over the test images {interval}. The choice was made on other images, the validation images."
    return heads, rows, note


def _recommendation(decision: Decision) -> str:
    """Return the recommendation and its reason. What is said here holds for Table 1 and the cost figure, too."""
    chosen, best, margin = decision.recommended, decision.best, f"{decision.margin:g}"
    if len(decision.ranked) == 1:
        return f"{chosen.title} is the only pair of encoder and loss that was measured."
    if chosen != best:
        share = 100 * decision.work[chosen.method] / decision.work[best.method]
        return (
            f"Use {chosen.title}: the cheapest pair that is equivalent to the best on the validation images, "
            f"{best.title} (their mean Dice differs by less than {margin} in each region). It needs {share:.0f} % of "
            "the multiply-adds."
        )
    first, number = f"Use {chosen.title}: the highest Dice on the validation images.", len(decision.cheaper)
    if not number:
        return f"{first} No other pair needs fewer multiply-adds."
    cheaper = f"{first} {'One pair is' if number == 1 else f'{number} pairs are'} cheaper (fewer multiply-adds), but"
    if not decision.images:
        return (
            f"{cheaper} it is not known whether any is equivalent: these runs kept no scores of single validation "
            "images."
        )
    subject = "it is" if number == 1 else "any is"
    return (
        f"{cheaper} {count(decision.images, 'validation image')} do not show that {subject} equivalent (mean Dice "
        f"within {margin} in each region)."
    )
