"""Table 12: the planned questions of a study and their answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from wbcstudy.config import Question
from wbcstudy.registry import ENCODERS, LOSSES, loss_title
from wbcstudy.reporting.tables.layout import NOTHING, Cell, Layout, interval_text, number_text
from wbcstudy.reporting.tables.ranks import p_text
from wbcstudy.scoring.questions import Answer
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import ALPHA
from wbcstudy.wording import capitalise, count, interval_brackets, join_words

_COLUMNS = (
    *("question", "factor", "compare", "against", "measure", "region", "combinations", "seeds", "n"),
    *("difference", "ci_low", "ci_high", "p", "equivalent", "paper"),
)


def make_questions(answers: Sequence[Answer]) -> pd.DataFrame:
    """Make a table of the answers.

    Returns:
        One row per question and region (one row, region "", for a question about epochs): question, factor, compare,
        against, measure, combinations (of the other factors), seeds, n (images or groups of them), difference (compare
        minus against: mean Dice; or epochs saved), ci_low, ci_high, p, equivalent (bool), paper (its claim). NaN where
        runs are missing.
    """
    rows = []
    for answer in answers:
        question = answer.question
        shared = {"question": question.ask, "factor": question.factor, "measure": question.measure}
        shared |= {"compare": _levels(question, question.compare), "against": _levels(question, question.against)}
        shared |= {"combinations": len(answer.strata), "seeds": answer.seeds, "paper": question.paper}
        if question.measure == "epochs":
            names = ("difference", "ci_low", "ci_high")
            rows.append(shared | {"region": ""} | dict(zip(names, answer.saved or (), strict=False)))
            continue
        for region in TABLE_REGIONS:
            row = answer.differences.get(region, {})
            names = ("n", "difference", "ci_low", "ci_high", "equivalent")
            values = {name: row[name] for name in names} | {"p": row["p_adjusted"]} if row else {"n": 0}
            rows.append(shared | {"region": region} | values)
    table = pd.DataFrame(rows).reindex(columns=list(_COLUMNS))
    return table.assign(equivalent=table["equivalent"].eq(True))


def layout_questions(table: pd.DataFrame, notes: Sequence[str] = ()) -> Layout:
    """Arrange Table 12: a block per question.

    Args:
        table: result of `make_questions`.
        notes: sentences to add below the table.
    """
    rows, several = [], bool((table["seeds"] > 1).any())
    for row in table.to_dict("records"):
        epochs = row["measure"] == "epochs"
        value = number_text(row["difference"], 1) if epochs else interval_text(*_ends(row), interval_digits=4)
        if epochs:
            value = f"{value} {interval_brackets(row['ci_low'], row['ci_high'], 1)}".rstrip()
        cells = [
            Cell("Epochs saved" if epochs else capitalise(row["region"])),
            Cell(f"{row['compare']} against {row['against']}"),
            Cell(value),
            Cell(p_text(row["p"])),
            Cell("yes" if row["equivalent"] else ""),
            Cell(NOTHING if pd.isna(row["n"]) or not row["n"] else f"{row['n']:.0f}"),
            Cell(f"{row['seeds']}"),
        ]
        rows.append((row["question"], cells))
    heads = ["", "Comparison", "Difference [95 % interval]", "Adjusted p", "Equivalent", "Images", "Seeds"]
    remarks = [
        "Planned: the questions were in the settings of the study before its first run.",
        "Difference: mean Dice of the first minus that of the second on the same images, mean over the combinations of "
        f"the other factors. The interval is over {'images and seeds' if several else 'images, for one seed'}. "
        "Intervals and p values of the two regions of a question hold together (Bonferroni); they are not adjusted for "
        "the number of questions.",
    ]
    if (table["measure"] == "epochs").any():
        remarks.append(
            "Epochs saved: epoch of the best validation Dice of the second minus the first epoch in which the other "
            "reaches that value (one epoch more than were trained, if it never does); the interval is over seeds, for "
            "these validation images."
        )
    claims = table.drop_duplicates("question")
    remarks += [f"The paper on “{row.question}” {row.paper}" for row in claims.itertuples() if row.paper]
    head = [("", name) for name in heads]
    return Layout(12, "Planned questions", head, rows, text_columns=2, notes=[*remarks, *notes])


def question_sentences(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Return (question, answer in sentences, with what the paper claims) for the top of the report."""
    lines = []
    for answer in answers:
        question = answer.question
        epochs = question.measure == "epochs"
        text = _describe_epochs(answer) if epochs else _describe_differences(answer)
        claim = f" The paper: {question.paper}" if question.paper else ""
        lines.append((question.ask, f"{text}{claim}"))
    return lines


