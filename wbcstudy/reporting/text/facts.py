"""What the report says in words and small lists: plain text and numbers, from records and settings alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from wbcstudy.config import StudyConfig
from wbcstudy.registry import method_title
from wbcstudy.reporting.tables.layout import weights_note
from wbcstudy.reporting.tables.paper import make_table1
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, run_seconds
from wbcstudy.scoring.methods import Groups
from wbcstudy.scoring.selection import TABLE_REGIONS, group_runs, pick_best, whole_runs

# A page of more rows, or a sentence of more names, is not read.
MOST_ROWS, MOST_NAMES = 200, 10

GLOSSARY = (
    ("Dice", "overlap of the predicted and the expert's region: 1 is the same pixels, 0 is none in common; F-score."),
    ("Dice, mean Dice", "from the pixels of all test images together, as in the paper; mean of the images' own Dice."),
    ("95 % interval", "where the mean over images would lie with other test images of this kind (bootstrap)."),
    ("Precision", "of the pixels that the model calls a region, the share that are."),
    ("Sensitivity", "of the expert's pixels of a region, the share that the model found; also called recall."),
    ("Specificity", "of the pixels outside a region, the share that the model left alone."),
    ("Accuracy", "of all pixels, the share that are right; high for small regions whatever the model does."),
    ("IoU", "common pixels over all pixels of either; never higher than Dice."),
    ("Encoder", "the half of the network that reads the image, borrowed from a known network."),
    ("Loss", "the number that training makes small."),
    ("Epoch, best epoch", "one pass of training; the one with the lowest validation loss, whose weights are kept."),
    (
        "Training, validation, test",
        "images to learn from; to stop and to choose by; to report on, used for nothing else.",
    ),
    (
        "Cannot be told apart",
        "a difference as large could be chance; it does not say that there is none.",
    ),
    (
        "p (Holm)",
        "how often chance alone would give such a difference, corrected for looking at many pairs; below 0.05 counts "
        "as more than chance.",
    ),
    ("Rank", "place of a method on one image, 1 is the best; the mean rank is over the images."),
    ("Multiply-adds", "multiplications, each with an addition, that the network makes for one image."),
    (
        "float32, bfloat16",
        "numbers of about seven and of two to three digits in a network's sums; with the shorter ones, processors made "
        "for them are several times as fast. Weights have seven digits in both.",
    ),
    (
        "Calibration",
        "whether of the pixels given a probability of 70 % seven in ten are right; its expected error is the mean gap.",
    ),
    (
        "Lost elsewhere",
        "mean Dice on the own test images minus that on another dataset, which no network has learnt from.",
    ),
    ("Measured, quoted", "computed here; printed in the paper, for other images."),
)


# The answer of a study without encoders.
ONLY_METHODS = ("This study measures earlier methods alone, without a network: see Table 3.",)


def count(number: int, noun: str) -> str:
    """`1 run`, `2 runs`, `2 losses`."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def tell_answer(runs: Iterable[Run], groups: Groups | None = None) -> list[str]:
    """What the study answers, best pair first; a sentence or two.

    Args:
        runs: finished and failed runs.
        groups: case id -> group, for the intervals.
    """
    runs = list(runs)
    best = pick_best(runs)
    if best is None and any(run.complete for run in runs) and not whole_runs(runs):
        return ["There is no answer yet: no encoder and loss has been tested on all the folds that others were."]
    if best is None:
        return ["There is no answer yet: no run is complete with scores that are defined."]
    table = make_table1(runs, groups)
    table = table[table["whole"].astype(bool)].dropna(subset="dice")
    rows = table[(table["encoder"] == best.encoder) & (table["loss"] == best.loss)].set_index("region")
    pairs = table[["encoder", "loss"]].drop_duplicates()
    alone = len(pairs) == 1
    first = (
        f"{best.title}, the only one measured." if alone else f"Use {best.title}: the best on the validation images."
    )
    pooled, means = [], []
    for region in TABLE_REGIONS:
        if region in rows.index:
            row = rows.loc[region]
            pooled.append(f"{row['dice']:.3f} for the {region}")
            span = ""
            if pd.notna(row["dice_ci_low"]):
                span = f" (95 % interval {row['dice_ci_low']:.3f} to {row['dice_ci_high']:.3f})"
            means.append(f"{row['dice_mean']:.3f}{span} for the {region}")
    said = [first]
    if pooled:
        images = count(int(rows["n"].max()), "test image")
        said = [f"{first} On {images}, its Dice (1 is perfect) is {' and '.join(pooled)}."]
        said.append(f"Mean over images: {' and '.join(means)}.")
    if alone:
        return [*said, "There is nothing to compare it with."]
    spans = []
    for region in TABLE_REGIONS:
        values = table.loc[table["region"] == region, "dice"]
        if len(values):
            spans.append(f"{values.min():.3f} to {values.max():.3f} for the {region}")
    pairs = "Both measured pairs" if len(pairs) == 2 else f"All {len(pairs)} measured pairs"
    said[-1] += f" {pairs} of encoder and loss have a Dice of {' and '.join(spans)}."
    return said


