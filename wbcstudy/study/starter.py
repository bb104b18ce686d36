"""Build the starter: draw smears, train one network on them as a study does, calibrate and pack it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.data.arrays import read_cases
from wbcstudy.data.datasets import Dataset, load_dataset, read_case
from wbcstudy.data.records import read_split
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.data.synthetic.varied import PIXEL_SIZE_UM, draw_case, write_varied_dataset
from wbcstudy.errors import StudyError
from wbcstudy.files import data_folder, outputs_folder
from wbcstudy.inference.starter_file import own_starter, pack_starter
from wbcstudy.labels import IGNORED
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.records import RunRecord
from wbcstudy.runs.results import load_run
from wbcstudy.study.run import run_study

# Settings of the training that do not depend on the encoder, the size and the number of smears; a setting that is not
# listed here has the default of a study.
TRAINING = {
    "losses": ("dice",),
    "augmented_copies": 1,
    "learning_rate_schedule": "cosine",
    "weight_average": 0.99,
    "colour_augmentation": 0.1,
    "test_time_flips": True,
    "near_duplicates": False,
}
# Temperatures to try for the calibration.
_TEMPERATURES = np.geomspace(0.5, 3, 37)
# Smears of each stain that are drawn again, to see whether those in the folder are of this version.
_COMPARED = 3
# Images for the calibration: some hundred thousand pixels.
_CALIBRATION_IMAGES = 64

_CARD = """# Starter network

A U-Net with the encoder {encoder}, trained on {cases} drawn smears of version 2 (stains: {domains}), seed {seed}.
No image of a patient was used. Input: RGB 0-255 at {um:g} µm per px of the network's input. Output: background,
cytoplasm, nucleus.

- Training: loss {loss}, {epochs} epochs, moving average of the weights ({average:g}).
- Prediction: mean over eight orientations of the image, calibrated with temperature {temperature:.2f}.
- Dice on drawn test smears, pooled: {dice}. Drawn smears are easier than real ones.
- Limits: a stain, camera or cell type that the drawn smears lack; cytoplasm and strongly coloured plasma are confused
  first. Look at the overlays, and annotate some images of your own for a study.
