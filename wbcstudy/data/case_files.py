"""Match the files of a dataset to cases and read `cases.csv`.

Nothing here raises: errors are returned as lists. Loading a dataset raises the first, a check reports all.
"""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wbcstudy.data.spec import SPEC_FILE, DatasetSpec
from wbcstudy.errors import StudyError, is_unprintable
from wbcstudy.wording import count, join_words

FACT_COLUMNS = ("case_id", "cell_type", "group")
# File names and case ids in one message; the others are counted.
_MOST_NAMED = 5


@dataclass(frozen=True)
class CaseFiles:
    """The files of a dataset by case id.

    Args:
        images: case id -> image file, sorted by id.
        masks: case id -> mask file.
        instances: case id -> instance map.
        problems: errors; empty if every case is complete.
    """

    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    instances: Mapping[str, Path]
    problems: tuple[StudyError, ...]

    @property
    def complete(self) -> list[str]:
        """Ids of the cases with both image and mask."""
        return [case_id for case_id in self.images if case_id in self.masks]


def find_case_files(folder: Path, spec: DatasetSpec) -> CaseFiles:
    """Find the images, masks and instance maps of a dataset.

    `{case}` and `*` match any characters except '/'. Suffixes match in upper and lower case. Hidden files are ignored.
    A file that matches two patterns (`{case}.png` and `{case}_mask.png`) belongs to the longer one. Case ids that
    differ only in the Unicode form of an accent are equal; the image's spelling is kept.
    """
    folder = Path(folder)
    patterns = {"image": spec.images, "mask": spec.masks, "instance map": spec.instances or ""}
    files: dict[str, dict[str, Path]] = {role: {} for role in patterns}
    problems, matched, root, spelling = [], set(), folder.resolve(), {}
    for role in sorted(patterns, key=lambda role: -len(patterns[role].replace("{case}", "").replace("*", ""))):
        pattern = patterns[role]
        if not pattern:
            continue
        try:
            paths = [path for path in _list_files(folder, PurePosixPath(pattern).parts) if path not in matched]
        except OSError as error:
            problems.append(_cannot_list(folder, role, pattern, error))
            continue
        for path in paths:
            match = _pattern_regex(pattern).fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                continue
            matched.add(path)
            case_id = match["case"]
            key = _normalised(case_id)
            if not path.resolve().is_relative_to(root):
                problems.append(_outside(path, folder))
            elif any(map(is_unprintable, case_id)):
                problems.append(_unprintable(path))
            elif key in files[role]:
                problems.append(_repeated(role, case_id, files[role][key], path))
            else:
                files[role][key] = path
                if role == "image" or key not in spelling:
                    spelling[key] = case_id
    images, masks, instances = ({spelling[key]: path for key, path in paths.items()} for paths in files.values())
    if not images and not problems:
        problems.append(_no_images(folder, spec))
    else:
        problems += _unpaired("image", "mask", images, masks, spec.masks)
        problems += _unpaired("mask", "image", masks, images, spec.images)
        if spec.instances:
            problems += _unpaired("image", "instance map", images, instances, spec.instances)
    return CaseFiles(dict(sorted(images.items())), masks, instances, tuple(problems))


def read_facts(
    path: Path, case_ids: Iterable[str], folder: Path | None = None
) -> tuple[dict[str, tuple[str | None, str | None]], list[StudyError]]:
    """Read cell type and group of each case from `cases.csv`.

    Fields are text, separated by comma, semicolon or tab. Empty fields are None; empty rows are ignored.

    Args:
        path: the file.
        case_ids: ids of all cases with an image.
        folder: folder of the dataset, which the file must be in; not checked if None.

    Returns:
        case id -> (cell type, group) for the cases in the file, and the errors in it.
    """
    case_ids = list(case_ids)
    if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
        return {}, [_outside(path, folder)]
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        return {}, [
            StudyError(
                f"Cannot read {path}: {reason}.",
                expected=f"a text file with the columns {','.join(FACT_COLUMNS)}",
                fix="Correct `cases` in dataset.yaml or remove it. In Excel, save as 'CSV UTF-8'.",
            )
        ]
    rows = _table(text)
    try:
        columns = rows.fieldnames = _columns(rows)
        numbered_rows = [(row, rows.line_num) for row in rows if _has_values(row)]
    except csv.Error as error:
        return {}, [_facts_error(path, f"cannot be read as a table: {error}.", fix="Check that quotation marks match.")]
    for column in columns:
        similar = difflib.get_close_matches(column.lower(), FACT_COLUMNS, n=1, cutoff=0.75)
        if column not in FACT_COLUMNS and similar and similar[0] not in columns:
            return {}, [_facts_error(path, f"has a column {column!r}.", fix=f"Did you mean {similar[0]!r}?")]
    if "case_id" not in columns:
        names = ", ".join(columns) or "none"
        return {}, [_facts_error(path, f"has no column 'case_id'; its columns are: {names}.")]
    facts, problems = {}, []
    spelling = {_normalised(case_id): case_id for case_id in case_ids}
    for row, line in numbered_rows:
        case_id = (row["case_id"] or "").strip()
        case_id = spelling.get(_normalised(case_id), case_id)
        if "surplus" in row:
            problems.append(
                _facts_error(path, f"has too many fields in line {line}.", fix="Put text with separators in quotes.")
            )
        if case_id in facts:
            problems.append(_facts_error(path, f"lists case {case_id!r} twice.", fix="Keep one of the two rows."))
        facts[case_id] = tuple((row.get(column) or "").strip() or None for column in ("cell_type", "group"))
    fix = "Write the case ids as in the file names."
    if any(case_id.startswith("0") for case_id in case_ids):
        fix += " Excel drops the zeros of 001: format the column as text."
    known = set(case_ids)
    if suffixed := sorted(case_id for case_id in set(facts) - known if PurePosixPath(case_id).stem in known):
        stem = PurePosixPath(suffixed[0]).stem
        fix = f"The case id is the text in place of {{case}}, without the suffix: write {stem} for {suffixed[0]}."
    for ids, problem in (
        (set(facts) - known, "lists {} without an image: {}."),
        (known - set(facts), "has no row for {}: {}."),
    ):
        if ids:
            message = problem.format(count(len(ids), "case"), join_words(sorted(ids), most=_MOST_NAMED))
            problems.append(_facts_error(path, message, fix=fix))
    return facts, problems


