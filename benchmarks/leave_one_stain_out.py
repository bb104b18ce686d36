"""Compare encoders and input sizes for the starter on a stain that the network has not seen.

    WBCSTUDY_THREADS=1 python benchmarks/leave_one_stain_out.py train 96 mobilenet mobilenetv2 resnet18
    WBCSTUDY_THREADS=1 python benchmarks/leave_one_stain_out.py train 128 mobilenet
    python benchmarks/leave_one_stain_out.py collect

`train` draws the smears once and runs a study, outputs/leave_one_stain_out_<size>/, with four folds: each has all
smears of one stain as test images, and trains on the smears of the other three. The validation images are smears of
these three too. (`folds` of a study would keep a whole stain for the validation, and train on two.) A stopped command
goes on where it stopped. `collect` writes the tables of outputs/reference/leave_one_stain_out/.

All networks have the same smears, steps and settings, which are those of the starter except for the numbers of smears
and epochs. Scores count at the size of the smears.

Rule, written before the first training: of the candidates whose packed file has at most 20 MB, the best has the
highest mean Dice of the cytoplasm over the four left-out stains. The one with the fewest multiply-adds per image of
those that are equivalent to the best (nucleus and cytoplasm, margin 0.01, as a study recommends a network) is the
choice; without an equivalent one, the best itself. At first, files were in half precision only (`half_mb`), in which
ResNet-18 is too large; now kernels are stored in eight bits where half precision is too large (`packed_mb`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.config import StudyConfig
from wbcstudy.config_io import seal_record, write_yaml
from wbcstudy.data.datasets import Dataset
from wbcstudy.data.duplicates import load_or_find_duplicates
from wbcstudy.data.records import Split
from wbcstudy.data.splits import SETTINGS as SPLIT_SETTINGS
from wbcstudy.data.splits import draw_cases
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, data_folder, outputs_folder, project_root
from wbcstudy.inference.starter_file import LARGEST_BYTES, pack_starter
from wbcstudy.registry import ENCODERS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs
from wbcstudy.scoring.decision import find_equivalent
from wbcstudy.scoring.intervals import mean_interval
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.scoring.statistics import paired_differences
from wbcstudy.study.run import run_study
from wbcstudy.study.starter import TRAINING, draw_smears

NAME = "leave_one_stain_out"
TABLES = project_root() / "outputs" / "reference" / NAME
REGIONS = ("nucleus", "cytoplasm", "cell")
# 270 smears of each stain: 729 to train, 81 to validate and 270 to test, and 92 steps of 8 images an epoch.
CASES = 1080
EPOCHS = 7
SEED = 0
MARGIN = 0.01


def stain_of(case_id: str) -> str:
    """Return the stain that the id of a drawn smear begins with."""
    return next(name for name in DOMAINS if case_id.startswith(name))


def split_by_stain(case_ids: Sequence[str], validation_fraction: float, seed: int) -> tuple[Split, ...]:
    """Return one split per stain: its smears are the test set, the others are divided at random within each stain."""
    stains = {case_id: stain_of(case_id) for case_id in case_ids}
    splits = []
    for stain in dict.fromkeys(stains[case_id] for case_id in sorted(case_ids)):
        test = tuple(sorted(case_id for case_id in case_ids if stains[case_id] == stain))
        rest = sorted(set(case_ids) - set(test))
        validation = draw_cases(rest, stains, round(len(rest) * validation_fraction), seed)
        splits.append(Split(tuple(sorted(set(rest) - set(validation))), validation, test))
    return tuple(splits)


def make_settings(size: int, encoders: Sequence[str], dataset: Path, *, folds: int = len(DOMAINS)) -> StudyConfig:
    """Return the settings of a study: those of the starter, with fewer epochs."""
    return StudyConfig(
        **TRAINING,
        name=f"{NAME}_{size}",
        dataset=str(dataset / "dataset.yaml"),
        encoders=tuple(encoders),
        image_size=size,
        epochs=EPOCHS,
        patience=EPOCHS,
        seeds=(SEED,),
        folds=folds,
        validation_fraction=0.1,
    )


def write_split(study: StudyFolder, dataset: Dataset, config: StudyConfig) -> None:
    """Write the split of a study, if it has none."""
    load_or_find_duplicates(study.duplicates, dataset, config.near_duplicates)
    if study.split.is_file():
        return
    splits = split_by_stain([case.case_id for case in dataset.cases], config.validation_fraction, config.split_seed)
    record = {"dataset": dataset.fingerprint, "settings": {name: getattr(config, name) for name in SPLIT_SETTINGS}}
    record = seal_record(record | {"folds": [asdict(split) for split in splits]})
    with atomic_write(study.split) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def train_all(options: argparse.Namespace) -> int:
    """Draw the smears and run the study of a size."""
    folder = data_folder() / NAME
    dataset = draw_smears(folder, CASES, SEED, tuple(DOMAINS), NAME)
    config = make_settings(options.size, options.encoders, folder)
    params = outputs_folder() / f"{config.name}.yaml"
    write_split(StudyFolder.of(config.name), dataset, config)
    write_yaml(config, params)
    return run_study(params, jobs=1)


def read_runs() -> list[Run]:
    """Read the finished runs of all sizes.

    Raises:
        StudyError: there is none.
    """
    folders = sorted(path for path in outputs_folder().glob(f"{NAME}_*") if path.is_dir())
    runs = [run for folder in folders for run in load_runs(StudyFolder(folder)) if run.complete]
    if not runs:
        raise StudyError(
            f"{outputs_folder()} has no finished training.",
            expected=f"results of `{NAME}.py train`",
            fix=f"Run `python benchmarks/{NAME}.py train 96 mobilenet` first.",
        )
    return sorted(runs, key=lambda run: (run.config.image_size, list(ENCODERS).index(run.config.encoder)))


def candidate(run: Run) -> str:
    """Return the name of a candidate, such as mobilenet-96."""
    return f"{run.config.encoder}-{run.config.image_size}"


def packed_mb(run: Run, largest_bytes: int | None = None) -> float:
    """Return the size of a network as a starter file, in MB (10**6 bytes); in eight bits above `largest_bytes`."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            out = pack_starter(run.folder.path, Path(folder) / "starter.zip", 1.0, "", largest_bytes=largest_bytes)
        except StudyError:
            return np.inf
        return out.stat().st_size / 1e6


