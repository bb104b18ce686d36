"""How a study's Table 1 compares with the one printed in the paper."""

from __future__ import annotations

import pandas as pd
from scipy.stats import kendalltau

from wbcstudy.config import join_method
from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.paper import load_paper_table
from wbcstudy.wording import join_words, ordinal, p_value

# The order of two pairs says nothing.
_FEWEST_PAIRS = 3


def paper_sentences(table: pd.DataFrame) -> list[str]:
    """Compare the order of pairs, the losses and the level of the scores with the paper's.

    Pooled Dice is compared, as printed in the paper; the position of a pair is that of its mean over the regions.

    Args:
        table: result of `make_table1`; rows that are not compared (`whole`) are left out.

    Returns:
        No sentences if fewer than three pairs of encoder and loss are in both tables.
    """
    paper = load_paper_table(1).rename(columns={"dice": "paper"})
    both = table[table["whole"].astype(bool)].merge(paper, on=["encoder", "loss", "region"], suffixes=("", "_paper"))
    both = both.dropna(subset=["dice", "paper"]).astype({"dice": float, "paper": float})
    both = both if "start" in both else both.assign(start="")
    # Of several starts, the first: Table 1 shows the paper's numbers there.
    both = both.drop_duplicates(["encoder", "loss", "region"])
    means = both.groupby(["encoder", "loss", "start"], sort=False)[["dice", "paper"]].mean()
    number = len(means)
    if number < _FEWEST_PAIRS:
        return []
    positions = means.rank(ascending=False, method="min").astype(int)
    first, paper_first = means["dice"].idxmax(), means["paper"].idxmax()
    title, paper_title = (method_title(join_method(*pair)) for pair in (first, paper_first))
    score = f"the mean Dice of {join_words(list(dict.fromkeys(both['region'])))} on the test images"
    if first == paper_first:
        order = f"By {score}, {title} is first of {number} pairs both here and in the paper."
    else:
        order = (
            f"By {score}, {title} is first of {number} pairs here and {ordinal(positions.loc[first, 'paper'])} in the "
            f"paper; the paper's first, {paper_title}, is {ordinal(positions.loc[paper_first, 'dice'])} here."
        )
    tau, p = kendalltau(means["dice"], means["paper"])
    # Undefined if all scores of one table are equal.
    if tau == tau:
        scale = "1: same order, 0: unrelated, -1: reversed"
        order += f" Kendall's tau between the two orders is {tau:.2f} ({scale}; {p_value(p)})."
    return [order, *_compare_losses(means), _compare_level(both)]


def _compare_losses(means: pd.DataFrame) -> list[str]:
    """Count the encoders with a higher score with the Dice loss than with cross-entropy, here and in the paper."""
    # The paper has only these two losses.
    pairs = means.reset_index().groupby(["encoder", "start"]).filter(lambda rows: len(rows) == 2)
    if pairs.empty:
        return []
    scores = pairs.set_index(["loss", "encoder"])
    ahead = (scores.loc["dice"] > scores.loc["cross_entropy"]).sum()
    return [
        f"The Dice loss gives a higher Dice than cross-entropy for {ahead['dice']} of {len(scores) // 2} encoders "
        f"here, and for {ahead['paper']} in the paper."
    ]


def _compare_level(both: pd.DataFrame) -> str:
    gaps = both.assign(gap=both["dice"] - both["paper"]).groupby("region", sort=False)["gap"].mean()
    listed = join_words([f"{gap:+.3f} ({region})" for region, gap in gaps.items()])
    return (
        f"On average, the Dice here differs from the paper's by {listed}; the images differ too, so this does not "
        "compare the networks."
    )
