"""The files of a dataset: which belong to which case, what `cases.csv` knows, and everything that does not fit.

Nothing here raises. Trouble is returned as a list of errors, since a check shows all of it, where loading stops at the
first.
"""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wbcstudy.data.spec import SPEC_FILE, DatasetSpec
from wbcstudy.errors import StudyError, is_unprintable

FACT_COLUMNS = ("case_id", "cell_type", "group")


@dataclass(frozen=True)
class Found:
    """The files of a folder, by case id, and everything wrong with them.

    Args:
        images: case id -> image file, sorted by id.
        masks: case id -> mask file.
        instances: case id -> instance map.
        problems: one error per kind of trouble; empty when every case is complete.
    """

    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    instances: Mapping[str, Path]
    problems: tuple[StudyError, ...]

    @property
    def complete(self) -> list[str]:
        """Ids of the cases that have all their files."""
        return [case_id for case_id in self.images if case_id in self.masks]


def find_files(folder: Path, spec: DatasetSpec) -> Found:
    """Find the images, masks and instance maps of a dataset; raises nothing, so that a check can list everything.

    `{case}` and `*` stand for any characters but '/'; upper and lower case of the suffix do not matter; hidden files
    are passed over. A file that fits two patterns (`{case}.png` and `{case}_mask.png`) belongs to the longer one.
    A letter with an accent is one letter, however the computer that named the file wrote it; a case is called as its
    image is.
    """
    folder = Path(folder)
    patterns = {"image": spec.images, "mask": spec.masks}
    if spec.instances:
        patterns["instance map"] = spec.instances
    found: dict[str, dict[str, Path]] = {kind: {} for kind in ("image", "mask", "instance map")}
    problems, taken, root, spelt = [], set(), folder.resolve(), {}
    for kind in sorted(patterns, key=lambda kind: -len(patterns[kind].replace("{case}", "").replace("*", ""))):
        pattern = patterns[kind]
        try:
            files = [path for path in _list(folder, PurePosixPath(pattern).parts) if path not in taken]
        except OSError as error:
            problems.append(_no_folder(folder, kind, pattern, error))
            continue
        for path in files:
            match = _regex(pattern).fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                continue
            taken.add(path)
            case_id = match["case"]
            if not path.resolve().is_relative_to(root):
                problems.append(_outside(path, folder))
            elif any(map(is_unprintable, case_id)):
                problems.append(_unprintable(path))
            elif (same := _one_spelling(case_id)) in found[kind]:
                problems.append(_twice(kind, case_id, found[kind][same], path))
            else:
                found[kind][same] = path
                spelt |= {same: case_id} if kind == "image" or same not in spelt else {}
    images, masks, maps = ({spelt[same]: path for same, path in files.items()} for files in found.values())
    if not images and not problems:
        problems.append(_empty(folder, spec))
    else:
        problems += _unpaired("image", "mask", images, masks, spec.masks)
        problems += _unpaired("mask", "image", masks, images, spec.images)
        if spec.instances:
            problems += _unpaired("image", "instance map", images, maps, spec.instances)
    return Found(dict(sorted(images.items())), masks, maps, tuple(problems))


def read_facts(
    path: Path, case_ids: Iterable[str]
) -> tuple[dict[str, tuple[str | None, str | None]], list[StudyError]]:
    """Read cell type and group of each case from `cases.csv`.

    All fields are text; comma, semicolon or tab may part them; an empty field is unknown (None), an empty row none.

    Args:
        path: the file.
        case_ids: the cases there are images of.

    Returns:
        case id -> (cell type, group) for the cases in the file, and everything wrong with it.
    """
    case_ids = list(case_ids)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        return {}, [
            StudyError(
                f"Cannot read {path}: {reason}.",
                expected=f"a text file with the columns {','.join(FACT_COLUMNS)}",
                fix="Correct `cases` in dataset.yaml or leave it out; Excel must save as 'CSV UTF-8'.",
            )
        ]
    rows = _table(text)
    try:
        columns = rows.fieldnames = _columns(rows)
        read = [(row, rows.line_num) for row in rows if _says_something(row)]
    except csv.Error as error:
        return {}, [_facts_error(path, f"cannot be read as a table: {error}.", fix="Is a quotation mark not closed?")]
    for column in columns:
        near = difflib.get_close_matches(column.lower(), FACT_COLUMNS, n=1, cutoff=0.75)
        if column not in FACT_COLUMNS and near and near[0] not in columns:
            return {}, [_facts_error(path, f"has a column {column!r}.", fix=f"Did you mean {near[0]!r}?")]
    if "case_id" not in columns:
        return {}, [_facts_error(path, f"has no column 'case_id' (found: {', '.join(columns) or 'nothing'}).")]
    facts, problems = {}, []
    named = {_one_spelling(case_id): case_id for case_id in case_ids}
    for row, line in read:
        case_id = (row["case_id"] or "").strip()
        case_id = named.get(_one_spelling(case_id), case_id)
        if "surplus" in row:
            problems.append(_facts_error(path, f"has too many fields in line {line}.", fix="Quote the field."))
        if case_id in facts:
            problems.append(_facts_error(path, f"lists case {case_id!r} twice.", fix="Keep one of the two rows."))
        facts[case_id] = tuple((row.get(column) or "").strip() or None for column in ("cell_type", "group"))
    fix = "Make its case_id column agree with the file names."
    if any(id.startswith("0") for id in case_ids):
        fix += " Excel drops the zeros of 001: format the column as text."
    known = set(case_ids)
    if suffixed := sorted(id for id in facts if id not in known and PurePosixPath(id).stem in known):
        stem = PurePosixPath(suffixed[0]).stem
        fix = f"case_id is what {{case}} stands for, without the suffix: write {stem} for {suffixed[0]}."
    for wrong, what in (
        (set(facts) - known, "lists cases without image"),
        (known - set(facts), "lacks"),
    ):
        if wrong:
            problems.append(_facts_error(path, f"{what}: {shortlist(wrong)}.", fix=fix))
    return facts, problems


