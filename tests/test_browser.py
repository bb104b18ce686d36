"""In a browser: JupyterLab with the training and explore notebooks, the app, the gallery.

`WBCSTUDY_SCREENSHOTS=<folder>` writes a screenshot at the end of each test.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from PIL.ImageColor import getrgb

import wbcstudy
from tests.helpers.checkout import ROOT, find_chromium
from tests.helpers.colour_run import paint, round_cells, write_colour_run
from wbcstudy.data.overlays import draw_overlay, resize_for_view
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.labels import REGION_COLOURS
from wbcstudy.reporting.notebook_page import write_notebook_page
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.notebooks import changed_notebooks
from wbcstudy.runs.own_parts import name_parts
from wbcstudy.study.app import app_command, app_environment
from wbcstudy.study.lab import lab_command, lab_environment, prepare_lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium found; on Debian: apt install chromium"),
]

# When to give up, also on a busy machine.
PATIENCE_S = 300
# Longest side of a view in the app at zoom 100 %.
VIEW_PX = 600
FIELD = round_cells(200, 260, [(40, 50), (60, 180), (150, 60), (150, 100)], radius=24)


class Server:
    """A Jupyter server in a separate process, on a free local port."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--no-browser", f"--port={port}"],
                cwd=folder,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.address = self._wait_for_address(port)
        except BaseException:
            self.stop()
            raise

    def _wait_for_address(self, port: int) -> str:
        """Wait for the address that the server prints."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up and self.process.poll() is None:
            if match := re.search(rf"http://(127\.0\.0\.1|localhost):{port}/\S*", self.log):
                return match.group().replace("localhost", "127.0.0.1")
            time.sleep(0.1)
        pytest.fail(f"the server did not start:\n{self.log}")

    def kernels(self) -> list[psutil.Process]:
        """Return the processes that run notebooks."""
        running = []
        for process in self.family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if "ipykernel" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    running.append(process)
        return running

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return the server's and its kernels' processes."""
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def listens_at(self) -> set[str]:
        """Return the addresses at which the server accepts connections."""
        connections = [c for process in self.family() for c in process.net_connections("inet")]
        return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}

    def stop(self) -> None:
        """End the server and its kernels, which are in other sessions."""
        try:
            family = self.family()
        except psutil.NoSuchProcess:
            family = []
        self.process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=30)
        for process in left:
            process.kill()
        self.process.wait(30)


