"""Write the manifest of a dataset's archive: name, size in bytes and SHA-256 of every file.

    python scripts/make_manifest.py segmentation_WBC-master.zip wbcstudy/data/segmentation_wbc.sha256.csv

GitHub repacks an archive for every download, so the hash of the archive itself changes. Run this once on a copy that
you trust, and commit the manifest.
"""

import csv
import hashlib
import sys
import zipfile
from pathlib import Path


def write_manifest(archive: Path, manifest: Path) -> int:
    """Write the manifest of an archive with one top folder; its name is left out.

    Args:
        archive: the zip file.
        manifest: the CSV file to write, sorted by file name.

    Returns:
        The number of files.
    """
    rows = []
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if not member.is_dir():
                data = content.read(member)
                rows.append((member.filename.split("/", 1)[1], len(data), hashlib.sha256(data).hexdigest()))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "bytes", "sha256"), *sorted(rows)])
    return len(rows)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(write_manifest(Path(sys.argv[1]), Path(sys.argv[2])), "files")
