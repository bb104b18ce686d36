"""The widgets of the explore notebook, without a browser; test_browser.py uses them in one."""

import datetime
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.colour_run import COLOURS, paint, round_cells, write_colour_run
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import write_json
from wbcstudy.inference.explore import TEST_IMAGES, YOUR_IMAGES, Explorer
from wbcstudy.inference.folder import Settings, segment_images
from wbcstudy.inference.results import Results
from wbcstudy.runs.folders import StudyFolder

FIELD = round_cells(64, 200, [(30, 40), (30, 140)], radius=24)


@pytest.fixture
def studies(places):
    """Two studies; the images of one run of the first study are missing."""
    for name in ("cells", "others"):
        data = write_synthetic_dataset(places / name, cases=4, seed=len(name), size_px=64, slides=4)
        scores = {"smear0001": 0.9, "smear0003": 0.4} if name == "cells" else None
        write_colour_run(places / "outputs", name, trained=64, dataset=data, scores=scores)
    write_colour_run(places / "outputs", "cells", seed=1, dice=0.8, dataset=places / "gone")
    folds = [{"train": ["smear0000"], "validation": ["smear0002"], "test": ["smear0003", "smear0001"]}]
    write_json(StudyFolder(places / "outputs" / "cells").split, {"dataset": "", "settings": {}, "folds": folds})
    return places


def shown(explorer: Explorer) -> dict[str, str]:
    """Title -> HTML of the visible views."""
    boxes = [box for box in explorer.app.children[2].children if box.layout.display != "none"]
    return {box.children[0].value[3:-4]: box.children[1].value for box in boxes}


def choose(explorer: Explorer, **files: bytes) -> None:
    explorer.source.value = YOUR_IMAGES
    now = datetime.datetime.now(datetime.UTC)
    facts = {"type": "", "last_modified": now}
    explorer.file.value = tuple(
        {"name": name.replace("__", "."), "size": len(content), "content": memoryview(content), **facts}
        for name, content in files.items()
    )


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def saved_files(explorer: Explorer) -> list[Path]:
    return [Path(path) for path in re.findall(r"<code>(.*?)</code>", explorer.saved.value)]


def test_test_images_are_listed_with_their_dice_the_worst_first(studies):
    explorer = Explorer()
    assert explorer.study.options == ("cells", "others")
    assert next(value for _, value in explorer.run.options).endswith("seed0")
    # Test images only.
    assert [value for _, value in explorer.image.options] == ["smear0003", "smear0001"]
    assert explorer.image.options[0][0].startswith("Dice 0.400 · ")
    assert explorer.image.value == "smear0003"
    assert list(shown(explorer)) == ["Image", "Expert", "Prediction", "Difference"]
    assert "resized to the input size" in explorer.message.value and "smear0003" in explorer.message.value
    assert "The study scored 0.400" in explorer.message.value, "the shown prediction has another Dice"
    explorer.order.value = "name"
    assert explorer.image.value == "smear0001"
    assert Explorer("others").study.value == "others"


def test_previous_and_next_stop_at_the_ends_of_the_list(studies):
    explorer = Explorer("others")
    names = [value for _, value in explorer.image.options]
    seen = [explorer.image.value]
    for _ in range(5):
        explorer.next.click()
        seen.append(explorer.image.value)
    assert seen == [*names, names[-1], names[-1]]
    explorer.previous.click()
    assert explorer.image.value == names[-2]


def test_views_follow_the_image_the_tint_the_zoom_and_the_study(studies):
    explorer = Explorer()
    first = shown(explorer)
    explorer.next.click()
    second = shown(explorer)
    assert second["Image"] != first["Image"]
    explorer.opacity.value = 1
    third = shown(explorer)
    assert third["Prediction"] != second["Prediction"] and third["Image"] == second["Image"]
    explorer.view.value = "Expert"
    explorer.zoom.value = 400
    assert list(shown(explorer)) == ["Expert"]
    assert explorer.app.children[2].children[1].layout.width == "1200px"
    explorer.view.value = "Side by side"
    explorer.study.value = "others"
    assert len(explorer.image.options) == 4
    assert shown(explorer)["Image"] not in (first["Image"], second["Image"])


