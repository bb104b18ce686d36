"""Path patterns of a dataset: `images/{group}/{case}.png`.

A field in braces stands for a part of a file or folder name and keeps its text; `*` stands for any text. Neither spans
a '/'. A repeated field stands for the same text: `{case}/{case}_image.png`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

# {folder} only makes case ids unique.
FIELDS = ("case", "group", "cell_type", "folder")
_MAX_STARS = 3
# Each further '*' or field multiplies the time of matching by the length of a name.
_MAX_IN_NAME = 4
_PARTS = re.compile(r"(\{\w+\}|\*)")


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` for a pattern without {case}, with another field, or with too many fields or '*'."""
    known = [f"{{{name}}}" for name in FIELDS]
    rest = pattern
    for field in known:
        rest = rest.replace(field, "")
    if "{case}" not in pattern:
        raise ValueError("a pattern with {case}, for example images/{case}.bmp")
    if set("{}") & set(rest):
        raise ValueError(f"a pattern with no other braces than {', '.join(known)}")
    if pattern.count("*") > _MAX_STARS:
        raise ValueError(f"a pattern with at most {_MAX_STARS} '*'")
    if any(len(_PARTS.findall(name)) > _MAX_IN_NAME for name in pattern.split("/")):
        raise ValueError(f"a pattern with at most {_MAX_IN_NAME} fields and '*' in a file or folder name")


def pattern_fields(pattern: str) -> list[str]:
    """Return the fields of a pattern, in their order and each once."""
    return list(dict.fromkeys(part[1:-1] for part in _PARTS.findall(pattern) if part != "*"))


def fixed_length(pattern: str) -> int:
    """Return the number of characters outside fields and '*': a file belongs to the pattern with the most."""
    return len(_PARTS.sub("", pattern))


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Return the expression that a whole path matches; its groups are the fields.

    The suffix matches in upper and lower case. {case} is as long as possible, other fields as short as possible:
    `{group}_{case}.png` reads p1_2_3.png as group p1, case 2_3.
    """
    stem, dot, suffix = pattern.rpartition(".")
    if not dot or set("/{}") & set(suffix):
        stem, suffix = pattern, ""
    seen: set[str] = set()

    def translate(text: str) -> str:
        return "".join(map(translate_part, _PARTS.split(text)))

    def translate_part(part: str) -> str:
        if part == "*":
            return "[^/]*"
        if not _PARTS.fullmatch(part):
            return re.escape(part)
        name = part[1:-1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>[^/]+{'' if name == 'case' else '?'})"

    return re.compile(translate(stem) + (rf"\.(?i:{translate(suffix)})" if suffix else ""), re.DOTALL)


def list_files(folder: Path, parts: Sequence[str]) -> list[Path]:
    """List the files at the depth of a pattern; only matching folders are entered.

    Args:
        folder: where to start.
        parts: the pattern, divided at '/'.

    Raises:
        OSError: a folder is missing or cannot be read.
    """
    head, *rest = parts
    if rest and not _PARTS.search(head):
        return list_files(folder / head, rest)
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not rest:
        return [path for path in entries if path.is_file()]
    folders = [path for path in entries if path.is_dir() and pattern_regex(head).fullmatch(path.name)]
    # Of folders that a field or '*' stands for, some may be others, without the fixed folder below.
    return [file for path in folders if _has(path, rest) for file in list_files(path, rest)]


def _has(folder: Path, parts: Sequence[str]) -> bool:
    fixed = list(itertools.takewhile(lambda part: not _PARTS.search(part), parts[:-1]))
    return folder.joinpath(*fixed).is_dir()
