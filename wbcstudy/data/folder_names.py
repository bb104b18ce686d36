"""Guess what the names of folders, and the starts of file names, say: cell type, patient, or part of a split."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CELL_TYPES = re.compile(r"(?i)(baso|eosi|lymph?|mono|neut|blast|myelo|band|platelet|erythro)[a-z]*|mixt?(ed)?|[belmn]")
_PARTS_OF_SPLIT = re.compile(r"(?i)(train|val|test|fold|part|batch|set|dataset|tr|ts|r|s)[a-z]*[ _-]?\d*")
_NAMED_PATIENTS = re.compile(r"(?i)(patient|pat|subject|slide|smear|donor|person)[ _-]?\d+")
_PATIENTS = re.compile(r"(?i)(patient|pat|subject|case|slide|smear|donor|sample|person|p|s|id)?[ _-]?\d+[a-z]?")


def facts_in_names(cores: Sequence[str]) -> str:
    """Return the field that all case ids start with, as '{cell_type}_' for mono_12; '' if there is none."""
    matches = [re.fullmatch(r"([A-Za-z]+\d*)([_-])(.+)", core) for core in cores]
    separators = {match and match[2] for match in matches}
    if len(separators) != 1 or None in separators:
        return ""
    names = {match[1] for match in matches}
    for field, pattern in (("cell_type", _CELL_TYPES), ("group", _NAMED_PATIENTS)):
        if 1 < len(names) < len(cores) and all(len(name) > 1 and pattern.fullmatch(name) for name in names):
            return f"{{{field}}}{separators.pop()}"
    return ""


def folder_field(texts: Sequence[str], used: set[str], questions: list[str]) -> str:
    """Return the field for a folder, by its names."""
    names = sorted(set(texts))
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

    def share(pattern: re.Pattern) -> float:
        return sum(bool(pattern.fullmatch(name)) for name in names) / len(names)

    if share(_CELL_TYPES) >= 0.6 and "cell_type" not in used:
        field = "cell_type"
    elif share(_NAMED_PATIENTS) >= 0.6 and "group" not in used:
        field = "group"
        if len(names) < 3:
            questions.append(f"There are {len(names)} groups ({shown}). Add cases of others: a split needs three.")
    elif share(_PARTS_OF_SPLIT) >= 0.6:
        field = "folder"
    else:
        field = "group" if len(names) > 2 and "group" not in used else "folder"
        if share(_PATIENTS) < 0.6 or field == "folder":
            questions.append(
                f"The meaning of the folders {shown}: write {{group}} if each is a patient or slide (three or more "
                f"are needed), {{cell_type}}, or {{folder}} if neither. {{{field}}} is proposed."
            )
    if field in used:
        return "*"
    used.add(field)
    return f"{{{field}}}"
