"""Which files are images, and their names."""

import os
import unicodedata
from collections import Counter

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError
from wbcstudy.inference.folder import segment_images
from wbcstudy.inference.inputs import SUFFIXES, find_inputs


def test_names_are_paths_and_a_suffix_only_where_it_is_needed(tmp_path):
    for name in ("a/1.png", "a/1.TIF", "a/2.jpg", "a/1_png.bmp", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert {name: path.name for name, path in find_inputs([tmp_path]).images.items()} == {
        "a/1_TIF": "1.TIF",
        "a/1_png": "1_png.bmp",
        "a/1_png_": "1.png",
        "a/2": "2.jpg",
        "b/1": "1.png",
    }
    # What is named twice is one image, and single files keep apart by their folders.
    assert list(find_inputs([tmp_path / "a/2.jpg", tmp_path / "b", tmp_path / "b/1.png"]).images) == ["a/2", "b/1"]
    assert list(find_inputs([tmp_path / "a/2.jpg"]).images) == ["2"]


def test_results_are_not_taken_as_input(slides, places):
    out = slides / "results"
    assert segment_images([slides], "cells", out).images == 3
    assert segment_images([slides], "cells", out).images == 3
    # Not for another output folder either.
    assert segment_images([slides], "cells", places / "out").images == 3


def fill(folder, *names):
    for name in names:
        path = folder / (os.fsdecode(name) if isinstance(name, bytes) else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def reasons(listing):
    return Counter(entry.reason for entry in listing.left_out)


def test_the_shipped_case_of_a_network_drive():
    folder = ROOT.parent / "shared" / "cases" / "segment-folder"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    listing = find_inputs([folder])
    assert {path.name for path in listing.images.values()} == {
        *("a.png", "b.jfif", "d.jpe", "e.dib", 'cell&co "q" <b>.png', "Patient #3, 50% (Zöe)?.png")
    }
    assert "Left out: 2 files in a format that wbcstudy does not read" in "\n".join(listing.lines())
    assert "2 folders hidden or of the system ($RECYCLE.BIN and @eaDir)" in "\n".join(listing.lines())


@pytest.mark.parametrize(
    "system",
    [
        *("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/S-1/$R.png", ".thumbnails/normal/a.png"),
        *("__MACOSX/._a.png", "deep/#recycle/a.tif", ".ipynb_checkpoints/a-checkpoint.png", "lost+found/a.bmp"),
        *(".Trash-1000/files/a.png", "System Volume Information/a.jpg", "Catalog.lrdata/a.jpg"),
    ],
)
def test_folders_of_the_system_are_passed_over_and_counted(tmp_path, system):
    fill(tmp_path, "a.png", system)
    listing = find_inputs([tmp_path])
    assert list(listing.images) == ["a"]
    (entry,) = listing.left_out
    assert entry.is_folder and entry.reason == "hidden or of the system" and not entry.problem


def test_every_file_is_an_image_or_left_out_for_a_reason(tmp_path):
    endings = [f"{number}{suffix.upper() if number % 2 else suffix}" for number, suffix in enumerate(SUFFIXES)]
    fill(tmp_path, *endings, "a.webp", "b.gif", "c.JP2", "d.heic", "slide.svs", "notes.txt", "README", "Thumbs.db")
    fill(tmp_path, "._0.bmp", ".DS_Store", "desktop.ini")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "elsewhere").symlink_to(tmp_path.parent)
    listing = find_inputs([tmp_path])
    assert len(listing.images) == len(SUFFIXES)
    assert reasons(listing) == {
        "in a format that wbcstudy does not read": 5,
        "not images by their suffix": 2,
        "hidden or of the system": 4,
        "pipes or devices": 1,
        "links to folders, which are not followed": 1,
    }
    assert len(listing.lines()) == 5
    # A file that is passed by itself always counts.
    assert list(find_inputs([tmp_path / "a.webp"]).images) == ["a"]


def test_a_folder_without_images_is_refused_with_its_files(tmp_path):
    fill(tmp_path, "a.webp", "b.gif")
    with pytest.raises(StudyError, match=r"No image in .* 2 files in a format that wbcstudy does not read \(\.webp 1"):
        find_inputs([tmp_path])


def test_a_folder_that_cannot_be_opened_is_a_problem(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "private/b.png")
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("private"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = find_inputs([tmp_path])
    assert list(listing.images) == ["a"]
    assert [(entry.reason, entry.problem) for entry in listing.left_out] == [
        ("cannot be opened (Permission denied)", True)
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "a.tif", "a_png.bmp", "A.PNG", "A_tif.png"],
        ["S1/a.png", "s1/a.png", "s1/A.jpg"],
        [unicodedata.normalize(form, "Zöe.png") for form in ("NFC", "NFD")],
        ["x.png", "x.png.d/y.png", "x.json/y.png", "X.csv/y.png"],
        ["a\nb.png", "a\\nb.png", "a\tb.png"],
        ["gnp.\u202eexe.png", "gnp.\\u202eexe.png"],
        [b"caf\xe9.png", b"caf\xe8.png", "caf\\udce9.png"],
        ["l" * 251 + ".png", "l" * 250 + ".png", "l" * 250 + ".tif", "ö" * 125 + ".png"],
        ["a.", "a", ".a"],
    ],
)
def test_names_of_results_never_collide_and_can_be_printed_and_written(tmp_path, names):
    folder = fill(tmp_path / "in", *names)
    files = [path for path in folder.rglob("*") if path.is_file()]
    listing = find_inputs(files)
    assert set(listing.images.values()) == set(files)
    written = [
        unicodedata.normalize("NFC", f"{name}{end}").casefold() for name in listing.images for end in (".png", ".json")
    ]
    parents = {unicodedata.normalize("NFC", name.rpartition("/")[0]).casefold() for name in listing.images}
    assert len(set(written)) == len(written) and not parents & set(written)
    for name in listing.images:
        assert name.isprintable() and max(len(part.encode()) for part in f"{name}_cytoplasm.png".split("/")) <= 255
