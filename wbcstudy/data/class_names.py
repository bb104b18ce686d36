"""Names of classes in annotation programs, and the tables that give them values."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path

from wbcstudy.files import read_bytes

_MOST_CLASSES = 256
# Words for classes, in the order in which they are tried: a red blood cell is not a cell to segment.
_WORDS = {
    "background": r"back|\bbg\b|\brbc|\bred\b|eryth|platelet|thromb|other|artefact|artifact",
    "nucleus": r"nucle|nuc\b|kern|noyau",
    "cytoplasm": r"cyto|plasm|cell|wbc|leu[ck]o|white|baso|eosin|lymph|mono|neutro",
}


def guess_label(name: str) -> str | None:
    """Return the label that a class name means; None for an unknown name. A whole cell counts as cytoplasm."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z]+", " ", name).lower()
    return next((label for label, pattern in _WORDS.items() if re.search(pattern, plain)), None)


def read_class_table(folders: Iterable[Path]) -> dict[int | str, str]:
    """Return value -> class name from the table of an annotation program."""
    readers = {
        "labelmap.txt": _read_labelmap,  # CVAT
        "dataset.json": _read_nnunet,
        "_classes.csv": _read_roboflow,
        "class_names.txt": _read_labelme,
    }
    for folder in folders:
        for name, reader in readers.items():
            try:
                text = read_bytes(folder / name, 1_000_000).decode("utf-8-sig")
                if classes := reader(text):
                    return classes
            except (OSError, ValueError, TypeError, AttributeError, RecursionError):
                # A file of another program with the same name.
                continue
    return {}


def _read_labelmap(text: str) -> dict[int | str, str]:
    rows = [line.split(":") for line in text.splitlines() if line and not line.startswith("#")]
    return {"#" + bytes(map(int, row[1].split(","))).hex(): row[0] for row in rows if len(row) > 1}


def _read_nnunet(text: str) -> dict[int | str, str]:
    labels = json.loads(text)["labels"].items()
    return {
        int(value): str(name) for name, value in (pair if str(pair[1]).isdigit() else pair[::-1] for pair in labels)
    }


def _read_labelme(text: str) -> dict[int | str, str]:
    """Return the classes of labelme2voc: one per line from 0, after a line for ignored pixels."""
    names = [line.strip() for line in text.splitlines() if line.strip() not in ("", "__ignore__")]
    return dict(enumerate(names)) if len(names) < _MOST_CLASSES else {}


def _read_roboflow(text: str) -> dict[int | str, str]:
    rows = list(csv.reader(text.splitlines(), skipinitialspace=True))
    return {int(row[0]): row[1].strip() for row in rows[1:] if len(row) > 1}
