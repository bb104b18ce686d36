import json
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from tests.helpers.colour_run import TWO_CELLS, paint, write_colour_run
from wbcstudy.errors import StudyError
from wbcstudy.inference import folder
from wbcstudy.inference.folder import Settings, segment_images
from wbcstudy.inference.results import IMAGE_COLUMNS


def files_below(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_every_image_gets_its_files_and_rows_under_a_unique_name(slides, places):
    done = segment_images([slides], "cells", places / "out", Settings(probabilities=True))
    assert (done.images, done.kept, done.cells, done.failed) == (3, 0, 6, {})
    for name in ("slide1/1", "slide2/1", "slide2/deep/2"):
        labels = Image.open(places / "out" / "labels" / f"{name}.png")
        assert labels.mode == "L" and (np.asarray(labels) == TWO_CELLS).all()
        instances = Image.open(places / "out" / "instances" / f"{name}.png")
        assert instances.mode.startswith("I;16") and np.asarray(instances).max() == 2
        assert Image.open(places / "out" / "overlays" / f"{name}.png").size == (64, 40)
        nucleus = np.asarray(Image.open(places / "out" / "probabilities" / f"{name}_nucleus.png"))
        assert (
            nucleus.dtype == np.uint16
            and (nucleus[TWO_CELLS == 2] > 40_000).all()
            and (nucleus[TWO_CELLS == 0] < 20_000).all()
        )
    cells = pd.read_csv(places / "out" / "cells.csv")
    assert cells["file"].tolist() == ["slide1/1.png"] * 2 + ["slide2/1.png"] * 2 + ["slide2/deep/2.tif"] * 2
    assert cells["cell"].is_unique and cells["cell"][1] == "slide1/1.png cell 2"
    assert cells.groupby("image").size().to_dict() == {"slide1/1": 2, "slide2/1": 2, "slide2/deep/2": 2}
    images = pd.read_csv(places / "out" / "images.csv")
    assert tuple(images.columns) == IMAGE_COLUMNS
    assert images["status"].tolist() == ["complete"] * 3 + ["left out"] * 2
    assert dict(zip(images["file"].str.rpartition("/")[2], images["error"], strict=True)) | {
        "1.png": 0,
        "2.tif": 0,
    } == {
        **{"1.png": 0, "2.tif": 0, ".hidden.png": "hidden or of the system"},
        "notes.txt": "not images by their suffix",
    }
    assert list(done.lines())[-1] == "6 cells in 3 images, 2 left out (listed in images.csv)."


def test_files_for_other_programs_are_written_on_request(slides, places, command):
    arguments = ["segment", slides, "--model", "cells", "--out", places / "out", "--pixel-um", "0.1"]
    code, _, errors = command(*arguments, "--also", "tiff,geojson,roi")
    assert code == 0, errors
    for name in ("slide1/1", "slide2/deep/2"):
        cells = tifffile.imread(places / "out" / "label_tiff" / f"{name}_cells.tif")
        assert (
            cells == np.asarray(Image.open(places / "out" / "instances" / f"{name}.png"))
        ).all() and cells.max() == 2
        assert (tifffile.imread(places / "out" / "label_tiff" / f"{name}_regions.tif") == TWO_CELLS).all()
        features = json.loads((places / "out" / "geojson" / f"{name}.geojson").read_text())["features"]
        assert len(features) == 4 and (places / "out" / "roi" / f"{name}.zip").is_file()
    (places / "out" / "roi" / "slide1" / "1.zip").unlink()
    assert command(*arguments, "--also", "roi,geojson,tiff")[0] == 0
    assert (places / "out" / "roi" / "slide1" / "1.zip").is_file()
    code, _, errors = command(*arguments, "--also", "roi")
    assert code == 2 and "also was" in errors
    code, _, errors = command(*arguments, "--also", "svg")
    assert code == 2 and "there is no 'svg'" in errors


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
    Image.fromarray(paint(TWO_CELLS)).save(slides / "slide1" / "2.png")
    assert segment_images([slides / "slide1"], "cells", places / "out").kept == 1


def deep_png(values):
    """A PNG with 16 bits per channel, which Pillow cannot write."""
    height, width, _ = values.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_note_points_out_nearly_black_images(slides, places):
    (slides / "slide1" / "1.png").write_bytes(deep_png(paint(TWO_CELLS).astype(np.uint16) << 6))
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
    assert images["status"].value_counts().to_dict() == {"failed": 5, "complete": 4, "left out": 2}
    assert "6 cells in 4 images, 5 failed, 2 left out" in output.splitlines()[-1]
    assert images.loc["dot", "cells"] == 0

    for name in bad:
        (slides / name).unlink()
    code, output, _ = command("segment", slides, "--model", "cells", "--out", places / "out")
    assert code == 0 and "(4 already done)" in output


def test_one_bad_name_file_or_permission_costs_that_image_only(slides, places, monkeypatch):
    good = (slides / "slide1" / "1.png").read_bytes()
    for name in ("l" * 251 + ".png", "two\nlines.png", "gnp.\u202eexe.png", "decoder.png", "private.png", "narrow.png"):
        (slides / name).write_bytes(good)
    (slides / "gone.png").symlink_to(places / "nowhere.png")
    os.link(slides / "slide1" / "1.png", os.fsencode(slides) + b"/caf\xe9.png")
    real, real_write = folder.read_image, folder.write_json

    def read(path):
        if path.name == "decoder.png":
            raise RuntimeError("the decoder\nfailed")
        if path.name == "private.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    def write(path, values):
        if path.stem == "narrow":
            raise OSError(36, "File name too long")
        real_write(path, values)

    monkeypatch.setattr(folder, "read_image", read)
    monkeypatch.setattr(folder, "write_json", write)
    done = segment_images([slides], "cells", places / "out")
    reasons = {name: failure.reason for name, failure in done.failed.items()}
    assert reasons.keys() == {"decoder", "gone", "narrow", "private"}
    assert reasons["decoder"] == "Unexpected RuntimeError: the decoder\\nfailed"
    assert "Permission denied" in reasons["private"] and "File name too long" in reasons["narrow"]
    assert done.cells == 14 and not done.ok
    lines = list(done.lines())
    assert "14 cells in 7 images, 4 failed, 2 left out" in lines[-1]
    assert any(line.startswith("To fix (1 image): Rename the file") for line in lines)
    images = pd.read_csv(places / "out" / "images.csv")
    assert images["status"].value_counts().to_dict() == {"complete": 7, "failed": 4, "left out": 2}
    assert set(pd.read_csv(places / "out" / "cells.csv")["image"]) == set(
        images.loc[images["status"] == "complete", "image"]
    )


def test_invalid_arguments_are_refused(slides, places, command):
    for arguments, message in (
        ((slides, "--model", "absent"), "no run or study 'absent'"),
        ((places / "absent", "--model", "cells"), "There is no"),
        ((r"C:\Users\Anna Maria\images", "--model", "cells"), "'/mnt/c/Users/Anna Maria/images'"),
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
    Image.fromarray(paint(TWO_CELLS)).save(places / "images" / "1.png")
    done = segment_images([places / "images"], "cells", places / "out", Settings(scale=1))
    assert any("Check the scale" in note and "--scale 0.4" in note for note in done.notes)
    assert not any("--pixel-um only" in note for note in done.notes)
    found = segment_images([places / "images"], "cells", places / "found")
    assert any("scale 0.45 (found automatically" in note for note in found.notes)
    assert not any("Check the scale" in note for note in found.notes)


def test_a_note_points_out_a_pixel_size_that_sets_no_scale(slides, places):
    done = segment_images([slides], "cells", places / "out", Settings(pixel_um=0.1))
    assert any("--pixel-um only adds areas in µm²" in note for note in done.notes)
