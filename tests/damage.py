"""Damage each file of a finished study in each way, and read it with status, report, segment, export and the app.

    python -m tests.damage                       # all, about half an hour; exits with 1 if a damage has an effect
    python -m tests.damage --only scores.csv     # files whose path ends in this

An effect is a traceback, or a number that differs from that of the undamaged study without a message that names the
damaged run or file. Prints one line for each damage, and the totals.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.targets import command
from tests.helpers.colour_run import build_colour_network, paint, round_cells
from tests.helpers.fake_study import AWAY, SIZE, blurred, disc_mask, make_study, write_dataset
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import seal_record, write_yaml
from wbcstudy.data.records import Split, split_hash
from wbcstudy.errors import StudyError
from wbcstudy.files import project_root, write_json
from wbcstudy.nets.losses import build_loss
from wbcstudy.registry import METHODS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import record_documents, write_record
from wbcstudy.scoring.evaluation import score_masks, summarise, write_scores

STUDY, RUN, OTHER = "first", "resnet18__dice__fold0__seed0", "resnet18__cross_entropy__fold0__seed0"
METHOD = "otsu_levels__fold0"
_CASES = 6
# Path in the study's folder -> the same file of another run or part, to swap it with.
FILES = {
    **{
        f"runs/{RUN}/{name}": f"runs/{OTHER}/{name}"
        for name in (
            "run.json",
            "scores.csv",
            "scores_cleaned.csv",
            "scores_central.csv",
            "scores_validation.csv",
            "boundary.csv",
            "calibration.csv",
            "history.csv",
            "predictions.npz",
            "model.keras",
            "params.yaml",
            "train.ipynb",
            "train.html",
            "transfer/away/run.json",
            "transfer/away/scores.csv",
        )
    },
    f"baselines/{METHOD}/run.json": f"runs/{RUN}/run.json",
    f"baselines/{METHOD}/scores.csv": f"runs/{RUN}/scores.csv",
    "split.json": "dataset.json",
    "dataset.json": "split.json",
    "duplicates.json": "split.json",
    "other_datasets.json": "dataset.json",
}


def cut(path: Path, other: Path) -> None:
    """Keep the first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, other: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(path: Path, other: Path) -> None:
    """Replace by the same file of another run."""
    shutil.copy(other, path)


