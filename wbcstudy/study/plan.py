"""Plan a study: select its runs, show their status, and write the files that the grid reads."""

from __future__ import annotations

import fnmatch
import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from wbcstudy.baselines.methods import method_row
from wbcstudy.config import BaselineConfig, EncoderStart, RunConfig, StudyConfig
from wbcstudy.config_io import make_recorded_config, read_study, read_yaml, seal_record, write_yaml, yaml_text
from wbcstudy.errors import DamagedFileError, StudyError
from wbcstudy.files import (
    atomic_write,
    cannot_write,
    data_folder,
    expand_home,
    outputs_folder,
    path_exists,
    project_root,
    read_json,
    sweep,
    write_json,
)
from wbcstudy.runs.damage import VERIFY
from wbcstudy.runs.find_study import find_study_file
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.start import check_same_settings
from wbcstudy.wording import join_words


@dataclass(frozen=True)
class Plan:
    """A study and its selected runs.

    Args:
        study: settings.
        folder: `outputs/<study>/`.
        runs: selected runs.
        baselines: selected earlier methods.
        finished_only: leave out networks that are not yet scored on other datasets.
    """

    study: StudyConfig
    folder: StudyFolder
    runs: tuple[RunConfig, ...]
    baselines: tuple[BaselineConfig, ...] = ()
    finished_only: bool = False

    def transfers(self) -> dict[str, RunFolder]:
        """Return `<run> on <dataset>` -> folder of the scores, for all selected runs and datasets under `also_score`.

        Empty before `prepare` has checked these datasets.
        """
        from wbcstudy.study.other_datasets import read_other_datasets

        others = read_other_datasets(self.folder) if self.study.also_score else ()
        folders = {
            f"{run.name} on {other.name}": self.folder.run(run.name).transfer(other.name)
            for run in self.runs
            for other in others
        }
        return {name: folder for name, folder in folders.items() if not self.finished_only or folder.record.exists()}

    @property
    def work(self) -> dict[str, tuple[RunFolder, RunConfig | BaselineConfig]]:
        """Name -> folder and settings of each selected run and earlier method, runs first."""
        runs = {run.name: (self.folder.run(run.name), run) for run in self.runs}
        return runs | {config.name: (self.folder.baseline(config.name), config) for config in self.baselines}


def read_plan(source: str | Path, only: Sequence[str] = ()) -> Plan:
    """Read a study and select its runs, without writing anything.

    Args:
        source: file, folder or name of the study, see `find_study_file`.
        only: patterns on run names ("resnet*", "*__dice__*"), each of which must match a run; empty for all runs.

    Raises:
        StudyError: the file cannot be used, a pattern matches no run, or a run folder has other settings.
    """
    source = find_study_file(source)
    study = read_study(source)
    study = _resolve_paths(study, source)
    for name in study.baselines:
        method_row(name)
    configs = {config.name: config for config in (*study.runs(), *study.baseline_runs())}
    for pattern in only:
        if not fnmatch.filter(configs, pattern):
            raise StudyError(
                f"--only {pattern} matches none of the {len(configs)} runs of {source}.",
                expected=f"a pattern that matches one of: {join_words([*configs], 'or', most=6)}",
                fix="Use * for any text, e.g. --only 'resnet18*'.",
            )
    selected = [
        config for name, config in configs.items() if not only or any(fnmatch.fnmatchcase(name, p) for p in only)
    ]
    runs = tuple(config for config in selected if isinstance(config, RunConfig))
    # A method without its optional package is not a failure: Table 3 says "not run".
    methods = [
        config for config in selected if isinstance(config, BaselineConfig) and method_row(config.method).available
    ]
    plan = Plan(study, StudyFolder.of(study.name), runs, tuple(methods))
    for run_folder, config in plan.work.values():
        check_same_settings(run_folder, config)
    return plan


