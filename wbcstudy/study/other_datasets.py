"""Datasets used for evaluation only: check those under `also_score`, and score finished networks on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Required

import numpy as np
from pydantic import ConfigDict
from typing_extensions import TypedDict

from wbcstudy import __version__
from wbcstudy.config import RunConfig
from wbcstudy.config_io import Count, Text, read_record_file, read_run, seal_record
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import Dataset, load_dataset, read_case
from wbcstudy.data.duplicates import DuplicateFinder, merge_groups
from wbcstudy.data.images import read_image
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json, write_json
from wbcstudy.labels import LABELS
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import exit_when_scheduler_dies
from wbcstudy.runs.results import write_predictions, write_record
from wbcstudy.study.record import describe_dataset

# Prefix of the ids of training images in a search; no case id contains it.
_TRAINED = "training:/"
# Images held in memory at the same time.
_CHUNK = 64


@dataclass(frozen=True)
class OtherDataset:
    """A dataset under `also_score`, as stored in `other_datasets.json`: the report reads none of its files.

    Args:
        source: name or path, as in the study's file.
        name: short name, also the folder of its scores.
        title: name in reports.
        fingerprint: hash of its files.
        cases: number of its images.
        groups: case id -> group, of the cases that have a group or a duplicate.
        shared: ids of cases that show the same cell as an image of the training dataset; the report leaves them out.
        citation: publication to cite, or ''.
        acknowledgement: people to thank, or ''.
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


