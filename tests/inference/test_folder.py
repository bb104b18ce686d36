import json
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.errors import StudyError
from wbcstudy.inference import folder, gallery
from wbcstudy.inference.folder import Settings, segment_images
from wbcstudy.inference.inputs import name_images
from wbcstudy.inference.results import IMAGE_COLUMNS

MASK = round_cells(40, 64, [(15, 15), (24, 45)])


@pytest.fixture
def slides(places):
    """Three good images, two of them with one name, and a run to segment them with."""
    write_colour_run(places / "outputs", "cells")
    for name in ("slide1/1.png", "slide2/1.png", "slide2/deep/2.tif"):
        path = places / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(paint(MASK)).save(path)
    (places / "images" / "notes.txt").write_text("no image")
    (places / "images" / ".hidden.png").write_text("no image")
    return places / "images"


def files_below(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_every_image_gets_its_files_and_rows_under_a_unique_name(slides, places):
    done = segment_images([slides], "cells", places / "out", Settings(probabilities=True))
    assert (done.images, done.kept, done.cells, done.failed) == (3, 0, 6, {})
    for name in ("slide1/1", "slide2/1", "slide2/deep/2"):
        labels = Image.open(places / "out" / "labels" / f"{name}.png")
        assert labels.mode == "P" and (np.asarray(labels) == MASK).all()
        instances = Image.open(places / "out" / "instances" / f"{name}.png")
        assert instances.mode.startswith("I;16") and np.asarray(instances).max() == 2
        assert Image.open(places / "out" / "overlays" / f"{name}.png").size == (64, 40)
        nucleus = np.asarray(Image.open(places / "out" / "probabilities" / f"{name}_nucleus.png"))
        assert (
            nucleus.dtype == np.uint16 and (nucleus[MASK == 2] > 40_000).all() and (nucleus[MASK == 0] < 20_000).all()
        )
    cells = pd.read_csv(places / "out" / "cells.csv")
    assert cells.groupby("image").size().to_dict() == {"slide1/1": 2, "slide2/1": 2, "slide2/deep/2": 2}
    images = pd.read_csv(places / "out" / "images.csv")
    assert tuple(images.columns) == IMAGE_COLUMNS and (images["status"] == "complete").all()


def test_names_are_paths_and_a_suffix_only_where_it_is_needed(tmp_path):
    for name in ("a/1.png", "a/1.TIF", "a/2.jpg", "a/1_png.bmp", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert {name: path.name for name, path in name_images([tmp_path]).items()} == {
        "a/1_TIF": "1.TIF",
        "a/1_png": "1_png.bmp",
        "a/1_png_": "1.png",
        "a/2": "2.jpg",
        "b/1": "1.png",
    }
    # What is named twice is one image, and single files keep apart by their folders.
    assert list(name_images([tmp_path / "a/2.jpg", tmp_path / "b", tmp_path / "b/1.png"])) == ["a/2", "b/1"]
    assert list(name_images([tmp_path / "a/2.jpg"])) == ["2"]


def test_nothing_is_done_twice_and_an_interrupted_command_resumes(slides, places, monkeypatch):
    done, real = [], folder.segment_image

    def segment(image, network, **settings):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(image.shape)
        return real(image, network, **settings)

    monkeypatch.setattr(folder, "segment_image", segment)
    with pytest.raises(KeyboardInterrupt):
        segment_images([slides], "cells", places / "out")
    assert not list((places / "out").rglob(".part-*"))
    monkeypatch.setattr(folder, "segment_image", real)
    assert segment_images([slides], "cells", places / "out").kept == 2
    before = files_below(places / "out")
    assert segment_images([slides], "cells", places / "out").kept == 3
    assert files_below(places / "out") == before

    segment_images([slides], "cells", places / "straight")
    straight = files_below(places / "straight")
    assert straight.keys() == before.keys()
    assert all(straight[name] == before[name] for name in straight if not name.endswith(".html"))


def test_a_changed_or_incomplete_image_is_done_again(slides, places):
    segment_images([slides], "cells", places / "out")
    os.utime(slides / "slide1" / "1.png", (1, 1))
    (places / "out" / "overlays" / "slide2" / "1.png").unlink()
    assert segment_images([slides], "cells", places / "out").kept == 1


def test_results_are_not_taken_as_input(slides, places):
    out = slides / "results"
    assert segment_images([slides], "cells", out).images == 3
    assert segment_images([slides], "cells", out).images == 3
    # Not for another output folder either.
    assert segment_images([slides], "cells", places / "out").images == 3


def test_other_settings_and_folders_without_results_are_refused(slides, places):
    segment_images([slides], "cells", places / "out")
    with pytest.raises(StudyError, match=r"pixel_um was None, is now 0\.1"):
        segment_images([slides], "cells", places / "out", Settings(pixel_um=0.1))
    with pytest.raises(StudyError, match="holds no results"):
        segment_images([slides], "cells", slides)
    assert sorted(path.name for path in slides.iterdir()) == [".hidden.png", "notes.txt", "slide1", "slide2"]


def test_images_of_another_folder_are_refused_and_replace_nothing(slides, places, command):
    segment_images([slides / "slide1"], "cells", places / "out")
    before = files_below(places / "out")
    code, _, errors = command("segment", slides / "slide2", "--model", "cells", "--out", places / "out")
    assert code == 2 and f"images in {slides / 'slide1'}, not {slides / 'slide2'}" in errors
    assert files_below(places / "out") == before
    # Another image of the same folder is segmented.
    Image.fromarray(paint(MASK)).save(slides / "slide1" / "2.png")
    assert segment_images([slides / "slide1"], "cells", places / "out").kept == 1


def test_results_of_an_earlier_version_are_kept_but_not_for_another_file_of_the_same_name(slides, places):
    segment_images([slides / "slide1"], "cells", places / "out")
    settings = json.loads((places / "out" / "segment.json").read_text())
    del settings["images"]
    (places / "out" / "segment.json").write_text(json.dumps(settings))
    assert segment_images([slides / "slide1"], "cells", places / "out").kept == 1
    before = files_below(places / "out")
    with pytest.raises(StudyError, match=r"holds results of .*slide1/1\.png, whose name '1' is also"):
        segment_images([slides / "slide2" / "1.png"], "cells", places / "out")
    assert files_below(places / "out") == before


def test_a_name_that_is_not_text_is_escaped(slides, places, command):
    for name in (b"caf\xe9.png", b"caf\xe8.png"):
        os.link(slides / "slide1" / "1.png", os.fsencode(slides) + b"/" + name)
    code, output, _ = command("segment", slides, "--model", "cells", "--out", places / "out")
    assert code == 0 and "10 cells in 5 images" in output
    images = pd.read_csv(places / "out" / "images.csv")
    assert "caf\\udce9" in set(images["image"])
    assert (places / "out" / "labels" / "caf\\udce9.png").is_file()
    assert command("segment", slides, "--model", "cells", "--out", places / "out")[1].count("(5 already done)") == 1


def deep_png(values):
    """A PNG with 16 bits per channel, which Pillow cannot write."""
    height, width, _ = values.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_note_points_out_nearly_black_images(slides, places):
    (slides / "slide1" / "1.png").write_bytes(deep_png(paint(MASK).astype(np.uint16) << 6))
    # Reported again when the image is already done.
    for _ in range(2):
        done = segment_images([slides], "cells", places / "out")
        assert any("Nearly black: 1 image (slide1/1: the brightest value is 58" in note for note in done.notes)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(side):
    """A PNG that claims to be side x side px, without the pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_bad_images_are_reported_and_skipped(slides, places, command):
    good = (slides / "slide1" / "1.png").read_bytes()
    bad = {
        "text.png": (b"no image", "not a BMP, PNG, JPEG or TIFF file"),
        "empty.jpg": (b"", "cannot be read"),
        "truncated.png": (good[: len(good) // 2], "cannot be read"),
        "huge.png": (huge_png(20_000), "more pixels than can be decoded safely"),
        "web.bmp": (b"RIFF\x24\0\0\0WEBPVP8 ", "cannot be read"),
    }
    for name, (content, _) in bad.items():
        (slides / name).write_bytes(content)
    Image.fromarray(np.full((1, 1, 3), 230, np.uint8)).save(slides / "dot.png")
    code, output, errors = command("segment", slides, "--model", "cells", "--out", places / "out")
    assert code == 1
    assert "6 cells in 4 images" in output and "5 images could not be segmented" in output
    for name, (_, why) in bad.items():
        stem = name.split(".")[0]
        assert f"Skipped {stem}: " in errors and why in errors
        assert json.loads((places / "out" / "records" / f"{stem}.json").read_text())["status"] == "failed"
    assert "Traceback" not in output + errors
    images = pd.read_csv(places / "out" / "images.csv").set_index("image")
    assert images["status"].value_counts().to_dict() == {"failed": 5, "complete": 4}
    assert images.loc["dot", "cells"] == 0

    for name in bad:
        (slides / name).unlink()
    code, output, _ = command("segment", slides, "--model", "cells", "--out", places / "out")
    assert code == 0 and "(4 already done)" in output


def test_invalid_arguments_are_refused(slides, places, command):
    for arguments, message in (
        ((slides, "--model", "absent"), "no run or study 'absent'"),
        ((places / "absent", "--model", "cells"), "There is no"),
        ((slides / "slide1", "--model", "cells", "--way", "tile"), "Unknown way"),
        ((slides / "slide1", "--model", "cells", "--scale", "0"), "scale = 0"),
    ):
        code, _, errors = command("segment", *arguments, "--out", places / "out")
        assert code == 2 and message in errors and "To fix:" in errors
        assert not (places / "out").exists()
    (places / "empty").mkdir()
    assert "No image in" in command("segment", places / "empty", "--model", "cells", "--out", places / "out")[2]


def test_a_full_disk_stops_the_command_and_leaves_no_partial_files(slides, places, monkeypatch):
    real = folder.write_json

    def full(path, values):
        if "records" in path.parts:
            raise OSError(28, "No space left on device")
        real(path, values)

    monkeypatch.setattr(folder, "write_json", full)
    with pytest.raises(StudyError, match="No space left"):
        segment_images([slides], "cells", places / "out")
    monkeypatch.setattr(folder, "write_json", real)
    assert segment_images([slides], "cells", places / "out").kept == 0


def test_a_note_points_out_cells_of_an_unexpected_size(places):
    write_colour_run(places / "outputs", "cells", cell_px=40)
    (places / "images").mkdir()
    Image.fromarray(paint(MASK)).save(places / "images" / "1.png")
    done = segment_images([places / "images"], "cells", places / "out")
    assert any("Check the scale" in note and "--scale 0.4" in note for note in done.notes)
    assert not any("--pixel-um only" in note for note in done.notes)


def test_a_note_points_out_a_pixel_size_that_sets_no_scale(slides, places):
    done = segment_images([slides], "cells", places / "out", Settings(pixel_um=0.1))
    assert any("--pixel-um only adds areas in µm²" in note for note in done.notes)


def test_a_long_gallery_has_pages(slides, places, monkeypatch):
    monkeypatch.setattr(gallery, "_IMAGES_PER_PAGE", 2)
    done = segment_images([slides], "cells", places / "out")
    first, second = done.gallery.read_text(), (places / "out" / "gallery-2.html").read_text()
    assert first.count("<li>") == 2 and second.count("<li>") == 1
    assert 'href="gallery-2.html"' in first and 'href="gallery.html"' in second
    shown = segment_images([slides / "slide1", slides / "slide2" / "1.png"], "cells", places / "out")
    assert not (places / "out" / "gallery-2.html").exists()
    assert any("Not listed: 1 image of earlier commands" in note for note in shown.notes)


def test_the_gallery_loads_nothing_and_escapes_names(slides, places):
    odd = slides / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(paint(MASK)).save(odd)
    page = segment_images([slides], "cells", places / "out").gallery.read_text()
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert "Content-Security-Policy" in page and "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('src="data:image/jpeg;base64,') == 4
