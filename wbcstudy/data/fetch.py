"""Download the public dataset segmentation_WBC, verify every file and unpack it in one step.

The dataset by Zheng et al. (Micron 2018) is not part of this package. Its licence is GPL-3, and its owners ask for a
citation and an acknowledgement. Both are printed here and written to `dataset.yaml`, from which reports read them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import yaml

from wbcstudy import files
from wbcstudy.data.datasets import DATASETS, FETCH_COMMAND
from wbcstudy.data.download import MOST_DOWNLOADED_BYTES, download
from wbcstudy.data.spec import SPEC_FILE
from wbcstudy.errors import StudyError
from wbcstudy.wording import join_words

_COMMIT = "fa9c01622f52bccb9aeb8a6f2628f564e377767d"
_URL = f"https://github.com/zxaoyou/segmentation_WBC/archive/{_COMMIT}.zip"
_MANIFEST = Path(__file__).with_name("segmentation_wbc.sha256.csv")
_FOLDER = "segmentation_wbc"
_BY_HAND = (
    f"Try again, or download {{url}} on another machine, copy the file here and run `{FETCH_COMMAND} --archive FILE`."
)

# Numbers of the cell types in the class files, from the dataset's README.
_CELL_TYPES = {"1": "neutrophil", "2": "lymphocyte", "3": "monocyte", "4": "eosinophil", "5": "basophil"}
_ACKNOWLEDGEMENTS = {
    "segmentation_wbc_1": "Images by Jiangxi Tecom Science Corporation, China (http://en.tecom-cn.com/).",
    "segmentation_wbc_2": "Images from the CellaVision blog (http://blog.cellavision.com/).",
}
_LICENCE = "GPL-3.0 (file LICENSE of github.com/zxaoyou/segmentation_WBC)"
# Five masks of Dataset 2 have 304 pixels of values 2-50; half the distance to 128 makes them background.
_TOLERANCE = 64

_NOTICE = f"""\
segmentation_WBC: if you publish results, please cite
  {DATASETS["segmentation_wbc_1"].citation}
and acknowledge
  Dataset 1: {_ACKNOWLEDGEMENTS["segmentation_wbc_1"]}
  Dataset 2: {_ACKNOWLEDGEMENTS["segmentation_wbc_2"]}
Licence: {_LICENCE}.
According to its authors, not all cell types were checked by experts: use them at your own risk."""


def fetch_segmentation_wbc(
    archive: str | Path | None = None,
    data_folder: str | Path | None = None,
    progress: bool = True,
    *,
    url: str = _URL,
    manifest: Path = _MANIFEST,
) -> Path:
    """Download segmentation_WBC to the data folder. It is written completely and verified, or not at all.

    If the folder exists and every file matches the manifest, nothing is downloaded.

    Args:
        archive: a zip file to use instead of a download.
        data_folder: parent of the folder `segmentation_wbc`; `files.data_folder()` by default.
        progress: show a progress bar, and print citation, acknowledgement and licence.
        url: address of the zip file.
        manifest: CSV with the columns file, bytes and sha256.

    Returns:
        The folder with `Dataset 1/dataset.yaml` and `Dataset 2/dataset.yaml`.

    Raises:
        StudyError: there is no network, the zip is not the published one (the first missing or different files are
            named), the existing folder was changed, or the folder cannot be written.
    """
    root = Path(data_folder) if data_folder else files.data_folder()
    target, sums = root / _FOLDER, _read_manifest(manifest)
    if target.exists():
        _check_present(target, sums)
        _describe(target)
    else:
        try:
            # In the same folder, so that the last step is a rename on one disk.
            with files.temporary_folder(root) as temporary:
                if archive is None:
                    archive = temporary / "archive.zip"
                    # Without a checksum, since GitHub repacks archives. The files inside are verified one by one.
                    download(url, archive, fix=_BY_HAND.format(url=url), progress=progress)
                unpacked = temporary / _FOLDER
                _unpack_verified(Path(archive), unpacked, sums)
                _describe(unpacked)
                _move(unpacked, target, sums)
        except OSError as error:
            raise files.cannot_write(root, error, instead="set WBCSTUDY_DATA to another folder") from None
    if progress:
        print(_NOTICE)
    return target


def _read_manifest(path: Path) -> dict[str, tuple[int, str]]:
    """Read a manifest: file name -> (bytes, SHA-256)."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return {row["file"]: (int(row["bytes"]), row["sha256"]) for row in csv.DictReader(file)}