def edit(path: Path, other: Path) -> None:
    """Change one digit of a value, as with a text editor; in a binary file, one byte near the end."""
    data = bytearray(path.read_bytes())
    # In the middle of the file, a digit of a number: after a separator and before another digit.
    places = [match.start() for match in re.finditer(rb"(?<=[,:. ])[1-8](?=[0-9])", data)]
    place = places[len(places) // 2] if places else len(data) - min(40, len(data))
    data[place] += 1
    path.write_bytes(data)


def empty(path: Path, other: Path) -> None:
    """Leave no byte."""
    path.write_bytes(b"")


def remove(path: Path, other: Path) -> None:
    """Delete the file."""
    path.unlink()


def replace_by_folder(path: Path, other: Path) -> None:
    """Replace by a folder with a file."""
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("mine", encoding="utf-8")


DAMAGES: tuple[Callable[[Path, Path], None], ...] = (cut, flip, swap, edit, empty, remove, replace_by_folder)


def make_base(outputs: Path, digests: bool = True) -> Path:
    """Write a finished study of two networks, an earlier method and another dataset; return its file of settings.

    Args:
        outputs: folder of studies.
        digests: False for the records of wbcstudy 0.2.
    """
    config = StudyConfig(name=STUDY, encoders=("resnet18",), baselines=("otsu_levels",), also_score=("away",))
    config = config.model_copy(update={"image_size": SIZE, "dataset": str(outputs / f"data_of_{STUDY}")})
    runs, study = make_study(outputs, config, cases=_CASES), StudyFolder(outputs / STUDY)
    write_dataset(outputs, config, _CASES)
    ids = {part: tuple(f"{part}_0_{index}" for index in range(_CASES)) for part in ("validation", "test")}
    splits = (Split(train=("train_0_0",), **ids),)
    folds = [{part: list(getattr(splits[0], part)) for part in ("train", "validation", "test")}]
    shares = {"background": 0.7, "cytoplasm": 0.2, "nucleus": 0.1}
    records = {
        study.split: {"dataset": "0123456789abcdef", "settings": {"folds": 1}, "folds": folds},
        study.dataset: {"name": "synthetic", "title": "Made-up discs", "cases": 20, "label_shares": shares},
        study.duplicates: {"dataset": "0123456789abcdef", "near": True, "duplicates": []},
        study.other_datasets: {"datasets": [vars(AWAY) | {"shared": list(AWAY.shared)}]},
    }
    for path, record in records.items():
        write_json(path, seal_record(record))
    for number, run in enumerate(runs):
        folder, scores = run.folder, run.scores
        run.folder.notebook.write_text(json.dumps({"cells": [], "number": 10 + number}), encoding="utf-8")
        for variant in ("cleaned", "central"):
            write_scores(scores, folder.scores_of(variant))
        network = build_colour_network()
        head = network.get_layer("head")
        head.set_weights([weights * (1 + 0.01 * number) for weights in head.get_weights()])
        network.compile(loss=build_loss(run.config.loss))
        network.save(folder.model)
        spans = {name: [SIZE] * 3 for name in ("height_px", "width_px")}
        scale = spans | {"cell_px": None, "pixel_size_um": None}
        facts = {"parameters": network.count_params()}
        # Other validation scores, so that the first network is chosen.
        write_record(folder, run.record | facts | {"split_hash": split_hash(splits), "trained_on": scale})
        record_documents(folder)
        away = folder.transfer("away")
        draw = np.random.default_rng(number)
        masks = [disc_mask(draw) for _ in range(AWAY.cases)]
        names = [f"f{index}" for index in range(AWAY.cases)]
        frame = score_masks(run.name, names, [None] * len(masks), masks, [blurred(mask, draw) for mask in masks])
        write_scores(frame, away.scores)
        record = {"status": "complete", "run": run.name, "scores": summarise(frame), "seconds": 1.0}
        write_record(away, record | {"network": folder.read_record()["written"]})
    baseline = study.baseline(METHOD)
    frame = runs[0].scores.assign(run=f"{METHOD}__seed0")
    for variant in ("raw", "cleaned", "central"):
        write_scores(frame, baseline.scores_of(variant))
    times = {"fit_seconds": 1.0, "seconds_per_image": 0.1}
    (settings,) = [run for run in config.baseline_runs() if run.name == METHOD]
    write_yaml(settings, baseline.params)
    record = {"status": "complete", "run": METHOD, "config": settings.model_dump(mode="json"), **times}
    record |= {"method": METHODS["otsu_levels"].facts(), "split_hash": split_hash(splits)}
    write_record(baseline, record | {"scores": dict.fromkeys(("raw", "cleaned", "central"), summarise(frame))})
    if not digests:
        for path in study.path.rglob("*.json"):
            values = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, {key: values[key] for key in values if key not in ("format", "sha256", "files")})
    file = outputs.parent / f"{STUDY}.yaml"
    write_yaml(config, file)
    text = file.read_text(encoding="utf-8")
    file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("name:")))
    return file


