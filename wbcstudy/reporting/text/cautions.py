"""What a reader must know before trusting the tables: weights, failed runs, mixed runs, trainings cut short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wbcstudy.config import join_method
from wbcstudy.registry import method_title
from wbcstudy.reporting.text.methods_paragraph import pretrained_sentence, version_text, weights_sentence
from wbcstudy.reporting.text.network_starts import network_start_cautions
from wbcstudy.runs.folders import problem_status
from wbcstudy.runs.notebooks import changed_notebooks
from wbcstudy.runs.own_parts import name_parts
from wbcstudy.runs.results import Run
from wbcstudy.scoring.selection import group_runs
from wbcstudy.wording import count, join_words, shorten

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# The table of runs has all names.
_MOST_NAMES = 10
_STATES = {
    "damaged": "damaged and left out",
    "unreadable": "not readable and left out",
    "failed": "failed",
    "unfinished": "not finished",
    "waiting": "not started",
}


def caution_sentences(results: StudyResults) -> list[str]:
    """Return the cautions at the top of the report."""
    config, study = results.config, results.study
    sentences = []
    if config.encoders:
        sentences.append(weights_sentence([run.config for run in results.runs] or [config]))
        sentences += pretrained_sentence(results)
        sentences += network_start_cautions(results.complete)
    records = {run.name: run.record.get("status") for run in results.runs}
    states = {run.name: records.get(run.name) or study.run(run.name).read_status() for run in config.runs()}
    problems = {name: problem_status(problem) for name, problem in results.problems.items()}
    sentences += _state_sentences({name: problems.get(name, state) for name, state in states.items()}, "run")
    compared = group_runs(results.comparable)
    short = [method_title("__".join(pair)) for pair in group_runs(results.complete) if pair not in compared]
    if short:
        sentences.append(f"Not compared, because no seed has all folds that others have: {_join(short)}.")
    folders = {run.name: study.baseline(run.name) for run in config.baseline_runs()}
    states = {name: problems.get(name) or folder.read_status() for name, folder in folders.items()}
    sentences += _state_sentences(states, "run of earlier methods", "runs of earlier methods")
    for name in [name for name, state in states.items() if state == "failed"][:_MOST_NAMES]:
        record = folders[name].read_record() or {}
        reason = " ".join(str(record.get(key) or "") for key in ("error", "advice"))
        sentences.append(shorten(f"{name}: {' '.join(reason.split())}", 300))
    for problem in [*results.problems.values()][:_MOST_NAMES]:
        sentences.append(f"{shorten(problem.message, 300)} {problem.fix}")
    complete = [run.record for run in results.complete]
    for noun, values in (
        ("versions of the dataset", {(record.get("dataset") or {}).get("fingerprint") for record in complete}),
        ("splits", {record.get("split_hash") for record in complete}),
        ("versions of wbcstudy", {version_text(record) for record in complete}),
        ("versions of TensorFlow", {(record.get("packages") or {}).get("tensorflow") for record in complete}),
    ):
        if len(values) > 1:
            sentences.append(f"The runs used {len(values)} different {noun}; compare them with care.")
    if unsealed := [run.name for run in results.complete if "files" not in run.record]:
        sentences.append(
            f"Not verifiable: {count(len(unsealed), 'run')} of wbcstudy 0.2 or earlier, without SHA-256 of the files. "
            "Scores, masks, distances and calibration agree with each other; learning curves and networks cannot be "
            "checked."
        )
    sentences += _missing_sentences(results)
    sentences += _notebook_sentences([*complete, *(folder.read_record() or {} for folder in folders.values())])
    sentences += _own_parts_sentences(results.complete)
    sentences += limit_sentences(results.complete)
    precision = precision_sentence(run.record for run in results.runs)
    return [*sentences, *([precision] if precision else []), *_transfer_cautions(results)]


def _missing_sentences(results: StudyResults) -> list[str]:
    """Say which images are gone, and what the report leaves out for that reason."""
    sentences = []
    if results.missing_images:
        reason = shorten(results.missing_images.rstrip("."), 300)
        text = f"The images cannot be read, so the figures of test images and the majority vote are left out: {reason}."
        if not results.recorded_groups:
            text += " No groups of images (patients, slides) are recorded either: each image counts as independent."
        sentences.append(text)
    if results.missing_others:
        titles = join_words([results.transfer.title(other) for other in results.missing_others])
        sentences.append(f"The images of {titles} cannot be read, so their figures are left out.")
    return sentences


def leak_sentences(results: StudyResults) -> list[str]:
    """Say which test and validation images show a cell that the networks were trained on."""
    test, validation = results.leaks
    if not test and not validation:
        return []
    parts = []
    if test:
        tested = len({case_id for split in results.splits for case_id in split.test})
        parts.append(f"{len(test)} of {count(tested, 'test image')} ({_join(test)})")
    if validation:
        parts.append(f"{count(len(validation), 'validation image')} ({_join(validation)})")
    number = len(test) + len(validation)
    sentences = [f"{join_words(parts)} {'shows' if number == 1 else 'show'} the same cell as a training image."]
    if test:
        sentences.append("The networks have seen these cells, so the test scores may be too high.")
    sentences.append("To avoid this, copy the study's file under a new name: a new split keeps such images together.")
    return [" ".join(sentences)]


def _notebook_sentences(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say which runs were made by a changed notebook."""
    runs = [f"{run} ({notebook})" for run, notebook in changed_notebooks(records).items()]
    if not runs:
        return []
    return [
        f"Run with an own notebook, a notebook other than the shipped one: {_join(runs)}. The code of these runs may "
        "differ from that of the other runs."
    ]


