"""Find a trained network by run, study or model file, and load it with the scale of its training."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy.config_io import read_study
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import merge_groups, read_duplicates
from wbcstudy.data.records import read_groups, read_split
from wbcstudy.errors import StudyError
from wbcstudy.files import expand_home, outputs_folder, path_exists, sha256_sum
from wbcstudy.inference.starter_file import STARTER, find_starter
from wbcstudy.inference.tiling import TrainingScale
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import Run, load_run, load_usable_runs
from wbcstudy.wording import join_words

# Images to measure the target of a stain normalisation on.
_TARGET_IMAGES = 100


@dataclass(frozen=True, eq=False)
class Network:
    """The network of a finished run.

    Args:
        run: the run.
        training: scale of its training.
        model: keras.Model, RGB 0-255 (B, H, W, 3) -> probabilities float32 (B, H, W, 3).
        chosen: why this run of a study was chosen; '' if the run itself was named.
    """

    run: Run
    training: TrainingScale
    model: Any = field(repr=False)
    chosen: str = ""

    @property
    def name(self) -> str:
        """`<study>/<run>`."""
        return f"{self.run.folder.study.name}/{self.run.name}"

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of model.keras."""
        return sha256_sum(self.run.folder.model)

    @functools.cached_property
    def _compiled(self) -> Callable:
        from wbcstudy.nets.backend import load_keras

        load_keras()
        import tensorflow as tf

        # One graph for images of any size. `predict` would leave some memory behind at each call.
        any_size = tf.TensorSpec((1, None, None, 3), tf.float32)
        return tf.function(lambda images: self.model(images, training=False), input_signature=[any_size])

    @functools.cached_property
    def encode(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the activations at the end of the encoder, where the decoder begins to enlarge them.

        A function of images as for `predict`, to float32 (1, h, w, C). None for a network without such a layer.
        """
        from wbcstudy.nets.backend import load_keras

        keras = load_keras()
        import tensorflow as tf

        deepest = next((layer for layer in self.model.layers if isinstance(layer, keras.layers.UpSampling2D)), None)
        if deepest is None:
            return None
        encoder = keras.Model(self.model.input, deepest.input)
        any_size = tf.TensorSpec((1, None, None, 3), tf.float32)
        compiled = tf.function(lambda images: encoder(images, training=False), input_signature=[any_size])
        # Of a network in half precision, the activations are, too.
        return lambda images: compiled(images.astype(np.float32)).numpy().astype(np.float32)

    @property
    def colours(self) -> dict[str, list[list[float]]] | None:
        """Colours of its training images, see `data.colours.summarise_colours`; None if not recorded."""
        return (self.run.record.get("trained_on") or {}).get("colours")

    def stain_target(self, method: str) -> np.ndarray:
        """Return the target of a stain normalisation: as recorded, else measured on the training images.

        Raises:
            StudyError: the training images are needed and cannot be read.
        """
        if method == "reinhard" and self.colours is not None:
            return np.float32(self.colours["mean"])
        return _measure_target(self, method)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predict probabilities in the way the run was scored: over eight orientations with `test_time_flips`.

        Args:
            images: uint8 (1, H, W, 3), RGB; H and W multiples of 32.

        Returns:
            float32 (1, H, W, 3).
        """
        if not self.run.config.test_time_flips:
            return self.predict_once(images)
        from wbcstudy.nets.prediction import average_orientations

        return average_orientations(self.predict_once, images)

    def predict_once(self, images: np.ndarray) -> np.ndarray:
        """Predict as `predict` does, in one orientation only."""
        return self._compiled(images.astype(np.float32)).numpy()


def load_network(source: str | Path | Network) -> Network:
    """Load a network.

    Args:
        source: a run's folder, its model.keras or `<study>/<run>`; a study's folder, YAML file or name, for its best
            run by validation; "starter" for the starter; or a network, which is returned. A folder in the current
            folder that has a study's name but holds neither run nor study is ignored.

    Raises:
        StudyError: no such run or study, no finished run, or a model file that cannot be used.
    """
    if isinstance(source, Network):
        return source
    run, chosen = find_run(source)
    if not run.folder.model.is_file():
        raise StudyError(
            f"{run.folder.path} has no model.keras.",
            expected="a finished run with its network",
            fix="Delete that folder and run the study again; only this run is repeated.",
        )
    return _load(run.folder.path.resolve(), run.folder.model.stat().st_mtime_ns, chosen)


# Kept, so that a notebook that segments image after image loads the network once.
@functools.lru_cache(maxsize=2)
def _load(folder: Path, modified: int, chosen: str) -> Network:
    from wbcstudy.nets.model_file import load_model

    run = load_run(RunFolder(folder), used=(RunFolder(folder).model.name,))
    return Network(run, _training_scale(run), load_model(run.folder.model), chosen)


def _training_scale(run: Run) -> TrainingScale:
    size = run.config.image_size
    facts = run.record.get("trained_on")
    if not facts:
        return TrainingScale(size, (size,) * 3, (size,) * 3, assumed=True)
    return TrainingScale(
        size, tuple(facts["height_px"]), tuple(facts["width_px"]), facts.get("cell_px"), facts.get("pixel_size_um")
    )


@functools.lru_cache(maxsize=4)
def _measure_target(network: Network, method: str) -> np.ndarray:
    from wbcstudy.data.arrays import read_cases
    from wbcstudy.nets.stain import find_target

    config = network.run.config
    try:
        dataset = load_dataset(config.dataset)
        splits, _ = read_split(network.run.folder.study.split) or ((), {})
        case_ids = splits[config.fold].train if config.fold < len(splits) else [c.case_id for c in dataset.cases]
        return find_target(read_cases(dataset, case_ids[:_TARGET_IMAGES], config.image_size).images, method)
    except StudyError as error:
        raise StudyError(
            f"The colours of the training images of {network.name} are not recorded, and the images cannot be read: "
            f"{error.message}",
            expected="the dataset of the training",
            fix="Restore the images, or pass --stain none.",
        ) from None


def find_run(source: str | Path) -> tuple[Run, str]:
    """Find a run by path or name; of a study, its recommended run.

    Returns:
        The run, and why it was chosen ('' if the run itself was named).

    Raises:
        StudyError: no such run or study, or no finished run.
    """
    if str(source) == STARTER and not StudyFolder.of(STARTER).path.exists():
        return load_run(RunFolder(find_starter())), "the starter, trained on drawn smears only"
    path = expand_home(source)
    if path.suffix == ".yaml":
        return best_run(StudyFolder.of(path.stem))
    if path.suffix == ".keras" and path_exists(path):
        path = path.parent
    # A folder of images may have the name of the study.
    holds_run = any(path_exists(path / name) for name in ("run.json", "model.keras", "runs"))
    if path.parts and not path.is_absolute() and not holds_run:
        study, *run = path.parts
        study_path = outputs_folder() / study
        named = study_path / "runs" / run[0] if len(run) == 1 else study_path.joinpath(*run)
        path = named if path_exists(named) or not path_exists(path) else path
    if path_exists(path / "runs"):
        return best_run(StudyFolder(path))
    if path_exists(path) and path.is_dir():
        run = load_run(RunFolder(path))
        if run.complete:
            return run, ""
        raise StudyError(
            f"The run in {path} failed.",
            expected="a finished run",
            fix=f"Read {run.folder.page} for the reason, fix it, and run the study again.",
        )
    raise StudyError(
        f"There is no run or study {str(source)!r}.",
        expected="the folder of a finished run (outputs/<study>/runs/<run>), a study's folder, or a study's name",
        fix=f"Known studies: {', '.join(known_studies()) or 'none yet; `make study` makes one'}.",
    )


def best_run(study: StudyFolder) -> tuple[Run, str]:
    """Choose the run of a study to use: of the encoder and loss that its report recommends.

    `decision.decide` chooses encoder and loss, as in the report. Of their runs that still have their network, the one
    with the highest validation Dice is taken. If there is none, or the report cannot choose yet, all runs compete.

    Returns:
        The run, and why it was chosen.

    Raises:
        StudyError: no finished run with its network and validation scores.
    """
    from wbcstudy.scoring.decision import decide
    from wbcstudy.scoring.selection import group_runs, validation_dice

    # A folder may hold runs that were removed from the study; its report does not show them.
    config = read_study(study.settings) if study.settings.exists() else None
    runs, problems = load_usable_runs(study, [run.name for run in config.runs()] if config else None)
    complete = [run for run in runs if run.complete]
    with_network = [run for run in complete if run.folder.model.is_file()]
    dice = {run.name: validation_dice([run]) for run in with_network}
    runs = [run for run in with_network if not math.isnan(dice[run.name])]
    if not complete and problems:
        raise next(iter(problems.values()))
    if not complete:
        raise StudyError(
            f"{study.path} has no finished run with its network.",
            expected="a study with at least one finished training",
            fix=f"Run it: wbcstudy run params/{study.name}.yaml",
        )
    if not with_network:
        raise StudyError(
            f"The networks of {study.path} were deleted: its {len(complete)} finished runs have none.",
            expected="model.keras in the folder of a finished run",
            fix=f"Restore it, or delete a run's folder (such as {complete[0].folder.path}) and run the study again.",
        )
    if not runs:
        raise StudyError(
            f"Cannot choose the best network of {study.path}: no run has scores on validation images.",
            expected="validation images with a nucleus or cytoplasm",
            fix=f"Name a run: {with_network[0].folder.path}",
        )
    settings = {"margin": config.equivalence_margin} if config else {}
    decision = decide(complete, groups=_read_groups(study, complete), **settings)
    pair = decision.recommended.pair if decision else None
    recommended = group_runs(runs).get(pair, [])
    run = max(recommended or runs, key=lambda run: dice[run.name])
    left_out = f"; damaged runs are left out: {join_words([*problems], most=5)}" if problems else ""
    if recommended and decision.recommended != decision.best:
        return (
            run,
            f"recommended by its study as equivalent to {decision.best.title}, the best of {len(runs)} runs{left_out}",
        )
    return run, f"the best of {len(runs)} runs on the validation images (Dice {dice[run.name]:.3f}){left_out}"


def _read_groups(study: StudyFolder, runs: Sequence[Run]) -> dict[str, Any]:
    """Return case id -> group of dependent images, as in the report: as recorded, if the images are gone."""
    try:
        groups = load_dataset(runs[0].config.dataset).groups
    except StudyError:
        groups = read_groups(study.groups)
    duplicates = read_duplicates(study.duplicates, runs[0].record.get("dataset", {}).get("name", ""))
    return merge_groups(groups, [duplicate.case_ids for duplicate in duplicates])


def known_studies() -> list[str]:
    """List the studies under outputs/ that have a run with a network."""
    return sorted({path.parents[2].name for path in outputs_folder().glob("*/runs/*/model.keras")})