def test_each_cell_of_the_image_belongs_to_a_row_of_the_table(studies):
    explorer = Explorer()
    choose(explorer, mine__png=png(paint(FIELD)))
    rows = re.findall(r'<input type="radio" name="cell" id="(\w+)">(\d+)', explorer.table.value)
    assert rows == [("cell1", "1"), ("cell2", "2")]
    for html in shown(explorer).values():
        assert re.findall(r'<label class="cell-mark \w+" for="(\w+)"', html) == ["cell1", "cell2"]
    assert ":has(#cell2:checked) .cell-mark.cell2" in explorer.table.value


def test_an_error_is_shown_instead_of_the_previous_images(studies):
    explorer = Explorer()
    explorer.run.index = 1
    assert "To fix:" in explorer.message.value and "gone" in explorer.message.value
    assert shown(explorer) == {} and explorer.table.value == ""
    explorer.save_table.click()
    assert "no segmented image to save" in explorer.saved.value
    explorer.run.index = 0
    assert len(shown(explorer)) == 4


def test_several_uploads_are_listed_and_one_that_is_no_image_is_named(studies):
    explorer = Explorer()
    explorer.source.value = YOUR_IMAGES
    assert "Choose one or more images" in explorer.message.value and shown(explorer) == {}
    choose(explorer, **{"b__png": png(paint(FIELD)), "<i>notes</i>__png": b"no image", "a__png": png(paint(FIELD.T))})
    assert [value for _, value in explorer.image.options] == ["b.png", "a.png"] and explorer.image.value == "b.png"
    assert "&lt;i&gt;notes&lt;/i&gt;.png cannot be read" in explorer.problems.value
    assert list(shown(explorer)) == ["Image", "Prediction"]
    assert "2 cells." in explorer.message.value and "µm" not in explorer.table.value
    explorer.pixel_um.value = 0.5
    assert "diameter, µm" in explorer.table.value
    # Uploads are added to the list, and test images are still there.
    choose(explorer, c__png=png(paint(FIELD)))
    assert explorer.image.value == "c.png" and len(explorer.image.options) == 3
    explorer.source.value = TEST_IMAGES
    assert explorer.image.value == "smear0003" and len(shown(explorer)) == 4


def test_saved_files_equal_those_of_the_command_and_replace_no_others(studies):
    explorer = Explorer()
    (studies / "images").mkdir()
    (studies / "images" / "mine.png").write_bytes(png(paint(FIELD)))
    segment_images([studies / "images"], "cells", studies / "out", Settings(pixel_um=0.5))
    choose(explorer, mine__png=png(paint(FIELD)))
    explorer.pixel_um.value = 0.5
    for button, folders in (
        (explorer.save_overlay, ["overlays"]),
        (explorer.save_masks, ["labels", "instances"]),
        (explorer.save_table, ["cells"]),
    ):
        button.click()
        files = [path for path in saved_files(explorer) if path.name != "cells_columns.txt"]
        assert [path.parts[-3] for path in files] == folders and all("explored" in path.parts for path in files)
        for path, folder in zip(files, folders, strict=True):
            by_command = studies / "out" / folder / f"mine{path.suffix}"
            expected = by_command.read_text().replace(",mine,", ",uploaded/mine,") if folder == "cells" else None
            assert path.read_text() == expected if expected else path.read_bytes() == by_command.read_bytes()
    before = files[0].read_bytes()
    explorer.save_table.click()
    assert saved_files(explorer)[0] == files[0], "saving twice does not make copies"
    choose(explorer, mine__png=png(paint(FIELD.T)))
    explorer.save_table.click()
    assert saved_files(explorer)[0].name == "mine-2.csv" and files[0].read_bytes() == before


def test_a_full_disk_is_reported_when_files_are_saved(studies, monkeypatch):
    explorer = Explorer()
    monkeypatch.setattr(Results, "write_masks", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    explorer.save_masks.click()
    assert "No space left" in explorer.saved.value


def test_images_of_a_large_field_are_small_enough_to_be_sent(places):
    data = write_synthetic_dataset(places / "cells", cases=1, seed=0, size_px=64, slides=1)
    write_colour_run(places / "outputs", "cells", trained=800, dataset=data)
    # Plasma with the noise of a camera, which no format compresses well.
    noise = np.random.default_rng(0).integers(-12, 13, (1500, 2000, 3))
    explorer = Explorer()
    choose(explorer, field__png=png((COLOURS[0] + noise).astype(np.uint8)))
    assert "0 cells" in explorer.message.value
    # Jupyter drops what a kernel sends beyond 3 MB in 3 seconds.
    assert 0 < sum(map(len, shown(explorer).values())) < 1_200_000


def test_without_a_study_it_says_how_to_get_one(places):
    assert "make study" in Explorer().message.value
