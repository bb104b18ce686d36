"""Find the images among the files and folders that were passed, and name their results.

A file in a folder counts as an image if its name ends in one of `SUFFIXES`, upper or lower case. Everything else is
left out with its reason; a folder that is left out counts once. A file that is passed by itself always counts.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wbcstudy.errors import StudyError, printable_name
from wbcstudy.files import expand_home, path_exists, read_json
from wbcstudy.inference.results import FILE_SUFFIXES, Results
from wbcstudy.wording import count, join_words

SUFFIXES = (".bmp", ".dib", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
# In a folder of `annotate-next`: the network and the settings.
DRAFTS_FILE = "annotate_next.json"
# Images of other formats, of slide scanners and of microscopes.
_OTHER_FORMATS = (
    ".apng .avif .bif .cr2 .cr3 .czi .dcm .dicom .dng .eps .exr .gif .heic .heif .hdr .ico .ims .j2k .jp2 .jpf .jpx "
    ".jxl .jxr .lif .lsm .mrxs .nd2 .ndpi .nef .oib .oif .pbm .pcx .pdf .pgm .ppm .psd .qptiff .raw .scn .svg .svs "
    ".tga .vsi .wdp .webp .xcf .zvi"
).split()
_SYSTEM_FOLDERS = {
    *("$recycle.bin", "#recycle", "@recycle", "recycler", "recycled", "system volume information", "lost+found"),
    *("@eadir", "@tmp", "#snapshot", "~snapshot", "@recently-snapshot", "@sharebin", "__macosx", "__pycache__"),
    *("network trash folder", "temporary items", "thumbnails.noindex"),
}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "pspbrwse.jbf", "picasa.ini"}
# Of a name, in bytes: file systems allow 255, and the names of results are longer by a suffix.
_LONGEST_NAME = 230


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not segmented.

    Args:
        path: the file or folder.
        reason: why, in words that describe a group of files.
        is_folder: whether it is a folder.
        problem: whether images may be lost: the folder cannot be read.
    """

    path: Path
    reason: str
    is_folder: bool = False
    problem: bool = False


