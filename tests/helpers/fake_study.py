"""Study folders with made-up masks and records, as a training writes them, for tests of the report."""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.labels import LABELS
from wbcstudy.reporting.results import StudyResults
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs, write_predictions, write_record
from wbcstudy.scoring.boundary import score_boundaries
from wbcstudy.scoring.calibration import ConfidenceCounts
from wbcstudy.scoring.evaluation import score_masks, summarise, write_scores
from wbcstudy.study.other_datasets import OtherDataset

SIZE = 32
COSTS = {"unet": 14, "mobilenet": 3, "resnet18": 6, "resnet50": 11, "vgg16": 25}
DATASET = {
    "name": "synthetic",
    "title": "Made-up discs",
    "fingerprint": "0123456789abcdef",
    "cases": 20,
    "citation": "Doe et al., Journal of Discs 1 (2020).",
    "licence": "CC0",
    "acknowledgement": "Thanks to the compass.",
}
AWAY = OtherDataset(
    "away", "away", "Cells <b>elsewhere</b> {{x <b>y}}", "ff", 12, {}, ("f0", "f1"), citation="Somebody & al."
)


def disc_mask(generator, size=SIZE) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    centre = generator.uniform(size * 0.35, size * 0.65, 2)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    radius = generator.uniform(size * 0.2, size * 0.3)
    return np.where(distance < radius * 0.6, 2, np.where(distance < radius, 1, 0)).astype(np.uint8)


def blurred(mask, generator, share=0.06) -> np.ndarray:
    """Return a prediction: the mask with some pixels taken from a neighbour, and some cell pixels lost."""
    shifted = np.roll(mask, generator.choice([-1, 1]), axis=generator.integers(2))
    lost = generator.random(mask.shape) < share / 3
    return np.where(
        lost & (mask > 0), mask - 1, np.where(generator.random(mask.shape) < share * 3, shifted, mask)
    ).astype(np.uint8)


def fake_image(mask, generator) -> np.ndarray:
    colours = np.array([[235, 225, 215], [190, 170, 205], [105, 60, 140]])
    noise = generator.normal(0, 8, (*mask.shape, 3))
    return np.clip(colours[mask] + noise, 0, 255).astype(np.uint8)


def fake_history(generator, epochs) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    fall = np.exp(-epoch / 8)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "loss": 0.1 + fall + generator.normal(0, 0.01, epochs),
            "val_loss": 0.15 + fall + generator.normal(0, 0.03, epochs),
            "dice_nucleus": 0.96 - fall,
            "val_dice_nucleus": 0.95 - fall + generator.normal(0, 0.01, epochs),
            "dice_cytoplasm": 0.92 - fall,
            "val_dice_cytoplasm": 0.9 - fall + generator.normal(0, 0.01, epochs),
            "seconds": 2.5,
        }
    )


def make_results(outputs: Path, config: StudyConfig, groups=None, **options) -> StudyResults:
    """Write a study with `make_study`, and its dataset next to it.

    Args:
        outputs: parent folder.
        config: settings; dataset and image_size are replaced.
        groups: case id -> group; none if None.
        options: see `make_study`.
    """
    config = config.model_copy(update={"image_size": SIZE})
    runs = make_study(outputs, config, **options)
    config = config.model_copy(update={"dataset": str(write_dataset(outputs, config, options.get("cases", 8)))})
    return StudyResults(StudyFolder(outputs / config.name), config, runs, groups or {})


def write_dataset(outputs: Path, config: StudyConfig, cases: int) -> Path:
    """Write the images and reference masks of the test cases of all folds, and return the dataset's folder."""
    folder = outputs / f"data_of_{config.name}"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for fold in range(config.folds):
        common = np.random.default_rng([fold, True])
        for case in test_cases(fold, cases):
            mask = disc_mask(common)
            Image.fromarray(fake_image(mask, generator)).save(folder / "images" / f"{case}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{case}.png")
    spec = {"name": "synthetic", "images": "images/{case}.png", "masks": "masks/{case}.png", "labels": dict(LABELS)}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec | {"title": DATASET["title"]}), encoding="utf-8")
    return folder


def make_study(
    outputs: Path, config: StudyConfig, failed=(), empty=(), dataset=DATASET, cases=8, blur=None, older=()
) -> list[Run]:
    """Write `outputs/<study>/` and load its runs.

    Args:
        outputs: parent folder.
        config: settings.
        failed: names of runs that failed.
        empty: names of runs whose references and predictions are all background, so that every ratio is undefined.
        dataset: facts in run.json.
        cases: test cases per fold.
        blur: encoder -> share of pixels that its predictions take from a neighbour; 0.06 for all others.
        older: names of runs of an earlier version, which kept no masks, validation scores, calibration and costs.
    """
    study = StudyFolder(outputs / config.name)
    for run in config.runs():
        _write_run(study, run, run.name in failed, run.name in empty, dataset, cases, blur or {}, run.name in older)
    return load_runs(study)


