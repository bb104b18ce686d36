"""Which images are meant by the files and folders that were named, and what each is called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wbcstudy.errors import StudyError, is_unprintable, printable
from wbcstudy.files import expand_home, path_exists, read_json
from wbcstudy.inference.results import Results

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def top_folder(inputs: Sequence[str | Path]) -> Path:
    """The folder that holds all inputs, from which names count."""
    places = [expand_home(place).resolve() for place in inputs]
    return Path(os.path.commonpath([place if place.is_dir() else place.parent for place in places]))


def name_images(inputs: Sequence[str | Path], out: Path | None = None) -> dict[str, Path]:
    """The images that are meant, each under a name of its own.

    A name is the file's path below `top_folder`, without its suffix, so that `a/1.png` and `b/1.png` stay apart and
    keep their names from call to call. Where two differ in their suffix only, it is part of both names: `1_png`,
    `1_tif`. Characters that cannot be printed, and bytes that are no text, are spelt out, as they are in messages.

    Args:
        inputs: files and folders. Of a folder, what is hidden, what is no image by its suffix, and folders of earlier
            results are left out.
        out: the folder of results, whose pictures are no inputs.

    Returns:
        Name -> file, sorted by name.

    Raises:
        StudyError: an input does not exist, or there is no image.
    """
    places = [expand_home(place).resolve() for place in inputs]
    for place, given in zip(places, inputs, strict=True):
        if not path_exists(place):
            raise StudyError(f"There is no {given}.", expected="an image, or a folder of images", fix="Check the path.")
    found = sorted({path for place in places for path in _images_in(place, out.resolve() if out else None)})
    if not found:
        raise StudyError(
            f"No image in {', '.join(map(str, inputs)) or 'nothing'}.",
            expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}",
            fix="Name the folder that holds the images.",
        )
    top = top_folder(inputs)
    stems: dict[str, list[Path]] = {}
    for path in found:
        stem = path.relative_to(top).with_suffix("").as_posix()
        # Tables, records and pages are UTF-8, which has no room for such bytes.
        stems.setdefault(printable(stem) if any(map(is_unprintable, stem)) else stem, []).append(path)
    names: dict[str, Path] = {}
    # Names that needed no suffix come first, so that one that gets a suffix makes way for them.
    for stem, paths in sorted(stems.items(), key=lambda item: (len(item[1]), item[0])):
        for path in paths:
            name = stem if len(paths) == 1 else f"{stem}_{printable(path.suffix.lstrip('.'))}"
            while name in names:
                name += "_"
            names[name] = path
    return dict(sorted(names.items()))


def _images_in(place: Path, out: Path | None) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for folder, folders, files in os.walk(place):
        below = (name for name in folders if not name.startswith(".") and Path(folder, name) != out)
        folders[:] = sorted(name for name in below if not _holds_results(Path(folder, name)))
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def _holds_results(folder: Path) -> bool:
    """Whether an earlier call wrote this folder: its pictures are overlays and masks, no new images."""
    try:
        return "model_sha256" in (read_json(Results(folder).settings) or {})
    except OSError:
        return False