def unused_columns(path: Path) -> list[str]:
    """Columns of a `cases.csv` that nothing reads; none where it cannot be read, which `read_facts` says."""
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


def _says_something(row: Mapping) -> bool:
    """Whether any field of a row is filled: spreadsheets write rows of commas below the last one that is."""
    fields = [field for value in row.values() for field in (value if isinstance(value, list) else [value])]
    return any((field or "").strip() for field in fields)


def _one_spelling(name: str) -> str:
    """A name with each accent as part of its letter; a Mac writes it as a sign of its own behind the letter."""
    return unicodedata.normalize("NFC", name)


def shortlist(names: Iterable[object]) -> str:
    """The first five names in order, and how many there are if more."""
    names = sorted(map(str, names))
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _regex(pattern: str) -> re.Pattern[str]:
    stem, dot, suffix = pattern.rpartition(".")
    if not dot or set("/{}") & set(suffix):
        stem, suffix = pattern, ""
    wild = {"{case}": "(?P<case>[^/]+)", "*": "[^/]*"}

    def translate(text: str) -> str:
        return "".join(wild.get(part, re.escape(part)) for part in re.split(r"(\{case\}|\*)", text))

    return re.compile(translate(stem) + (rf"\.(?i:{translate(suffix)})" if suffix else ""), re.DOTALL)


def _list(folder: Path, parts: tuple[str, ...]) -> list[Path]:
    """Files below a folder at the depth of a pattern; only folders that fit are entered."""
    head, *rest = parts
    if rest and "{case}" not in head and "*" not in head:
        return _list(folder / head, tuple(rest))
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not rest:
        return [path for path in entries if path.is_file()]
    fits = re.compile(
        "".join("[^/]+" if part in ("{case}", "*") else re.escape(part) for part in re.split(r"(\{case\}|\*)", head))
    )
    return [
        file for path in entries if path.is_dir() and fits.fullmatch(path.name) for file in _list(path, tuple(rest))
    ]


def _unpaired(kind: str, partner: str, have: Mapping, need: Mapping, pattern: str) -> list[StudyError]:
    alone = [have[case_id] for case_id in have if case_id not in need]
    if not alone:
        return []
    noun = f"{kind}s" if len(alone) > 1 else kind
    return [
        StudyError(
            f"{len(alone)} {noun} without {partner}: {shortlist(alone)}.",
            expected=f"for each {kind} a file {pattern!r} with the same {{case}}",
            fix=f"Add the missing {partner}s, remove the {noun}, or correct the patterns in dataset.yaml.",
        )
    ]


def have_pattern(pattern: str) -> str:
    """A pattern in words."""
    return f"a file {pattern!r} with the same {{case}}"


def _empty(folder: Path, spec: DatasetSpec) -> StudyError:
    there = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*")) + sorted(folder.glob("*/*"))]
    there = [name for name in there if name != SPEC_FILE][:5]
    return StudyError(
        f"No image in {folder} fits {spec.images!r}"
        + (f"; there is {', '.join(there)}." if there else "; it is empty."),
        expected="at least one image and its mask",
        fix="Put the images there, or correct `images` in dataset.yaml.",
    )


def _no_folder(folder: Path, kind: str, pattern: str, error: OSError) -> StudyError:
    return StudyError(
        f"Cannot list the {kind}s {pattern!r} of {folder}: {error.filename}: {error.strerror}.",
        expected="a readable folder below that of dataset.yaml",
        fix="Make the folder, or correct the pattern in dataset.yaml.",
    )


def _outside(path: Path, folder: Path) -> StudyError:
    return StudyError(
        f"{path} is a link that leads out of {folder}.",
        expected="files below the folder of dataset.yaml",
        fix="Put dataset.yaml above the real files, or copy them.",
    )


def _unprintable(path: Path) -> StudyError:
    return StudyError(
        f"The name of {str(path)!r} holds characters that cannot be printed.",
        expected="names of letters, digits, spaces and signs, in UTF-8",
        fix="Rename the file, and its partner.",
    )


def _twice(kind: str, case_id: str, first: Path, second: Path) -> StudyError:
    return StudyError(
        f"Case {case_id!r} has two {kind}s: {first} and {second}.",
        expected=f"one {kind} for each case",
        fix="Remove one of them, or narrow the pattern in dataset.yaml.",
    )


def _facts_error(
    path: Path, what: str, fix: str = "Write the header case_id,cell_type,group in the first line."
) -> StudyError:
    return StudyError(f"{path} {what}", expected="one row for each case: case_id,cell_type,group", fix=fix)