def plan_repetition(run: str | Path, name: str) -> Plan:
    """Plan a study of one run with the settings of an earlier run, which may come from elsewhere.

    Args:
        run: folder of a run or an earlier method, its params.yaml, or `<study>/<run>`.
        name: name of the new study.

    Raises:
        StudyError: no such run, settings that cannot be used, or the new study holds other runs.
    """
    path = find_params(run)
    values = read_yaml(path)
    config_class = BaselineConfig if "method" in values else RunConfig
    config = make_recorded_config(config_class, values | {"study": name}, source=str(path))
    if isinstance(config, RunConfig):
        own = {"encoders": (config.encoder,), "losses": (config.loss,), "seeds": (config.seed,)}
        if config.start:
            # A start has these settings instead of the study.
            own |= {"starts": {config.start: config.model_dump(include=set(EncoderStart.model_fields))}}
            own |= {name: StudyConfig.model_fields[name].default for name in EncoderStart.model_fields}
    else:
        method_row(config.method)
        own = {"encoders": (), "baselines": (config.method,), "baseline_seeds": config.seeds}
    shared = {field: value for field, value in config.model_dump().items() if field in StudyConfig.model_fields}
    study = _resolve_paths(StudyConfig(**shared | own, name=name), path)
    runs = tuple(run for run in study.runs() if run.fold == config.fold)
    methods = tuple(method for method in study.baseline_runs() if method.fold == config.fold)
    plan = Plan(study, StudyFolder.of(name), runs, methods)
    others = {
        folder.name
        for parent in (plan.folder.runs, plan.folder.baselines)
        if parent.is_dir()
        for folder in parent.iterdir()
    } - plan.work.keys()
    if others:
        raise StudyError(
            f"The study {name} holds other runs: {join_words(sorted(others), most=3)}.",
            expected="a new name, or a study that holds only this run",
            fix="Choose another name with --study.",
        )
    for folder, run_config in plan.work.values():
        check_same_settings(folder, run_config)
    return plan


def find_params(run: str | Path) -> Path:
    """Return the settings of a run: params.yaml. Arguments and errors as of `plan_repetition`."""
    path = expand_home(run)
    if not path_exists(path) and len(path.parts) == 2 and not path.is_absolute():
        path = StudyFolder.of(path.parts[0]).run(path.parts[1]).path
    path = path / "params.yaml" if path.is_dir() else path
    if not path_exists(path):
        raise StudyError(
            f"There is no run {run}: {path} does not exist.",
            expected="the folder of a run (outputs/<study>/runs/<run>), or its params.yaml",
            fix="Check the path. `wbcstudy status STUDY` lists the runs of a study.",
        )
    return path


def check_available(datasets: Sequence[str]) -> None:
    """Raise `StudyError` if a dataset or its images are not there. Draws no synthetic images."""
    from wbcstudy.data.datasets import DATASETS, load_dataset

    for dataset in datasets:
        if dataset not in DATASETS or not DATASETS[dataset].generator:
            load_dataset(dataset)


def remove_damaged(plan: Plan) -> list[str]:
    """Delete everything of the damaged runs, so that they are run again, and return their names.

    Their scores on other datasets are deleted too. Runs that cannot be read for another reason are kept.
    """
    folders = {name: folder for name, (folder, _) in plan.work.items()} | plan.transfers()
    removed = []
    for name, folder in folders.items():
        if isinstance(folder.find_problem(VERIFY), DamagedFileError):
            for path in folder.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != ".lock":
                    path.unlink()
            removed.append(name)
    return removed