@contextlib.contextmanager
def outputs_in(outputs: Path) -> Iterator[None]:
    """Use a folder of studies inside the block."""
    before = dict(os.environ)
    os.environ |= {"WBCSTUDY_OUTPUTS": str(outputs), "WBCSTUDY_ROOT": str(project_root())}
    os.environ.pop("WBCSTUDY_DEBUG", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def read_status(outputs: Path, file: Path) -> str:
    """Return the output of `wbcstudy status`."""
    return command("status", file)


def verify_status(outputs: Path, file: Path) -> str:
    """Return the output of `wbcstudy status --verify`."""
    return command("status", file, "--verify")


def read_report(outputs: Path, file: Path) -> str:
    """Return the tables and the page of the report, without figures."""
    from wbcstudy.reporting.page import write_report
    from wbcstudy.reporting.results import load_results
    from wbcstudy.runs.results import read_predictions

    results = load_results(file)
    tables = "".join(frame.to_csv() for frame, _ in results.tables.values())
    masks = "".join(str(mask.sum()) for run in results.complete for mask in read_predictions(run.folder).values())
    return tables + masks + write_report(results).read_text(encoding="utf-8")


def read_segment(outputs: Path, file: Path) -> str:
    """Return the cells that the study's best network and the damaged run's network find in an image."""
    from wbcstudy.inference.folder import Settings, segment_images

    image = outputs.parent / "image.png"
    Image.fromarray(paint(round_cells(SIZE, 3 * SIZE, [(16, 20), (16, 70)]))).save(image)
    output = []
    for number, model in enumerate((STUDY, StudyFolder(outputs / STUDY).run(RUN).path)):
        folder = outputs / f"segmented{number}"
        try:
            segment_images([image], str(model), folder, Settings("auto", None, None, False), output.append)
            output.append((folder / "cells.csv").read_text(encoding="utf-8"))
            output.append(re.sub(r'"(model_sha256|input)": "[^"]*"', "", (folder / "segment.json").read_text()))
        except StudyError as error:
            output.append(str(error))
    return "\n".join(output)


def read_export(outputs: Path, file: Path) -> str:
    """Return the description of an exported network."""
    from wbcstudy.inference.export import export_network

    target = export_network(StudyFolder(outputs / STUDY).run(RUN).path, "keras", outputs / "exported.keras")
    return target.with_name("exported.keras.json").read_text(encoding="utf-8")


def read_app(outputs: Path, file: Path) -> str:
    """Return messages, choices and cells of the app."""
    from wbcstudy.inference.explore import Explorer

    explorer = Explorer()
    parts = [explorer.message.value, *map(str, explorer.run.options), *map(str, explorer.image.options)]
    for index in range(len(explorer.run.options)):
        explorer.run.index = index
        parts += [explorer.message.value, re.sub(r"base64,[^\"]*", "", explorer.table.value)]
    return "\n".join(parts)


READERS = {
    "status": read_status,
    "verify": verify_status,
    "report": read_report,
    "segment": read_segment,
    "export": read_export,
    "app": read_app,
}


def judge(output: str, baseline: str, path: str) -> str:
    """Return "harmless" for the output of the undamaged study, "named" if run or file are named, else "SILENT"."""
    if output == baseline:
        return "harmless"
    names = re.findall(rf"[^\n]*{re.escape(Path(path).name)}[^\n]*", output)
    if names and "Traceback" not in output:
        return "named"
    # A missing run.json is a run that is not finished.
    run = next((part for part in Path(path).parts if "__fold" in part), None)
    state = re.search(rf"{run}\s+(unfinished|waiting)|not (started|finished): {run}|{run} holds no finished", output)
    missing = run and path.endswith("run.json") and (state or (run in baseline and run not in output))
    missing = missing or ("transfer" in path and "have not been scored on away" in output)
    return "named" if missing else "SILENT"


def read_all(outputs: Path, file: Path, readers: dict[str, Callable[[Path, Path], str]]) -> dict[str, str]:
    """Return reader -> output; a message of the command counts as output, any other error is a traceback."""
    texts = {}
    for name, read in readers.items():
        with outputs_in(outputs):
            try:
                texts[name] = read(outputs, file)
            except StudyError as error:
                texts[name] = f"{error.message}\n{error.fix}"
            except Exception as error:
                texts[name] = f"Traceback: {type(error).__name__}: {error}"
        texts[name] = texts[name].replace(str(outputs.parent), "")
    return texts


def damage_all(
    folder: Path,
    files: dict[str, str],
    damages=DAMAGES,
    readers=READERS,
    digests: bool = True,
    show: Callable[[str], object] = print,
) -> Counter:
    """Damage the files one after another, and count the outcomes of all readers.

    Args:
        folder: an empty folder to work in.
        files: some of `FILES`.
        damages: some of `DAMAGES`.
        readers: some of `READERS`.
        digests: False for a study of wbcstudy 0.2.
        show: called with one line per damage.

    Returns:
        Outcome ("harmless", "named", "SILENT" or "TRACEBACK") -> number of pairs of damage and reader, and "damages".
    """
    base = folder / "base"
    make_base(base / "outputs", digests)
    shutil.copytree(base, folder / "undamaged")
    baseline = read_all(folder / "undamaged" / "outputs", folder / "undamaged" / f"{STUDY}.yaml", readers)
    totals = Counter()
    for path, other in files.items():
        for damage in damages:
            copy = folder / f"{totals['damages']}"
            shutil.copytree(base, copy)
            study = copy / "outputs" / STUDY
            damage(study / path, study / other)
            texts = read_all(copy / "outputs", copy / f"{STUDY}.yaml", readers)
            outcomes = {
                name: "TRACEBACK" if text.startswith("Traceback: ") else judge(text, baseline[name], path)
                for name, text in texts.items()
            }
            totals.update([*outcomes.values(), "damages"])
            show(f"{Path(path).name:<22}{damage.__name__:<19}{'  '.join(f'{k} {v}' for k, v in outcomes.items())}")
            for name, outcome in outcomes.items():
                if outcome == "TRACEBACK":
                    show(f"    {path}: {name}: {texts[name][:500]}")
            shutil.rmtree(copy)
    return totals


def main() -> None:
    """Run all damages and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only files whose path ends in one of these")
    parser.add_argument("--readers", default=",".join(READERS), help="some of the readers, separated by commas")
    parser.add_argument("--without-digests", action="store_true", help="a study of wbcstudy 0.2")
    args = parser.parse_args()
    files = {path: other for path, other in FILES.items() if path.endswith(tuple(args.only.split(",")))}
    readers = {name: READERS[name] for name in args.readers.split(",")}
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        show = lambda line: print(line, flush=True)  # noqa: E731
        totals = damage_all(Path(folder), files, readers=readers, digests=not args.without_digests, show=show)
    print(", ".join(f"{number} {outcome}" for outcome, number in totals.items()))
    sys.exit(bool(totals["SILENT"] + totals["TRACEBACK"]))


if __name__ == "__main__":
    main()
