"""Where a study's Table 1 differs from the one that the paper prints, in words."""

from __future__ import annotations

import pandas as pd
from scipy.stats import kendalltau

from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.paper import load_paper_table

# Two pairs are in the same order or in the other; that says nothing.
_FEWEST = 3


def tell_beside_paper(table: pd.DataFrame) -> list[str]:
    """Sentences: whose first is where in the other's order, how far the orders agree, losses, and how far scores lie.

    Pooled Dice is compared, which is what the paper prints; a method's place goes by the mean of its regions.

    Args:
        table: from `tables.make_table1`; rows that do not compete (`whole`) are left out.

    Returns:
        None of them where fewer than three pairs of encoder and loss are in both tables.
    """
    paper = load_paper_table(1).rename(columns={"dice": "paper"})
    both = table[table["whole"].astype(bool)].merge(paper, on=["encoder", "loss", "region"], suffixes=("", "_paper"))
    both = both.dropna(subset=["dice", "paper"]).astype({"dice": float, "paper": float})
    means = both.groupby(["encoder", "loss"], sort=False)[["dice", "paper"]].mean()
    if len(means) < _FEWEST:
        return []
    places = means.rank(ascending=False, method="min").astype(int)
    first, theirs = means["dice"].idxmax(), means["paper"].idxmax()
    tau = kendalltau(means["dice"], means["paper"]).statistic
    count = len(means)
    order = f"By Dice on the test images, mean of {' and '.join(dict.fromkeys(both['region']))}, "
    if first == theirs:
        order += f"{_title(first)} is first of {count} both here and in the paper."
    else:
        order += (
            f"the first of {count} here is {_title(first)}, which is {_ordinal(places.loc[first, 'paper'])} in the "
            f"paper, and the paper's first, {_title(theirs)}, is {_ordinal(places.loc[theirs, 'dice'])} here."
        )
    # Not defined where all scores of a side are equal.
    if tau == tau:
        scale = "1: the same; 0: no more alike than by chance; -1: reversed"
        order += f" Kendall's tau of the two orders is {tau:.2f} ({scale})."
    return [order, *_losses(means), _level(both)]


def _losses(means: pd.DataFrame) -> list[str]:
    """With how many encoders the Dice loss is ahead of cross-entropy, here and in the paper."""
    # The paper has these two losses, and so have all rows that are left.
    pairs = means.reset_index().groupby("encoder").filter(lambda rows: len(rows) == 2)
    if pairs.empty:
        return []
    scores = pairs.set_index(["loss", "encoder"])
    ahead = (scores.loc["dice"] > scores.loc["cross_entropy"]).sum()
    return [
        f"Of {len(scores) // 2} encoders with both losses, the Dice loss has the higher Dice with {ahead['dice']} "
        f"here, and with {ahead['paper']} in the paper."
    ]


def _level(both: pd.DataFrame) -> str:
    gaps = both.assign(gap=both["dice"] - both["paper"]).groupby("region", sort=False)["gap"].mean()
    told = " and ".join(f"{gap:+.3f} ({region})" for region, gap in gaps.items())
    return (
        f"From the paper's Dice to the Dice here it is {told} on average; the images are others, so that is no merit "
        "or fault of the networks."
    )


def _title(method: tuple[str, str]) -> str:
    return method_title("__".join(method))


def _ordinal(place: int) -> str:
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
