"""What a study asks for: its runs, their folders, how far each is, and the files that the grid starts from."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from wbcstudy.baselines.methods import method_row
from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig
from wbcstudy.config_io import read_study, write_yaml, yaml_text
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, cannot_write, expand_home, path_exists, project_root, read_json
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.start import check_same_settings


@dataclass(frozen=True)
class Plan:
    """A study and the runs of it that were asked for.

    Args:
        source: the YAML file.
        study: its settings.
        folder: `outputs/<study>/`.
        runs: the selected runs.
        baselines: the selected earlier methods.
        finished_only: whether nothing new is to be scored on other datasets.
    """

    source: Path
    study: StudyConfig
    folder: StudyFolder
    runs: tuple[RunConfig, ...]
    baselines: tuple[BaselineConfig, ...] = ()
    finished_only: bool = False

    def transfers(self) -> dict[str, RunFolder]:
        """`<run> on <dataset>` -> folder of the scores, of every selected run on every dataset under `also_score`.

        Known once `prepare` has looked at these datasets.
        """
        from wbcstudy.study.other_datasets import read_other_datasets

        others = read_other_datasets(self.folder) if self.study.also_score else ()
        places = {f"{run.name} on {other.name}": (run, other) for run in self.runs for other in others}
        folders = {name: self.folder.run(run.name).transfer(other.name) for name, (run, other) in places.items()}
        return {name: folder for name, folder in folders.items() if not self.finished_only or folder.record.exists()}

    @property
    def work(self) -> dict[str, tuple[RunFolder, RunConfig | BaselineConfig]]:
        """Name -> folder and settings of everything that is to be done, trainings first."""
        runs = {run.name: (self.folder.run(run.name), run) for run in self.runs}
        return runs | {one.name: (self.folder.baseline(one.name), one) for one in self.baselines}


def read_plan(source: str | Path, only: Sequence[str] = ()) -> Plan:
    """Read a study and select runs of it. Writes nothing.

    Args:
        source: `params/<study>.yaml`.
        only: patterns on run names, as in file names ("resnet*", "*__dice__*"), of which one must match; none for all.

    Raises:
        StudyError: the file cannot be used, no run matches, or a run folder holds other settings.
    """
    source = Path(source)
    study = read_study(source)
    update = {
        "dataset": _portable(study.dataset, source),
        "also_score": tuple(_portable(other, source) for other in study.also_score),
    }
    if study.encoder_weights not in ("none", "imagenet"):
        update["encoder_weights"] = _portable(study.encoder_weights, source)
    study = study.model_copy(update=update)
    folder = StudyFolder.of(study.name)
    for name in study.baselines:
        method_row(name)
    everything = [*study.runs(), *study.baseline_runs()]
    chosen = [one for one in everything if not only or any(fnmatch.fnmatchcase(one.name, pattern) for pattern in only)]
    idle = [pattern for pattern in only if not any(fnmatch.fnmatchcase(one.name, pattern) for one in everything)]
    if idle or not chosen:
        names = [one.name for one in everything]
        raise StudyError(
            f"--only {' '.join(idle)} selects none of the {len(names)} runs of {source}.",
            expected=f"a pattern that matches some of: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}",
            fix="Use * for any text, e.g. --only 'resnet18*'.",
        )
    runs = tuple(one for one in chosen if isinstance(one, RunConfig))
    # A method whose package is an optional extra is no failure where it is absent: Table 3 says "not run".
    methods = [one for one in chosen if isinstance(one, BaselineConfig) and method_row(one.method).available]
    plan = Plan(source, study, folder, runs, tuple(methods))
    for place, config in plan.work.values():
        check_same_settings(place, config)
    return plan


def study_status(source: str | Path) -> list[dict[str, object]]:
    """One row per run: name, status, epoch, epochs, and pooled Dice where complete. Writes nothing."""
    from wbcstudy.study.progress import last_epoch, read_dice

    plan = read_plan(source)
    rows = []
    for name, (folder, config) in plan.work.items():
        record = folder.read_record() or {}
        last = last_epoch(folder.history)
        dice = read_dice(record)
        rows.append(
            {
                "run": name,
                "status": folder.status,
                "epoch": int(last["epoch"]) if last else None,
                "epochs": config.epochs if isinstance(config, RunConfig) else None,
                "nucleus": dice.get("nucleus"),
                "cytoplasm": dice.get("cytoplasm"),
                "error": record.get("error"),
            }
        )
    return rows


def prepare(plan: Plan) -> None:
    """Write what the grid reads: the split and every run's params.yaml. All checks that are cheap come first.

    Raises:
        StudyError: the dataset cannot be used or has changed, or nothing can be written.
    """
    from wbcstudy.data.check import check_dataset
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.data.splits import load_or_make_splits
    from wbcstudy.study.other_datasets import prepare_other_datasets

    dataset = load_dataset(plan.study.dataset)
    _check_weights(plan)
    folder = plan.folder
    if not folder.report.exists():
        folder.reported.unlink(missing_ok=True)
    if not folder.split.exists():
        # A split is bound to the files as they are now: what has to be mended should be mended before.
        check_dataset(dataset).stop_on_errors()
    try:
        prepare_other_datasets(folder, dataset, plan.study.also_score)
        reported = read_json(folder.contents)
        if reported is not None and reported != reportable(plan):
            # To Snakemake, which goes by times, a run that was taken out or copied here from elsewhere changes nothing.
            folder.reported.unlink(missing_ok=True)
        load_or_make_splits(folder.split, dataset, plan.study)
        folder.logs.mkdir(parents=True, exist_ok=True)
        for target, config in plan.work.values():
            target.path.mkdir(parents=True, exist_ok=True)
            if target.status == "failed":
                # Asking again means trying again.
                target.record.unlink()
            # What has not begun may have been planned with another precision.
            waits = target.params.exists() and target.status == "waiting"
            if not target.params.exists() or (waits and target.params.read_text("utf-8") != yaml_text(config)):
                with atomic_write(target.params) as path:
                    write_yaml(config, path)
        transfers = plan.transfers()
        for target in transfers.values():
            if target.status == "failed" and not plan.finished_only:
                target.record.unlink()
        for name, text in {
            "selected_runs.txt": "".join(f"{run.name}\n" for run in plan.runs),
            "selected_baselines.txt": "".join(f"{one.name}\n" for one in plan.baselines),
            "selected_transfers.txt": "".join(
                f"{place.path.relative_to(folder.path).as_posix()}\n" for place in transfers.values()
            ),
            "dataset_params.yaml": yaml.safe_dump({"study": plan.study.name, "dataset": plan.study.dataset}),
            "summary_params.yaml": yaml.safe_dump({"study_file": str(folder.path / f"{folder.name}.yaml")}),
        }.items():
            with atomic_write(folder.path / name) as path:
                path.write_text(text, encoding="utf-8")
        # The settings with all paths resolved: what the summary reads, and a record of what was asked.
        with atomic_write(folder.path / f"{folder.name}.yaml") as path:
            write_yaml(plan.study, path)
    except OSError as error:
        raise cannot_write(folder.path, error) from None


def reportable(plan: Plan) -> dict[str, str]:
    """Name -> "complete" or "failed", of all that a report would show now, whatever was selected.

    Args:
        plan: of the study; `prepare` has looked at the datasets under `also_score`.
    """
    study, folder = plan.study, plan.folder
    places = {run.name: folder.run(run.name) for run in study.runs()}
    places |= {one.name: folder.baseline(one.name) for one in study.baseline_runs()}
    places |= replace(plan, runs=tuple(study.runs()), finished_only=False).transfers()
    states = {name: place.status for name, place in places.items()}
    return {name: state for name, state in states.items() if state in ("complete", "failed")}


def finished_part(plan: Plan) -> Plan:
    """The same study, with what is complete of it; nothing new is scored on other datasets."""
    done = {name for name, (folder, _) in plan.work.items() if folder.status == "complete"}
    return replace(
        plan,
        runs=tuple(run for run in plan.runs if run.name in done),
        baselines=tuple(one for one in plan.baselines if one.name in done),
        finished_only=True,
    )


def _check_weights(plan: Plan) -> None:
    """Weights that cannot be had should be known before the first training, not in the middle of the grid."""
    from wbcstudy.nets.weights import find_weights

    waiting = [run for run in plan.runs if plan.folder.run(run.name).status != "complete"]
    for config in {run.encoder: run for run in waiting}.values():
        find_weights(config)


def _portable(path: str, source: Path) -> str:
    """A path as the notebooks, which run in the checkout, find it; a dataset's registered name stays as it is.

    Relative paths count from the current folder, from the folder of the study's YAML, and from the checkout.
    """
    root = project_root()
    for place in (expand_home(path), source.parent / path, root / path):
        if path_exists(place) and not _is_registered(path):
            place = place.resolve()
            return str(place.relative_to(root)) if place.is_relative_to(root) else str(place)
    return path


def _is_registered(name: str) -> bool:
    """Whether it is the name of a dataset, which a folder that happens to be called so must not hide."""
    # Only for what a folder here is called, since it imports NumPy and `wbcstudy status` is to answer at once.
    from wbcstudy.data.datasets import DATASETS

    return name in DATASETS
