"""A finished run whose network needs no training: it labels each pixel by the nearest of three colours."""

from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.config import RunConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record

# Background, cytoplasm and nucleus, similar to the colours of a stained smear.
COLOURS = np.array([[235, 225, 215], [190, 160, 205], [105, 60, 140]], np.uint8)
_SOFTNESS = 300.0


def build_colour_network(stain=None):
    """Build a 1x1 convolution: of the squared distance to a colour c, only 2 c.x - c.c differs between colours."""
    from wbcstudy.nets.backend import load_keras
    from wbcstudy.nets.preprocessing import register_preprocessing
    from wbcstudy.nets.stain import LAYER_NAME, register_stain_normalisation, set_target

    keras = load_keras()
    image = keras.Input((None, None, 3), name="image", dtype="float32")
    stained = register_stain_normalisation()(stain, name=LAYER_NAME)(image) if stain else image
    prepared = register_preprocessing()("none", name="preprocessing")(stained)
    logits = keras.layers.Conv2D(3, 1, name="head")(prepared)
    model = keras.Model(image, keras.layers.Softmax(name="probabilities")(logits), name="colours")
    centres = COLOURS.astype(np.float32)
    if stain:
        set_target(model, COLOURS[None, None].repeat(8, axis=1))
    model.get_layer("head").set_weights(
        [(2 * centres.T / _SOFTNESS)[None, None], -(centres**2).sum(axis=1) / _SOFTNESS]
    )
    return model


def write_colour_run(
    outputs: Path,
    study="colours",
    *,
    size=32,
    trained=None,
    dice=0.9,
    seed=0,
    stain=None,
    dataset="synthetic",
    model=None,
    scores=None,
    **facts,
) -> Path:
    """Write `outputs/<study>/runs/<run>/` as a training does.

    Args:
        outputs: folder of studies.
        study: name of the study.
        size: image_size of the run.
        trained: side of its training images before resizing; `size` if None.
        dice: Dice on the validation images.
        seed: seed of the run.
        stain: stain normalisation of the network, or None.
        dataset: dataset of the run.
        model: another network.
        scores: case id -> Dice of each region, for scores.csv; None to leave that out.
        facts: further entries of `trained_on`.

    Returns:
        The run's folder.
    """
    config = RunConfig(study=study, encoder="resnet18", loss="dice", image_size=size, seed=seed, dataset=str(dataset))
    folder = StudyFolder(outputs / study).run(config.name)
    folder.path.mkdir(parents=True)
    write_yaml(config, folder.params)
    (model or build_colour_network(stain)).save(folder.model)
    if scores is not None:
        rows = [
            {"run": config.name, "case_id": case, "cell_type": "monocyte", "region": region, "dice": value}
            | {"tp": round(1000 * value), "tn": round(1000 * value)}
            | dict.fromkeys(("fp", "fn"), 1000 - round(1000 * value))
            for case, value in scores.items()
            for region in ("nucleus", "cytoplasm", "cell")
        ]
        pd.DataFrame(rows).to_csv(folder.scores, index=False)
    counts = {"tp": 9, "fp": 1, "fn": 1, "tn": 9, "dice": dice}
    # Counts with this Dice.
    counts |= {"tp": round(1000 * dice), "fp": round(1000 * (1 - dice)), "fn": round(1000 * (1 - dice))}
    side = trained or size
    write_record(
        folder,
        {
            "status": "complete",
            "config": config.model_dump(mode="json"),
            "validation": dict.fromkeys(("nucleus", "cytoplasm", "cell"), counts),
            "trained_on": {"height_px": [side] * 3, "width_px": [side] * 3, "cell_px": None, "pixel_size_um": None}
            | facts,
        },
    )
    return folder.path


def paint(mask: np.ndarray) -> np.ndarray:
    """Make the image for which the network predicts this mask."""
    return COLOURS[mask]


def round_cells(height: int, width: int, centres, radius=9) -> np.ndarray:
    """Make a mask of round cells with round nuclei, uint8 (H, W)."""
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for row, column in centres:
        distance = np.hypot(rows - row, columns - column)
        mask[distance < radius] = 1
        mask[distance < radius / 2] = 2
    return mask


def add_red_cells(image: np.ndarray, radius: float, centres, colour=(235, 190, 190)) -> np.ndarray:
    """Draw red cells into an image, in a colour in which the network sees background."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    for row, column in centres:
        image[np.hypot(rows - row, columns - column) <= radius] = colour
    return image


# Two cells that do not touch.
TWO_CELLS = round_cells(40, 64, [(15, 15), (24, 45)])
