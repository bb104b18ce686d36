"""Score a finished network on a dataset that it has not learnt from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from wbcstudy import __version__
from wbcstudy.claim import end_with_grid
from wbcstudy.config import RunConfig
from wbcstudy.config_files import read_run
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import Dataset, load_dataset
from wbcstudy.data.others import Other, read_others
from wbcstudy.errors import StudyError
from wbcstudy.records import describe_dataset
from wbcstudy.runs import RunFolder, StudyFolder, write_predictions, write_record
from wbcstudy.scoring.evaluation import score_masks, summarise, write_scores

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
    about = {"study": run.path.parents[1].name, "run": run.name, "network": trained, "code_version": __version__}
    try:
        record = about | _score(run, _find(run, name), target)
    # Whatever it is, such as TensorFlow's own kind of too little memory: the others are scored, and the report tells.
    except Exception as error:
        record = about | {"status": "failed", "error": str(error) or type(error).__name__, "dataset": {"name": name}}
    write_record(target, record)
    return record


def _score(run: RunFolder, other: Other, target: RunFolder) -> dict[str, Any]:
    # TensorFlow, for which a run that failed need not wait.
    from wbcstudy.nets.models import load_model

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
    others = {other.name: other for other in read_others(StudyFolder(run.path.parents[1]))}
    if name not in others:
        raise StudyError(
            f"{name} is not among the other datasets of this study.",
            expected=", ".join(others) or "a study with also_score",
            fix="Add it to also_score in the study's file, and run the study again.",
        )
    return others[name]
