"""`wbcstudy run`, `repeat` and `report`: prepare a study's folders, run its grid and report the outcome.

Snakemake schedules (see the `Snakefile`) and papermill runs the notebooks.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

from wbcstudy.baselines.methods import method_row
from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError, printable
from wbcstudy.files import short_path, write_json
from wbcstudy.runs.damage import VERIFY
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.locks import lock_study
from wbcstudy.study.cost import count_cases, describe, estimate
from wbcstudy.study.ending import ending_lines
from wbcstudy.study.environment import check_package, check_variables
from wbcstudy.study.machine import check_memory_limit, choose_jobs
from wbcstudy.study.plan import (
    Plan,
    check_available,
    check_plan_weights,
    find_params,
    plan_repetition,
    prepare,
    read_plan,
    remove_damaged,
    report_contents,
    select_finished,
)
from wbcstudy.study.progress import error_line
from wbcstudy.study.running import follow_left_over
from wbcstudy.study.snakemake import Executor, can_run_summary, choose_executor, run_snakemake, run_summary
from wbcstudy.wording import count, join_words

# With less free space than this, in bytes, a study cannot write its files.
_FULL = 2_000_000


def run_study(
    source: str | Path,
    *,
    jobs: int | None = None,
    only: Sequence[str] = (),
    dry_run: bool = False,
    repeat_damaged: bool = False,
    executor: str = "local",
    profile: Path | None = None,
    verbose: bool = False,
    show: Callable[[str], None] = print,
) -> int:
    """Run the unfinished runs of a study and build its report.

    If an earlier call was killed and its grid still runs, its progress is shown until it ends.

    Args:
        source: file, folder or name of the study.
        jobs: number of parallel runs; None to fit this machine (`machine.choose_jobs`).
        only: patterns on run names; empty for all runs.
        dry_run: list the runs to do, with time, memory and disk. Writes nothing but timed steps, see `cost`.
        repeat_damaged: check all files of the finished runs, delete the damaged runs and run them again. Otherwise they
            are left out.
        executor: "local", or "slurm" to submit each notebook as a job.
        profile: folder of SLURM settings; `profiles/slurm` if None.
        verbose: show a line for every epoch instead of the table of current runs.
        show: receives one line of progress at a time.

    Returns:
        0 if every selected run is complete and the report is built, 1 if a run failed, was stopped or is damaged.

    Raises:
        StudyError: the study cannot be started.
    """
    check_package()
    check_variables()
    plan = read_plan(source, only)
    if not dry_run:
        return _run_plan(plan, jobs, executor, profile, show, repeat_damaged, verbose)
    waiting, progress = _progress(plan, repeat_damaged)
    if waiting:
        check_available([plan.study.dataset, *plan.study.also_score])
        check_plan_weights(plan, download=False)
    show(f"{plan.study.name}: {progress}{' To run:' if waiting else ''}")
    for name in waiting:
        show(f"  {name}")
    if plan.study.also_score:
        show(f"Then any missing scores on {join_words(plan.study.also_score)}.")
    trainings = [run for run in plan.runs if run.name in waiting]
    if executor == "local" and trainings:
        _show_cost(plan, trainings, Executor(jobs or choose_jobs(trainings)), show)
    return 0


def _show_cost(plan: Plan, trainings: list[RunConfig], chosen: Executor, show: Callable[[str], None]) -> None:
    threads = int(chosen.environment()["WBCSTUDY_THREADS"])
    shares = estimate(plan.study, trainings, count_cases(plan.study), threads, show)
    show("")
    for line in describe(shares, chosen.jobs, threads):
        show(line)
    if len(trainings) < len(plan.work):
        show("Without finished runs and earlier methods.")


def repeat_run(run: str | Path, study: str, jobs: int | None = None, show: Callable[[str], None] = print) -> int:
    """Repeat one run with its settings, as the only run of a new study.

    The settings are validated, so that a run folder of another person can be used.

    Args:
        run: folder of a run or an earlier method, its params.yaml, or `<study>/<run>`.
        study: name of the new study.
        jobs: as for `run_study`: each run gets the cores of the machine, divided by this number.
        show: receives one line of progress at a time.

    Returns:
        As `run_study`.

    Raises:
        StudyError: the settings cannot be used, or the new study holds other runs.
    """
    from wbcstudy.study.network_start import keep_network_start

    check_package()
    check_variables()
    plan = plan_repetition(run, study)
    for config in plan.runs:
        keep_network_start(find_params(run).with_name("run.json"), config.start_from, plan.folder)
    return _run_plan(plan, jobs, "local", None, show)


def _progress(plan: Plan, repeat_damaged: bool = False) -> tuple[list[str], str]:
    """Return the names of the runs to do, and a sentence."""
    states = {name: folder.read_status(VERIFY if repeat_damaged else None) for name, (folder, _) in plan.work.items()}
    kept = ("complete", "unreadable") if repeat_damaged else ("complete", "unreadable", "damaged")
    waiting = [name for name, state in states.items() if state not in kept]
    return waiting, f"{count(len(states), 'run')}, {[*states.values()].count('complete')} already finished."


def _run_plan(
    plan: Plan,
    jobs: int | None,
    executor: str,
    profile: Path | None,
    show: Callable[[str], None],
    repeat_damaged: bool = False,
    verbose: bool = False,
) -> int:
    begin = time.time()
    if executor == "local":
        check_memory_limit()
    followed = follow_left_over(plan, show, verbose)
    waiting, progress = _progress(plan, repeat_damaged)
    chosen = choose_executor(executor, profile, jobs, [plan.work[name][1] for name in waiting])
    with lock_study(plan.folder, show) as lock:
        for name in remove_damaged(plan) if repeat_damaged else ():
            show(f"Deleted, to be run again: {name}")
        if followed and all(folder.read_status() not in ("unfinished", "waiting") for folder, _ in plan.work.values()):
            # The grid has ended as without the kill: its failed runs wait for the next call.
            to_do = select_finished(plan)
        else:
            to_do = plan
        prepare(to_do)
        show(f"Study {plan.study.name}: {progress}")
        for row in map(method_row, plan.study.baselines):
            if not row.available:
                show(f"Skipping {row.name}: the package {row.needs} is not installed.")
        if waiting:
            show(chosen.describe())
        show(f"Results: {short_path(plan.folder.path)}. Logs: {short_path(plan.folder.logs)}.")
        code = run_snakemake(to_do, chosen, lock, show, verbose=verbose)
        if code and any(folder.read_status() == "complete" for folder, _ in plan.work.values()):
            # A notebook was killed repeatedly and left no record. Build the report from the finished runs.
            finished = select_finished(plan)
            prepare(finished)
            code = run_snakemake(finished, replace(chosen, jobs=1), lock, show) or code
        if not code:
            _mark_report_current(plan)
    failed = _show_failures(plan, show)
    unusable = _show_unusable(plan, show)
    if code:
        show(_explain(plan.folder, begin))
    unfinished = [name for name, (folder, _) in plan.work.items() if folder.read_status() in ("unfinished", "waiting")]
    if unfinished:
        show(f"Not finished: {len(unfinished)} of {count(len(plan.work), 'run')}. Run the same command to resume.")
    if plan.folder.report.exists():
        for line in ending_lines(plan.folder):
            show(line)
    return 1 if code or failed or unusable or unfinished else 0


def build_report(source: str | Path, show: Callable[[str], None] = print) -> int:
    """Build tables, figures and the report again from the finished runs, without training.

    Raises:
        StudyError: no run of the study is finished.
    """
    begin = time.time()
    check_package()
    check_memory_limit()
    plan = read_plan(source)
    if all(folder.read_status() in ("unfinished", "waiting") for folder, _ in plan.work.values()):
        raise StudyError(
            f"No run of {plan.study.name} is finished, so there is nothing to report.",
            expected=f"finished runs in {short_path(plan.folder.runs)}",
            fix=f"wbcstudy run {source}",
        )
    _show_unusable(plan, show)
    with lock_study(plan.folder, show) as lock:
        # Without failed and interrupted runs, which would be started again.
        finished = select_finished(plan)
        prepare(finished)
        if can_run_summary(finished):
            code = run_summary(finished, lock, show)
        else:
            code = run_snakemake(finished, Executor(1), lock, show, "--forcerun", "summary")
        if not code:
            _mark_report_current(plan)
    for line in [_explain(plan.folder, begin)] if code else ending_lines(plan.folder):
        show(line)
    return code


def _mark_report_current(plan: Plan) -> None:
    """Record the contents of a new report, and date it no earlier than its inputs.

    After a clock was set back, finished runs are dated in the future. The report would look outdated and be built again
    by every call.
    """
    reported = plan.folder.report_done
    if not reported.exists():
        return
    folders = [*(folder for folder, _ in plan.work.values()), *plan.transfers().values()]
    inputs = [path for path in (plan.folder.dataset, *(folder.record for folder in folders)) if path.exists()]
    newest = max((path.stat().st_mtime for path in inputs), default=0.0)
    if reported.stat().st_mtime <= newest:
        os.utime(reported, (newest, newest))
    write_json(plan.folder.report_contents, report_contents(plan))


def _show_failures(plan: Plan, show: Callable[[str], None]) -> bool:
    """Show why runs failed and why networks could not be scored on other datasets. Returns whether there were any."""
    runs = {name: folder for name, (folder, _) in plan.work.items() if folder.read_status() == "failed"}
    finished = {name for name, (folder, _) in plan.work.items() if folder.read_status() == "complete"}
    transfers = {
        name: folder
        for name, folder in plan.transfers().items()
        if folder.read_status() == "failed" and folder.path.parents[1].name in finished
    }
    for name, folder in (transfers | runs).items():
        show(f"Failed: {name}: {error_line(folder.read_record() or {})}")
        if name in runs:
            show(f"  notebook: {short_path(folder.page)}")
    return bool(transfers or runs)


def _show_unusable(plan: Plan, show: Callable[[str], None]) -> bool:
    """Show why runs are damaged or unreadable, and were left out. Returns whether there were any."""
    folders = {name: folder for name, (folder, _) in plan.work.items()} | plan.transfers()
    problems = {name: problem for name, folder in folders.items() if (problem := folder.find_problem())}
    for name, problem in problems.items():
        show(f"Left out: {name}: {problem.message}\n  {problem.fix}")
    return bool(problems)


def _explain(folder: StudyFolder, since: float) -> str:
    """Return why the grid ended with an error: the error of a notebook, or the last error in Snakemake's log.

    Args:
        folder: folder of the study.
        since: start of this call, seconds since 1970; notebooks of earlier calls are ignored.
    """
    from wbcstudy.study.record import notebook_error

    free = shutil.disk_usage(folder.path).free
    if free < _FULL:
        return (
            f"The disk with {short_path(folder.path)} is full ({free / 1e6:.1f} MB free). Finished runs are kept. "
            "Free some space, then run the same command to resume."
        )
    for name in ("dataset", "summary"):
        notebook = folder.path / f"{name}.ipynb"
        if notebook.exists() and notebook.stat().st_mtime >= since and (error := notebook_error(notebook)):
            return f"{error}\n  notebook: {short_path(notebook)}"
    reason = _read_reason(folder, since)
    return f"Stopped{': ' + reason if reason else ' with an error.'} See {short_path(folder.logs)}."


# A line with an error: type, where Snakemake found it, and the message, which Snakemake may write on the next line.
_ERROR = re.compile(r"(?:__main__\.py: )?([\w.]*(?:[Ee]rror|Exception))( in (?!rule \S+:).*?)?(?::\s*(.*))?")
# Consequences of another error.
_CONSEQUENCES = ("At least one job did not complete", "Command 'set -e", "PapermillExecutionError")


def _read_reason(folder: StudyFolder, since: float) -> str:
    """Return the last error in the log of a failed rule or, if there is none, in Snakemake's log, as one sentence."""
    lines = _read_lines(folder.logs / "snakemake.log", since)
    failed = [match[1] for line in lines if (match := re.match(r"\s+log: (\S+) \(check log", line))]
    # A report is also built without Snakemake.
    logs = [folder.logs / "summary.log", *(folder.path / name for name in failed)]
    contents = [_read_lines(log, since) for log in dict.fromkeys(logs)]
    for content in [*reversed(contents), lines]:
        for number in range(len(content) - 1, -1, -1):
            match = _ERROR.fullmatch(content[number].strip())
            if match is None:
                continue
            below = next((line.strip() for line in content[number + 1 :] if line.strip()), "")
            text = match[0].removeprefix("__main__.py: ") if match[3] or not match[0].endswith(":") else below
            if text and not text.startswith(_CONSEQUENCES):
                return printable(shorten(text, 300)).rstrip(".:") + "."
    return ""


def _read_lines(path: Path, since: float) -> list[str]:
    """Return the lines of a log that was written after a time, in seconds since 1970."""
    try:
        if path.stat().st_mtime < since:
            return []
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