def tell_cautions(study: StudyFolder, config: StudyConfig, runs: Iterable[Run]) -> list[str]:
    """What a reader must know before believing the tables: weights, failed and unfinished runs, mixed runs."""
    runs, said = list(runs), []
    if config.encoders:
        said.append(weights_note(run.config for run in runs) if runs else weights_note([config]))
    known = {run.name: run.record.get("status") for run in runs}
    states = {run.name: known.get(run.name) or study.run(run.name).read_status() for run in config.runs()}
    said += _tell_states(states)
    compared = {(run.config.encoder, run.config.loss) for run in whole_runs(runs)}
    short = [pair for pair in group_runs(run for run in runs if run.complete) if pair not in compared]
    if short:
        names = _few([method_title("__".join(pair)) for pair in short])
        said.append(f"Left out of the comparison, since no seed has all the folds that others have: {names}.")
    methods = {one.name: study.baseline(one.name) for one in config.baseline_runs()}
    method_states = {name: folder.read_status() for name, folder in methods.items()}
    said += _tell_states(method_states, " of earlier methods")
    for name in [name for name, state in method_states.items() if state == "failed"][:MOST_NAMES]:
        record = methods[name].read_record() or {}
        why = " ".join(str(record.get(key) or "") for key in ("error", "advice"))
        said.append(shorten(f"{name}: {' '.join(why.split())}", 300))
    done = [run.record for run in runs if run.complete]
    for what, values in (
        ("versions of the data", {(record.get("dataset") or {}).get("fingerprint") for record in done}),
        ("splits", {record.get("split_hash") for record in done}),
        ("versions of this program", {tell_version(record) for record in done}),
        ("TensorFlow versions", {(record.get("packages") or {}).get("tensorflow") for record in done}),
    ):
        if len(values) > 1:
            said.append(f"The runs used {len(values)} different {what}; compare them with care.")
    said += _tell_unfinished_learning(runs)
    return [*said, *([told] if (told := tell_arithmetic(run.record for run in runs)) else [])]


def _tell_unfinished_learning(runs: Iterable[Run]) -> list[str]:
    """Trainings that the limit of epochs ended before early stopping did."""
    done = [run for run in runs if run.complete and run.record.get("epochs")]
    ended = [run for run in done if run.record["epochs"] >= run.config.epochs]
    # With as much patience as epochs none ends sooner, which says nothing of a training whose best epoch was earlier.
    cut = [run for run in ended if run.config.epochs > run.config.patience or _best_is_last(run)]
    if not cut:
        return []
    last = sum(map(_best_is_last, cut))
    names = dict.fromkeys(method_title(f"{run.config.encoder}__{run.config.loss}") for run in cut)
    best = f", {last} with the best epoch last" if last else ""
    return [
        f"{len(cut)} of {count(len(done), 'training')} ended at the limit of epochs and not by early stopping{best}: "
        f"{_few(list(names))}. With more epochs they may score higher."
    ]


def _best_is_last(run: Run) -> bool:
    return run.record.get("best_epoch") == run.record["epochs"]


def tell_arithmetic(records: Iterable[Mapping[str, Any]]) -> str:
    """Which networks computed with other numbers than the rest, where `precision: auto` met machines of both kinds.

    Args:
        records: run.json of each run; only complete ones count.

    Returns:
        A sentence or two; empty where all computed alike.
    """
    kinds: dict[str, dict[str, None]] = {}
    for record in records:
        if record.get("status") == "complete":
            config = record["config"]
            # Runs of an early version do not say it; their settings do.
            kind = record.get("arithmetic") or config["precision"]
            kinds.setdefault(kind, {})[method_title(f"{config['encoder']}__{config['loss']}")] = None
    kinds.pop("auto", None)
    if len(kinds) < 2:
        return ""
    kind = min(kinds, key=lambda name: (len(kinds[name]), name))
    others = {name for other, names in kinds.items() if other != kind for name in names}
    told = [f"partly {name}" if name in others else name for name in kinds[kind]]
    return (
        f"Not all networks computed with the same kind of numbers: with {kind} {_few(told)}; with "
        f"{' or '.join(sorted(kinds.keys() - {kind}))} the rest. Their times cannot be compared, and small differences "
        "of Dice only with care."
    )


