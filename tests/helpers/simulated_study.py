"""Studies whose Dice values are drawn, in memory, for tests of what is concluded from them."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.helpers.made_scores import PIXELS
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.results import StudyResults
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run
from wbcstudy.scoring.evaluation import summarise
from wbcstudy.scoring.metrics import add_ratios

REGIONS = ("nucleus", "cytoplasm")


def simulate_runs(
    config: StudyConfig, effects=None, costs=None, images=(20, 20), noise=0.005, seed_sd=0.0, seed=0, validation=True
) -> list[Run]:
    """Draw runs: Dice of a region = level of the image + effect of the pair + effect of the seed + noise.

    Args:
        config: settings; one fold.
        effects: `<encoder>__<loss>` or encoder -> change of the mean Dice, in both regions or (nucleus, cytoplasm).
        costs: encoder -> multiply-adds; by default they grow in the order of the encoders. None within leaves it out.
        images: numbers of validation and of test images.
        noise: standard deviation of an image's Dice, beyond its level.
        seed_sd: standard deviation of a training's mean Dice.
        seed: seed of the draw.
        validation: whether the runs kept the scores of the validation images.
    """
    generator = np.random.default_rng(seed)
    levels = {part: 0.9 + 0.03 * generator.standard_normal((2, number)) for part, number in enumerate(images)}
    runs = []
    for run in config.runs():
        pair = f"{run.encoder}__{run.loss}"
        effect = np.broadcast_to((effects or {}).get(pair, (effects or {}).get(run.encoder, 0.0)), 2)
        training = seed_sd * generator.standard_normal(2)
        frames = []
        for part, number in enumerate(images):
            values = levels[part] + (effect + training)[:, None] + noise * generator.standard_normal((2, number))
            frames.append(_make_scores(run.name, part, values.clip(0.01, 1)))
        cost = (costs or {}).get(run.encoder, 1e9 * (1 + config.encoders.index(run.encoder)))
        record = {"status": "complete", "config": run.model_dump(mode="json"), "validation": summarise(frames[0])}
        record |= {"scores": summarise(frames[1]), "best_epoch": 5, "epochs": 9, "parameters": 1_000_000}
        record |= {"multiply_adds": cost} if cost else {}
        made = Run(StudyFolder(Path("absent") / config.name).run(run.name), run, record)
        made.__dict__.update(validation_scores=frames[0] if validation else None, scores=frames[1])
        runs.append(made)
    return runs


def simulate_results(config: StudyConfig, **options) -> StudyResults:
    """Return the results of `simulate_runs`."""
    return StudyResults(StudyFolder(Path("absent") / config.name), config, simulate_runs(config, **options), groups={})


def _make_scores(run: str, part: int, dice: np.ndarray) -> pd.DataFrame:
    """Return scores with given Dice (regions, images); reference and prediction have PIXELS / 2 pixels each."""
    regions, number = dice.shape
    hits = (dice * PIXELS / 2).round().astype(int).ravel()
    columns = {"run": run, "case_id": [f"{part}_{i:03}" for i in range(number)] * regions, "cell_type": None}
    columns |= {"region": np.repeat(REGIONS, number), "tp": hits, "fp": PIXELS // 2 - hits, "fn": PIXELS // 2 - hits}
    return add_ratios(pd.DataFrame(columns | {"tn": PIXELS, "height_px": 100, "width_px": 100}))
