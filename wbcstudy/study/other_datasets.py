"""Other datasets, on which finished networks are scored: another laboratory's images, of which none was learnt from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbcstudy import __version__
from wbcstudy.config import RunConfig
from wbcstudy.config_io import read_run
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.check import check_dataset
from wbcstudy.data.datasets import Dataset, load_dataset
from wbcstudy.data.duplicates import image_digest
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json, write_json
from wbcstudy.labels import LABELS
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import end_with_grid
from wbcstudy.runs.results import write_predictions, write_record
from wbcstudy.scoring.evaluation import score_masks, summarise, write_scores
from wbcstudy.study.record import describe_dataset


@dataclass(frozen=True)
class Other:
    """A dataset under `also_score`, as `other_datasets.json` keeps it, so that a report needs none of its files.

    Args:
        source: name or path, as in the study's file.
        name: its short name, the folder of its scores.
        title: as in reports.
        fingerprint: of its files.
        cases: number of its images.
        groups: case id -> group, of the cases that have one.
        shared: case ids whose pixels are also in the dataset that the networks were trained on; they are left out of
            the report.
        citation: what to cite, or ''.
        acknowledgement: whom to thank, or ''.
        licence: licence of the data, or ''.
    """

    source: str
    name: str
    title: str
    fingerprint: str
    cases: int
    groups: dict[str, str]
    shared: tuple[str, ...]
    citation: str = ""
    acknowledgement: str = ""
    licence: str = ""


def read_others(study: StudyFolder) -> tuple[Other, ...]:
    """The other datasets of a study, in its order; none where there is no file of them.

    Raises:
        StudyError: the file is damaged.
    """
    stored = read_json(study.others) or {}
    try:
        return tuple(Other(**row | {"shared": tuple(row["shared"])}) for row in stored.get("datasets", ()))
    except (TypeError, KeyError, AttributeError) as error:
        raise StudyError(
            f"{study.others} is damaged ({type(error).__name__}).",
            expected="the file as `wbcstudy run` wrote it",
            fix="Delete it: it is made again.",
        ) from None


def prepare_others(study: StudyFolder, trained: Dataset, sources: Sequence[str]) -> tuple[Other, ...]:
    """Check the datasets under `also_score` and note what a report needs of them. Those that are known are not read.

    Args:
        study: its folder gets `other_datasets.json`, if there is any.
        trained: the dataset that the networks learn from.
        sources: names or paths.

    Raises:
        StudyError: a dataset that is not there, has errors, lacks a label, is the trained one, has the name of another,
            or has changed since networks were scored on it.
    """
    before = {(other.name, other.fingerprint): other for other in read_others(study)}
    found = []
    for source in sources:
        dataset = load_dataset(source)
        _check_apart(dataset, source, trained, found)
        _check_unchanged(study, dataset)
        known = before.get((dataset.name, dataset.fingerprint))
        found.append(known if known and known.source == source else _describe(dataset, source, trained))
    if found or study.others.exists():
        values = {"datasets": [_as_json(other) for other in found]}
        if read_json(study.others) != values:
            write_json(study.others, values)
    return tuple(found)


def find_shared(dataset: Dataset, trained: Dataset) -> tuple[str, ...]:
    """Case ids of a dataset whose images show exactly the pixels of an image of another."""
    ours = {image_digest(read_image(case.image_path)) for case in trained.cases}
    return tuple(case.case_id for case in dataset.cases if image_digest(read_image(case.image_path)) in ours)


def _describe(dataset: Dataset, source: str, trained: Dataset) -> Other:
    checked = check_dataset(dataset, to_split=False)
    checked.stop_on_errors()
    absent = [label for label in LABELS if not checked.label_shares[label]]
    if absent:
        raise StudyError(
            f"also_score: no mask of {dataset.name} has a pixel of {' or '.join(absent)}.",
            expected=f"masks with all of {', '.join(LABELS)}, since the networks tell these apart",
            fix=f"Check `labels` in {dataset.folder / 'dataset.yaml'}, or leave {source} out.",
        )
    shared = find_shared(dataset, trained)
    if len(shared) == len(dataset.cases):
        raise StudyError(
            f"also_score: every image of {dataset.name} is also in {trained.name}, which is trained on.",
            expected="images that no network has learnt from",
            fix=f"Leave {source} out of also_score.",
        )
    return Other(
        source,
        dataset.name,
        dataset.title,
        dataset.fingerprint,
        len(dataset.cases),
        dataset.groups,
        shared,
        dataset.citation,
        dataset.acknowledgement,
        dataset.licence,
    )


def _check_apart(dataset: Dataset, source: str, trained: Dataset, before: Sequence[Other]) -> None:
    if dataset.folder.resolve() == trained.folder.resolve() or dataset.fingerprint == trained.fingerprint:
        raise StudyError(
            f"also_score: {source} is the dataset that is trained on.",
            expected="datasets that no network of the study has learnt from",
            fix="Leave it out; its own test images are scored anyway.",
        )
    if dataset.name in {trained.name, *(other.name for other in before)}:
        raise StudyError(
            f"also_score: {source} has the name {dataset.name!r}, as another dataset of this study.",
            expected="datasets with different names, since results are filed by them",
            fix=f"Change `name` in {dataset.folder / 'dataset.yaml'}.",
        )


def _check_unchanged(study: StudyFolder, dataset: Dataset) -> None:
    for place in sorted(study.runs.glob(f"*/transfer/{dataset.name}/run.json")):
        record = read_json(place) or {}
        scored = (record.get("dataset") or {}).get("fingerprint")
        if record.get("status") == "complete" and scored != dataset.fingerprint:
            raise StudyError(
                f"The files of {dataset.name} have changed since networks were scored on them ({place.parent}).",
                expected="the same images, masks and facts for all networks of a study",
                fix=f"Restore the files, or delete {study.runs}/*/transfer/{dataset.name} to score all again.",
            )


def _as_json(other: Other) -> dict[str, Any]:
    return vars(other) | {"shared": list(other.shared)}


# Images that are in memory at a time.
CHUNK = 64


def score_elsewhere(place: Path, name: str) -> dict[str, Any]:
    """Score one run's network on every case of another dataset, as it is scored on its own test cases.

    Images are brought to the run's `image_size`, whatever their scale. Writes scores.csv, predictions.npz and, last,
    run.json below `<run>/transfer/<dataset>/`. Scores of this very network are kept. What cannot be scored leaves a
    run.json that says so, as a training does; the next `wbcstudy run` tries again.

    Args:
        place: the run's folder, `outputs/<study>/runs/<run>`.
        name: of a dataset in the study's `other_datasets.json`.

    Returns:
        What run.json says.
    """
    run = RunFolder(Path(place).resolve())
    target = run.transfer(name)
    end_with_grid()
    trained = (run.read_record() or {}).get("written")
    before = target.read_record() or {}
    if before.get("status") == "complete" and before.get("network") == trained:
        # Snakemake goes by file times, which a copied folder may have lost; writing again renews them.
        write_record(target, before)
        return before
    about = {"study": run.study.name, "run": run.name, "network": trained, "code_version": __version__}
    try:
        record = about | _score(run, _find(run, name), target)
    # Whatever it is, such as TensorFlow's own kind of too little memory: the others are scored, and the report tells.
    except Exception as error:
        record = about | {"status": "failed", "error": str(error) or type(error).__name__, "dataset": {"name": name}}
    write_record(target, record)
    return record


def _score(run: RunFolder, other: Other, target: RunFolder) -> dict[str, Any]:
    # TensorFlow, for which a run that failed need not wait.
    from wbcstudy.nets.model_file import load_model

    if run.status != "complete":
        raise StudyError(
            f"The run {run.name} is not complete.", expected="a finished training", fix="Run the study again."
        )
    config, dataset = read_run(run.params), load_dataset(other.source)
    begin = time.perf_counter()
    model = load_model(run.model)
    scores, masks = _predict(model, config, dataset)
    write_scores(scores, target.scores)
    write_predictions(target, [case.case_id for case in dataset.cases], masks)
    return {
        "status": "complete",
        "dataset": describe_dataset(dataset),
        "scores": summarise(scores),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _predict(model, config: RunConfig, dataset: Dataset):
    import numpy as np
    import pandas as pd

    from wbcstudy.nets.prediction import predict_masks

    frames, masks = [], []
    ids = [case.case_id for case in dataset.cases]
    for start in range(0, len(ids), CHUNK):
        part = read_cases(dataset, ids[start : start + CHUNK], config.image_size)
        masks.append(predict_masks(model, part.images, config.batch_size, flips=config.test_time_flips))
        frames.append(score_masks(config.name, part.case_ids, part.cell_types, part.masks, masks[-1]))
    return pd.concat(frames, ignore_index=True), np.concatenate(masks)


def _find(run: RunFolder, name: str) -> Other:
    others = {other.name: other for other in read_others(run.study)}
    if name not in others:
        raise StudyError(
            f"{name} is not among the other datasets of this study.",
            expected=", ".join(others) or "a study with also_score",
            fix="Add it to also_score in the study's file, and run the study again.",
        )
    return others[name]
