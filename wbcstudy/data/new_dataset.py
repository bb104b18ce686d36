"""Parts of a new dataset folder with masks that we draw: names of its files, values of its masks, its dataset.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from wbcstudy.config_io import yaml_line
from wbcstudy.data.propose_files import describe_pairs
from wbcstudy.data.spec import SPEC_FILE
from wbcstudy.errors import printable
from wbcstudy.labels import LABELS

# Values of background, cytoplasm and nucleus: visible in any program.
MASK_VALUES = np.array([0, 128, 255], np.uint8)


def new_names(images: Sequence[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """Name the copies of images: folders are kept where they differ, since they may be patients."""
    if not images:
        return {}
    common = os.path.commonpath([image.parent for image in images])
    names = {image: image.relative_to(common) for image in images}
    if len({len(image.parts) for image in images}) > 1:
        names = {image: PurePosixPath("_".join(name.parts)) for image, name in names.items()}
    if len({name.with_suffix("") for name in names.values()}) < len(names):
        # a.png and a.jpg would share a mask.
        names = {image: PurePosixPath(f"{number:04d}_{image.name}") for number, image in enumerate(images, 1)}
    return names


def new_pair(name: PurePosixPath) -> tuple[PurePosixPath, PurePosixPath]:
    """Return the paths of an image with a name from `new_names`, and of its mask, below the new folder."""
    return "images" / name, "masks" / name.with_suffix(".png")


def dataset_name(out: Path) -> str:
    """Return the name of a new dataset: that of its folder, without unusual characters."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.resolve().name).strip("_.-")[:60] or "imported"


def write_dataset_yaml(
    folder: Path, name: str, pairs: Sequence[tuple[PurePosixPath, PurePosixPath]], comment: str, **more: object
) -> list[str]:
    """Write the dataset.yaml of a new folder.

    Args:
        folder: the folder.
        name: name of the dataset.
        pairs: image and mask of each case, below the folder.
        comment: first line of the file.
        more: further fields; those that are None are left out.

    Returns:
        What the names of the folders do not show, as questions; the file has them, too.
    """
    (images, masks), questions = describe_pairs(pairs)
    labels = dict(zip(LABELS, MASK_VALUES.tolist(), strict=True))
    values = {"name": name, "images": images, "masks": masks, "labels": labels, **more}
    lines = [f"# {comment}"]
    lines += [f"# CHECK: {printable(' '.join(question.split()))}" for question in questions]
    lines += [yaml_line(field, value) for field, value in values.items() if value is not None]
    (folder / SPEC_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return questions