def prepare(plan: Plan) -> None:
    """Write the files that the grid reads: the split and each run's params.yaml. Cheap checks come first.

    Raises:
        StudyError: the dataset cannot be used or has changed, or nothing can be written.
    """
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.data.duplicates import load_or_find_duplicates
    from wbcstudy.data.splits import load_or_make_splits
    from wbcstudy.study.network_start import check_encoder_weights, record_network_starts
    from wbcstudy.study.other_datasets import prepare_other_datasets

    folder = plan.folder
    try:
        dataset = load_dataset(plan.study.dataset)
    except StudyError:
        if not _can_do_without_images(plan):
            raise
        dataset = None
    check_plan_weights(plan)
    sweep(folder.path, deep=True)
    sweep(data_folder())
    if not folder.report.exists():
        folder.report_done.unlink(missing_ok=True)
    if not folder.split.exists():
        from wbcstudy.data.check import check_dataset

        # The split is tied to the current files, so errors in them must be fixed before.
        check_dataset(dataset, near_duplicates=False).stop_on_errors()
    try:
        if dataset is not None:
            _remove_damaged_facts(folder.dataset)
        # A report shows the other datasets as recorded, if they are gone.
        reported = plan.finished_only and folder.other_datasets.exists() and not _are_available(plan.study.also_score)
        if dataset is not None and not reported:
            prepare_other_datasets(folder, dataset, plan.study.also_score, plan.study.near_duplicates)
        reported = read_json(folder.report_contents)
        if reported is not None and reported != report_contents(plan):
            # Snakemake compares file times only, so it misses runs that were removed or copied here.
            folder.report_done.unlink(missing_ok=True)
        if dataset is not None:
            splits = load_or_make_splits(folder.split, dataset, plan.study)
            if starting := _starting(plan):
                record_network_starts(starting, folder, dataset, splits)
            check_encoder_weights(_waiting(plan), folder, dataset, splits)
            # Studies of earlier versions have a split but no record of duplicates.
            load_or_find_duplicates(folder.duplicates, dataset, plan.study.near_duplicates)
            groups = seal_record({"groups": dataset.groups})
            if dataset.groups and read_json(folder.groups) != groups:
                write_json(folder.groups, groups)
        folder.logs.mkdir(parents=True, exist_ok=True)
        for target, config in plan.work.values():
            target.path.mkdir(parents=True, exist_ok=True)
            if target.read_status() == "failed":
                # Try again.
                target.record.unlink()
            # The precision of a run that has not started may have changed.
            changeable = target.params.exists() and target.read_status() == "waiting"
            if not target.params.exists() or (changeable and target.params.read_text("utf-8") != yaml_text(config)):
                with atomic_write(target.params) as path:
                    write_yaml(config, path)
        transfers = plan.transfers()
        for target in transfers.values():
            if target.read_status() == "failed" and not plan.finished_only:
                target.record.unlink()
        transfer_paths = [target.path.relative_to(folder.path).as_posix() for target in transfers.values()]
        for name, text in {
            "selected_runs.txt": "".join(f"{run.name}\n" for run in plan.runs),
            "selected_baselines.txt": "".join(f"{config.name}\n" for config in plan.baselines),
            "selected_transfers.txt": "".join(f"{path}\n" for path in transfer_paths),
            "dataset_params.yaml": yaml.safe_dump({"study": plan.study.name, "dataset": plan.study.dataset}),
            "summary_params.yaml": yaml.safe_dump({"study_file": str(folder.settings)}),
        }.items():
            with atomic_write(folder.path / name) as path:
                path.write_text(text, encoding="utf-8")
        # Settings with resolved paths, read by the summary notebook and kept as a record.
        with atomic_write(folder.settings) as path:
            write_yaml(plan.study, path)
    except OSError as error:
        raise cannot_write(folder.path, error) from None


def _are_available(datasets: Sequence[str]) -> bool:
    try:
        check_available(datasets)
    except StudyError:
        return False
    return True


def _can_do_without_images(plan: Plan) -> bool:
    """Whether all runs are complete, so that only the report remains."""
    files = (plan.folder.split, plan.folder.dataset)
    return all(path.exists() for path in files) and all(
        folder.read_status() == "complete" for folder, _ in plan.work.values()
    )


def _remove_damaged_facts(path: Path) -> None:
    """Delete a damaged dataset.json, which the grid then writes again."""
    from wbcstudy.data.records import read_dataset_record

    try:
        read_dataset_record(path)
    except DamagedFileError:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def report_contents(plan: Plan) -> dict[str, str]:
    """Return name -> status of every finished, failed or damaged run that a report would show now, selected or not."""
    study, folder = plan.study, plan.folder
    folders = {run.name: folder.run(run.name) for run in study.runs()}
    folders |= {config.name: folder.baseline(config.name) for config in study.baseline_runs()}
    folders |= replace(plan, runs=tuple(study.runs()), finished_only=False).transfers()
    states = {name: target.read_status() for name, target in folders.items()}
    return {name: state for name, state in states.items() if state not in ("unfinished", "waiting")}


