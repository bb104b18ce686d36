"""A trained network with what is known about its training, from a run, a study or a model file."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy.errors import StudyError
from wbcstudy.files import expand_home, outputs_folder, path_exists
from wbcstudy.inference.tiling import TrainingScale
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import Run, load_run, load_runs


@dataclass(frozen=True, eq=False)
class Network:
    """A finished run's network, ready to segment.

    Args:
        run: the run.
        training: what it was trained on.
        model: keras.Model, RGB 0-255 (B, H, W, 3) -> probabilities float32 (B, H, W, 3).
        chosen: why this run, in words; '' where it was named itself.
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
        return hashlib.sha256(self.run.folder.model.read_bytes()).hexdigest()

    @functools.cached_property
    def _compiled(self) -> Callable:
        from wbcstudy.nets.backend import load_keras

        load_keras()
        import tensorflow as tf

        # One graph for images of any size, and without what `predict` leaves behind in memory at each call.
        anything = tf.TensorSpec((1, None, None, 3), tf.float32)
        return tf.function(lambda images: self.model(images, training=False), input_signature=[anything])

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of the labels, as the run's own scores were made: over eight positions with `test_time_flips`.

        Args:
            images: uint8 (1, H, W, 3), RGB; H and W multiples of 32.

        Returns:
            float32 (1, H, W, 3).
        """
        if not self.run.config.test_time_flips:
            return self.predict_once(images)
        from wbcstudy.nets.prediction import average_positions

        return average_positions(self.predict_once, images)

    def predict_once(self, images: np.ndarray) -> np.ndarray:
        """`predict` in one position."""
        return self._compiled(images.astype(np.float32)).numpy()


def load_network(where: str | Path | Network) -> Network:
    """Load a network.

    Args:
        where: a run's folder or its model.keras; a study's folder, its YAML file or its name, of which the best run by
            its validation images is taken; `<study>/<run>`; or a network, which is returned. A folder of the current
            one that holds neither run nor study does not stand for a study of its name.

    Raises:
        StudyError: nothing there, no finished run, or a model file that cannot be used.
    """
    if isinstance(where, Network):
        return where
    run, chosen = find_run(where)
    if not run.folder.model.is_file():
        raise StudyError(
            f"{run.folder.path} has no model.keras.",
            expected="a finished run with its network",
            fix="Delete that folder and run the study again; only this run is repeated.",
        )
    return _load(run.folder.path.resolve(), run.folder.model.stat().st_mtime_ns, chosen)


# A notebook that segments image after image should not load the network for each.
@functools.lru_cache(maxsize=2)
def _load(folder: Path, modified: int, chosen: str) -> Network:
    from wbcstudy.nets.model_file import load_model

    run = load_run(RunFolder(folder))
    return Network(run, training_scale(run), load_model(run.folder.model), chosen)


def training_scale(run: Run) -> TrainingScale:
    """What a run's network was trained on; of a run that does not say, images as large as the network's input."""
    size = run.config.image_size
    facts = run.record.get("trained_on")
    if not facts:
        return TrainingScale(size, (size,) * 3, (size,) * 3, assumed=True)
    return TrainingScale(
        size, tuple(facts["height_px"]), tuple(facts["width_px"]), facts.get("cell_px"), facts.get("pixel_size_um")
    )


def find_run(where: str | Path) -> tuple[Run, str]:
    """The run that a path or name means, and why it was chosen, in words ('' if it was named itself).

    Raises:
        StudyError: nothing there, or no finished run.
    """
    path = expand_home(where)
    if path.suffix == ".yaml":
        return best_run(StudyFolder.of(path.stem))
    if path.suffix == ".keras" and path_exists(path):
        path = path.parent
    # Images may lie in a folder that is called as the study is.
    held = any(path_exists(path / name) for name in ("run.json", "model.keras", "runs"))
    if path.parts and not path.is_absolute() and not held:
        study, *run = path.parts
        folder = outputs_folder() / study
        named = folder / "runs" / run[0] if len(run) == 1 else folder.joinpath(*run)
        path = named if path_exists(named) or not path_exists(path) else path
    if path_exists(path / "runs"):
        return best_run(StudyFolder(path))
    if path_exists(path) and path.is_dir():
        run = load_run(RunFolder(path))
        if run.complete:
            return run, ""
        raise StudyError(
            f"The run in {path} has failed.",
            expected="a finished run",
            fix=f"Read {run.folder.page} for the reason, mend it, and run the study again.",
        )
    raise StudyError(
        f"There is no run or study {str(where)!r}.",
        expected="the folder of a finished run (outputs/<study>/runs/<run>), a study's folder, or a study's name",
        fix=f"Known studies: {', '.join(known_studies()) or 'none yet; `make study` makes one'}.",
    )


def best_run(study: StudyFolder) -> tuple[Run, str]:
    """The best run of a study, chosen as in its report, by the validation images; the test images have no say.

    First the encoder and loss that the report chooses (`tables.pick_best`), then of their runs the one with the highest
    validation Dice, of which the network is still there. Where the report chooses none yet, or none of those networks
    is there, of all runs.

    Raises:
        StudyError: no finished run with its network and validation scores.
    """
    from wbcstudy.scoring.selection import group_runs, pick_best, validation_dice

    complete = [run for run in load_runs(study) if run.complete]
    there = [run for run in complete if run.folder.model.is_file()]
    dice = {run.name: validation_dice([run]) for run in there}
    runs = [run for run in there if dice[run.name] == dice[run.name]]
    if there and not runs:
        raise StudyError(
            f"No network of {study.path} can be called the best: none has scores on validation images.",
            expected="validation images with a nucleus or cytoplasm",
            fix=f"Name one: {there[0].folder.path}",
        )
    if complete and not there:
        raise StudyError(
            f"The networks of {study.path} are not there any more: its {len(complete)} finished runs have none.",
            expected="model.keras in the folder of a finished run",
            fix=f"Bring it back, or delete a run's folder (such as {complete[0].folder.path}) and run the study again.",
        )
    if not runs:
        raise StudyError(
            f"{study.path} has no finished run with its network.",
            expected="a study with at least one finished training",
            fix=f"Run it: wbcstudy run params/{study.name}.yaml",
        )

    best = pick_best(complete)
    group = group_runs(runs).get((best.encoder, best.loss), runs) if best else runs
    chosen = max(group, key=lambda run: dice[run.name])
    return chosen, f"the best of {len(runs)} runs on the validation images (Dice {dice[chosen.name]:.3f})"


def known_studies() -> list[str]:
    """Names of the studies under outputs/ that have a run with a network."""
    outputs = outputs_folder()
    return sorted({path.parents[2].name for path in outputs.glob("*/runs/*/model.keras")}) if outputs.is_dir() else []
