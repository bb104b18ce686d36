"""Show the state of each run of a study, without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wbcstudy.config import RunConfig
from wbcstudy.errors import StudyError
from wbcstudy.runs.damage import VERIFY, changed_documents
from wbcstudy.runs.folders import problem_status
from wbcstudy.study.plan import read_plan
from wbcstudy.study.progress import last_epoch, read_dice
from wbcstudy.wording import align, count, join_words, shorten_middle


def study_status(source: str | Path, verify: bool = False) -> list[dict[str, object]]:
    """Return one row per run: name, status, epoch, epochs, files and, if complete, pooled Dice. Writes nothing.

    Args:
        source: file, folder or name of the study.
        verify: check large files too, and those that only people read.

    Returns:
        `files` is "damaged", "unreadable", "not verifiable" (a run of an earlier version, without digests), "verified",
        or "checked" (all but large files); None for a run without files. `problem` is the reason, or '', and `fix` what
        to do. `changed` lists changed files that no result depends on.
    """
    plan = read_plan(source)
    rows = []
    for name, (folder, config) in plan.work.items():
        last = last_epoch(folder.history)
        record, problem = folder.check(VERIFY if verify else None)
        if problem:
            status = problem_status(problem)
        else:
            status = record["status"] if record else folder.read_status()
        dice = read_dice(record or {})
        changed = changed_documents(folder.path, record) if verify and record else []
        rows.append(
            {
                "run": name,
                "status": status,
                "epoch": int(last["epoch"]) if last else None,
                "epochs": config.epochs if isinstance(config, RunConfig) else None,
                "nucleus": dice.get("nucleus"),
                "cytoplasm": dice.get("cytoplasm"),
                "files": _describe_check(record, problem, verify),
                "problem": problem.message if problem else "",
                "fix": problem.fix if problem else "",
                "changed": changed,
            }
        )
    return rows


def _describe_check(record: Mapping[str, Any] | None, problem: StudyError | None, verify: bool) -> str | None:
    if problem or not record:
        return problem_status(problem) if problem else None
    if record["status"] != "complete":
        return None
    return "not verifiable" if "files" not in record else "verified" if verify else "checked"


def status_lines(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> list[str]:
    """Return the state of each run as a table with a summary, and the problems.

    Args:
        rows: from `study_status`.
        width: columns of the terminal; None to write all columns and whole names, for other programs.
    """
    cells = [("run", "status", "epoch", "nucleus", "cytoplasm", "files"), *map(_cells, rows)]
    names = [row[0] for row in cells]
    if width is not None:
        # The state of the files is in the summary, or "damaged" is the status.
        cells = [row[:-1] for row in cells]
        room = width - sum(max(map(len, column)) + 2 for column in list(zip(*cells, strict=True))[1:])
        cells = [(shorten_middle(name, room), *row[1:]) for name, row in zip(names, cells, strict=True)]
    lines = [*align(cells), "", *_summary(rows)]
    if any(row[0] != name for row, name in zip(cells, names, strict=True)):
        lines.append("Long names are shortened. `wbcstudy status STUDY | cat` writes whole names.")
    for row in rows:
        if row["problem"]:
            lines += ["", row["problem"], f"  {row['fix']}"]
        if row["changed"]:
            names = ", ".join(row["changed"])
            lines += ["", f"{row['run']}: changed since the run, without effect on results: {names}"]
    return lines


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    dice = ["-" if row[region] is None else f"{row[region]:.4f}" for region in ("nucleus", "cytoplasm")]
    epochs = "-" if row["epochs"] is None else f"{row['epoch'] or 0}/{row['epochs']}"
    return str(row["run"]), str(row["status"]), epochs, *dice, str(row["files"] or "-")


def _summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    states, files = Counter(row["status"] for row in rows), Counter(row["files"] for row in rows if row["files"])
    lines = [f"{count(len(rows), 'run')}: {', '.join(f'{number} {state}' for state, number in states.items())}."]
    if files:
        lines[0] += f" Files of finished runs: {', '.join(f'{number} {state}' for state, number in files.items())}."
    old = [str(row["run"]) for row in rows if row["files"] == "not verifiable"]
    if old and len(files) > 1:
        lines.append(f"Not verifiable (made by an earlier version): {join_words(old, most=6)}.")
    if any(row["nucleus"] is not None or row["cytoplasm"] is not None for row in rows):
        lines.append("Dice of the test images, pooled over all pixels.")
    return lines