def join_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the scores of all runs with columns `candidate` and `stain`; `run` names candidate, fold and seed."""
    frames = []
    for run in runs:
        scores = run.scores.assign(candidate=candidate(run), stain=run.scores["case_id"].map(stain_of))
        frames.append(scores.assign(run=f"{candidate(run)}__fold{run.config.fold}__seed{run.config.seed}"))
    return pd.concat(frames, ignore_index=True)


def summarise_candidates(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per candidate, stain ("all": the mean over the stains) and region: mean Dice with its interval."""
    rows = []
    for (name, region), part in scores[scores["region"].isin(REGIONS)].groupby(["candidate", "region"], sort=False):
        stains = {stain: mean_interval(own["dice"]) for stain, own in part.groupby("stain", sort=False)}
        # Each stain counts the same, also where more of its smears have no white cell.
        means = {"dice_mean": np.mean([interval.estimate for interval in stains.values()])}
        rows.append({"candidate": name, "stain": "all", "region": region, "images": part["dice"].count()} | means)
        for stain, interval in stains.items():
            row = {"candidate": name, "stain": stain, "region": region, "images": interval.cases}
            row |= {"dice_mean": interval.estimate, "low": interval.low, "high": interval.high}
            rows.append(row)
    return pd.DataFrame(rows, columns=["candidate", "stain", "region", "images", "dice_mean", "low", "high"])