def unused_columns(path: Path) -> list[str]:
    """Return the columns of `cases.csv` that are not used; none if it cannot be read (see `read_facts`)."""
    try:
        columns = _columns(_table(Path(path).read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [name for name in columns if name and name not in FACT_COLUMNS]


def _table(text: str) -> csv.DictReader:
    header = text.split("\n", 1)[0]
    return csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=header.count), restkey="surplus")


def _columns(rows: csv.DictReader) -> list[str]:
    return [(name or "").strip() for name in rows.fieldnames or []]


def _has_values(row: Mapping) -> bool:
    """Return whether any field of a row is filled; spreadsheets write empty rows below the last filled one."""
    fields = [field for value in row.values() for field in (value if isinstance(value, list) else [value])]
    return any((field or "").strip() for field in fields)


def _normalised(name: str) -> str:
    """Return a name with composed accents; macOS writes an accent as a separate character after its letter."""
    return unicodedata.normalize("NFC", name)


def _pattern_regex(pattern: str) -> re.Pattern[str]:
    stem, dot, suffix = pattern.rpartition(".")
    if not dot or set("/{}") & set(suffix):
        stem, suffix = pattern, ""
    wild = {"{case}": "(?P<case>[^/]+)", "*": "[^/]*"}

    def translate(text: str) -> str:
        return "".join(wild.get(part, re.escape(part)) for part in re.split(r"(\{case\}|\*)", text))

    return re.compile(translate(stem) + (rf"\.(?i:{translate(suffix)})" if suffix else ""), re.DOTALL)


def _list_files(folder: Path, parts: Sequence[str]) -> list[Path]:
    """List the files at the depth of a pattern; only matching folders are entered."""
    head, *rest = parts
    if rest and "{case}" not in head and "*" not in head:
        return _list_files(folder / head, rest)
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not rest:
        return [path for path in entries if path.is_file()]
    folders = [path for path in entries if path.is_dir() and _pattern_regex(head).fullmatch(path.name)]
    return [file for path in folders for file in _list_files(path, rest)]


def _unpaired(role: str, partner: str, files: Mapping, partners: Mapping, pattern: str) -> list[StudyError]:
    alone = [str(path) for case_id, path in files.items() if case_id not in partners]
    if not alone:
        return []
    return [
        StudyError(
            f"{count(len(alone), role)} without {partner}: {join_words(sorted(alone), most=_MOST_NAMED)}.",
            expected=f"for each {role} a file {pattern!r} with the same {{case}}",
            fix=f"Add the missing {partner}s, remove these files, or correct the patterns in dataset.yaml.",
        )
    ]


def _no_images(folder: Path, spec: DatasetSpec) -> StudyError:
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*")) + sorted(folder.glob("*/*"))]
    names = [name for name in names if name != SPEC_FILE]
    content = f"it contains {join_words(names, most=_MOST_NAMED)}" if names else "it is empty"
    return StudyError(
        f"No file in {folder} matches the pattern {spec.images!r}; {content}.",
        expected="at least one image and its mask",
        fix="Copy the images there, or correct `images` in dataset.yaml.",
    )


def _cannot_list(folder: Path, role: str, pattern: str, error: OSError) -> StudyError:
    return StudyError(
        f"Cannot list the {role}s {pattern!r} of {folder}: {error.filename}: {error.strerror}.",
        expected="a readable folder below that of dataset.yaml",
        fix="Create the folder, or correct the pattern in dataset.yaml.",
    )


def _outside(path: Path, folder: Path) -> StudyError:
    return StudyError(
        f"{path} is a link to a file outside {folder}.",
        expected="files below the folder of dataset.yaml",
        fix="Move dataset.yaml to a folder above the real files, or copy the files.",
    )


def _unprintable(path: Path) -> StudyError:
    return StudyError(
        f"The file name {str(path)!r} has characters that cannot be printed.",
        expected="file names of printable characters in UTF-8",
        fix="Rename image and mask of this case.",
    )


def _repeated(role: str, case_id: str, first: Path, second: Path) -> StudyError:
    return StudyError(
        f"Case {case_id!r} has two {role}s: {first} and {second}.",
        expected=f"one {role} per case",
        fix="Remove one of them, or narrow the pattern in dataset.yaml.",
    )


def _facts_error(
    path: Path, problem: str, fix: str = "Write the header case_id,cell_type,group in the first line."
) -> StudyError:
    return StudyError(f"{path} {problem}", expected="one row per case: case_id,cell_type,group", fix=fix)
