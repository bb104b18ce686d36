"""How good the chosen network is on other datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.scoring.comparison import find_position
from wbcstudy.study.other_datasets import OtherDataset
from wbcstudy.wording import capitalise, interval, join_words

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# A drop in Dice above which the report warns, and below which it is called small.
_NOTABLE = 0.05


def transfer_sentences(results: StudyResults, in_full: bool = False) -> list[tuple[str, str]]:
    """Describe the chosen network's scores on each other dataset where it has any.

    Args:
        results: the study.
        in_full: whether to add intervals and the best method there.

    Returns:
        (title of the dataset, sentences).
    """
    transfer, best = results.transfer, results.best.method if results.best else ""
    described = []
    for dataset in transfer.scored(best):
        rows = transfer.rows(dataset, best)
        scores = [
            f"{row.dice_mean:.2f} for the {row.region} ({row.own_mean:.2f} on the study's own test images)"
            for row in rows.itertuples()
        ]
        sentences = [f"Mean Dice {' and '.join(scores)}.", _advice(rows)]
        if in_full:
            drops = []
            for row in rows.itertuples():
                brackets = interval(row.drop_ci_low, row.drop_ci_high)
                drops.append(f"{row.drop:.3f} for the {row.region}" + (f" ({brackets})" if brackets else ""))
            sentences.append(f"Drop in mean Dice on these {rows['n'].max()} images: {join_words(drops)}.")
            sentences += _best_there(results, dataset)
        described.append((transfer.title(dataset), " ".join(sentences)))
    return described


def _advice(rows: pd.DataFrame) -> str:
    if (rows["drop_ci_low"] > _NOTABLE).any():
        return (
            "This is a large drop. Before you use the network on images like these, have an expert segment some of "
            "them, and train on these too."
        )
    if (rows["drop_ci_high"] < _NOTABLE).all():
        return f"The drop is small (below {_NOTABLE:g})."
    return "These images do not show whether the drop is large."


def _best_there(results: StudyResults, dataset: OtherDataset) -> list[str]:
    """Say whether another method has a higher mean on a dataset, and whether it is significantly better."""
    table, best = results.transfer.rows(dataset), results.best.method
    means = table.groupby("method", sort=False)["dice_mean"].mean()
    if len(means) < 2:
        return []
    highest = means.idxmax()
    if highest == best:
        return ["No other pair has a higher mean there."]
    pairs = results.transfer.pairs[dataset.name]
    regions = [region for region in pairs if highest in find_position(pairs[region], best).better]
    title = capitalise(method_title(highest))
    if not regions:
        return [f"{title} has the highest mean there, but is not significantly better."]
    return [f"{title} has the highest mean there, and is significantly better for the {' and the '.join(regions)}."]