- Intended use: research. Not for diagnosis.
"""


def build_starter(
    seed: int = 0,
    *,
    cases: int = 4800,
    epochs: int = 14,
    encoder: str = "resnet18",
    image_size: int = 96,
    domains: Sequence[str] = tuple(DOMAINS),
    out: Path | None = None,
    show: Callable[[str], None] = print,
) -> Path:
    """Build the starter. Interrupted, the same call resumes: drawn smears and finished epochs are kept.

    Args:
        seed: seed of the smears and of the training.
        cases: number of smears.
        epochs: number of epochs.
        encoder: encoder of the U-Net.
        image_size: side of the network's input in px; a smear of 192 px is resized to it.
        domains: stains of the smears.
        out: file to write; `starter_file.own_starter()` if None.
        show: called with lines of progress.

    Returns:
        The file.

    Raises:
        StudyError: a setting cannot be used, smears or network are those of another version, the training failed, or
            the file would be too large.
    """
    name = f"starter-{encoder}-{image_size}px-{cases}-{'-'.join(domains)}-seed{seed}"
    folder = data_folder() / name
    dataset = draw_smears(folder, cases, seed, domains, name="starter", show=show)
    config = StudyConfig(
        **TRAINING,
        name=name,
        dataset=str(folder / "dataset.yaml"),
        encoders=(encoder,),
        image_size=image_size,
        epochs=epochs,
        patience=epochs,
        seeds=(seed,),
        validation_fraction=0.1,
        test_fraction=0.1,
    )
    params = outputs_folder() / f"{name}.yaml"
    params.parent.mkdir(parents=True, exist_ok=True)
    write_yaml(config, params)
    (wanted,) = config.runs()
    run = StudyFolder.of(name).run(wanted.name)
    if run.read_status() == "complete":
        trained_on = (load_run(run).record.get("dataset") or {}).get("fingerprint")
        if trained_on not in (None, dataset.fingerprint):
            raise _other_version(folder, f"{run.path} was trained on smears")
    elif run_study(params, jobs=1, show=show):
        raise StudyError(
            f"The training of the starter did not finish ({run.path}).",
            expected="a finished training",
            fix="Read the lines above. The same command resumes after the last saved epoch.",
        )
    temperature = calibrate(run, wanted)
    record = load_run(run).record
    card = _CARD.format(
        encoder=encoder,
        cases=cases,
        domains=", ".join(domains),
        seed=seed,
        um=PIXEL_SIZE_UM * record["trained_on"]["height_px"][1] / image_size,
        loss=wanted.loss,
        epochs=epochs,
        average=wanted.weight_average,
        temperature=temperature,
        dice=_describe_dice(record),
    )
    return pack_starter(run.path, out or own_starter(), temperature, card)


def draw_smears(
    folder: Path, cases: int, seed: int, domains: Sequence[str], name: str, show: Callable[[str], None] = print
) -> Dataset:
    """Draw smears in a folder, or take those that an earlier call of the same version drew there.

    Args:
        folder: named by all that decides about the smears; studies of them have its name.
        cases: as in `write_varied_dataset`, as the next three.
        seed: 0 or more.
        domains: stains of the smears.
        name: name of the dataset.
        show: called with a line before smears are drawn.

    Raises:
        StudyError: the folder has smears of another version.
    """
    if not (folder / "dataset.yaml").is_file():
        show(f"Drawing {cases} smears in {folder} ...")
        write_varied_dataset(folder, cases=cases, seed=seed, domains=domains, name=name)
        return load_dataset(folder)
    dataset = load_dataset(folder)
    for index in range(min(cases, _COMPARED * len(domains))):
        case_id, smear = draw_case(index, seed, domains)
        if not np.array_equal(read_case(dataset, dataset.case(case_id))[0], smear.image):
            raise _other_version(folder, f"{folder} has smears")
    return dataset


def _other_version(folder: Path, fact: str) -> StudyError:
    return StudyError(
        f"{fact} that another version of wbcstudy drew.",
        expected="smears of this version",
        fix=f"Delete {folder} and its studies ({outputs_folder() / folder.name}*), and run the command again.",
    )


def _describe_dice(record: RunRecord) -> str:
    return ", ".join(f"{region} {row['dice']:.3f}" for region, row in record["scores"].items())


def calibrate(run: RunFolder, config: RunConfig) -> float:
    """Return the temperature that makes the mean probabilities of eight orientations most likely on validation images.

    Guo et al. (2017), On calibration of modern neural networks, ICML: one number, chosen on the validation set.
    """
    from wbcstudy.nets.model_file import load_model
    from wbcstudy.nets.prediction import average_orientations, predict_probabilities

    splits, _ = read_split(run.study.split)
    case_ids = splits[config.fold].validation[:_CALIBRATION_IMAGES]
    arrays = read_cases(load_dataset(config.dataset), case_ids, config.image_size)
    model, positions = load_model(run.model), []

    def predict(images: np.ndarray) -> np.ndarray:
        positions.append(predict_probabilities(model, images, config.batch_size))
        return positions[-1]

    def at(temperature: float) -> np.ndarray:
        # The network divides the logits of each position, before their mean.
        predicted = iter(positions)
        return average_orientations(lambda _: soften(next(predicted), temperature), arrays.images)

    average_orientations(predict, arrays.images)
    return best_temperature(at, arrays.masks)


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities, float (..., 3), if the logits are divided by the temperature."""
    powers = np.clip(probabilities, 1e-7, 1) ** (1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def best_temperature(at: Callable[[float], np.ndarray], labels: np.ndarray) -> float:
    """Return the temperature with the smallest mean negative logarithm of the true label's probability.

    Args:
        at: temperature -> probabilities, float (..., 3).
        labels: integers (...); ignored pixels have no part.
    """
    known = labels != IGNORED
    truth = labels[known].astype(int)

    def loss(temperature: float) -> float:
        probabilities = at(temperature)[known]
        return -float(np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-7)).mean())

    return float(min(_TEMPERATURES, key=loss))
