"""Estimate time, memory and disk of a study before it starts, from a few timed steps of each encoder.

The steps are remembered in `outputs/timed_steps.json`, so that only the first dry run of an encoder takes the time.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.files import outputs_folder, read_json, write_json
from wbcstudy.registry import ENCODERS
from wbcstudy.study.environment import child_environment
from wbcstudy.study.machine import THREAD_LIMITS, device, free_memory_mb, is_busy
from wbcstudy.study.plan import Plan
from wbcstudy.wording import align, count, duration, megabytes

_FILE = "timed_steps.json"
_GIVE_UP_S = 600
# A run's notebook, page and figures, in MB; measured on the demo (`du outputs/demo/runs`).
_PAGES_MB = 11
_BYTES_PER_WEIGHT = 4
# A checkpoint holds the weights, the best weights and two moments of Adam.
_CHECKPOINT_COPIES = 4
_BUSY = ("Other programs used the processor while steps were timed, so the times are too long. Repeat this later.",)
# Settings of a run that change the cost of a step, besides the processor and the number of threads.
_SETTINGS = ("encoder", "image_size", "batch_size", "precision", "freeze_encoder")


@dataclass(frozen=True)
class Share:
    """The part of a study that trains one encoder in one way.

    Args:
        runs: runs that are not finished.
        config: settings of the first.
        steps: training steps per epoch.
        validation: validation images per epoch.
        test: test images, predicted once.
        costs: result of `nets.timed_step.time_step`; empty if it could not be measured.
    """

    runs: int
    config: RunConfig
    steps: int
    validation: int
    test: int
    costs: Mapping[str, Any]

    @property
    def epoch_seconds(self) -> float:
        """Time of one epoch: its steps, and the prediction of the validation images."""
        return self.steps * self.costs["step_seconds"] + self.validation * self.costs["image_seconds"]

    @property
    def run_seconds(self) -> float:
        """Time of one run with all epochs, its start, and the prediction of its test and validation images."""
        predicted = (self.test + self.validation) * self.costs["image_seconds"]
        return self.costs["start_seconds"] + self.config.epochs * self.epoch_seconds + predicted

    @property
    def run_mb(self) -> float:
        """Disk space of one finished run, in MB."""
        return self.costs["parameters"] * _BYTES_PER_WEIGHT / 1e6 + _PAGES_MB


def count_images(cases: int, study: StudyConfig) -> tuple[int, int, int]:
    """Return the number of training, validation and test images of one fold, as `data.splits` divides them."""
    test = round(cases * study.test_fraction) if study.folds == 1 else round(cases / study.folds)
    validation = round((cases - test) * study.validation_fraction)
    training = cases - test - validation
    return min(training, study.max_training_cases or training), validation, test


def estimate(
    study: StudyConfig,
    runs: Sequence[RunConfig],
    cases: int,
    threads: int,
    show: Callable[[str], None] | None = None,
) -> list[Share]:
    """Divide the runs by what they cost, and look up or measure the cost of each part.

    Args:
        study: settings.
        runs: runs that are not finished.
        cases: images of the dataset.
        threads: threads of each training.
        show: receives one line per measurement; None to measure nothing and use remembered costs only.
    """
    train, validation, test = count_images(cases, study)
    parts: dict[tuple, list[RunConfig]] = {}
    for run in runs:
        parts.setdefault(tuple(getattr(run, name) for name in _SETTINGS), []).append(run)
    shares = []
    for part in parts.values():
        config = part[0]
        steps = math.ceil(train * config.augmented_copies / config.batch_size)
        shares.append(Share(len(part), config, steps, validation, test, _costs(config, threads, show)))
    return shares


def find_paces(plan: Plan, threads: int) -> dict[tuple[str, bool], float]:
    """Return (encoder, whether it is frozen) -> seconds per epoch by remembered steps, for `time_left.Pace`."""
    split = (read_json(plan.folder.split) or {}).get("folds")
    try:
        cases = sum(len(split[0][part]) for part in ("train", "validation", "test"))
    except (TypeError, KeyError, IndexError):
        return {}
    shares = [share for share in estimate(plan.study, plan.runs, cases, threads) if share.costs]
    return {(share.config.encoder, share.config.freeze_encoder): share.epoch_seconds for share in shares}


def describe(shares: Sequence[Share], jobs: int, threads: int) -> list[str]:
    """Return a table with the arithmetic, and the sums for the whole study.

    Args:
        shares: from `estimate`.
        jobs: runs at a time.
        threads: threads of each training.
    """
    rows = [("encoder", "runs", "epochs", "steps", "s/step", "epoch", "run", "memory", "disk")]
    known = [share for share in shares if share.costs]
    for share in shares:
        title = ENCODERS[share.config.encoder].title + (" (frozen)" if share.config.freeze_encoder else "")
        sizes = (title, f"{share.runs}", f"{share.config.epochs}", f"{share.steps}")
        if not share.costs:
            rows.append((*sizes, "-", "-", "-", "-", "-"))
            continue
        memory = megabytes(share.costs["peak_memory_mb"])
        times = (f"{share.costs['step_seconds']:.3g}", duration(share.epoch_seconds), duration(share.run_seconds))
        rows.append((*sizes, *times, memory, megabytes(share.runs * share.run_mb)))
    lines = align(rows)
    if not known:
        return [*lines, "", "No step could be timed."]
    longest = max(share.run_seconds for share in known)
    total = sum(share.runs * share.run_seconds for share in known)
    early = any(share.config.patience < share.config.epochs for share in known)
    missing = "more than " if len(known) < len(shares) else "about "
    # The largest networks may be trained at the same time.
    memories = sorted((share.costs["peak_memory_mb"] for share in known for _ in range(share.runs)), reverse=True)
    checkpoint = max(share.costs["parameters"] for share in known) * _BYTES_PER_WEIGHT * _CHECKPOINT_COPIES / 1e6
    disk = sum(share.runs * share.run_mb for share in known)
    return [
        *lines,
        "",
        f"Time:   {missing}{duration(max(total / jobs, longest))}: {duration(total)} of training, "
        f"{count(jobs, 'run')} at a time, {count(threads, 'thread')} each"
        + (". Less where a training stops early." if early else "."),
        f"Memory: {megabytes(sum(memories[:jobs]))} at most for {count(min(jobs, len(memories)), 'run')} at a time, "
        f"and the images; {megabytes(free_memory_mb())} are free.",
        f"Disk:   {megabytes(disk)}, and {megabytes(jobs * checkpoint)} at most while it runs.",
        *(_BUSY if any(share.costs.get("busy") for share in known) else ()),
        "epoch = steps x s/step + validation images; run = epochs x epoch + start + scoring; disk: of all runs.",
    ]


def _costs(config: RunConfig, threads: int, show: Callable[[str], None] | None) -> Mapping[str, Any]:
    """Return remembered costs or, with `show`, measure and remember them; empty if this fails."""
    path = outputs_folder() / _FILE
    key = ", ".join([device(), *(f"{name}: {getattr(config, name)}" for name in _SETTINGS), f"threads: {threads}"])
    remembered = read_json(path) or {}
    costs = remembered.get(key)
    usable = isinstance(costs, dict) and _are_usable(costs)
    if show is None:
        return costs if usable else {}
    # Times that were measured while other programs ran are measured again as soon as the machine is free.
    busy = is_busy()
    if usable and (busy or not costs.get("busy")):
        return costs
    show(f"Timing a few steps of {ENCODERS[config.encoder].title} ...")
    costs = measure(config, threads) | {"busy": busy}
    if not _are_usable(costs):
        show(f"  This failed: {costs.get('error', 'no result')}")
        return {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, (read_json(path) or {}) | {key: costs})
    return costs


def measure(config: RunConfig, threads: int) -> dict[str, Any]:
    """Run `nets.timed_step.time_step` in a process, whose memory is that of one training.

    Returns:
        Its result, or `error`.
    """
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / "params.yaml"
        write_yaml(config, params)
        limits = {name: str(threads) for name in THREAD_LIMITS}
        # The user's own limits count, as for trainings.
        environment = limits | child_environment(Path(folder))
        command = [sys.executable, "-m", "wbcstudy.cli", "time-step", str(params)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_GIVE_UP_S, check=False
            )
            lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["the process ended"]
            return json.loads(lines[-1]) if done.returncode == 0 else {"error": lines[0]}
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {duration(_GIVE_UP_S)}"}
        except (OSError, ValueError) as error:
            return {"error": str(error)}


def _are_usable(costs: Mapping[str, Any]) -> bool:
    names = ("step_seconds", "image_seconds", "start_seconds", "peak_memory_mb", "parameters")
    return all(isinstance(costs.get(name), int | float) and costs[name] >= 0 for name in names)


def count_cases(study: StudyConfig) -> int:
    """Return the number of images of a study's dataset, without drawing synthetic ones.

    Raises:
        StudyError: the dataset cannot be used.
    """
    from wbcstudy.data.datasets import DATASETS, load_dataset

    row = DATASETS.get(study.dataset)
    if row and row.generator:
        return int(row.generator["cases"])
    cases = load_dataset(study.dataset).cases
    if not cases:
        raise StudyError("The dataset has no images.", expected="at least one", fix="Check the pattern `images`.")
    return len(cases)
