"""List the licences of everything that is installed with wbcstudy, and refuse what does not go with its own (MIT).

    make licences

Writes docs/licences.csv: name, version, licence of each distribution in requirements.lock that is installed here, as
its own metadata says (pip-licenses reads them; where they say nothing, the first lines of its licence file). Exits with
1 if one asks more than permissive licences and the weak copyleft of MPL and LGPL do: those would bind whoever passes
wbcstudy on together with them.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

from wbcstudy.files import atomic_write, project_root

# Words of licences that go with MIT, as metadata spell them.
PERMISSIVE = (
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Zlib|CC0|Unlicense|0BSD|HPND|MPL|Mozilla Public License|"
    r"LGPL|Lesser General Public License|Public Domain"
)
# First words of licence files.
TEXTS = {
    "MIT": r"MIT License|Permission is hereby granted, free of charge",
    "Apache-2.0": r"Apache License",
    "BSD-3-Clause": r"BSD 3-Clause|Neither the name",
    "BSD-2-Clause": r"Redistribution and use in source and binary forms",
}


def read_names(lock: Path) -> set[str]:
    """Normalised names of the distributions in a lock file."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return {normal(line.split("==")[0]) for line in lines if re.match(r"[A-Za-z0-9]", line)}


def normal(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_licences() -> list[dict[str, str]]:
    """Name, version and licence of every installed distribution, by name."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=csv", "--with-system"]
    done = subprocess.run(
        [*command, "--with-license-file", "--no-license-path"], capture_output=True, text=True, check=True
    )
    rows = []
    for row in csv.DictReader(io.StringIO(done.stdout)):
        licence = row["License"]
        if licence == "UNKNOWN":
            licence = licence_of_text(row["LicenseText"]) or licence_of_text(licence_file(row["Name"])) or licence
        # Some put the whole text there.
        rows.append({"name": row["Name"], "version": row["Version"], "licence": licence.splitlines()[0][:80]})
    return sorted(rows, key=lambda row: row["name"].lower())


def licence_of_text(text: str) -> str:
    """What a licence file is, by its words; '' if none is known."""
    return next((name for name, words in TEXTS.items() if re.search(words, text)), "")


def licence_file(name: str) -> str:
    """The text of a distribution's licence files."""
    from importlib.metadata import distribution

    files = [path for path in distribution(name).files or () if re.match(r"(LICEN[CS]E|COPYING)", path.name)]
    return "\n".join(path.read_text() for path in files if path.suffix in ("", ".txt", ".md"))


def is_compatible(licence: str) -> bool:
    """Whether one of the alternatives, or all that apply together, are permissive or weak copyleft."""
    alternatives = re.split(r"\bOR\b|;", licence)
    return any(
        all(re.search(PERMISSIVE, part, re.IGNORECASE) for part in re.split(r"\bAND\b", one)) for one in alternatives
    )


def main() -> None:
    """Write the list, and judge."""
    wanted = read_names(project_root() / "requirements.lock")
    rows = [row for row in read_licences() if normal(row["name"]) in wanted]
    with (
        atomic_write(project_root() / "docs" / "licences.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, ["name", "version", "licence"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    refused = [row for row in rows if not is_compatible(row["licence"])]
    print(f"docs/licences.csv: {len(rows)} distributions, {len(refused)} with a licence that does not go with MIT")
    for row in refused:
        print(f"  {row['name']} {row['version']}: {row['licence']}")
    sys.exit(bool(refused))


if __name__ == "__main__":
    main()
