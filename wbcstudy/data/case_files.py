"""Match the files of a dataset to cases and read `cases.csv`.

Nothing here raises: errors are returned as lists. Loading a dataset raises the first, a check reports all.
"""

from __future__ import annotations

import csv
import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from wbcstudy.data.patterns import fixed_length, list_files, pattern_fields, pattern_regex
from wbcstudy.data.spec import SPEC_FILE, DatasetSpec
from wbcstudy.errors import StudyError, is_unprintable
from wbcstudy.files import read_bytes
from wbcstudy.wording import count, join_words

FACT_COLUMNS = ("case_id", "cell_type", "group")
# File names and case ids in one message; the others are counted.
_MOST_NAMED = 5
# The largest cases.csv, in bytes: a row for each of a million cases.
_MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class CaseFiles:
    """The files of a dataset by case id.

    Args:
        images: case id -> image file, sorted by id.
        masks: case id -> mask file.
        instances: case id -> instance map.
        problems: errors; empty if every case is complete.
        facts: case id -> cell type and group of the image's name, or None where its pattern does not have the field.
        cell_masks: case id -> second mask file, of whole cells.
    """

    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    instances: Mapping[str, Path]
    problems: tuple[StudyError, ...]
    facts: Mapping[str, tuple[str | None, str | None]]
    cell_masks: Mapping[str, Path] = field(default_factory=dict)

    @property
    def complete(self) -> list[str]:
        """Ids of the cases with both image and mask."""
        return [case_id for case_id in self.images if case_id in self.masks]