def _own_parts_sentences(complete: Iterable[Run]) -> list[str]:
    """Say which runs were trained with a loss, callbacks or augmentation of the user's own."""
    named = [(run, parts) for run in complete if (parts := name_parts(run.record.get("own_parts")))]
    if not named:
        return []
    text = (
        f"Trained with own parts, whose code is in run.json: {_join(f'{run.name} ({parts})' for run, parts in named)}."
    )
    if any("loss" in run.record["own_parts"] for run, _ in named):
        text += " An own loss was used instead of the one in the name of the run."
    return [text]


def limit_sentences(complete: Iterable[Run]) -> list[str]:
    """Say which trainings ended at the limit of epochs and not by early stopping."""
    recorded = [run for run in complete if run.record.get("epochs")]
    ended = [run for run in recorded if run.record["epochs"] >= run.config.epochs]
    rising = [run for run in ended if run.record.get("best_epoch") == run.record["epochs"]]
    stoppable = [run for run in ended if run.config.epochs > run.config.patience]
    # A training of fixed length whose best epoch was not its last had enough epochs.
    if not stoppable and not rising:
        return []
    more = "More epochs may improve the scores."
    limit = "ended at the limit of epochs, without early stopping"
    if len(recorded) == 1:
        return [f"The training {limit}. {more}"]
    if len(rising) == len(recorded):
        return [f"All {len(recorded)} trainings {limit}; in each, the last epoch was the best. {more}"]
    number = f"All {len(recorded)}" if len(ended) == len(recorded) else f"{len(ended)} of {len(recorded)}"
    best = f"; in {len(rising)} the last epoch was the best" if rising else ""
    names = list(dict.fromkeys(method_title(run.config.method) for run in rising or ended))
    every = len({run.config.method for run in recorded})
    which = f": {join_words(names)}" if len(names) <= _MOST_NAMES else f" ({len(names)} of {every} pairs)"
    return [f"{number} trainings {limit}{best}{which}. {more}"]


def precision_sentence(records: Iterable[Mapping[str, Any]]) -> str:
    """Say which networks were trained with another precision than the rest; empty if all had the same.

    `precision: auto` chooses the precision of the machine, and a study may have run on several.

    Args:
        records: run.json of each run; only complete ones count.
    """
    methods: dict[str, dict[str, None]] = {}
    encoders: dict[str, set[str]] = {}
    for record in records:
        if record.get("status") == "complete":
            config = record["config"]
            # Earlier versions did not record it; their settings say it.
            precision = record.get("arithmetic") or config["precision"]
            methods.setdefault(precision, {})[
                method_title(join_method(config["encoder"], config["loss"], config.get("start", "")))
            ] = None
            encoders.setdefault(precision, set()).add(config["encoder"])
    methods.pop("auto", None)
    encoders.pop("auto", None)
    if len(methods) < 2:
        return ""
    rarest = min(methods, key=lambda precision: (len(methods[precision]), precision))
    others = {name for precision, names in methods.items() if precision != rarest for name in names}
    names = [f"some runs of {name}" if name in others else name for name in methods[rarest]]
    confounded = ""
    if len(set.union(*encoders.values())) == sum(map(len, encoders.values())):
        confounded = (
            " Each encoder has one precision, so that its effect (and that of the processor) cannot be separated from "
            "that of the encoder."
        )
    return (
        f"The networks were trained with different precision: {rarest} for {_join(names)}, "
        f"{join_words(sorted(methods.keys() - {rarest}), 'or')} for the rest. Do not compare their times, and compare "
        f"small differences in Dice with care.{confounded}"
    )


def _transfer_cautions(results: StudyResults) -> list[str]:
    """Say what could not be scored on other datasets, and which images two datasets share."""
    transfer, sentences = results.transfer, []
    for run, dataset, error in transfer.failed:
        sentences.append(f"{run} could not be scored on {dataset}: {shorten(' '.join(error.split()), 300)}")
    if transfer.missing:
        names = join_words(list(dict.fromkeys(dataset for _, dataset in transfer.missing)))
        sentences.append(f"Some runs have not been scored on {names} yet; `wbcstudy run` scores them.")
    for dataset in transfer.datasets:
        if dataset.shared:
            sentences.append(
                f"{len(dataset.shared)} of the {dataset.cases} images of {transfer.title(dataset)} are left out: the "
                "training dataset has images of the same cells."
            )
    return sentences


def _state_sentences(states: Mapping[str, str], noun: str, plural: str = "") -> list[str]:
    """Say how many runs failed, are not finished or not started, and which."""
    total = f"{len(states)} {plural}" if plural and len(states) != 1 else count(len(states), noun)
    sentences = []
    for state, phrase in _STATES.items():
        names = [name for name in states if states[name] == state]
        if names:
            sentences.append(f"{len(names)} of {total} {phrase}: {_join(names)}.")
    return sentences


def _join(names: Iterable[str]) -> str:
    return join_words(list(names), most=_MOST_NAMES)