def _tell_states(states: Mapping[str, str], of: str = "") -> list[str]:
    """How many have failed, are not finished or not started, and which."""
    said = []
    for state, words in (("failed", "failed"), ("unfinished", "not finished"), ("waiting", "not started")):
        names = [name for name, found in states.items() if found == state]
        if names:
            said.append(f"{len(names)} of {count(len(states), 'run')}{of} {words}: {_few(names)}.")
    return said


def tell_version(record: Mapping[str, Any]) -> str:
    """Of the program: its number and, where it ran from a repository, the commit."""
    commit = f" (commit {record['commit']})" if record.get("commit") else ""
    return f"{record.get('code_version') or ''}{commit}".strip()


def list_runs(study: StudyFolder, config: StudyConfig, runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One row per run of the study, finished or not, for the page's table of runs; see `pick_rows`."""
    found = {run.name: run for run in runs}
    names = list(dict.fromkeys([*(run.name for run in config.runs()), *found]))
    rows = []
    for name in names:
        folder, record = study.run(name), found[name].record if name in found else {}
        target = next((path for path in (folder.page, folder.notebook) if path.exists()), None)
        notebook = folder.notebook if folder.notebook.exists() else None
        scores = record.get("scores") or {}
        rows.append(
            {
                "name": name,
                "status": record.get("status") or folder.read_status(),
                "link": relative_link(target, study),
                "notebook": relative_link(notebook, study),
                "epochs": f"{record['best_epoch']} of {record['epochs']}" if "epochs" in record else "",
                "dice": [_number(scores.get(region, {}).get("dice")) for region in TABLE_REGIONS],
                "time": tell_seconds(run_seconds(record)),
                "memory": tell_memory(record.get("peak_memory_mb")),
                "error": shorten(str(record.get("error", ""))),
                "advice": str(record.get("advice", "")),
            }
        )
    return rows


def pick_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `list_runs` that a page can show: all, or of very many a sample.

    Of more than `MOST_ROWS`, those stay that are not complete (as many as fit), and of the complete ones the first of
    each encoder and loss.
    """
    if len(rows) <= MOST_ROWS:
        return rows
    shown = {row["name"] for row in rows if row["status"] != "complete"}
    shown = set(sorted(shown)[: MOST_ROWS // 2])
    firsts: dict[str, str] = {}
    for row in rows:
        if row["status"] == "complete":
            firsts.setdefault(row["name"].partition("__fold")[0], row["name"])
    return [row for row in rows if row["name"] in shown | set(firsts.values())]


def describe_data(config: StudyConfig, dataset: Mapping[str, Any], runs: Iterable[Run]) -> list[tuple[str, str]]:
    """Name and value of each fact on the data."""
    rows = [("Dataset", f"{dataset.get('title') or config.dataset} ({dataset.get('name') or config.dataset})")]
    if dataset.get("cases") is not None:
        rows.append(("Cases", f"{dataset['cases']} images with their masks"))
    shares = dataset.get("label_shares")
    if shares:
        rows.append(("Label shares", ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())))
    parts = [run.record["split"] for run in runs if run.complete and run.record.get("split")]
    if parts:
        sizes = [f"{tell_span(part[name] for part in parts)} {name}" for name in ("train", "validation", "test")]
        rows.append(("Split", ", ".join(sizes).replace("train,", "training,") + _folds(config)))
    rows.append(("Size", f"resized to {config.image_size} x {config.image_size} px"))
    if dataset.get("fingerprint"):
        rows.append(("Fingerprint", str(dataset["fingerprint"])))
    return rows


def list_settings(config: StudyConfig) -> list[tuple[str, str, str]]:
    """Name, value and meaning of every setting, as in the study's file."""
    values = config.model_dump(mode="json")
    fields = type(config).model_fields
    return [(name, _value(value), fields[name].description or "") for name, value in values.items()]


def tell_seconds(seconds: float | None) -> str:
    """1 h 02 min, 3 min 20 s or 12 s; empty where unknown."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def tell_memory(megabytes: float | None) -> str:
    """850 MB or 1.2 GB; empty where unknown."""
    if megabytes is None:
        return ""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def _folds(config: StudyConfig) -> str:
    return f" in each of {config.folds} folds" if config.folds > 1 else ", the same for every run"


def tell_span(values: Iterable[int]) -> str:
    """64, or 63 to 65."""
    known = sorted(set(values))
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def shorten(text: str, most: int = 1200) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[:most] + " ..."


def relative_link(path: Path | None, study: StudyFolder) -> str:
    """How the report links to a file; empty for none."""
    return quote(os.path.relpath(path, study.report.parent).replace(os.sep, "/")) if path else ""