def _write_run(study, run: RunConfig, fails, empty, dataset, cases, blur, older):
    folder = study.run(run.name)
    folder.path.mkdir(parents=True)
    write_yaml(run, folder.params)
    folder.page.write_text("<p>page</p>", encoding="utf-8")
    folder.notebook.write_text("{}", encoding="utf-8")
    record = {"study": study.name, "run": run.name, "config": run.model_dump(mode="json")}
    if fails:
        error = "Out of memory in <script>alert(1)</script> & elsewhere"
        write_record(folder, record | {"status": "failed", "error": error, "advice": "Lower batch_size to 4."})
        return
    generator = np.random.default_rng(zlib.crc32(run.name.encode()))
    epochs = int(generator.integers(20, 45))
    history = fake_history(generator, epochs)
    history.to_csv(folder.history, index=False)
    share = blur.get(run.encoder, 0.06)
    parts, references, predictions = {}, {}, {}
    for part in ("test", "validation"):
        made = _score(run, part, cases, empty, generator, share)
        parts[part], references[part], predictions[part] = made
    write_scores(parts["test"], folder.scores)
    if not older:
        ids = test_cases(run.fold, cases)
        boundaries = score_boundaries(run.name, ids, references["test"], predictions["test"])
        write_scores(boundaries, folder.boundary)
    if not older:
        write_scores(parts["validation"], folder.scores_of("validation"))
    record |= {
        "status": "complete",
        "code_version": "0.1.0",
        "commit": "abcdef0123456789",
        "dataset": dataset,
        "split_hash": "00ff00ff00ff00ff",
        "split": {"train": 10, "validation": 4, "test": cases},
        "packages": {"tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.4.6", "segmentation-models": "1.0.1"},
        "python": "3.11.2",
        "platform": "Linux-x86_64",
        "device": "CPU",
        "seed": run.seed,
        "parameters": 14_340_000,
        "best_epoch": int(history["val_loss"].idxmin()) + 1,
        "epochs": epochs,
        "stopped_early": True,
        "fit_seconds": epochs * 2.5,
        "wall_seconds": epochs * 2.5 + 9,
        "peak_memory_mb": 1234.5,
        "scores": summarise(parts["test"]),
        "validation": summarise(parts["validation"]),
    }
    if not older:
        write_predictions(folder, test_cases(run.fold, cases), np.array(predictions["test"]))
        counts = ConfidenceCounts()
        counts.add(np.array(references["test"]), fake_probabilities(np.array(predictions["test"]), generator))
        counts.write(folder.calibration)
        weight = COSTS.get(run.encoder, 10)
        record |= {"multiply_adds": weight * 10**9, "seconds_per_image": weight / 300, "seconds_per_epoch": 2.5}
    write_record(folder, record)


def test_cases(fold, cases) -> list[str]:
    return [f"test_{fold}_{index}" for index in range(cases)]


test_cases.__test__ = False


def fake_probabilities(masks, generator) -> np.ndarray:
    """Return probabilities of these labels, slightly too high."""
    given = generator.uniform(0.75, 0.999, masks.shape)
    probabilities = np.repeat(((1 - given) / 2)[..., None], 3, axis=-1)
    np.put_along_axis(probabilities, masks[..., None].astype(int), given[..., None], axis=-1)
    return probabilities.astype(np.float32)


def _score(run, part, cases, empty, generator, share):
    common = np.random.default_rng([run.fold, part == "test"])
    references = [disc_mask(common) * (not empty) for _ in range(cases)]
    predictions = [blurred(mask, generator, share) for mask in references]
    ids = [f"{part}_{run.fold}_{index}" for index in range(cases)]
    types = [("lymphocyte", "monocyte", None)[index % 3] for index in range(cases)]
    return score_masks(run.name, ids, types, references, predictions), references, predictions


def with_runs(results: StudyResults, runs=None, groups=None, config=None) -> StudyResults:
    """Return new results of the same study, of other runs or groups, with nothing computed yet."""
    return StudyResults(results.study, config or results.config, results.runs if runs is None else runs, groups or {})


def score_away(runs, blur, cases=12):
    """Write scores of the runs on another dataset, for predictions of this quality."""
    for run in runs:
        draw = np.random.default_rng(5)
        masks = [disc_mask(draw) for _ in range(cases)]
        predictions = [blurred(mask, draw, blur[run.config.encoder]) for mask in masks]
        folder = run.folder.transfer("away")
        ids = [f"f{index}" for index in range(cases)]
        write_scores(score_masks(run.name, ids, [None] * cases, masks, predictions), folder.scores)
        write_record(folder, {"status": "complete", "seconds": 1.0})