def choose(summary: pd.DataFrame, costs: pd.DataFrame, scores: pd.DataFrame) -> tuple[str, str, set[str]]:
    """Apply the rule.

    Args:
        summary: rows as `summarise_candidates` returns them.
        costs: one row per candidate: candidate, packed_mb, multiply_adds.
        scores: rows as `join_scores` returns them.

    Returns:
        The best candidate, the choice, and the candidates that are equivalent to the best.
    """
    small = costs[costs["packed_mb"] <= LARGEST_BYTES / 1e6].set_index("candidate")["multiply_adds"]
    means = summary[(summary["stain"] == "all") & (summary["region"] == "cytoplasm")]
    means = means.set_index("candidate")["dice_mean"].reindex(small.index)
    best = str(means.idxmax())
    equivalent = find_equivalent(scores[scores["candidate"].isin(small.index)], best, MARGIN)
    cheaper = small[[name for name in small.index if name in equivalent and small[name] < small[best]]]
    return best, str(cheaper.idxmin()) if len(cheaper) else best, equivalent


def collect(options: argparse.Namespace) -> int:
    """Write the tables."""
    runs = read_runs()
    complete = {run.config.encoder + str(run.config.image_size): 0 for run in runs}
    for run in runs:
        complete[run.config.encoder + str(run.config.image_size)] += 1
    runs = [run for run in runs if complete[run.config.encoder + str(run.config.image_size)] == run.config.folds]
    scores = join_scores(runs)
    summary = summarise_candidates(scores)
    rows = []
    for name in dict.fromkeys(map(candidate, runs)):
        own = [run for run in runs if candidate(run) == name]
        config, records = own[0].config, [run.record for run in own]
        row = {"candidate": name, "encoder": config.encoder, "image_size": config.image_size}
        row |= {
            "half_mb": packed_mb(own[0], 10 * LARGEST_BYTES),
            "packed_mb": packed_mb(own[0]),
            "parameters": records[0]["parameters"],
        }
        row |= {"multiply_adds": ENCODERS[config.encoder].multiply_adds_per_px * config.image_size**2}
        row |= {"stains": len(own), "seeds": len({run.config.seed for run in own})}
        row |= {"train": records[0]["split"]["train"], "batch_size": config.batch_size, "epochs": config.epochs}
        row |= {"fit_seconds": np.mean([record["fit_seconds"] for record in records])}
        row |= {"arithmetic": ", ".join(sorted({str(record.get("arithmetic")) for record in records}))}
        row |= {"processor": ", ".join(sorted({str(record["device"]) for record in records}))}
        rows.append(row | {"commit": ", ".join(sorted({str(record["commit"]) for record in records}))})
    costs = pd.DataFrame(rows)
    best, choice, equivalent = choose(summary, costs, scores)
    costs["best"], costs["chosen"] = costs["candidate"] == best, costs["candidate"] == choice
    costs["equivalent"] = costs["candidate"].isin(equivalent)
    # One family of all candidates and regions, also of those that are too large.
    pairs = paired_differences(scores, TABLE_REGIONS, margin=MARGIN)
    columns = ["region", "method_a", "method_b", "n", "difference", "ci_low", "ci_high", "p_adjusted"]
    TABLES.mkdir(parents=True, exist_ok=True)
    for table, frame in (("candidates", costs), ("scores", summary), ("differences", pairs[columns])):
        with atomic_write(TABLES / f"{table}.csv") as part:
            frame.to_csv(part, index=False, float_format="%.5f", lineterminator="\n")
        print(TABLES / f"{table}.csv")
    print(f"Best: {best}; choice: {choice}.")
    return 0


def main() -> int:
    """Train, or collect what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train the networks of one size that are not finished")
    training.add_argument("size", type=int, help="side of the network's input in px")
    training.add_argument("encoders", nargs="+", choices=ENCODERS, help="encoders to compare")
    training.set_defaults(run=train_all)
    commands.add_parser("collect", help="write the tables").set_defaults(run=collect)
    options = parser.parse_args()
    return options.run(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StudyError as error:
        sys.exit(str(error))