@dataclass
class Inputs:
    """The images to segment, and what is left out.

    Args:
        images: name of the results -> file, sorted by name.
        left_out: all other files and folders.
    """

    images: dict[str, Path] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Describe what is left out, one line per reason."""
        groups: dict[str, list[LeftOut]] = {}
        for entry in self.left_out:
            groups.setdefault(entry.reason, []).append(entry)
        return [_describe(reason, groups[reason]) for reason in sorted(groups)]


def input_folder(inputs: Sequence[str | Path]) -> Path:
    """Return the folder that holds all inputs; results are named by the paths below it."""
    paths = [expand_home(path).resolve() for path in inputs]
    return Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))


def find_inputs(inputs: Sequence[str | Path], out: Path | None = None) -> Inputs:
    """Find the images among the inputs, name them, and list what is left out.

    Args:
        inputs: image files, and folders, which are searched at any depth. Links to folders are not followed.
        out: the output folder, which is skipped.

    Raises:
        StudyError: an input does not exist, or there is no image.
    """
    paths = [expand_home(path).resolve() for path in inputs]
    for path, given in zip(paths, inputs, strict=True):
        if not path_exists(path):
            raise StudyError(f"There is no {given}.", expected="an image, or a folder of images", fix="Check the path.")
    images: set[Path] = set()
    left_out: dict[Path, LeftOut] = {}
    for path in paths:
        if path.is_dir():
            _search(path, out.resolve() if out else None, images, left_out)
        else:
            images.add(path)
    listing = Inputs(left_out=[left_out[path] for path in sorted(left_out.keys() - images)])
    if not images:
        listed = " ".join(listing.lines())
        raise StudyError(
            f"No image in {', '.join(map(str, inputs)) or 'nothing'}." + (f" {listed}" if listed else ""),
            expected=f"files that end in {', '.join(SUFFIXES)}",
            fix="Pass the folder that holds the images.",
        )
    listing.images.update(_name(sorted(images), input_folder(inputs)))
    return listing


def _search(top: Path, out: Path | None, images: set[Path], left_out: dict[Path, LeftOut]) -> None:
    def leave_out(path: Path, reason: str, **facts: bool) -> None:
        left_out[path] = LeftOut(path, reason, **facts)

    def cannot_read(error: OSError) -> None:
        reason = f"cannot be opened ({error.strerror})"
        leave_out(Path(error.filename), reason, is_folder=True, problem=True)

    for parent, folders, files in os.walk(top, onerror=cannot_read):
        for name in sorted(folders):
            path = Path(parent, name)
            if path != out and (reason := _folder_reason(path)):
                leave_out(path, reason, is_folder=True)
        folders[:] = sorted(name for name in folders if Path(parent, name) not in left_out.keys() | {out})
        for name in files:
            path = Path(parent, name)
            if reason := _file_reason(path):
                leave_out(path, reason)
            else:
                images.add(path)


def _folder_reason(path: Path) -> str:
    name = path.name.lower()
    if name.startswith(".") or name in _SYSTEM_FOLDERS or name.endswith(".lrdata"):
        return "hidden or of the system"
    if path.is_symlink():
        return "links to folders, which are not followed"
    return "results of wbcstudy" if _holds_results(path) else ""


def _file_reason(path: Path) -> str:
    name = path.name.lower()
    if name.startswith(".") or name in _SYSTEM_FILES:
        return "hidden or of the system"
    if name.endswith(tuple(_OTHER_FORMATS)):
        return "in a format that wbcstudy does not read"
    if not name.endswith(SUFFIXES):
        return "not images by their suffix"
    try:
        # A link without its file counts as an image, which then fails by name.
        return "" if path.is_file() or path.is_symlink() else "pipes or devices"
    except OSError:
        return ""


def _describe(reason: str, entries: Sequence[LeftOut]) -> str:
    """Return one line: how many, why, which endings or names, and what to do."""
    folders = [entry.path for entry in entries if entry.is_folder]
    files = [entry.path for entry in entries if not entry.is_folder]
    numbers = [count(len(paths), noun) for paths, noun in ((files, "file"), (folders, "folder")) if paths]
    by_name = reason.startswith("hidden")
    endings = Counter(path.name if by_name else path.suffix.lower() or path.name for path in files)
    examples = [f"{printable_name(ending)} {number}" for ending, number in endings.most_common()]
    names = sorted({printable_name(path.name) for path in folders})
    advice = "; save them as PNG or TIFF" if reason.startswith("in a format") else ""
    listed = join_words([*examples, *names], most=6)
    return f"Left out: {join_words(numbers)} {reason} ({listed}){advice}."


def _name(images: Sequence[Path], top: Path) -> dict[str, Path]:
    """Give each image a unique name.

    A name is the file's path below `top`, without its suffix: `a/1.png` and `b/1.png` remain distinct and keep their
    names from one command to the next. Where two files differ by suffix only, the suffix is part of both names:
    `1_png`, `1_tif`. Control and direction characters and bytes that are not text are escaped, and long parts are
    shortened. Names that some disks take for the same (upper and lower case, composed and decomposed letters), or that
    are also the name of a folder of results, get a `_` at the end.
    """
    stems: dict[str, list[Path]] = {}
    for path in images:
        parts = [_shorten(printable_name(part)) for part in path.relative_to(top).with_suffix("").parts]
        stems.setdefault("/".join(parts), []).append(path)
    # The file labels/x.png cannot be where the folder labels/x.png is.
    folders = {_disk_name(str(folder)) for stem in stems for folder in Path(stem).parents}
    names: dict[str, Path] = {}
    taken: set[str] = set()
    # Names without a suffix first: they stay as they are if a name with a suffix would equal one of them.
    for stem, same_stem in sorted(stems.items(), key=lambda item: (len(item[1]), item[0])):
        for path in same_stem:
            name = stem if len(same_stem) == 1 else f"{stem}_{printable_name(path.suffix.lstrip('.'))}"
            while _disk_name(name) in taken or not folders.isdisjoint(_disk_name(name + s) for s in FILE_SUFFIXES):
                name += "_"
            taken.add(_disk_name(name))
            names[name] = path
    return dict(sorted(names.items()))


def _shorten(part: str) -> str:
    """Return a name that leaves room for suffixes: a long one ends in a digest, so that it stays unique."""
    encoded = part.encode()
    if len(encoded) <= _LONGEST_NAME:
        return part
    return f"{encoded[: _LONGEST_NAME - 20].decode(errors='ignore')}_{hashlib.sha256(encoded).hexdigest()[:12]}"


def _disk_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _holds_results(folder: Path) -> bool:
    """Whether `segment` or `annotate-next` wrote this folder: its images are overlays, masks and copies."""
    try:
        files = (Results(folder).settings, folder / DRAFTS_FILE)
        return any("model_sha256" in (read_json(file) or {}) for file in files)
    except OSError:
        return False
