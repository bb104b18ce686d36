"""List the licences of all pinned packages, and check that they are compatible with MIT.

    make licences

Writes docs/licences.csv: name, version and licence of each package in requirements.lock that is installed here, from
its metadata (read by pip-licenses) or, if these have no licence, from its licence file. Exits with 1 if a package has a
licence other than permissive ones and the weak copyleft of MPL and LGPL: it would apply to wbcstudy as well if both are
distributed together.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

from wbcstudy.files import atomic_write, project_root

# Licences that are compatible with MIT, as metadata spell them.
PERMISSIVE = (
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|Unlicense|0BSD|HPND|MPL|Mozilla Public License|"
    r"LGPL|Lesser General Public License|Public Domain"
)
# Phrases that identify a licence file.
TEXTS = {
    "MIT": r"MIT License|Permission is hereby granted, free of charge",
    "Apache-2.0": r"Apache License",
    "BSD-3-Clause": r"BSD 3-Clause|Neither the name",
    "BSD-2-Clause": r"Redistribution and use in source and binary forms",
}


def read_names(lock: Path) -> set[str]:
    """Return the normalised names of the packages in a lock file."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return {normalise(line.split("==")[0]) for line in lines if re.match(r"[A-Za-z0-9]", line)}


def normalise(name: str) -> str:
    """Normalise a package name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_licences() -> list[dict[str, str]]:
    """Return name, version and licence of every installed package, sorted by name."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=csv", "--with-system"]
    done = subprocess.run(
        [*command, "--with-license-file", "--no-license-path"], capture_output=True, text=True, check=True
    )
    rows = []
    csv.field_size_limit(10**7)  # Some licence files list the licences of dozens of bundled libraries.
    for row in csv.DictReader(io.StringIO(done.stdout)):
        licence = row["License"]
        if licence == "UNKNOWN":
            licence = licence_of_text(row["LicenseText"]) or licence_of_text(licence_file(row["Name"])) or licence
        # Some metadata hold the whole licence text.
        rows.append({"name": row["Name"], "version": row["Version"], "licence": licence.splitlines()[0][:80]})
    return sorted(rows, key=lambda row: row["name"].lower())


def licence_of_text(text: str) -> str:
    """Identify a licence by its text; "" if it is unknown."""
    return next((name for name, phrases in TEXTS.items() if re.search(phrases, text)), "")


def licence_file(name: str) -> str:
    """Return the text of a package's licence files."""
    from importlib.metadata import distribution

    files = [path for path in distribution(name).files or () if re.match(r"(LICEN[CS]E|COPYING)", path.name)]
    return "\n".join(path.read_text() for path in files if path.suffix in ("", ".txt", ".md"))


def is_compatible(licence: str) -> bool:
    """Return whether one alternative has only permissive or weak copyleft licences."""
    alternatives = re.split(r"\bOR\b|;", licence)
    return any(
        all(re.search(PERMISSIVE, part, re.IGNORECASE) for part in re.split(r"\bAND\b", alternative))
        for alternative in alternatives
    )


def main() -> None:
    """Write the list and check it."""
    pinned = read_names(project_root() / "requirements.lock")
    rows = [row for row in read_licences() if normalise(row["name"]) in pinned]
    with (
        atomic_write(project_root() / "docs" / "licences.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, ["name", "version", "licence"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    refused = [row for row in rows if not is_compatible(row["licence"])]
    print(f"docs/licences.csv: {len(rows)} packages, {len(refused)} with a licence that is not compatible with MIT")
    for row in refused:
        print(f"  {row['name']} {row['version']}: {row['licence']}")
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