def select_finished(plan: Plan) -> Plan:
    """Return a plan of the complete runs only, which scores nothing new on other datasets."""
    finished = {name for name, (folder, _) in plan.work.items() if folder.read_status() == "complete"}
    return replace(
        plan,
        runs=tuple(run for run in plan.runs if run.name in finished),
        baselines=tuple(config for config in plan.baselines if config.name in finished),
        finished_only=True,
    )


def check_plan_weights(plan: Plan, download: bool = True) -> None:
    """Stop before the first training if pretrained weights, or networks to start from, are missing or wrong.

    Args:
        plan: the study; weights of its finished runs are not checked.
        download: whether to download missing ImageNet weights.
    """
    from wbcstudy.nets.weights import check_weights, find_weights

    if starting := _starting(plan):
        from wbcstudy.study.network_start import check_network_starts

        check_network_starts(starting, plan.folder)
    files = {}
    for config in {(run.encoder, run.encoder_weights): run for run in _waiting(plan)}.values():
        if config.encoder_weights not in ("none", "imagenet"):
            files[config.encoder, find_weights(config)] = None
        elif download:
            find_weights(config)
    check_weights(list(files))


def _waiting(plan: Plan) -> list[RunConfig]:
    return [run for run in plan.runs if plan.folder.run(run.name).read_status() != "complete"]


def _starting(plan: Plan) -> list[RunConfig]:
    """Return the runs that are still to be trained from another network."""
    return [run for run in _waiting(plan) if run.start_from != "none"]


def _resolve_paths(study: StudyConfig, source: Path) -> StudyConfig:
    """Return a study with its paths as seen from the checkout, where notebooks run; names stay unchanged.

    Relative paths are looked up in the current folder, in the folder of the study's YAML, and in the checkout. Files
    that are gone (deleted, or on a disk that is not mounted) keep the path that the study has recorded, so that its
    finished runs can be read.
    """
    root, record = project_root(), StudyFolder.of(study.name).path / f"{study.name}.yaml"

    def resolve(path: str) -> str:
        if _is_registered(path):
            return path
        candidates = [expand_home(path), source.parent / path, root / path]
        existing = [candidate for candidate in candidates if path_exists(candidate)]
        paths = []
        for candidate in (existing or candidates)[: 1 if existing else None]:
            try:
                candidate = candidate.resolve()
            except (OSError, RuntimeError, ValueError):  # a loop of links, or a character that no path has
                continue
            paths.append(str(candidate.relative_to(root)) if candidate.is_relative_to(root) else str(candidate))
        return paths[0] if existing else next((path for path in paths if path in recorded()), path)

    @functools.cache
    def recorded() -> set[str]:
        try:
            values = read_yaml(record) if record.is_file() else {}
        except StudyError:
            return set()
        others, starts = values.get("also_score"), values.get("starts")
        weights = []
        for start in [values, *(starts if isinstance(starts, dict) else {}).values()]:
            if isinstance(start, dict):
                weights += [start.get("encoder_weights"), start.get("start_from")]
        files = [file for part in weights for file in (part.values() if isinstance(part, dict) else [part])]
        return {*map(str, [*(others if isinstance(others, list) else ()), values.get("dataset"), *files])}

    def resolve_weights(weights: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(weights, dict):
            return {encoder: resolve_weights(file) for encoder, file in weights.items()}
        return weights if weights in ("none", "imagenet") else resolve(weights)

    def resolve_network(source: str) -> str:
        # The name of a study, or of a run under outputs/.
        named = source in ("none", "starter") or path_exists(outputs_folder() / source)
        return source if named else resolve(source)

    def resolve_start(start: EncoderStart | StudyConfig) -> dict[str, str | dict[str, str]]:
        return {
            "encoder_weights": resolve_weights(start.encoder_weights),
            "start_from": resolve_network(start.start_from),
        }

    starts = {name: start.model_copy(update=resolve_start(start)) for name, start in study.starts.items()}
    return study.model_copy(
        update={
            "dataset": resolve(study.dataset),
            "also_score": tuple(map(resolve, study.also_score)),
            "starts": starts,
        }
        | resolve_start(study)
    )


def _is_registered(name: str) -> bool:
    """Return whether a dataset has this name. A folder of the same name must not hide it."""
    # Imports NumPy, which `wbcstudy status` should not wait for.
    from wbcstudy.data.datasets import DATASETS

    return name in DATASETS
