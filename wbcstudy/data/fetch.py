"""Getting the public images: download or take an archive, verify every file, unpack in one step.

The set is segmentation_WBC by Zheng et al. (Micron 2018). It is not part of this package: it has its own licence
(GPL-3) and its owners ask to be cited and thanked, which is printed here and written into each `dataset.yaml`, from
where reports take it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import yaml

from wbcstudy import files
from wbcstudy.data.datasets import DATASETS, FETCH_COMMAND
from wbcstudy.data.spec import SPEC_FILE
from wbcstudy.errors import StudyError

COMMIT = "fa9c01622f52bccb9aeb8a6f2628f564e377767d"
URL = f"https://github.com/zxaoyou/segmentation_WBC/archive/{COMMIT}.zip"
MANIFEST = Path(__file__).with_name("segmentation_wbc.sha256.csv")
FOLDER = "segmentation_wbc"
_OTHER_FOLDER = "set WBCSTUDY_DATA to another folder"
_BY_HAND = (
    f"Try again; or download {{url}} on another machine, copy the zip here, and run `{FETCH_COMMAND} --archive FILE`."
)

# The number of each type in the class files, from the set's README.
_CELL_TYPES = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil", "5": "basophil"}
_THANKS = {
    "segmentation_wbc_1": "Images by Jiangxi Tecom Science Corporation, China (http://en.tecom-cn.com/).",
    "segmentation_wbc_2": "Images from the CellaVision blog (http://blog.cellavision.com/).",
}
_LICENCE = "GPL-3.0 (file LICENSE of github.com/zxaoyou/segmentation_WBC)"
# Five masks of Dataset 2 hold 304 pixels of values 2-50, which half the way to 128 gives to the background.
_TOLERANCE = 64

NOTICE = "\n".join(
    [
        "segmentation_WBC: please cite, when you publish results on it,",
        f"  {DATASETS['segmentation_wbc_1'].citation}",
        "and acknowledge",
        f"  Dataset 1: {_THANKS['segmentation_wbc_1']}",
        f"  Dataset 2: {_THANKS['segmentation_wbc_2']}",
        f"Licence: {_LICENCE}.",
        "Its authors say that not all cell types were checked by experts: use those at your own risk.",
    ]
)


def fetch_segmentation_wbc(
    archive: str | Path | None = None,
    data_folder: str | Path | None = None,
    progress: bool = True,
    *,
    url: str = URL,
    manifest: Path = MANIFEST,
) -> Path:
    """Put segmentation_WBC into the data folder, whole and verified, or not at all.

    Where it is already there and every file agrees with the manifest, nothing is downloaded. A broken download is
    started again, up to four times.

    Args:
        archive: a zip that is already at hand, instead of a download.
        data_folder: where to put the folder `segmentation_wbc`; by default `files.data_folder()`.
        progress: show a progress bar, and print what the owners ask for (`NOTICE`).
        url: where to download from.
        manifest: CSV with the columns file, bytes and sha256.

    Returns:
        The folder with `Dataset 1/dataset.yaml` and `Dataset 2/dataset.yaml`.

    Raises:
        StudyError: no network, not the right zip (the first missing or different files are named), an archive that
            would write outside its folder, a folder that was changed, or one that cannot be written.
    """
    root = Path(data_folder) if data_folder else files.data_folder()
    target, sums = root / FOLDER, read_manifest(manifest)
    if target.exists():
        _check_present(target, sums)
        _describe(target)
    else:
        try:
            root.mkdir(parents=True, exist_ok=True)
            # A sibling, so that the last step is a rename on one disk.
            workshop = Path(tempfile.mkdtemp(prefix=".fetching-", dir=root))
        except OSError as error:
            raise files.cannot_write(root, error, instead=_OTHER_FOLDER) from None
        try:
            if archive is None:
                archive = workshop / "archive.zip"
                # No checksum: GitHub packs archives differently over time. The files inside are verified one by one.
                files.download(url, archive, fix=_BY_HAND.format(url=url), progress=progress)
            unpacked = workshop / FOLDER
            unpack_verified(Path(archive), unpacked, sums)
            _describe(unpacked)
            _move(unpacked, target, sums)
        except OSError as error:
            raise files.cannot_write(root, error, instead=_OTHER_FOLDER) from None
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    if progress:
        print(NOTICE)
    return target


def read_manifest(path: Path) -> dict[str, tuple[int, str]]:
    """File name -> (bytes, SHA-256)."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return {row["file"]: (int(row["bytes"]), row["sha256"]) for row in csv.DictReader(file)}


