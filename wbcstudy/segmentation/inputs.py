"""Which images are meant by the files and folders that were named, and what each is called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wbcstudy.errors import StudyError
from wbcstudy.storage import expand_home, is_there

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")


def name_images(inputs: Sequence[str | Path], out: Path | None = None) -> dict[str, Path]:
    """The images that are meant, each under a name of its own.

    A name is the file's path below the folder that holds all inputs, without its suffix, so that `a/1.png` and
    `b/1.png` stay apart and keep their names from call to call. Where two differ in their suffix only, it is part of
    both names: `1_png`, `1_tif`.

    Args:
        inputs: files and folders. Of a folder, what is hidden and what is no image by its suffix is left out.
        out: the folder of results, whose pictures are no inputs.

    Returns:
        Name -> file, sorted by name.

    Raises:
        StudyError: an input does not exist, or there is no image.
    """
    places = [expand_home(place).resolve() for place in inputs]
    for place, given in zip(places, inputs, strict=True):
        if not is_there(place):
            raise StudyError(f"There is no {given}.", expected="an image, or a folder of images", fix="Check the path.")
    found = sorted({path for place in places for path in _images_in(place, out.resolve() if out else None)})
    if not found:
        raise StudyError(
            f"No image in {', '.join(map(str, inputs)) or 'nothing'}.",
            expected=f"files that end in {', '.join(IMAGE_SUFFIXES)}",
            fix="Name the folder that holds the images.",
        )
    top = Path(os.path.commonpath([place if place.is_dir() else place.parent for place in places]))
    stems: dict[str, list[Path]] = {}
    for path in found:
        stems.setdefault(path.relative_to(top).with_suffix("").as_posix(), []).append(path)
    names: dict[str, Path] = {}
    # Names that needed no suffix come first, so that one that gets a suffix makes way for them.
    for stem, paths in sorted(stems.items(), key=lambda item: (len(item[1]), item[0])):
        for path in paths:
            name = stem if len(paths) == 1 else f"{stem}_{path.suffix.lstrip('.')}"
            while name in names:
                name += "_"
            names[name] = path
    return dict(sorted(names.items()))


def _images_in(place: Path, out: Path | None) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and Path(folder, name) != out)
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
