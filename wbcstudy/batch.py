"""From `params/<study>.yaml` to a running grid: prepares the folders, calls Snakemake, shows how far it is.

Snakemake schedules (the `Snakefile` is the plan), papermill runs the notebooks, and this module stands between them
and the command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from wbcstudy.baselines.methods import method_row
from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig, read_study, write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.machine import choose_jobs, count_cores
from wbcstudy.progress import Progress
from wbcstudy.runs import (
    RunFolder,
    StudyFolder,
    atomic_write,
    cannot_write,
    check_same_settings,
    expand_home,
    is_there,
    outputs_folder,
    project_root,
)
from wbcstudy.slurm import cancel_left_over, check_slurm, job_prefix

GRACE_S = 15
# Less room than this, in bytes, and nothing can be written that a study needs.
_FULL = 2_000_000
# Each training gets its share of the cores, in TensorFlow and in NumPy.
THREAD_LIMITS = ("WBCSTUDY_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
        from wbcstudy.data.others import read_others

        others = read_others(self.folder) if self.study.also_score else ()
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
    folder = StudyFolder(outputs_folder() / study.name)
    for name in study.baselines:
        method_row(name)
    everything = [*study.runs(), *study.baseline_runs()]
    chosen = [one for one in everything if not only or any(fnmatch.fnmatchcase(one.name, pattern) for pattern in only)]
    if not chosen:
        names = [one.name for one in everything]
        raise StudyError(
            f"--only {' '.join(only)} selects none of the {len(names)} runs of {source}.",
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


def prepare(plan: Plan) -> None:
    """Write what the grid reads: the split and every run's params.yaml. All checks that are cheap come first.

    Raises:
        StudyError: the dataset cannot be used or has changed, or nothing can be written.
    """
    from wbcstudy.data.check import check_dataset
    from wbcstudy.data.datasets import load_dataset
    from wbcstudy.data.others import prepare_others
    from wbcstudy.data.splits import load_or_make_splits

    dataset = load_dataset(plan.study.dataset)
    _check_weights(plan)
    folder = plan.folder
    if not folder.report.exists():
        folder.reported.unlink(missing_ok=True)
    if not folder.split.exists():
        # A split is bound to the files as they are now: what has to be mended should be mended before.
        check_dataset(dataset).stop_on_errors()
    try:
        prepare_others(folder, dataset, plan.study.also_score)
        load_or_make_splits(folder.split, dataset, plan.study)
        folder.logs.mkdir(parents=True, exist_ok=True)
        for target, config in plan.work.values():
            target.path.mkdir(parents=True, exist_ok=True)
            if not target.params.exists():
                with atomic_write(target.params) as path:
                    write_yaml(config, path)
            if target.status == "failed":
                # Asking again means trying again.
                target.record.unlink()
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


def run_study(
    source: str | Path,
    *,
    jobs: int | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
    executor: str = "local",
    profile: Path | None = None,
    show: Callable[[str], None] = print,
) -> int:
    """Run what is missing of a study, and its report.

    Args:
        source: `params/<study>.yaml`.
        jobs: trainings at the same time; None for what suits this machine (`machine.choose_jobs`).
        only: patterns on run names; none for all.
        dry_run: say what would run, and write nothing.
        executor: "local", or "slurm" to submit every notebook as a job.
        profile: folder of SLURM settings; `profiles/slurm` if None.
        show: gets one line of progress at a time.

    Returns:
        0 if every selected run is complete and the report is there, 1 if a run failed or was stopped.

    Raises:
        StudyError: the study cannot be started.
    """
    begin = time.time()
    plan = read_plan(source, only)
    count = len(plan.work)
    waiting = [name for name, (folder, _) in plan.work.items() if folder.status != "complete"]
    if dry_run:
        show(f"{plan.study.name}: {count} runs, {count - len(waiting)} finished, to run:")
        for name in waiting:
            show(f"  {name}")
        if plan.study.also_score:
            show(f"then, of finished runs, the scores that are missing on: {', '.join(plan.study.also_score)}")
        return 0
    place = _choose_place(executor, profile, jobs, [plan.work[name][1] for name in waiting])
    with _lock(plan.folder) as lock:
        prepare(plan)
        show(f"Study {plan.study.name}: {count} runs, {count - len(waiting)} already finished.")
        for row in (method_row(name) for name in plan.study.baselines):
            if not row.available:
                show(f"{row.name} is left out: it needs the package {row.needs}, which is not installed.")
        if waiting:
            show(place.in_words())
        show(f"Results go to {_short(plan.folder.path)}, what the programs print to {_short(plan.folder.logs)}.")
        code = _snakemake(plan, place, lock, show)
        if code and any(folder.status == "complete" for folder, _ in plan.work.values()):
            # Something ended without a word (killed from outside, again and again). Report what there is.
            prepare(_finished(plan))
            code = _snakemake(_finished(plan), replace(place, jobs=1), lock, show) or code
        if not code:
            _date_report(plan)
    states = {name: folder.status for name, (folder, _) in plan.work.items()}
    elsewhere = _failed_elsewhere(plan)
    for name, error in elsewhere.items():
        show(f"Failed: {name}: {error}")
    failed = [name for name, state in states.items() if state == "failed"]
    unfinished = [name for name, state in states.items() if state in ("unfinished", "waiting")]
    for name in failed:
        failed_folder, _ = plan.work[name]
        record = failed_folder.read_record() or {}
        show(f"Failed: {name}: {str(record.get('error', 'no reason recorded')).splitlines()[0]}")
        show(f"  its notebook: {_short(failed_folder.page)}")
    if code:
        show(_explain(plan.folder, begin))
    if unfinished:
        show(f"Not finished: {len(unfinished)} of {len(states)} runs. The same command continues them.")
    if plan.folder.report.exists():
        show(f"Report: {_short(plan.folder.report)}")
    return 1 if code or failed or unfinished or elsewhere else 0


def _date_report(plan: Plan) -> None:
    """Date a report that was just built at least as late as what it was built from.

    Where a clock was set back, finished runs lie in the future, and the report would seem to be older than they, and be
    built again by every call.
    """
    places = [*(folder for folder, _ in plan.work.values()), *plan.transfers().values()]
    newest = max((place.record.stat().st_mtime for place in places if place.record.exists()), default=0.0)
    newest = max(newest, plan.folder.dataset.stat().st_mtime if plan.folder.dataset.exists() else 0.0)
    if plan.folder.reported.exists() and plan.folder.reported.stat().st_mtime <= newest:
        os.utime(plan.folder.reported, (newest, newest))


def _failed_elsewhere(plan: Plan) -> dict[str, str]:
    """`<run> on <dataset>` -> why there are no scores, of finished runs."""
    records = {
        name: place.read_record() or {}
        for name, place in plan.transfers().items()
        if RunFolder(place.path.parents[1]).status == "complete"
    }
    return {
        name: str(record.get("error", "no reason recorded")).splitlines()[0]
        for name, record in records.items()
        if record.get("status") == "failed"
    }


def build_report(source: str | Path, show: Callable[[str], None] = print) -> int:
    """Build tables, figures and the report again from the finished runs. Trains nothing.

    Raises:
        StudyError: no run of the study is finished.
    """
    begin = time.time()
    plan = read_plan(source)
    if not any(folder.status in ("complete", "failed") for folder, _ in plan.work.values()):
        raise StudyError(
            f"No run of {plan.study.name} is finished, so there is nothing to report.",
            expected=f"finished runs in {_short(plan.folder.runs)}",
            fix=f"wbcstudy run {source}",
        )
    with _lock(plan.folder) as lock:
        # Only the finished ones: preparing a failed run would ask for another try.
        prepare(_finished(plan))
        code = _snakemake(plan, Place(1), lock, show, "--forcerun", "summary")
        if not code:
            _date_report(plan)
    show(f"Report: {_short(plan.folder.report)}" if not code else _explain(plan.folder, begin))
    return code


def study_status(source: str | Path) -> list[dict[str, object]]:
    """One row per run: name, status, epoch, epochs, and pooled Dice where complete. Writes nothing."""
    from wbcstudy.progress import last_epoch, read_dice

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


def _finished(plan: Plan) -> Plan:
    """The same study, with what is complete of it."""
    done = {name for name, (folder, _) in plan.work.items() if folder.status == "complete"}
    return replace(
        plan,
        runs=tuple(run for run in plan.runs if run.name in done),
        baselines=tuple(one for one in plan.baselines if one.name in done),
        finished_only=True,
    )


@dataclass(frozen=True)
class Place:
    """Where a grid's notebooks run.

    Args:
        jobs: how many at the same time; on SLURM, 0 for what the profile says.
        profile: None for this machine; else the folder of SLURM settings.
    """

    jobs: int
    profile: Path | None = None

    @property
    def threads(self) -> int:
        """Threads of each training on this machine."""
        return max(1, count_cores() // max(1, self.jobs))

    def in_words(self) -> str:
        """One line for a person."""
        if self.profile:
            return f"Every run is a SLURM job, with the settings of {_short(self.profile)} (squeue lists them)."
        threads = os.environ.get("WBCSTUDY_THREADS", str(self.threads))
        many = "1 run" if self.jobs == 1 else f"{self.jobs} runs"
        return f"{many} at a time, each with {threads} {'thread' if threads == '1' else 'threads'} (--jobs changes it)."

    def arguments(self, folder: StudyFolder) -> list[str]:
        """Of Snakemake."""
        if not self.profile:
            return ["--cores", str(self.jobs)]
        limit = ["--jobs", str(self.jobs)] if self.jobs else []
        return [
            "--executor",
            "slurm",
            "--profile",
            str(self.profile),
            "--slurm-jobname-prefix",
            job_prefix(folder),
            *limit,
        ]

    def environment(self) -> dict[str, str]:
        """For Snakemake and all that it starts."""
        if self.profile:
            return {"WBCSTUDY_PROFILE": str(self.profile)}
        return {name: os.environ.get(name, str(self.threads)) for name in THREAD_LIMITS}


def _choose_place(executor: str, profile: Path | None, jobs: int | None, waiting: list) -> Place:
    if executor == "slurm":
        return Place(jobs or 0, check_slurm(profile))
    if executor != "local" or profile:
        told = f"--executor {executor}" if executor != "local" else "--profile without --executor slurm"
        raise StudyError(
            f"{told} cannot be used.", expected="--executor local or slurm, and --profile for slurm", fix="See --help."
        )
    return Place(jobs or choose_jobs(waiting))


def _snakemake(plan: Plan, place: Place, lock: int, show: Callable[[str], None], *extra: str) -> int:
    """Call Snakemake and show the runs' progress until it ends; its own words go to logs/snakemake.log."""
    root = project_root()
    if place.profile and (count := cancel_left_over(plan.folder)):
        show(f"{count} jobs of an earlier call that was killed are cancelled.")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--directory", str(plan.folder.path), "--keep-going", *place.arguments(plan.folder)]
    # Results are never made again because a notebook or this package changed; only missing files count. Two calls on
    # one study are kept apart by our own lock, which no kill leaves behind.
    command += ["--rerun-triggers", "mtime", "--nolock", "--nocolor", *extra]
    # Every output is written in one step by its notebook, so one that is there is whole, whatever Snakemake noted.
    command += ["--ignore-incomplete", "--keep-incomplete"]
    # All trainings are alike to it. The default solves a linear programme, again after each job of thousands.
    command += ["--scheduler", "greedy"]
    environment = os.environ | {
        "WBCSTUDY_ROOT": str(root),
        "WBCSTUDY_OUTPUTS": str(plan.folder.path.parent),
        **place.environment(),
        "PYTHONUNBUFFERED": "1",
        # Debugger checks that frozen standard modules make the kernel print about.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    try:
        log = (plan.folder.logs / "snakemake.log").open("w", encoding="utf-8")
    except OSError as error:
        raise cannot_write(plan.folder.logs, error) from None
    with log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            with _terminate_as_interrupt():
                Progress(plan.folder.logs, plan.work, show, max(1, place.jobs), plan.transfers()).follow(child)
        except KeyboardInterrupt:
            show("Stopping ...")
            _stop(child)
            if place.profile:
                cancel_left_over(plan.folder)
            show("Stopped. Finished runs are kept; the same command continues from the last finished epochs.")
            raise
    return child.returncode


def _stop(child: subprocess.Popen) -> None:
    """End Snakemake and everything that it started, notebook kernels in sessions of their own included."""
    import psutil

    # A second Ctrl-C must not leave half of them running.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        tree = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=GRACE_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    child.wait()


def _signal(process, number: int) -> None:
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a scheduler, `kill`) ends the grid as Ctrl-C does. Outside the main thread nothing can be changed."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _lock(folder: StudyFolder) -> Iterator[int]:
    """One `wbcstudy run` per study. The kernel drops the lock when the last process that holds it ends, however.

    Raises:
        StudyError: another one is running, or the folder cannot be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder.path, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"The study {folder.name} is being run already.",
                expected="one `wbcstudy run` or `wbcstudy report` per study at a time",
                fix=f"Wait for it (wbcstudy status shows how far it is), or copy the YAML under a new name. "
                f"The lock is {_short(folder.path / '.lock')}; it goes when the other ends.",
            ) from None
        yield handle
    finally:
        os.close(handle)


def _explain(folder: StudyFolder, since: float) -> str:
    """Why the grid ended with an error: what the notebook that failed says, or the last words of Snakemake's log.

    Args:
        folder: the study.
        since: start of this call, seconds since 1970; older notebooks tell of other calls.
    """
    from wbcstudy.records import notebook_error

    free = shutil.disk_usage(folder.path).free
    if free < _FULL:
        return (
            f"The disk of {_short(folder.path)} is full ({free / 1e6:.1f} MB are free). What is finished is whole. "
            "Make room, and give the same command again: it goes on where it stopped."
        )
    for name in ("dataset", "summary"):
        notebook = folder.path / f"{name}.ipynb"
        if notebook.exists() and notebook.stat().st_mtime >= since and (error := notebook_error(notebook)):
            return f"{error}\n  the whole notebook: {_short(notebook)}"
    log = folder.logs / "snakemake.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    told = [line.strip() for line in lines if "Error" in line or "Exception" in line]
    return f"Stopped with an error{': ' + told[-1] if told else ''}; see {_short(folder.logs)}."


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
        if is_there(place):
            place = place.resolve()
            return str(place.relative_to(root)) if place.is_relative_to(root) else str(place)
    return path


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