class _OtherRow(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow")

    source: Required[Text]
    name: Required[Text]
    title: Required[Text]
    fingerprint: Required[Text]
    cases: Required[Count]
    groups: Required[dict[str, Text]]
    shared: Required[list[Text]]
    citation: Text
    acknowledgement: Text
    licence: Text


class _OtherDatasets(TypedDict):
    """The content of other_datasets.json."""

    __pydantic_config__ = ConfigDict(extra="allow")

    datasets: list[_OtherRow]


def read_other_datasets(study: StudyFolder) -> tuple[OtherDataset, ...]:
    """Read `other_datasets.json`, in the study's order; empty if the study has none.

    Raises:
        StudyError: the file is damaged, or was made by a newer version.
    """
    fix = "Delete the file. The next `wbcstudy run` writes it again."
    stored = read_record_file(study.other_datasets, _OtherDatasets, fix) or {"datasets": []}
    names = [field.name for field in fields(OtherDataset)]
    rows = [{name: row[name] for name in names if name in row} for row in stored["datasets"]]
    return tuple(OtherDataset(**row | {"shared": tuple(row["shared"])}) for row in rows)


def prepare_other_datasets(
    study: StudyFolder, trained: Dataset, sources: Sequence[str], near_duplicates: bool = True
) -> tuple[OtherDataset, ...]:
    """Check the datasets under `also_score` and write `other_datasets.json`. Unchanged datasets are not read again.

    Args:
        study: folder of the study; a study without other datasets gets no file.
        trained: dataset that the networks are trained on.
        sources: names or paths.
        near_duplicates: whether to search for images of the same cell too, in and between the datasets.

    Raises:
        StudyError: a dataset is missing, has errors, lacks a label, is the training dataset, has the name of another
            dataset, or has changed since networks were scored on it.
    """
    known = {(other.source, other.name, other.fingerprint): other for other in read_other_datasets(study)}
    others: list[OtherDataset] = []
    for source in sources:
        dataset = load_dataset(source)
        _check_different(dataset, source, trained, others)
        _check_unchanged(study, dataset)
        key = (source, dataset.name, dataset.fingerprint)
        others.append(known.get(key) or _describe(dataset, source, trained, near_duplicates))
    if others or study.other_datasets.exists():
        values = seal_record({"datasets": [asdict(other) | {"shared": list(other.shared)} for other in others]})
        if read_json(study.other_datasets) != values:
            write_json(study.other_datasets, values)
    return tuple(others)


def score_on_dataset(path: Path, name: str) -> dict[str, Any]:
    """Score one run's network on every case of another dataset, as `wbcstudy segment --stain none` predicts it.

    With `score_at: image_size`, images are resized to the run's `image_size` instead, regardless of their scale, and
    scored at this size as its test images are. Writes scores.csv, predictions.npz and, last, run.json to
    `<run>/transfer/<dataset>/`. Scores that this network already has are kept. An error is recorded in run.json, as for
    a training; the next `wbcstudy run` tries again.

    Args:
        path: folder of the run, `outputs/<study>/runs/<run>`.
        name: name of a dataset in the study's `other_datasets.json`.

    Returns:
        Contents of run.json.
    """
    run = RunFolder(Path(path).resolve())
    target = run.transfer(name)
    exit_when_scheduler_dies()
    network = (run.read_record() or {}).get("written")
    previous = target.read_record() or {}
    if previous.get("status") == "complete" and previous.get("network") == network:
        # Snakemake compares file times, which a copied folder may have lost.
        target.record.touch()
        return previous
    record = {"study": run.study.name, "run": run.name, "network": network, "code_version": __version__}
    try:
        record |= _score(run, _find(run.study, name), target)
    # Any error, such as TensorFlow's ResourceExhaustedError: the other runs are still scored, and the report shows it.
    except Exception as error:
        record |= {"status": "failed", "error": str(error) or type(error).__name__, "dataset": {"name": name}}
    write_record(target, record)
    return record


def _describe(dataset: Dataset, source: str, trained: Dataset, near_duplicates: bool) -> OtherDataset:
    # Imports pandas, for which a report without other datasets need not wait.
    from wbcstudy.data.check import check_dataset

    checked = check_dataset(dataset, to_split=False, near_duplicates=False)
    checked.stop_on_errors()
    absent = [label for label in LABELS if not checked.label_shares[label]]
    if absent:
        raise StudyError(
            f"also_score: no mask of {dataset.name} has a pixel of {' or '.join(absent)}.",
            expected=f"masks with all labels that the networks predict: {', '.join(LABELS)}",
            fix=f"Check `labels` in {dataset.folder / 'dataset.yaml'}, or remove {source} from also_score.",
        )
    shared, groups = _find_dependent_cases(dataset, trained, near_duplicates)
    if len(shared) == len(dataset.cases):
        raise StudyError(
            f"also_score: every image of {dataset.name} is also in the training dataset {trained.name}.",
            expected="images that no network of the study was trained on",
            fix=f"Remove {source} from also_score.",
        )
    facts = describe_dataset(dataset)
    return OtherDataset(source=source, groups=groups, shared=shared, **facts)


def _find_dependent_cases(
    dataset: Dataset, trained: Dataset, near_duplicates: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the ids of cases that show the same cell as a training image, and the groups of the others."""
    finder = DuplicateFinder(near_duplicates)
    for prefix, cases in ((_TRAINED, trained.cases), ("", dataset.cases)):
        for case in cases:
            finder.add(prefix + case.case_id, read_image(case.image_path))
    linked = [duplicate.case_ids for duplicate in finder.find()]
    cells = merge_groups({}, linked)
    trained_cells = {cell for case_id, cell in cells.items() if case_id.startswith(_TRAINED)}
    shared = tuple(case.case_id for case in dataset.cases if cells.get(case.case_id) in trained_cells)
    inside = [pair for pair in linked if not any(case_id.startswith(_TRAINED) for case_id in pair)]
    return shared, merge_groups(dataset.groups, inside)


def _check_different(dataset: Dataset, source: str, trained: Dataset, others: Sequence[OtherDataset]) -> None:
    if dataset.folder.resolve() == trained.folder.resolve() or dataset.fingerprint == trained.fingerprint:
        raise StudyError(
            f"also_score: {source} is the training dataset of this study.",
            expected="datasets that no network of the study was trained on",
            fix="Remove it from also_score. Its test images are scored anyway.",
        )
    if dataset.name in {trained.name, *(other.name for other in others)}:
        raise StudyError(
            f"also_score: {source} has the name {dataset.name!r}, which another dataset of this study also has.",
            expected="a different name for each dataset, since it is the name of the folder of results",
            fix=f"Change `name` in {dataset.folder / 'dataset.yaml'}.",
        )


def _check_unchanged(study: StudyFolder, dataset: Dataset) -> None:
    for path in sorted(study.runs.glob(f"*/transfer/{dataset.name}/run.json")):
        record = RunFolder(path.parent).read_record() or {}
        scored = (record.get("dataset") or {}).get("fingerprint")
        if record.get("status") == "complete" and scored != dataset.fingerprint:
            raise StudyError(
                f"The files of {dataset.name} have changed since networks were scored on them ({path.parent}).",
                expected="the same images, masks and dataset.yaml for all networks of a study",
                fix=f"Restore the files, or delete {study.runs}/*/transfer/{dataset.name} to score all networks again.",
            )


def _score(run: RunFolder, other: OtherDataset, target: RunFolder) -> dict[str, Any]:
    # Imports TensorFlow, which takes seconds: not needed for a failed run.
    from wbcstudy.nets.model_file import load_model
    from wbcstudy.scoring.evaluation import summarise, write_scores

    if run.read_status() != "complete":
        raise StudyError(
            f"The run {run.name} is not complete.", expected="a finished training", fix="Run the study again."
        )
    config, dataset = read_run(run.params), load_dataset(other.source)
    begin = time.perf_counter()
    if config.score_at == "native":
        scores, masks, applied = _apply(run, config, dataset)
    else:
        # The rule of v0.1: all images are resized to the network's size, whatever their scale.
        scores, masks = _predict(load_model(run.model), config, dataset)
        applied = {"way": "whole"}
    write_scores(scores, target.scores)
    write_predictions(target, [case.case_id for case in dataset.cases], masks)
    return {
        "status": "complete",
        "dataset": describe_dataset(dataset),
        "scores": summarise(scores),
        "applied": applied,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _apply(run: RunFolder, config: RunConfig, dataset: Dataset):
    """Predict and score as `wbcstudy segment --stain none` does; also return how the network was applied.

    Colours are left as they are, since studies compare networks with and without stain normalisation.
    """
    import pandas as pd

    from wbcstudy.inference.find_scale import share_scale
    from wbcstudy.inference.image import predict_with
    from wbcstudy.inference.network import load_network
    from wbcstudy.scoring.evaluation import score_masks

    network, pixel_um = load_network(run.path), dataset.spec.pixel_size_um
    scale = share_scale([case.image_path for case in dataset.cases], network, "auto", None, pixel_um, "none")
    frames, masks, tiling = [], [], None
    for case in dataset.cases:
        image, reference = read_case(dataset, case)
        tiling, prediction = predict_with(image, network, scale=scale, pixel_um=pixel_um, stain="none")
        masks.append(prediction.probabilities.argmax(axis=-1).astype(np.uint8))
        frames.append(score_masks(config.name, [case.case_id], [case.cell_type], [reference], [masks[-1]]))
    applied = {"way": tiling.name, "scale": tiling.scale, "why": tiling.reason, "stain": "none"}
    return pd.concat(frames, ignore_index=True), masks, applied


def _predict(model, config: RunConfig, dataset: Dataset):
    import pandas as pd

    from wbcstudy.nets.prediction import predict_masks
    from wbcstudy.scoring.evaluation import score_masks

    frames, masks = [], []
    case_ids = [case.case_id for case in dataset.cases]
    for start in range(0, len(case_ids), _CHUNK):
        part = read_cases(dataset, case_ids[start : start + _CHUNK], config.image_size, config.score_px)
        predicted = predict_masks(model, part, config.batch_size, flips=config.test_time_flips)
        frames.append(score_masks(config.name, part.case_ids, part.cell_types, part.references, predicted))
        masks += predicted
    return pd.concat(frames, ignore_index=True), masks


def _find(study: StudyFolder, name: str) -> OtherDataset:
    others = {other.name: other for other in read_other_datasets(study)}
    if name not in others:
        raise StudyError(
            f"{name} is not one of the other datasets of this study.",
            expected=", ".join(others) or "a study with also_score",
            fix="Add it to also_score in the study's file, and run the study again.",
        )
    return others[name]
