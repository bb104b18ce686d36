"""The images that the app lists: test images of a run with their scores, and uploaded files."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.images import read_image
from wbcstudy.data.records import read_split
from wbcstudy.errors import StudyError
from wbcstudy.inference.results import Results
from wbcstudy.labels import REGIONS
from wbcstudy.runs.results import Run

load_dataset = functools.lru_cache(maxsize=4)(load_dataset)
ORDERS = ("worst Dice first", "best Dice first", "cell type", "name")


@dataclass(frozen=True)
class ListedImage:
    """An image in the app's list.

    Args:
        name: case id, or name of the file.
        file: name of the image file with its suffix.
        cell_type: leukocyte type, '' if unknown.
        dice: region -> Dice in the study; empty if it was not scored.
        content: content of an uploaded file; None for an image of the dataset.
    """

    name: str
    file: str
    cell_type: str = ""
    dice: dict[str, float] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the regions, as in the report; NaN if unknown."""
        return float(pd.Series(self.dice, dtype=float).mean())

    @property
    def label(self) -> str:
        """The text of the list."""
        if self.content is not None:
            return self.name
        dice = "not scored" if np.isnan(self.mean_dice) else f"Dice {self.mean_dice:.3f}"
        return " · ".join(filter(None, (dice, self.cell_type, self.name)))

    @property
    def stem(self) -> str:
        """A name for files: letters, digits, dots and dashes only; uploads have a folder of their own."""
        uploaded = self.content is not None
        name = re.sub(r"[^\w.-]+", "_", PurePath(self.name).stem if uploaded else self.name).lstrip(".")[:150]
        return f"uploaded/{name or 'image'}" if uploaded else name or "image"

    def read(self, dataset: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Read the image, uint8 (H, W, 3), and the expert's mask, labels (H, W), None for an uploaded file.

        Args:
            dataset: dataset of the run, for images that are not uploaded.
        """
        if self.content is not None:
            return read_upload(self.name, self.content), None
        cases = load_dataset(dataset)
        return read_case(cases, cases.case(self.name))


def list_test_images(run: Run) -> list[ListedImage]:
    """List the test images of a run, which its network has not seen in training."""
    cases = load_dataset(run.config.dataset).cases
    splits, _ = read_split(run.folder.study.split) or ((), {})
    test = set(splits[run.config.fold].test if run.config.fold < len(splits) else [case.case_id for case in cases])
    scores = _read_dice(run)
    return [
        ListedImage(case.case_id, case.image_path.name, case.cell_type or "", scores.get(case.case_id, {}))
        for case in cases
        if case.case_id in test
    ]


def sort_images(images: Iterable[ListedImage], order: str) -> list[ListedImage]:
    """Sort images by one of `ORDERS`; images without a score or a type come last."""
    images = sorted(images, key=lambda image: image.name)
    if order == "cell type":
        return sorted(images, key=lambda image: (not image.cell_type, image.cell_type))
    if order == "name":
        return images
    sign = -1 if order.startswith("best") else 1
    return sorted(images, key=lambda image: (np.isnan(image.mean_dice), sign * np.nan_to_num(image.mean_dice)))


def read_upload(name: str, content: bytes | memoryview) -> np.ndarray:
    """Decode an uploaded file.

    Raises:
        StudyError: a file that is no image.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The format follows from the content; the name may be anything.
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_image(path)
        except StudyError as error:
            message = error.message.replace(str(path), name)
            raise StudyError(message, expected=error.expected, fix="Choose another file.") from None


def write_unless_different(folder: Path, name: str, write: Callable[[Results, str], list[Path]]) -> list[Path]:
    """Write files under a name, or under name-2, name-3, ... if there are other files of this name.

    Args:
        folder: the folder of all files.
        name: the name.
        write: writes files under a name and returns their paths.

    Raises:
        OSError: the disk refuses the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
        for candidate in (name, *(f"{name}-{number}" for number in range(2, 10_000))):
            new = write(Results(Path(part)), candidate)
            paths = [folder / path.relative_to(part) for path in new]
            pairs = list(zip(paths, new, strict=True))
            if all(not old.exists() or old.read_bytes() == path.read_bytes() for old, path in pairs):
                for old, path in pairs:
                    old.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(old)
                return paths
    raise OSError(f"{folder} has too many files of the name {name}")


def _read_dice(run: Run) -> dict[str, dict[str, float]]:
    """Return case id -> region -> Dice; empty if the run has no scores."""
    if not run.folder.scores.is_file():
        return {}
    scores = run.scores[run.scores["region"].isin(list(REGIONS))]
    return {
        case_id: dict(zip(part["region"], part["dice"], strict=True)) for case_id, part in scores.groupby("case_id")
    }