class Desk:
    """A user's folders, networks and images, outside of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.outputs = folder, folder / "outputs"
        # The shipped notebooks, and the copies that JupyterLab opens.
        shutil.copytree(ROOT / "notebooks", folder / "notebooks")
        self.notebooks = folder / "my_notebooks"
        self.cells = write_synthetic_dataset(folder / "cells", cases=8, seed=3, size_px=96, slides=8)
        self.others = write_synthetic_dataset(folder / "others", cases=3, seed=4, size_px=96, slides=3, name="others")
        # The second image is the worst.
        scores = {f"smear{number:04}": 0.4 if number == 1 else 0.9 for number in range(8)}
        self.run = write_colour_run(self.outputs, "colours", trained=96, dataset=self.cells, scores=scores)
        write_colour_run(self.outputs, "others", trained=96, dataset=self.others)
        self.image = folder / "my field.png"
        Image.fromarray(paint(FIELD)).save(self.image)
        self.environment = {
            "WBCSTUDY_ROOT": str(ROOT),
            "WBCSTUDY_OUTPUTS": str(self.outputs),
            "WBCSTUDY_DATA": str(folder / "data"),
            # Neither the settings nor the open files of the user who runs the tests.
            **{f"JUPYTER_{name}_DIR": str(folder / "jupyter" / name) for name in ("CONFIG", "DATA", "RUNTIME")},
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        }
        # The whole notebook in the page, not only its visible part.
        file = folder / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"windowingMode": "none"}))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def lab(desk):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (desk.environment | {"WBCSTUDY_ROOT": str(desk.folder)}).items():
            patch.setenv(name, value)
        folder, environment = prepare_lab(), lab_environment()
        # Jupyter refuses root otherwise, the only user in many containers.
        server = Server(lab_command(folder, ["--allow-root"]), folder, environment, desk.folder / "lab.log")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request):
    """A window, in which requests to other computers are errors."""
    page = chromium.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(PATIENCE_S * 1000)
    remote = []
    page.on("request", lambda request: None if is_local(request.url) else remote.append(request.url))
    yield page
    if folder := os.environ.get("WBCSTUDY_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{request.node.name}.png", full_page=True)
    page.close()
    assert remote == [], "requests to the internet"


def is_local(address: str) -> bool:
    return address.startswith(("http://127.0.0.1:", "file:", "data:", "blob:"))


def open_notebook(page, lab: Server, name: str) -> None:
    # A separate workspace: JupyterLab would reopen the notebook of the previous test, and run it.
    page.goto(lab.address.replace("/lab/tree/start.md", f"/lab/workspaces/{Path(name).stem}/tree/{name}"))
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()


def change_parameters(page, desk, study: str, epochs: str) -> None:
    """Change lines of the parameters cell as a user does, for a quick training."""
    changed = {
        "study": f'"{study}"',
        "dataset": f'"{desk.cells}"',
        "encoder": '"mobilenet"',
        "image_size": "32",
        "augmented_copies": "1",
        "epochs": epochs,
    }
    cell = page.locator(".jp-CodeCell").first
    for name, value in changed.items():
        line = cell.locator(".cm-line", has_text=re.compile(rf"^{name} = "))
        before = line.inner_text()
        line.click()
        page.keyboard.press("Home")
        page.keyboard.press("Shift+End")
        page.keyboard.insert_text(re.sub(r" = \S+", lambda _, value=value: f" = {value}", before, count=1))


def run_all(page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def wait_for(page, locator) -> None:
    """Wait until an element is visible, or a cell has failed."""
    error = page.locator('.jp-OutputArea [data-mime-type="application/vnd.jupyter.error"]')
    locator.or_(error).first.wait_for()
    assert error.count() == 0, error.first.inner_text()


def shown_image(page, name: str) -> np.ndarray:
    """Return the pixels of the view below a title, once it is visible: its exact lines on its photograph."""
    images = page.locator(".widget-vbox", has=page.get_by_text(name, exact=True)).last.locator("img")
    images.first.wait_for()
    read = "async img => Array.from(new Uint8Array(await (await fetch(img.src)).arrayBuffer()))"
    layers = [images.nth(k).evaluate(read) for k in range(2)]
    photo, lines = (Image.open(io.BytesIO(bytes(layer))).convert("RGBA") for layer in layers)
    return np.asarray(Image.alpha_composite(photo, lines).convert("RGB")).astype(int)


def until_changed(page, name: str, before: np.ndarray) -> np.ndarray:
    """Return the pixels of an image as soon as they differ from these."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        now = shown_image(page, name)
        if now.shape != before.shape or (now != before).any():
            return now
        page.wait_for_timeout(100)
    pytest.fail(f"{name} did not change")


def assert_alike(shown: np.ndarray, expected: np.ndarray) -> None:
    """Check that images are equal apart from JPEG artefacts."""
    assert shown.shape == expected.shape
    assert np.abs(shown - expected.astype(int)).mean() < 4