def _describe_differences(answer: Answer) -> str:
    question = answer.question
    first, second = _levels(question, question.compare), _levels(question, question.against)
    if not answer.differences:
        return f"No answer yet: the runs to compare {first} with {second} are not complete."
    parts = []
    for region, row in answer.differences.items():
        value = f"{row['difference']:+.4f}"
        if pd.isna(row["ci_low"]):
            parts.append(f"{region} {value} (too few images for an interval)")
            continue
        verdict = "no significant difference"
        if row["p_adjusted"] < ALPHA:
            verdict = f"{first if row['difference'] > 0 else second} is higher"
        verdict += ", equivalent within the margin" if row["equivalent"] else ""
        parts.append(f"{region} {value} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}] ({verdict})")
    return f"Mean Dice of {first} minus {second}, {_basis(answer)}: {join_words(parts)}."


def _describe_epochs(answer: Answer) -> str:
    question, table, saved = answer.question, answer.epochs, answer.saved
    first, second = (_levels(question, levels) for levels in (question.compare, question.against))
    if question.factor == "start":
        first, second = (
            f"the start{'s' if len(levels) > 1 else ''} {join_words([f'“{level}”' for level in levels])}"
            for levels in (question.compare, question.against)
        )
    if saved is None:
        return f"No answer yet: the runs to compare {first} with {second} are not complete."
    reached = table.dropna(subset=["first_epoch"])
    # Each training of the second side has a row for each training that it is compared with.
    others = table.drop_duplicates(["against", "fold", "seed"])
    sentence = (
        f"With {second}, the best validation Dice (on average {others['target'].mean():.3f}) came after "
        f"{others['best_epoch'].mean():.1f} of {table['epochs'].max()} epochs. With {first}, "
        f"{len(reached)} of {len(table)} trainings reached it"
    )
    sentence += f", on average after {reached['first_epoch'].mean():.1f} epochs." if len(reached) else "."
    if np.isnan(saved.low):
        return f"{sentence} Epochs saved: {saved.mean:.1f} (one seed, so no interval)."
    return f"{sentence} Epochs saved: {saved.mean:.1f} [{saved.low:.1f}, {saved.high:.1f}], {_basis(answer)}."


def _basis(answer: Answer) -> str:
    """Return what an answer is a mean over: "mean over 6 combinations of encoder and loss, and 3 seeds"."""
    factors = [name for name in ("encoder", "loss", "start") if name != answer.question.factor]
    names = [name for name, levels in zip(factors, zip(*answer.strata, strict=True), strict=True) if len({*levels}) > 1]
    number = len(answer.strata)
    combinations = f"{count(number, 'combination')} of {join_words(names)}" if len(names) > 1 else ""
    if not combinations and names:
        combinations = f"{number} {'losses' if names == ['loss'] else names[0] + 's'}"
    return "mean over " + join_words([*filter(None, [combinations]), count(answer.seeds, "seed")])


def _levels(question: Question, levels: Sequence[str]) -> str:
    titles = {name: row.title for name, row in ENCODERS.items()} | {
        name: loss_title(name, in_sentence=True) for name in LOSSES
    }
    return join_words([titles.get(level, level) if question.factor != "start" else level for level in levels])


def _ends(row: dict) -> tuple[float, float, float]:
    return row["difference"], row["ci_low"], row["ci_high"]
