"""A methods paragraph for a paper, from the settings and what the runs noted of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wbcstudy.config import StudyConfig
from wbcstudy.registry import ENCODERS, loss_title
from wbcstudy.reporting.text.facts import count, tell_span, tell_version
from wbcstudy.runs.results import Run


def tell_methods(config: StudyConfig, dataset: Mapping[str, Any], runs: Iterable[Run]) -> str:
    """A methods paragraph to paste into a paper: of what was trained, which may be less than what is planned.

    What is not known is left out.
    """
    done = [
        run
        for run in runs
        if run.complete and run.config.encoder in config.encoders and run.config.loss in config.losses
    ]
    if not done:
        return "No network of this study is trained yet, so there is no training to describe."
    record, pairs = done[0].record, {(run.config.encoder, run.config.loss) for run in done}
    names = [name for name in config.encoders if name in {pair[0] for pair in pairs}]
    aims = [name for name in config.losses if name in {pair[1] for pair in pairs}]
    seeds = sorted({run.config.seed for run in done})
    encoders, losses = (
        _join([ENCODERS[name].title for name in names]),
        _join([loss_title(name, in_sentence=True) for name in aims]),
    )
    some = f"; {len(pairs)} of the {len(names) * len(aims)} pairs" if len(pairs) < len(names) * len(aims) else ""
    versions = _join(sorted({tell_version(run.record) for run in done} - {""}))
    cases = f"{dataset['cases']} images of " if dataset.get("cases") else ""
    text = [
        f"U-Nets with {count(len(names), 'encoder')} ({encoders}) were trained with "
        f"{count(len(aims), 'loss')} ({losses}{some}), using {f'wbcstudy {versions}'.strip()}.",
        f"The data were {cases}{dataset.get('title') or config.dataset}, resized to "
        f"{config.image_size} x {config.image_size} pixels (masks by nearest neighbour).",
    ]
    parts = [run.record["split"] for run in done if run.record.get("split")]
    sizes = ""
    if parts:
        sizes = " into {} training, {} validation and {} test images".format(
            *(tell_span(part[name] for part in parts) for name in ("train", "validation", "test"))
        )
    text.append(
        f"Cases were divided{sizes} with seed {config.split_seed}, stratified by cell type where it is known"
        + (f", in {config.folds} folds of a cross-validation" if config.folds > 1 else "")
        + "; every network used the same division."
    )
    text.append(
        "Training images and their masks were flipped together, rotated by up to "
        f"{config.rotation_degrees:g} degrees and zoomed by up to {100 * config.zoom:g} %, and the brightness of the "
        f"images was changed by up to {100 * config.brightness:g} %; "
        + _colours(config)
        + f"an epoch was {count(config.augmented_copies, 'augmented pass')} over the training images."
    )
    text.append(
        f"Networks were {_start(config)} and optimised with Adam (learning rate {_learning_rate(config)}, batch size "
        f"{config.batch_size}) for {_length(config)}; the weights of the best epoch were kept. Dropout was "
        f"{config.dropout:g}, the momentum of batch normalisation {config.batch_norm_momentum:g}, arithmetic "
        f"{_arithmetic(config, done)}."
    )
    with_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {_join([str(seed) for seed in seeds])}"
    text.append(f"Each encoder and loss was trained with {with_seeds}.")
    text.append(
        "Precision and Dice are computed from the pixels of all test images together; mean Dice is the mean "
        "over images, with a 95 % percentile bootstrap interval over images (over slides or patients, where known). "
        "The encoder to report was chosen by "
        "its Dice on the validation images."
    )
    if len(names) * len(aims) > 1:
        text.append(
            "Encoders and losses were compared in pairs on the same test images, by each image's Dice (mean over the "
            "seeds): Wilcoxon's signed-rank test, two-sided, with Holm's correction over all pairs of a region, at a "
            "level of 0.05; the typical difference is Hodges and Lehmann's, with the interval of that test. Mean ranks "
            "were compared by Friedman's and Nemenyi's tests. Images of one slide or patient, where known, were "
            "averaged first."
        )
    if config.test_time_flips:
        text.append(
            "Test images were predicted in eight positions (turned by quarters, each also mirrored), and the "
            "probabilities averaged."
        )
    if config.also_score:
        text.append(
            "Every network also segmented all images of other datasets, of which none had learnt; scores there are "
            "means over a method's networks, and intervals of the loss draw both sets of images independently."
        )
    packages = ", ".join(f"{name} {number}" for name, number in (record.get("packages") or {}).items())
    # Runs may come from several machines.
    kinds = [dict.fromkeys(run.record[key] for run in done if run.record.get(key)) for key in ("device", "platform")]
    where = [" or ".join(map(str, kind)) for kind in kinds if kind]
    if packages:
        python = f"Python {record['python']}, " if record.get("python") else ""
        text.append(f"Software: {python}{packages}. Hardware: {', '.join(where) or 'not recorded'}.")
    if dataset.get("citation"):
        text.append(f"Data: {dataset['citation']}")
    return " ".join(text)


def _learning_rate(config: StudyConfig) -> str:
    if config.learning_rate_schedule == "constant":
        return f"{config.learning_rate:g}"
    return f"rising to {config.learning_rate:g} in the first epoch and falling to 0 along a cosine"


def _length(config: StudyConfig) -> str:
    if config.patience >= config.epochs:
        return count(config.epochs, "epoch")
    stop = f"until the validation loss had not fallen for {count(config.patience, 'epoch')}"
    return f"at most {count(config.epochs, 'epoch')}, {stop}"


def _start(config: StudyConfig) -> str:
    if config.encoder_weights == "none":
        return "trained from scratch (random weights)"
    source = "ImageNet weights" if config.encoder_weights == "imagenet" else f"the weights {config.encoder_weights}"
    plain = "; the plain U-Net started from random weights" if "unet" in config.encoders else ""
    return f"started with encoders from {source} ({'frozen' if config.freeze_encoder else 'trained further'}{plain})"


def _arithmetic(config: StudyConfig, done: Sequence[Run]) -> str:
    """What the networks really computed in; a study with `precision: auto` may have run on machines of both kinds."""
    used = sorted({run.record["arithmetic"] for run in done if run.record.get("arithmetic")})
    return _join(used) or config.precision


def _colours(config: StudyConfig) -> str:
    """Colour augmentation and stain normalisation, where there are any."""
    said = ""
    if config.colour_augmentation:
        amount = config.colour_augmentation
        said += f"their hue was turned by up to {180 * amount:g} degrees and their saturation by up to "
        said += f"{100 * amount:g} %; "
    if config.stain_normalisation != "none":
        name = config.stain_normalisation.capitalize()
        said += f"before that, all images were brought to the mean stain of the training images ({name}'s method); "
    return said


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
