"""Read hundreds of generated files, and count those that are equal to what was written, refused, or different.

    python -m tests.formats [FOLDER]

It exits with 1 if a file is read as something else, or is refused although it should be read.
tests/test_formats.py reads a part of them.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.formats.compare import compare
from tests.formats.files import write_files


def main(folder: Path) -> int:
    """Write and read all files in a folder, print the counts, and return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    counts, wrong = Counter(), []
    for written in write_files(folder):
        outcome, detail = compare(written)
        counts[outcome] += 1
        if (outcome == "refused") != written.refused or outcome == "different":
            wrong.append(f"{written.path.name}: {outcome} {detail}")
    print("\n".join(wrong))
    print(f"{counts.total()} files: " + ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())))
    return int(bool(wrong))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