def test_the_training_notebook_runs_to_its_figures_with_parameters_changed_in_jupyterlab(lab, desk, page):
    open_notebook(page, lab, "2_train.ipynb")
    # Not the first study by name, which the explore notebook opens: this network finds no cell.
    change_parameters(page, desk, study="trained", epochs="1")
    run_all(page)
    wait_for(page, page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output", has_text="cytoplasm"))

    figures = page.locator(".jp-OutputArea-output img")
    assert figures.count() == 3, "augmented images, learning curves, predictions"
    for k in range(3):
        figures.nth(k).scroll_into_view_if_needed()
        assert figures.nth(k).evaluate("img => img.complete && img.naturalWidth") > 200
    run = StudyFolder(desk.outputs / "trained").run("mobilenet__cross_entropy__fold0__seed0")
    assert run.read_status() == "complete"
    assert run.read_record()["config"]["epochs"] == 1
    made_by = run.read_record()["notebook"]
    assert made_by["name"] == "my_notebooks/2_train.ipynb"
    assert made_by["shipped"], "other settings do not change the notebook"

    page.keyboard.press("Control+s")
    page.get_by_text("Saving completed").wait_for()
    saved = nbformat.read(desk.notebooks / "2_train.ipynb", as_version=4)
    assert all(cell.outputs or "import" in cell.source for cell in saved.cells[3:] if cell.cell_type == "code")


OWN_PARTS = """import keras

class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.last = logs["val_loss"]

def squares(reference, prediction):
    return keras.ops.mean((reference - prediction) ** 2, axis=-1)

own = {"loss": squares, "callbacks": [Watch()]}"""


def test_the_start_page_leads_to_a_training_with_an_own_loss_and_callback(lab, desk, page):
    page.goto(lab.address)
    start = page.locator(".jp-RenderedMarkdown")
    start.get_by_text("These notebooks are copies").wait_for()
    assert page.locator(".jp-DirListing-item", has_text="outputs").count() == 1
    start.get_by_role("link", name="2_train", exact=True).click()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()

    change_parameters(page, desk, study="own", epochs="2")
    cell = page.locator(".jp-CodeCell", has=page.locator(".cm-line", has_text=re.compile(r"^own = {}")))
    cell.locator(".cm-line").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(OWN_PARTS)
    run_all(page)
    curves = page.locator(".jp-OutputArea-output svg[aria-label^='training loss']")
    wait_for(page, curves)
    wait_for(page, page.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output", has_text="cytoplasm"))
    assert curves.count() == 1, "one output, which is replaced"
    page.get_by_text("2 epochs: all epochs done; the weights of epoch").wait_for()
    curves.scroll_into_view_if_needed()

    run = StudyFolder(desk.outputs / "own").run("mobilenet__cross_entropy__fold0__seed0")
    record = run.read_record()
    assert run.read_status() == "complete"
    assert changed_notebooks([record]) == {run.name: "my_notebooks/2_train.ipynb"}
    assert name_parts(record["own_parts"]) == "loss squares and callback Watch"
    assert record["own_parts"]["callbacks"][0]["source"] in OWN_PARTS

    page.keyboard.press("Control+s")
    page.get_by_text("Saving completed").wait_for()
    write_notebook_page(desk.notebooks / "2_train.ipynb", desk.folder / "own.html")
    assert "2 epochs</b>: all epochs done" in (desk.folder / "own.html").read_text()
    # The shipped notebook is as before, and the next test gets a new copy of it.
    assert "Watch" not in (desk.folder / "notebooks" / "2_train.ipynb").read_text()
    shutil.copy(desk.folder / "notebooks" / "2_train.ipynb", desk.notebooks / "2_train.ipynb")


def listed(images) -> list[str]:
    """Return the texts of a list, in which ipywidgets replaces spaces."""
    return [text.replace("\xa0", " ") for text in images.locator("option").all_inner_texts()]


def drawn(image: Path, desk: Desk, opacity: float) -> np.ndarray:
    """Return the prediction that the app draws."""
    return wbcstudy.segment(image, desk.run).overlay(opacity, side_px=VIEW_PX)


def test_the_explore_notebook_follows_what_is_chosen(lab, desk, page):
    open_notebook(page, lab, "5_explore.ipynb")
    run_all(page)
    wait_for(page, page.get_by_text("Save table"))
    assert lab.listens_at() == {"127.0.0.1"}
    study = page.locator(".widget-dropdown select").first
    images = page.locator(".widget-select select")
    study.select_option("colours")
    first = shown_image(page, "Image")

    images.select_option(index=[text[-9:] for text in listed(images)].index("smear0002"))
    second = until_changed(page, "Image", first)
    smear = desk.cells / "images" / "smear0002.png"
    assert_alike(second, resize_for_view(np.asarray(Image.open(smear)), VIEW_PX))
    prediction = until_changed(page, "Prediction", np.zeros(0))
    assert_alike(prediction, drawn(smear, desk, 0.35))

    page.locator(".noUi-handle").last.focus()
    page.keyboard.press("End")
    assert_alike(until_changed(page, "Prediction", prediction), drawn(smear, desk, 1))
    assert (shown_image(page, "Image") == second).all(), "the tint changes the regions only"

    study.select_option("others")
    until_changed(page, "Image", second)
    assert {text[-9:] for text in listed(images)} == {f"smear000{k}" for k in range(3)}


@pytest.fixture(scope="module")
def app(desk):
    # A dataset whose only image gives the colour network the expert's labels.
    painted = write_synthetic_dataset(desk.folder / "painted", cases=1, seed=0, size_px=96, slides=1, instances=False)
    Image.fromarray(paint(FIELD)).save(next(painted.glob("images/*.png")))
    Image.fromarray(np.array([0, 128, 255], np.uint8)[FIELD]).save(next(painted.glob("masks/*.png")))
    write_colour_run(desk.outputs, "painted", size=96, dataset=painted)
    command, environment = app_command(), app_environment()
    assert (Path(environment["JUPYTER_PATH"]) / "voila" / "templates" / "wbcstudy").is_dir()
    # The app shows the notebook of the checkout and must not change it.
    notebook = ROOT / "notebooks" / "5_explore.ipynb"
    before = notebook.read_bytes()
    server = Server(command, notebook.parent, environment | desk.environment, desk.folder / "app.log")
    yield server
    server.stop()
    assert notebook.read_bytes() == before


def open_app(page, app: Server, study: str) -> None:
    page.goto(app.address)
    page.get_by_text("Save table").wait_for()
    page.locator(".widget-dropdown select").first.select_option(study)


def test_the_app_draws_expert_and_prediction_by_the_same_rule(app, page):
    open_app(page, app, "painted")
    page.get_by_text("4 cells.").wait_for()
    tinted = shown_image(page, "Expert")
    assert (shown_image(page, "Prediction") == tinted).all()

    page.locator(".noUi-handle").last.focus()
    page.keyboard.press("Home")
    outlined = until_changed(page, "Expert", tinted)
    assert (until_changed(page, "Prediction", tinted) == outlined).all()
    expected = draw_overlay(paint(FIELD), FIELD, split_cells(FIELD), 0, side_px=VIEW_PX)
    assert_alike(outlined, expected)
    for colour in (REGION_COLOURS["nucleus"], REGION_COLOURS["cytoplasm"]):
        lines = (expected == getrgb(colour)).all(axis=2)
        assert lines.sum() > 100 and (outlined[lines] == getrgb(colour)).all(), "exactly the legend's colour"


def test_the_app_shows_the_worst_image_selects_cells_and_saves_uploads(app, desk, page, tmp_path):
    assert page.goto(app.address.split("?")[0]).status in (401, 403) or "login" in page.url
    open_app(page, app, "colours")
    assert app.listens_at() == {"127.0.0.1"}
    assert page.get_by_text("What does the network see?").is_hidden(), "no prose of the notebook"
    images = page.locator(".widget-select select")
    page.get_by_text("smear0001 · ", exact=False).first.wait_for()
    assert listed(images)[0] == "Dice 0.400 · basophil · smear0001"
    page.get_by_text("The study scored 0.400", exact=False).wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("smear0000 · lymphocyte").first.wait_for()

    page.get_by_role("button", name="Your images").click()
    second = tmp_path / "second field.png"
    Image.fromarray(paint(FIELD[:, :130])).save(second)
    (tmp_path / "notes.png").write_text("no image")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose images").click()
    chooser.value.set_files([desk.image, second, tmp_path / "notes.png"])
    page.get_by_text("notes.png cannot be read: it is not a BMP, PNG, JPEG or TIFF file").wait_for()
    page.get_by_text("4 cells.").wait_for()
    assert listed(images) == ["my field.png", "second field.png"]
    assert_alike(shown_image(page, "Prediction"), drawn(desk.image, desk, 0.35))

    # A row selects its cell in the image, and a cell in the image its row.
    rows = page.locator("table.cell-table tbody tr")
    assert rows.count() == 4
    rows.nth(2).click()
    shadow = "mark => getComputedStyle(mark).boxShadow"
    marks = page.locator(".widget-vbox", has=page.get_by_text("Prediction", exact=True)).last.locator(".cell-mark")
    assert [marks.nth(k).evaluate(shadow) != "none" for k in range(4)] == [False, False, True, False]
    marks.nth(0).click()
    assert [row.locator("input").is_checked() for row in rows.all()] == [True, False, False, False]

    for name in ("overlay", "masks", "table"):
        page.get_by_role("button", name=f"Save {name}").click()
        page.locator(
            "li code", has_text={"overlay": "overlays", "masks": "labels", "table": "cells"}[name]
        ).first.wait_for()
    saved = Path(page.locator("li code").first.inner_text())
    expected = wbcstudy.segment(desk.image, desk.run)
    table = pd.read_csv(saved)
    assert table["file"].unique().tolist() == ["my field.png"]
    np.testing.assert_array_equal(table["cell_area_px"], expected.cells["cell_area_px"])
    labels = saved.parents[2] / "labels" / "uploaded" / "my_field.png"
    assert (np.asarray(Image.open(labels)) == expected.mask).all()

    page.get_by_label("µm per pixel").fill("0.5")
    page.keyboard.press("Enter")
    page.get_by_role("columnheader", name="diameter, µm", exact=True).wait_for()


def test_the_kernels_of_reloaded_pages_end_and_that_of_the_open_page_stays(desk, page):
    command, environment = app_command(), app_environment()
    # As `make app`, in seconds instead of minutes.
    shorter = {"cull_interval": 2, "cull_idle_timeout": 15}
    changed = [
        re.sub(r"(?<=\.)(cull_\w+)=\d+", lambda match: f"{match[1]}={shorter[match[1]]}", word) for word in command
    ]
    assert sum(before != after for before, after in zip(command, changed, strict=True)) == len(shorter)
    server = Server(changed, ROOT / "notebooks", environment | desk.environment, desk.folder / "reloaded.log")
    try:
        page.goto(server.address)
        for _ in range(5):
            page.reload()
        page.get_by_text("Save table").wait_for()
        give_up = time.monotonic() + PATIENCE_S
        while len(server.kernels()) > 2 and time.monotonic() < give_up:
            page.wait_for_timeout(500)
        assert 1 <= len(server.kernels()) <= 2
        before = shown_image(page, "Prediction")
        page.locator(".noUi-handle").last.focus()
        page.keyboard.press("End")
        until_changed(page, "Prediction", before)
    finally:
        server.stop()


def test_the_gallery_opens_from_a_folder_without_a_request_or_an_error(desk, page, places, command):
    images = places / "images"
    (images / "day 1").mkdir(parents=True)
    for name in ("day 1/a.png", "day 1/50% #2.png", "b.png"):
        Image.fromarray(paint(FIELD)).save(images / name)
    (images / "notes.png").write_text("no image")
    code, _, _ = command("segment", images, "--model", desk.run, "--out", places / "out")
    assert code == 1

    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((places / "out" / "gallery.html").as_uri())
    assert page.evaluate("[...document.images].filter(image => image.naturalWidth).length") == 3
    assert [url for url in requests if not url.startswith("data:")] == [(places / "out" / "gallery.html").as_uri()]
    page.get_by_text("12 cells").first.wait_for()
    page.get_by_text("notes").first.wait_for()
    assert page.locator(".wall [role=img]").count() == 12
    links = {link.evaluate("a => a.href") for link in page.get_by_role("link").all()}
    assert len(links) == 3 + 3 * 5
    for link in links:
        assert Path(unquote(urlparse(link).path)).is_file()
        if link.endswith(".png"):
            page.goto(link)
            assert page.locator("img").evaluate("img => img.naturalWidth") == FIELD.shape[1]
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto((places / "out" / "gallery.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    page.goto(next(link for link in links if "/fields/" in link and link.endswith(".html")))
    page.locator(".outlined .cell-mark").nth(1).click()
    assert page.locator("tr input").nth(1).is_checked()
    page.get_by_label("outlines and numbers").uncheck()
    assert page.locator(".outlined").is_hidden() and page.locator(".plain-image").is_visible()
    page.goto((places / "out" / "gallery.html").as_uri())
    assert errors == []
