"""The widgets of the explore notebook, without a browser; test_browser.py uses them in one."""

import datetime
import io

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from tests.helpers.colour_run import COLOURS, paint, round_cells, write_colour_run
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import write_json
from wbcstudy.inference.explore import Explorer
from wbcstudy.runs.folders import StudyFolder

FIELD = round_cells(64, 200, [(30, 40), (30, 140)], radius=24)


@pytest.fixture
def studies(places):
    """Two studies; the images of one run of the first study are missing."""
    for name in ("cells", "others"):
        data = write_synthetic_dataset(places / name, cases=4, seed=len(name), size_px=64, slides=4)
        write_colour_run(places / "outputs", name, trained=64, dataset=data)
    write_colour_run(places / "outputs", "cells", seed=1, dice=0.8, dataset=places / "gone")
    folds = [{"train": ["smear0000"], "validation": ["smear0002"], "test": ["smear0003", "smear0001"]}]
    write_json(StudyFolder(places / "outputs" / "cells").split, {"dataset": "", "settings": {}, "folds": folds})
    return places


def shown(box: widgets.Widget) -> dict[str, bytes]:
    """Title -> content of the visible images."""
    rows = [row for row in [box, *box.children] if isinstance(row, widgets.Box)]
    boxes = [box for row in rows for box in row.children if isinstance(box, widgets.VBox)]
    return {
        box.children[0].value[3:-4]: box.children[1].value
        for box in boxes
        if box.layout.display != "none" and isinstance(box.children[1], widgets.Image)
    }


def choose(explorer: Explorer, name: str, content: bytes) -> None:
    now = datetime.datetime.now(datetime.UTC)
    chosen = {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": now}
    explorer.file.value = (chosen,)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_the_best_run_and_its_first_test_image_are_shown_first(studies):
    explorer = Explorer()
    assert explorer.study.options == ("cells", "others")
    assert next(value for _, value in explorer.run.options).endswith("seed0")
    assert explorer.image.options == ("smear0001", "smear0003"), "test images only"
    assert list(shown(explorer.comparison)) == ["Image", "Expert", "Prediction", "Difference"]
    assert "<table" in explorer.table.value and "resized to the input size" in explorer.message.value
    assert Explorer("others").study.value == "others"


def test_images_follow_the_image_the_opacity_and_the_study(studies):
    explorer = Explorer()
    first = shown(explorer.comparison)
    explorer.image.value = "smear0003"
    second = shown(explorer.comparison)
    assert second["Image"] != first["Image"]
    explorer.opacity.value = 1
    third = shown(explorer.comparison)
    assert third["Prediction"] != second["Prediction"] and third["Image"] == second["Image"]
    explorer.study.value = "others"
    assert len(explorer.image.options) == 4
    assert shown(explorer.comparison)["Image"] not in (first["Image"], second["Image"])


def test_an_error_is_shown_instead_of_the_previous_images(studies):
    explorer = Explorer()
    explorer.run.index = 1
    assert "To fix:" in explorer.message.value and "gone" in explorer.message.value
    assert shown(explorer.comparison) == {} and explorer.table.value == ""
    explorer.run.index = 0
    assert len(shown(explorer.comparison)) == 4


def test_an_upload_is_segmented_measured_and_replaced(studies):
    explorer = Explorer()
    choose(explorer, "mine.png", png(paint(FIELD)))
    assert list(shown(explorer.upload)) == ["Your image", "Segmented"]
    assert explorer.upload_message.value.startswith("2 cells.") and "µm²" not in explorer.upload_table.value
    explorer.pixel_um.value = 0.5
    assert "µm²" in explorer.upload_table.value
    choose(explorer, "<i>notes</i>.png", b"no image")
    assert "&lt;i&gt;notes&lt;/i&gt;.png cannot be read" in explorer.upload_message.value
    assert shown(explorer.upload) == {} and explorer.upload_table.value == ""


def test_images_of_a_large_field_are_small_enough_to_be_sent(places):
    data = write_synthetic_dataset(places / "cells", cases=1, seed=0, size_px=64, slides=1)
    write_colour_run(places / "outputs", "cells", trained=800, dataset=data)
    # Plasma with the noise of a camera, which no format compresses well.
    noise = np.random.default_rng(0).integers(-12, 13, (1500, 2000, 3))
    explorer = Explorer()
    choose(explorer, "field.png", png((COLOURS[0] + noise).astype(np.uint8)))
    assert "0 cells" in explorer.upload_message.value
    # Jupyter drops what a kernel sends beyond 3 MB in 3 seconds.
    assert 0 < sum(map(len, shown(explorer.upload).values())) < 2_500_000


def test_without_a_study_it_says_how_to_get_one(places):
    assert "make study" in Explorer().message.value
