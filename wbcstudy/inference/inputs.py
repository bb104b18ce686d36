"""Find the images among the files and folders that were passed, and name their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wbcstudy.errors import StudyError, is_unprintable, printable
from wbcstudy.files import expand_home, path_exists, read_json
from wbcstudy.inference.results import Results

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def input_folder(inputs: Sequence[str | Path]) -> Path:
    """Return the folder that holds all inputs; results are named by the paths below it."""
    paths = [expand_home(path).resolve() for path in inputs]
    return Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))


def name_images(inputs: Sequence[str | Path], out: Path | None = None) -> dict[str, Path]:
    """Find the images among the inputs and give each a unique name.

    A name is the file's path below `input_folder`, without its suffix: `a/1.png` and `b/1.png` remain distinct and keep
    their names from one command to the next. Where two files differ by suffix only, the suffix is part of both names:
    `1_png`, `1_tif`. Unprintable characters and bytes that are not text are escaped.

    Args:
        inputs: image files and folders. In folders, hidden files, files without an image suffix, and output folders of
            earlier commands are skipped.
        out: the output folder, which is skipped too.

    Returns:
        Name -> file, sorted by name.

    Raises:
        StudyError: an input does not exist, or there is no image.
    """
    paths = [expand_home(path).resolve() for path in inputs]
    for path, given in zip(paths, inputs, strict=True):
        if not path_exists(path):
            raise StudyError(f"There is no {given}.", expected="an image, or a folder of images", fix="Check the path.")
    skipped = out.resolve() if out else None
    images = sorted({image for path in paths for image in _find_images(path, skipped)})
    if not images:
        raise StudyError(
            f"No image in {', '.join(map(str, inputs)) or 'nothing'}.",
            expected=f"files that end in {', '.join(_SUFFIXES)}",
            fix="Pass the folder that holds the images.",
        )
    top = input_folder(inputs)
    stems: dict[str, list[Path]] = {}
    for path in images:
        stem = path.relative_to(top).with_suffix("").as_posix()
        # Tables, records and pages are UTF-8, which cannot hold such bytes.
        stems.setdefault(printable(stem) if any(map(is_unprintable, stem)) else stem, []).append(path)
    names: dict[str, Path] = {}
    # Names without a suffix first: they stay as they are if a name with a suffix would equal one of them.
    for stem, same_stem in sorted(stems.items(), key=lambda item: (len(item[1]), item[0])):
        for path in same_stem:
            name = stem if len(same_stem) == 1 else f"{stem}_{printable(path.suffix.lstrip('.'))}"
            while name in names:
                name += "_"
            names[name] = path
    return dict(sorted(names.items()))


def _find_images(path: Path, skipped: Path | None) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, files in os.walk(path):
        below = (name for name in folders if not name.startswith(".") and Path(folder, name) != skipped)
        folders[:] = sorted(name for name in below if not _holds_results(Path(folder, name)))
        for name in files:
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _holds_results(folder: Path) -> bool:
    """Whether an earlier command wrote this folder: its images are overlays and masks."""
    try:
        return "model_sha256" in (read_json(Results(folder).settings) or {})
    except OSError:
        return False