def _unpack_verified(archive: Path, folder: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    """Unpack the files of a manifest from a zip file; each is verified before it is written, others are ignored.

    Of each file at most the bytes given in the manifest are unpacked. The files may be in a top folder of any name.

    Raises:
        StudyError: not a zip file, an unsafe member (absolute path, '..', link), or files are missing or different.
    """
    try:
        files.check_file(archive, MOST_DOWNLOADED_BYTES)
        content = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not a zip file, or is truncated"
        raise _wrong_zip(archive, f"cannot be opened: {reason}") from None
    with content:
        members = {_check_member(archive, member).filename: member for member in content.infolist()}
        top = _top_folder(members, sums)
        missing = [name for name in sums if top + name not in members]
        if missing:
            raise _wrong_zip(archive, f"lacks {join_words(missing, most=5)}")
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
            raise _wrong_zip(archive, f"differs from the published archive in {join_words(different, most=5)}")


def _check_member(archive: Path, member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    # On Windows only, zipfile replaces backslashes; orig_filename is the name in the archive.
    for name in (member.filename, member.orig_filename):
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
            raise _wrong_zip(archive, f"is not safe to unpack: {name!r} would be written outside its folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _wrong_zip(archive, f"is not safe to unpack: {member.filename!r} is a link")
    return member


def _top_folder(members: Mapping[str, zipfile.ZipInfo], sums: Mapping) -> str:
    """Return the folder of the manifest's files in this archive: '' or 'segmentation_WBC-master/'."""
    probe = next(iter(sums))
    tops = [name.removesuffix(probe) for name in members if name == probe or name.endswith("/" + probe)]
    return min(tops, key=len, default="")


def _read_member(archive: Path, content: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> bytes | None:
    """Return the bytes of a member, or None if their number differs from `size`."""
    if member.file_size != size:
        return None
    try:
        with content.open(member) as file:
            data = file.read(size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise _wrong_zip(archive, f"is damaged at {member.filename}: {error}") from None
    return data if len(data) == size else None


def _describe(folder: Path) -> None:
    """Write `dataset.yaml` and `cases.csv` of both datasets, if they are missing."""
    for number, (name, acknowledgement) in enumerate(_ACKNOWLEDGEMENTS.items(), start=1):
        dataset = folder / f"Dataset {number}"
        if not (dataset / "cases.csv").is_file():
            with files.atomic_write(dataset / "cases.csv") as path:
                path.write_text(_cases_csv(folder / f"Class Labels of Dataset {number}.csv"), encoding="utf-8")
        if not (dataset / SPEC_FILE).is_file():
            fields = {
                "name": name,
                "title": DATASETS[name].title,
                "images": "{case}.bmp",
                "masks": "{case}.png",
                "labels": {"background": 0, "cytoplasm": 128, "nucleus": 255},
                "tolerance": _TOLERANCE,
                "cases": "cases.csv",
                "citation": DATASETS[name].citation,
                "acknowledgement": acknowledgement,
                "licence": _LICENCE,
            }
            text = "# Written by `wbcstudy data fetch`, from the README and the class files of the dataset.\n"
            with files.atomic_write(dataset / SPEC_FILE) as path:
                path.write_text(text + yaml.safe_dump(fields, sort_keys=False, width=1000), encoding="utf-8")


def _cases_csv(class_file: Path) -> str:
    """Return `cases.csv` from a class file with the columns image number and cell type (1-5)."""
    rows = list(csv.reader(class_file.read_text(encoding="utf-8-sig").splitlines()))[1:]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("case_id", "cell_type", "group"))
    writer.writerows((f"{int(row[0]):03d}", _CELL_TYPES[row[1].strip()], "") for row in rows if row)
    return out.getvalue()


def _check_present(target: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    """Raise `StudyError` unless every file of the manifest is in the folder, as published."""
    wrong = [
        name
        for name, (size, digest) in sums.items()
        if not (path := target / name).is_file() or path.stat().st_size != size or files.sha256_sum(path) != digest
    ]
    if wrong:
        raise StudyError(
            f"{target} exists, but files are missing or changed: {join_words(wrong, most=5)}.",
            expected="the published files",
            fix=f"Move or remove {target} and run the command again. Keep your own images in another folder.",
        )


def _move(unpacked: Path, target: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        # Another process downloaded it meanwhile.
        _check_present(target, sums)


def _wrong_zip(archive: Path, problem: str) -> StudyError:
    return StudyError(
        f"{archive} {problem}.",
        expected=f"the archive of github.com/zxaoyou/segmentation_WBC at commit {_COMMIT[:7]}",
        fix=f"Download {_URL} again. Nothing was unpacked.",
    )
