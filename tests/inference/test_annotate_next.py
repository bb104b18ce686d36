"""`wbcstudy annotate-next` lists images, writes drafts, and overwrites nothing."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.helpers.colour_run import write_colour_run
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.inference.folder import Settings

SIDE = 96


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """One run for all tests: its network is loaded once."""
    return write_colour_run(tmp_path_factory.mktemp("outputs"), "cells", size=SIDE, trained=SIDE)


@pytest.fixture
def slides(places):
    """Six drawn smears, of which one is a brighter copy of another, and files that are no images."""
    folder = places / "slides"
    folder.mkdir()
    for seed in range(5):
        Image.fromarray(make_smear(seed, SIDE, SIDE).image).save(folder / f"{seed}.png")
    copy = np.clip(make_smear(0, SIDE, SIDE).image * 1.03, 0, 255).astype(np.uint8)
    Image.fromarray(copy).save(folder / "copy_of_0.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_command_lists_images_and_writes_drafts(command, slides, places, model):
    out = places / "next"
    code, printed, _ = command("annotate-next", slides, "--model", model, "--count", "3", "--out", out)
    assert code == 0, printed
    table = rows(out / "next.csv")
    assert [row["rank"] for row in table] == ["1", "2", "3"]
    assert not {"0", "copy_of_0"} <= {row["image"] for row in table}
    for row in table:
        assert 0 < float(row["uncertainty"]) <= 1 and (out / row["mask"]).is_file()
        for file in ("images/{}.png", "geojson/{}.geojson", "roi/{}.zip"):
            assert (out / file.format(row["image"])).is_file()
    assert table[0]["distance"] == "" and float(table[1]["distance"]) > 0
    # Every other image is listed with the reason.
    status = {row["image"]: row["status"] for row in rows(out / "images.csv")}
    assert sorted(status.values()) == ["chosen"] * 3 + ["left out", "near duplicate", *["not chosen"] * 2]
    assert f"wbcstudy data import qupath {out} {out}_corrected" in printed
    assert "wbcstudy data check" in printed and "start_from: starter" in printed and "1 file" in printed
    assert json.loads((out / "annotate_next.json").read_text())["model"].startswith("cells/")
    code, printed, _ = command("data", "check", out)
    assert code == 0, printed


def test_corrected_masks_are_never_overwritten(command, slides, places, model):
    out = places / "next"
    (out / "masks").mkdir(parents=True)
    (out / "masks" / "0.png").write_bytes(b"corrected")
    code, _, complaint = command("annotate-next", slides, "--model", model, "--out", out)
    assert code == 2 and "not empty" in complaint and "--done" in complaint
    assert [path.name for path in out.rglob("*")] == ["masks", "0.png"]


def test_annotated_images_and_images_like_them_are_left_out(command, slides, places, model):
    first, second = places / "first", slides / "second"
    assert command("annotate-next", slides, "--model", model, "--count", "2", "--out", first)[0] == 0
    code, printed, _ = command("annotate-next", slides, "--model", model, "--done", first, "--out", second)
    assert code == 0, printed
    before, after = ({row["image"] for row in rows(out / "next.csv")} for out in (first, second))
    assert not before & after and len(before | after) == 5 and "Annotated already: 2 images" in printed
    assert all(row["distance"] for row in rows(second / "next.csv"))
    # Nothing is left: its own drafts, inside of the folder, are not taken for images.
    third = command("annotate-next", slides, "--model", model, "--done", second, "--count", "9", "--out", places / "3")
    assert third[0] == 0 and {row["image"] for row in rows(places / "3" / "next.csv")} == before


def test_masks_of_annotated_images_are_no_images(command, slides, places, model):
    out = places / "next"
    assert command("annotate-next", slides, "--model", model, "--count", "2", "--out", out)[0] == 0
    (out / "annotate_next.json").unlink()
    code, _, complaint = command("annotate-next", out, "--model", model, "--done", out, "--out", places / "again")
    assert code == 2 and "No image is left to annotate: 2 images annotated" in complaint
    assert not (places / "again").exists()


def test_an_unreadable_image_costs_only_itself(command, slides, places, model):
    (slides / "broken.png").write_bytes(b"no image")
    code, printed, complaint = command("annotate-next", slides, "--model", model, "--out", places / "next")
    assert code == 1 and "1 image could not be segmented" in printed and "Skipped broken" in complaint
    assert [row["status"] for row in rows(places / "next" / "images.csv") if row["image"] == "broken"] == ["failed"]


def test_the_same_command_gives_the_same_list(slides, places, model):
    from wbcstudy.inference.annotate_next import annotate_next

    lists = [
        annotate_next([slides], model, places / name, Settings(stain="none"), 4, show=lambda line: None).images
        for name in ("a", "b")
    ]
    assert lists[0] == lists[1] and len(lists[0]) == 4
    assert (places / "a" / "next.csv").read_bytes() == (places / "b" / "next.csv").read_bytes()


def test_a_wrong_count_is_refused(command, slides, model):
    code, _, complaint = command("annotate-next", slides, "--model", model, "--count", "0")
    assert code == 2 and "1 or more" in complaint
