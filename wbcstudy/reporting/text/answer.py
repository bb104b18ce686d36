"""The answer of a study: which encoder and loss to use, and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.wording import count, interval, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults


def answer_sentences(results: StudyResults) -> list[str]:
    """Return the answer in one to three sentences or paragraphs, the recommended pair first."""
    best = results.best
    if not results.config.encoders:
        return ["This study measures earlier methods only, without a network: see Table 3."]
    if best is None and results.complete and not results.comparable:
        return ["No answer yet: no encoder and loss has been tested on all folds that others were tested on."]
    if best is None:
        return ["No answer yet: no run is complete with defined scores."]
    table = results.table1
    table = table[table["whole"].astype(bool)].dropna(subset="dice")
    rows = table[(table["encoder"] == best.encoder) & (table["loss"] == best.loss)].set_index("region")
    number = len(table[["encoder", "loss"]].drop_duplicates())
    first = f"Use {best.title}: the highest Dice on the validation images."
    if number <= 1:
        first = f"{best.title} is the only pair of encoder and loss that was measured."
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
    sentences = [first]
    if pooled:
        images = count(int(rows["n"].max()), "test image")
        sentences = [f"{first} On {images}, its Dice is {' and '.join(pooled)} (1 is perfect)."]
        sentences.append(f"Its mean Dice over images is {' and '.join(means)}.")
    if number <= 1:
        return [*sentences, "There is nothing to compare it with."]
    pairs = "Both pairs" if number == 2 else f"All {number} pairs"
    sentences[-1] += f" {pairs} of encoder and loss reach a Dice of {' and '.join(ranges)}."
    return sentences
