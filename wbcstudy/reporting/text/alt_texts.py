"""Text in place of each figure, for readers who cannot see it: what it shows, with its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from wbcstudy.registry import method_title
from wbcstudy.reporting.figures.examples import pick_drawn_runs
from wbcstudy.scoring.breakdown import worst_cases
from wbcstudy.scoring.case_tables import case_table
from wbcstudy.scoring.statistics import ALPHA
from wbcstudy.wording import count, join_words, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults


def describe_figures(results: StudyResults) -> dict[str, str]:
    """Return file stem in figures/ -> text. Figures that need no numbers, or have none, are left out.

    The titles of captions are not repeated.
    """
    texts = _describe_examples(results) | _describe_training(results)
    if results.best is not None:
        texts |= _describe_best(results)
    if results.several:
        texts |= _describe_comparison(results)
    return {stem: text for stem, text in texts.items() if text}


def _describe_examples(results: StudyResults) -> dict[str, str]:
    texts = {
        "figure1": "Photographs of white blood cells in a row, and below each the expert's mask in two colours: the "
        "nucleus, and the cytoplasm around it."
    }
    if shares := results.dataset_record.get("label_shares"):
        number = results.dataset_record.get("cases", "several")
        means = join_words([f"{label} {100 * share:.0f} %" for label, share in shares.items()])
        texts["label_shares"] = f"Stacked bars of {number} images. Mean shares of the pixels: {means}."
    return texts


def _describe_training(results: StudyResults) -> dict[str, str]:
    runs, ends = pick_drawn_runs(results), []
    for run in runs:
        if run.folder.history.exists() and "val_loss" in run.history and len(run.history):
            ends.append((run.history["val_loss"].min(), len(run.history)))
    if not ends:
        return {}
    losses, epochs = zip(*ends, strict=True)
    return {
        "learning_curves": f"Training and validation loss of {count(len(runs), 'run')} over "
        f"{number_range(min(epochs), max(epochs))} epochs. The lowest validation loss of a run is "
        f"{number_range(min(losses), max(losses), 3)}."
    }


def _describe_best(results: StudyResults) -> dict[str, str]:
    best, scores = results.best, results.scores_of(results.best_runs)
    title, regions = best.title, [*results.comparisons]
    by_case = scores.pivot_table(index="case_id", columns="region", values="dice").reindex(columns=regions)
    ranges = [f"{number_range(by_case[region].min(), by_case[region].max(), 2)} for the {region}" for region in regions]
    texts = {
        "figure2": f"Test images in rows, each with the expert's regions, those predicted by {title}, and the pixels "
        f"in which they differ. Over all test images, the Dice of an image is {join_words(ranges)}.",
        "figure3": f"The same test images in rows, segmented by {len(results.measured) or 'no'} earlier methods and by "
        f"{title}, one column each.",
    }
    worst = worst_cases(scores, 10)
    if len(worst):
        first = worst.iloc[0]
        values = join_words([f"{region} {first[region]:.2f}" for region in regions if pd.notna(first.get(region))])
        texts["worst"] = (
            f"The {len(worst)} test images on which {title} scores lowest, with the expert's regions, the predicted "
            f"ones and the differences. Worst is {first['case_id']}, Dice {values}."
        )
    errors = {name: curve.ece for name, curve in results.reliability.get(best.method, {}).items()}
    errors = {"the most probable label" if name == "all" else f"the {name}": ece for name, ece in errors.items()}
    if known := [f"{ece:.3f} for {name}" for name, ece in errors.items() if np.isfinite(ece)]:
        texts["calibration"] = (
            f"Share of correct pixels against the probability predicted by {title}. Expected calibration error: "
            f"{join_words(known)}; 0 is on the diagonal."
        )
    areas = results.areas[results.areas["method"] == best.method].dropna(subset=["limit_low"])
    parts = [
        f"{row.quantity}: bias {100 * row.bias / row.reference:+.1f} %, limits of agreement "
        f"{100 * row.limit_low / row.reference:+.0f} to {100 * row.limit_high / row.reference:+.0f} %"
        for row in areas.itertuples()
        if row.reference
    ]
    if parts:
        texts["areas"] = (
            f"Predicted minus expert's value against their mean, a point per image. In percent of the expert's mean, "
            f"{'; '.join(parts)}."
        )
    return texts | _describe_transfer(results, title)


def _describe_transfer(results: StudyResults, title: str) -> dict[str, str]:
    transfer, parts, texts = results.transfer, [], {}
    for dataset in transfer.scored(results.best.method):
        rows = transfer.rows(dataset, results.best.method)
        means = join_words(
            [f"{row.dice_mean:.3f} for the {row.region} (own {row.own_mean:.3f})" for row in rows.itertuples()]
        )
        parts.append(f"on {transfer.title(dataset)}, {means}")
        texts[f"transfer_{dataset.name}"] = (
            f"Images of {transfer.title(dataset)} in rows, each with the expert's regions, the predicted ones and the "
            f"differences. Mean Dice over all its images: {means}."
        )
    if parts:
        texts["transfer"] = f"Mean Dice of each pair on its own test images and elsewhere. {title}: {'; '.join(parts)}."
    return texts


def _describe_comparison(results: StudyResults) -> dict[str, str]:
    texts, medians = {}, []
    for region, comparison in results.comparisons.items():
        table = case_table(results.comparable_scores, region)
        values = table.median()
        medians.append(
            f"{region}, medians {number_range(values.min(), values.max(), 3)}, lowest image {table.min().min():.2f} "
            f"({method_title(table.min().idxmin())})"
        )
        pairs = comparison.pairs.dropna(subset=["difference"])
        if len(pairs):
            significant = int((pairs["p_adjusted"] < ALPHA).sum())
            largest = pairs.loc[pairs["difference"].abs().idxmax()]
            first, second = largest["method_a"], largest["method_b"]
            if largest["difference"] < 0:
                first, second = second, first
            texts[f"differences_{region}"] = (
                f"Table of coloured squares, a row and a column per pair of encoder and loss. {significant} of "
                f"{len(pairs)} differences in {region} Dice are significant. The largest is "
                f"{abs(largest['difference']):.3f}: {method_title(first)} above {method_title(second)}."
            )
    texts["scores"] = f"Box plots of the Dice of each test image, by loss and encoder: {'; '.join(medians)}."
    ranks = []
    for region, test in results.rank_tests.items():
        if len(test.mean_ranks) > 1:
            names, values = test.mean_ranks.index, test.mean_ranks.to_numpy()
            first, last = (f"{method_title(names[end])} ({values[end]:.1f})" for end in (0, -1))
            text = f"{region}, best {first}, last {last}"
            if np.isfinite(test.critical_difference):
                text += f", critical difference {test.critical_difference:.1f}"
            ranks.append(text)
    if ranks:
        texts["ranks"] = f"Mean ranks of {len(results.pairs)} pairs of encoder and loss: {'; '.join(ranks)}."
    return texts | _describe_cost(results)


def _describe_cost(results: StudyResults) -> dict[str, str]:
    decision = results.decision
    tables = [case_table(results.comparable_scores, region).dropna().mean() for region in results.comparisons]
    points = pd.DataFrame(
        {"quality": pd.concat(tables, axis=1).mean(axis=1, skipna=False), "work": pd.Series(decision.work)}
    )
    points = points.dropna()
    chosen = decision.recommended.method
    if chosen not in points.index:
        return {}
    row, cheapest = points.loc[chosen], points["work"].idxmin()
    better = int((points["quality"] > row["quality"]).sum()) or "none"
    low, high = (f"{value / 1e9:.2g}" for value in (points["work"].min(), points["work"].max()))
    return {
        "cost_quality": f"Mean Dice against multiply-adds per image of {len(points)} pairs, from {low} to {high} "
        f"billion and a Dice of {number_range(points['quality'].min(), points['quality'].max(), 3)}. Recommended: "
        f"{method_title(chosen)}, {row['work'] / 1e9:.2g} billion, Dice {row['quality']:.3f}; {better} of the others "
        f"score higher on the test images. Cheapest: {method_title(cheapest)}, Dice "
        f"{points.loc[cheapest, 'quality']:.3f}."
    }