def unpack_verified(archive: Path, folder: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    """Unpack the files of a manifest from a zip, each verified before it is written; others are left out.

    No more bytes of a file are unpacked than the manifest says it has, so a zip bomb stays small.

    Args:
        archive: zip file; what lies above the manifest's files in it (a top folder of any name) does not matter.
        folder: to be made.
        sums: the manifest.

    Raises:
        StudyError: not a zip, an unsafe member (absolute, '..', drive letter, link), or files that are missing or
            differ.
    """
    try:
        content = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a zip file, or was cut off"
        raise _wrong_zip(archive, f"cannot be opened: {reason}") from None
    with content:
        members = {}
        for member in content.infolist():
            _check_member(archive, member)
            members[member.filename] = member
        top = _top_folder(members, sums)
        missing = [name for name in sums if top + name not in members]
        if missing:
            raise _wrong_zip(archive, f"lacks {_first(missing)}")
        different = []
        for name, (size, digest) in sums.items():
            data = _read_member(archive, content, members[top + name], size)
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                different.append(name)
                continue
            if not different:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        if different:
            raise _wrong_zip(archive, f"holds other files than the published ones: {_first(different)}")


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    # zipfile turns '\' into '/' only on Windows; orig_filename is what the archive says.
    for name in (member.filename, member.orig_filename):
        name = name.replace("\\", "/")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise _unsafe(archive, member.orig_filename, "would be written outside its folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _unsafe(archive, member.filename, "is a link")


def _top_folder(members: Mapping[str, zipfile.ZipInfo], sums: Mapping) -> str:
    """What stands before the manifest's names in this archive: '' or 'segmentation_WBC-master/'."""
    probe = next(iter(sums))
    tops = [name.removesuffix(probe) for name in members if name == probe or name.endswith("/" + probe)]
    return min(tops, key=len, default="")


def _read_member(archive: Path, content: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> bytes | None:
    """A member's bytes, or None where their number is not the expected one."""
    if member.file_size != size:
        return None
    try:
        with content.open(member) as file:
            data = file.read(size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise _wrong_zip(archive, f"is damaged at {member.filename}: {error}") from None
    return data if len(data) == size else None


def _describe(folder: Path) -> None:
    """Write the two `dataset.yaml` and `cases.csv` where they are absent."""
    for number, (name, thanks) in enumerate(_THANKS.items(), start=1):
        place = folder / f"Dataset {number}"
        if not (place / "cases.csv").is_file():
            with files.atomic_write(place / "cases.csv") as path:
                path.write_text(_cases_csv(folder / f"Class Labels of Dataset {number}.csv"), encoding="utf-8")
        if not (place / SPEC_FILE).is_file():
            fields = {
                "name": name,
                "title": DATASETS[name].title,
                "images": "{case}.bmp",
                "masks": "{case}.png",
                "labels": {"background": 0, "cytoplasm": 128, "nucleus": 255},
                "tolerance": _TOLERANCE,
                "cases": "cases.csv",
                "citation": DATASETS[name].citation,
                "acknowledgement": thanks,
                "licence": _LICENCE,
            }
            text = "# Written by `wbcstudy data fetch`, from the README and the class files of the set.\n"
            with files.atomic_write(place / SPEC_FILE) as path:
                path.write_text(text + yaml.safe_dump(fields, sort_keys=False, width=1000), encoding="utf-8")


def _cases_csv(class_file: Path) -> str:
    """`cases.csv` from a class file, whose rows are an image's number and its type's (1-5)."""
    rows = list(csv.reader(class_file.read_text(encoding="utf-8-sig").splitlines()))[1:]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("case_id", "cell_type", "group"))
    writer.writerows((f"{int(row[0]):03d}", _CELL_TYPES[row[1].strip()], "") for row in rows if row)
    return out.getvalue()


def _check_present(target: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    """Raise unless every file of the manifest is in the folder as published."""
    wrong = [
        name
        for name, (size, digest) in sums.items()
        if not (path := target / name).is_file()
        or path.stat().st_size != size
        or hashlib.sha256(path.read_bytes()).hexdigest() != digest
    ]
    if wrong:
        raise StudyError(
            f"{target} is there, but is not as published: {_first(wrong)} missing or changed.",
            expected="the files as published",
            fix=f"Move or remove {target} and fetch again; keep images of your own in a folder of their own.",
        )


def _move(unpacked: Path, target: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Somebody else fetched it meanwhile.
        _check_present(target, sums)


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)} files)" if len(names) > 5 else "")


def _wrong_zip(archive: Path, what: str) -> StudyError:
    return StudyError(
        f"{archive} {what}.",
        expected=f"the archive of github.com/zxaoyou/segmentation_WBC at commit {COMMIT[:7]}",
        fix=f"Download {URL} again; nothing was unpacked.",
    )


def _unsafe(archive: Path, name: str, why: str) -> StudyError:
    return StudyError(
        f"{archive} is not safe to unpack: {name!r} {why}.",
        expected="an archive whose files stay in its own folder",
        fix=f"Do not use this file; download {URL} again. Nothing was unpacked.",
    )