@dataclass(frozen=True)
class _File:
    """A file that matches a pattern: `fields` are the texts of the pattern's fields, with composed accents."""

    path: Path
    spelling: str
    fields: Mapping[str, str]

    def key(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the texts of some fields."""
        return tuple(self.fields[name] for name in names)


def find_case_files(folder: Path, spec: DatasetSpec) -> CaseFiles:
    """Find the images, masks, cell masks and instance maps of a dataset, and the facts in their names.

    Hidden files are ignored. A file that matches two patterns (`{case}.png` and `{case}_mask.png`) belongs to the
    longer one. An image and its mask agree in all fields that both patterns have. Names that differ only in the Unicode
    form of an accent are equal; the image's spelling is kept in the case id.
    """
    folder = Path(folder)
    patterns = {"image": spec.images, "mask": spec.masks, "cell mask": spec.cell_masks or ""}
    patterns["instance map"] = spec.instances or ""
    files: dict[str, list[_File]] = {role: [] for role in patterns}
    problems, matched = [], set()
    for role in sorted(patterns, key=lambda role: -fixed_length(patterns[role])):
        if not patterns[role]:
            continue
        try:
            paths = [path for path in list_files(folder, PurePosixPath(patterns[role]).parts) if path not in matched]
        except OSError as error:
            problems.append(_cannot_list(folder, role, patterns[role], error))
            continue
        for path in paths:
            match = pattern_regex(patterns[role]).fullmatch(path.relative_to(folder).as_posix())
            if match is None:
                continue
            matched.add(path)
            if not path.resolve().is_relative_to(folder.resolve()):
                problems.append(_outside(path, folder))
            elif any(map(is_unprintable, "".join(match.groups()))):
                problems.append(_unprintable(path))
            else:
                fields = {name: _normalised(text) for name, text in match.groupdict().items()}
                files[role].append(_File(path, match["case"], fields))
    images = _unique("image", files.pop("image"), patterns, problems)
    partners, unpaired = {}, []
    for role in files:
        partners[role], others = _find_partners(role, images, files[role], patterns, problems)
        unpaired += [(role, file) for file in others]
    ids = _case_ids([*images, *(file for _, file in unpaired)])
    by_id: dict[str, _File] = {}
    for case_id, file in zip(ids, images, strict=False):
        if case_id in by_id:
            problems.append(_repeated("image", [(case_id, by_id[case_id].path, file.path)], spec.images))
        by_id.setdefault(case_id, file)
    by_role = {role: {ids[index]: path for index, path in partners[role].items()} for role in files}
    for case_id, (role, file) in zip(ids[len(images) :], unpaired, strict=True):
        by_role[role][case_id] = file.path
    paths = dict(sorted((case_id, file.path) for case_id, file in by_id.items()))
    masks, instances = by_role["mask"], by_role["instance map"]
    if not paths and not problems:
        problems.append(_no_images(folder, spec))
    else:
        problems += _unpaired("image", "mask", paths, masks, spec.masks)
        problems += _unpaired("mask", "image", masks, paths, spec.images)
        for role in ("cell mask", "instance map"):
            if patterns[role]:
                problems += _unpaired("image", role, paths, by_role[role], patterns[role])
    facts = {case_id: tuple(map(file.fields.get, ("cell_type", "group"))) for case_id, file in by_id.items()}
    return CaseFiles(paths, masks, instances, tuple(problems), facts, by_role["cell mask"])


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
        text = _read_text(Path(path))
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
        columns = _columns(_table(_read_text(Path(path))))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [name for name in columns if name and name not in FACT_COLUMNS]


def _read_text(path: Path) -> str:
    return read_bytes(path, _MOST_BYTES).decode("utf-8-sig")


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


def _unique(role: str, files: Sequence[_File], patterns: Mapping, problems: list[StudyError]) -> list[_File]:
    """Return one file per set of fields, and report the others."""
    first: dict[tuple, _File] = {}
    twice = []
    for file in files:
        if (key := tuple(file.fields.items())) in first:
            twice.append((file.spelling, first[key].path, file.path))
        else:
            first[key] = file
    if twice:
        problems.append(_repeated(role, twice, patterns[role]))
    return list(first.values())


def _find_partners(
    role: str, images: Sequence[_File], files: Sequence[_File], patterns: Mapping, problems: list[StudyError]
) -> tuple[dict[int, Path], list[_File]]:
    """Find the mask or instance map of each image: index of the image -> path, and the files without image."""
    common = [name for name in pattern_fields(patterns["image"]) if name in pattern_fields(patterns[role])]
    indices: dict[tuple, list[int]] = {}
    for index, image in enumerate(images):
        indices.setdefault(image.key(common), []).append(index)
    partners, unpaired, twice = {}, [], []
    for file in _unique(role, files, patterns, problems):
        fitting = indices.get(file.key(common), [])
        if len(fitting) > 1:
            problems.append(_ambiguous(role, file, [images[index].path for index in fitting], patterns))
        if not fitting:
            unpaired.append(file)
        elif fitting[0] in partners:
            twice.append((file.spelling, partners[fitting[0]], file.path))
        for index in fitting:
            partners.setdefault(index, file.path)
    if twice:
        problems.append(_repeated(role, twice, patterns[role]))
    return partners, unpaired


def _case_ids(files: Sequence[_File]) -> list[str]:
    """Name cases by {case}; if it repeats, put the other fields before it in all ids: 'Baso_1', 'Lymp_1'."""
    names = {tuple(file.fields.items()): file for file in files}
    if len({file.fields["case"] for file in names.values()}) == len(names):
        return [file.spelling for file in files]
    return ["_".join([*(text for name, text in f.fields.items() if name != "case"), f.spelling]) for f in files]


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


def _repeated(role: str, twice: Sequence[tuple[str, Path, Path]], pattern: str) -> StudyError:
    """Explain cases with two files: each is the text of {case} and the two paths."""
    case_id, first, second = twice[0]
    more = f" {len(twice) - 1} more {'files repeat' if len(twice) > 2 else 'file repeats'} a case." * (len(twice) > 1)
    fix = "Remove one of them, or narrow the pattern in dataset.yaml."
    if first.parent != second.parent and (folder := next((f for f in PurePosixPath(pattern).parts if f == "*"), "")):
        fix = (
            f"If these are two cells whose numbers start again in each folder, write {{group}} (patient or slide), "
            f"{{cell_type}} or {{folder}} instead of the '{folder}' of {pattern!r} and of the other patterns."
        )
    return StudyError(
        f"Case {case_id!r} has two {role}s: {first} and {second}.{more}", expected=f"one {role} per case", fix=fix
    )


def _ambiguous(role: str, file: _File, images: Sequence[Path], patterns: Mapping) -> StudyError:
    fields = [f"{{{name}}}" for name in pattern_fields(patterns["image"]) if name not in file.fields]
    return StudyError(
        f"The {role} {file.path} fits {count(len(images), 'image')}: {join_words(images, most=2)}.",
        expected=f"one {role} per case",
        fix=f"Write {join_words(fields, last='or')} in the pattern of the {role}s, too, if they are in such folders.",
    )


def _facts_error(
    path: Path, problem: str, fix: str = "Write the header case_id,cell_type,group in the first line."
) -> StudyError:
    return StudyError(f"{path} {problem}", expected="one row per case: case_id,cell_type,group", fix=fix)
