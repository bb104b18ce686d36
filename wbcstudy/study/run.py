"""`wbcstudy run` and `wbcstudy report`: prepares a study's folders, has the grid run, says what came of it.

Snakemake schedules (the `Snakefile` is the plan), papermill runs the notebooks, and this module stands between them
and the command line.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from wbcstudy.baselines.methods import method_row
from wbcstudy.errors import StudyError
from wbcstudy.files import short_path, write_json
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.locks import lock_study
from wbcstudy.study.plan import Plan, finished_part, prepare, read_plan, reportable
from wbcstudy.study.snakemake import Executor, choose_executor, run_snakemake

# Less room than this, in bytes, and nothing can be written that a study needs.
_FULL = 2_000_000


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
    place = choose_executor(executor, profile, jobs, [plan.work[name][1] for name in waiting])
    with lock_study(plan.folder, show) as lock:
        prepare(plan)
        show(f"Study {plan.study.name}: {count} runs, {count - len(waiting)} already finished.")
        for row in (method_row(name) for name in plan.study.baselines):
            if not row.available:
                show(f"{row.name} is left out: it needs the package {row.needs}, which is not installed.")
        if waiting:
            show(place.in_words())
        show(
            f"Results go to {short_path(plan.folder.path)}, what the programs print to {short_path(plan.folder.logs)}."
        )
        code = run_snakemake(plan, place, lock, show)
        if code and any(folder.status == "complete" for folder, _ in plan.work.values()):
            # Something ended without a word (killed from outside, again and again). Report what there is.
            prepare(finished_part(plan))
            code = run_snakemake(finished_part(plan), replace(place, jobs=1), lock, show) or code
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
        show(f"  its notebook: {short_path(failed_folder.page)}")
    if code:
        show(_explain(plan.folder, begin))
    if unfinished:
        show(f"Not finished: {len(unfinished)} of {len(states)} runs. The same command continues them.")
    if plan.folder.report.exists():
        show(f"Report: {short_path(plan.folder.report)}")
    return 1 if code or failed or unfinished or elsewhere else 0


def _date_report(plan: Plan) -> None:
    """Note what a report that was just built is of, and date it at least as late as what it was built from.

    Where a clock was set back, finished runs lie in the future, and the report would seem to be older than they, and be
    built again by every call.
    """
    places = [*(folder for folder, _ in plan.work.values()), *plan.transfers().values()]
    newest = max((place.record.stat().st_mtime for place in places if place.record.exists()), default=0.0)
    newest = max(newest, plan.folder.dataset.stat().st_mtime if plan.folder.dataset.exists() else 0.0)
    if not plan.folder.reported.exists():
        return
    if plan.folder.reported.stat().st_mtime <= newest:
        os.utime(plan.folder.reported, (newest, newest))
    write_json(plan.folder.contents, reportable(plan))


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
            expected=f"finished runs in {short_path(plan.folder.runs)}",
            fix=f"wbcstudy run {source}",
        )
    with lock_study(plan.folder, show) as lock:
        # Only the finished ones: preparing a failed run would ask for another try.
        # And what is half done would be trained on: Snakemake makes what it is told to prioritise.
        done = finished_part(plan)
        prepare(done)
        code = run_snakemake(done, Executor(1), lock, show, "--forcerun", "summary")
        if not code:
            _date_report(plan)
    show(f"Report: {short_path(plan.folder.report)}" if not code else _explain(plan.folder, begin))
    return code


def _explain(folder: StudyFolder, since: float) -> str:
    """Why the grid ended with an error: what the notebook that failed says, or the last words of Snakemake's log.

    Args:
        folder: the study.
        since: start of this call, seconds since 1970; older notebooks tell of other calls.
    """
    from wbcstudy.study.record import notebook_error

    free = shutil.disk_usage(folder.path).free
    if free < _FULL:
        return (
            f"The disk of {short_path(folder.path)} is full ({free / 1e6:.1f} MB are free). What is finished is whole. "
            "Make room, and give the same command again: it goes on where it stopped."
        )
    for name in ("dataset", "summary"):
        notebook = folder.path / f"{name}.ipynb"
        if notebook.exists() and notebook.stat().st_mtime >= since and (error := notebook_error(notebook)):
            return f"{error}\n  the whole notebook: {short_path(notebook)}"
    log = folder.logs / "snakemake.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    told = [line.strip() for line in lines if "Error" in line or "Exception" in line]
    return f"Stopped with an error{': ' + told[-1] if told else ''}; see {short_path(folder.logs)}."
