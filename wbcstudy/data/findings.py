"""Errors and warnings about files: the same fault of many files is one message."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wbcstudy.data.unlisted import UnlistedValuesError, merge_unlisted
from wbcstudy.errors import StudyError
from wbcstudy.wording import count, join_words

if TYPE_CHECKING:
    from wbcstudy.data.datasets import Dataset
    from wbcstudy.data.spec import Case

_T = TypeVar("_T")
# Files of a repeated finding that are named.
_MOST_NAMES = 5
# After this time, the files that are left are not read to describe a fault.
_MOST_SECONDS = 60.0


@dataclass(frozen=True)
class Finding:
    """An error or a warning.

    Args:
        message: the problem, with the file.
        fix: what the user can do, or ''.
        expected: the expected state, or ''.
    """

    message: str
    fix: str = ""
    expected: str = ""

    @classmethod
    def of(cls, error: StudyError) -> Finding:
        """Return the finding of an error."""
        return cls(error.message, error.fix, error.expected)

    def advice(self) -> list[str]:
        """Return the lines below the message."""
        return [f"{title}: {text}" for title, text in (("Expected", self.expected), ("To fix", self.fix)) if text]


def group_findings(findings: Sequence[Finding], folder: Path) -> list[Finding]:
    """Replace findings that differ in file and numbers only by the first of them and the names of the other files."""
    file = re.compile(rf"{re.escape(str(folder))}/(.*?\.[A-Za-z]{{3,4}})(?=[\s,:;.)]|$)")
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        texts = [file.sub("FILE", text) for text in (finding.message, finding.fix, finding.expected)]
        groups.setdefault(tuple(re.sub(r"\d+", "#", text) for text in texts), []).append(finding)
    grouped = []
    for first, *others in groups.values():
        # Findings about the same files are no repetition.
        names = [join_words(list(dict.fromkeys(file.findall(other.message)))) for other in others]
        if not others or not all(names):
            grouped += [first, *others]
            continue
        more = f"{count(len(others), 'more file')} with this fault: {join_words(names, most=_MOST_NAMES)}."
        grouped.append(replace(first, message=f"{first.message} {more}"))
    return grouped


def group_errors(errors: Sequence[StudyError | Finding], folder: Path) -> list[Finding]:
    """Return one finding for each fault; of unlisted mask values, with the values of all masks.

    Args:
        errors: errors about files, and findings.
        folder: the dataset's folder.
    """
    merged = {error.kind: error for error in merge_unlisted([e for e in errors if isinstance(e, UnlistedValuesError)])}
    # Each kind of unlisted values in the place of its first error.
    distinct = [merged.pop(error.kind, None) if isinstance(error, UnlistedValuesError) else error for error in errors]
    findings = [Finding.of(error) if isinstance(error, StudyError) else error for error in distinct if error]
    return group_findings(findings, folder)


def read_or_group(read: Callable[[Case], _T], case: Case, dataset: Dataset) -> _T:
    """Read files of a case. If that fails, read those of all other cases, to describe the fault once for all of them.

    Args:
        read: function that reads files of a case.
        case: the case.
        dataset: its dataset.

    Raises:
        StudyError: a file cannot be read; the message has the number of files with this fault, and the fix is right
            for all of them.
    """
    try:
        return read(case)
    except StudyError as error:
        errors = [error, *_other_errors(read, case, dataset)]
    first, *others = group_errors(errors, dataset.folder)
    fix = first.fix
    if others:
        fix += f" There {'is' if len(others) == 1 else 'are'} {count(len(others), 'other fault')}; "
        fix += f"`wbcstudy data check {dataset.folder}` lists all."
    raise StudyError(first.message, expected=first.expected, fix=fix)


def _other_errors(read: Callable[[Case], object], case: Case, dataset: Dataset) -> Iterator[StudyError]:
    end = time.monotonic() + _MOST_SECONDS
    for other in dataset.cases:
        if time.monotonic() > end:
            return
        if other.case_id == case.case_id:
            continue
        try:
            read(other)
        except StudyError as error:
            yield error
