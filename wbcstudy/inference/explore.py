"""The app, also `notebooks/5_explore.ipynb`: look into a study, and segment uploaded images.

Everything a user can operate is an attribute, so that tests and scripts can operate it too.
"""

from __future__ import annotations

import contextlib
import functools
import html
from collections.abc import Callable, Iterator
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from wbcstudy.data.overlays import draw_difference, draw_overlay, resize_for_view
from wbcstudy.errors import StudyError, printable_name
from wbcstudy.files import cannot_write, page_template
from wbcstudy.inference.cell_view import describe_cells, image_html, table_html
from wbcstudy.inference.explore_images import (
    ORDERS,
    ListedImage,
    list_test_images,
    read_upload,
    sort_images,
    write_unless_different,
)
from wbcstudy.inference.image import Segmentation, segment_image
from wbcstudy.inference.network import best_run, known_studies, load_network
from wbcstudy.inference.results import Results
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.inference.tiling import DESCRIPTIONS
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_usable_runs
from wbcstudy.scoring.evaluation import score_masks
from wbcstudy.wording import count

TEST_IMAGES, YOUR_IMAGES = "Test images of the study", "Your images"
ALL_VIEWS = "Side by side"
VIEWS = ("Image", "Expert", "Prediction", "Difference")
_MAX_ROWS = 200
# Width of a view at zoom 100 %, and the longest side that is drawn if all or one of them are shown.
_WIDTH_PX, _MOST_PX, _MOST_ALONE_PX = 300, 960, 1920
# Jupyter drops what a kernel sends beyond 3 MB in 3 seconds, in which a user may see three images.
_MOST_BYTES = 600_000
# The Dice shown for an image and that of the study differ by less if both were predicted in the same way.
_SAME_DICE = 0.005


class Explorer:
    """Widgets to choose a study, run and image, with views of the image and a table of its cells.

    In a notebook it shows `app`, all widgets.

    Args:
        study: the study to open; '' for the first with a trained network.

    Attributes:
        source: test images, or uploaded ones.
        study, run: whose network and test images to use.
        order: order of the list of images.
        image: the list of images; `previous` and `next` are buttons.
        view, zoom, opacity: what is drawn, and how.
        file, pixel_um: files to upload, and the size of their pixels.
        table: cells of the image.
        save_overlay, save_masks, save_table: buttons; `saved` names the files.
    """

    def __init__(self, study: str = "") -> None:
        # A dictionary: widgets would share a Layout, and be hidden together.
        wide = {"style": {"description_width": "5.5rem"}, "layout": {"width": "100%", "max_width": "34rem"}}
        self.source = widgets.ToggleButtons(options=[TEST_IMAGES, YOUR_IMAGES], style={"button_width": "auto"})
        self.study = widgets.Dropdown(options=known_studies(), description="Study", **wide)
        self.run = widgets.Dropdown(description="Network", **wide)
        self.order = widgets.Dropdown(options=ORDERS, description="Order", **wide)
        self.image = widgets.Select(description="Image", rows=8, **wide)
        self.previous, self.next = (widgets.Button(description=text) for text in ("◀ Previous", "Next ▶"))
        self.view = widgets.ToggleButtons(options=[ALL_VIEWS, *VIEWS], style={"button_width": "auto"})
        self.zoom = widgets.IntSlider(100, 50, 600, 50, description="Zoom, %", continuous_update=False, **wide)
        self.opacity = widgets.FloatSlider(0.35, min=0, max=1, step=0.05, description="Tint", **wide)
        self.opacity.continuous_update = False
        self.file = widgets.FileUpload(
            accept=".png,.bmp,.jpg,.jpeg,.tif,.tiff", description="Choose images", multiple=True
        )
        self.file.layout.width = "14rem"
        self.pixel_um = widgets.FloatText(0, description="µm per pixel (0: unknown)", **wide)
        self.pixel_um.style.description_width = "12rem"
        self.save_overlay, self.save_masks, self.save_table = (
            widgets.Button(description=f"Save {result}") for result in ("overlay", "masks", "table")
        )
        self.message, self.problems, self.table, self.saved = (widgets.HTML() for _ in range(4))
        self._boxes = {title: _view_box(title) for title in VIEWS}
        self._upload_box = widgets.VBox([self.file, self.pixel_um])
        self.app = self._arrange()

        self._runs: dict[str, Run] = {}
        self._images: dict[str, ListedImage] = {}
        self._uploads: dict[str, ListedImage] = {}
        self._shown: tuple[ListedImage, np.ndarray | None, Segmentation] | None = None
        self._left_out: list[str] = []
        self._filling = False
        self._show_source()
        if not self.study.options:
            self.message.value = _warning("No study has a trained network yet. `make study` trains some in minutes.")
            return
        self.study.value = study if study in self.study.options else self.study.options[0]
        self._open_study()
        for widget, action in (
            (self.source, self._list_images),
            (self.study, self._open_study),
            (self.run, self._list_images),
            (self.order, self._list_images),
            (self.image, self._segment),
            (self.view, self._draw),
            (self.zoom, self._draw),
            (self.opacity, self._draw),
            (self.file, self._add_uploads),
            (self.pixel_um, self._segment),
        ):
            widget.observe(functools.partial(self._react, action), names="value")
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        for button, write in (
            (self.save_overlay, self._write_overlay),
            (self.save_masks, self._write_masks),
            (self.save_table, self._write_table),
        ):
            button.on_click(functools.partial(self._save, write))

    def _repr_mimebundle_(self, **options):
        return self.app._repr_mimebundle_(**options)

    def _arrange(self) -> widgets.VBox:
        row = widgets.Layout(flex_flow="row wrap", grid_gap="8px")
        steps = widgets.Box([self.previous, self.next], layout=row)
        choices = widgets.VBox([self.source, self.study, self.run, self._upload_box, self.order, self.image, steps])
        drawing = widgets.VBox([self.view, self.zoom, self.opacity, self.message, self.problems])
        for part in (choices, drawing):
            part.layout = widgets.Layout(flex="1 1 22rem", min_width="0")
        views = widgets.Box(list(self._boxes.values()), layout=widgets.Layout(flex_flow="row wrap", grid_gap="12px"))
        saving = widgets.Box([self.save_overlay, self.save_masks, self.save_table], layout=row)
        head = widgets.HTML(
            page_template("explore.html").render(colours=REGION_COLOURS, differences=DIFFERENCE_COLOURS)
        )
        top = widgets.Box([choices, drawing], layout=widgets.Layout(flex_flow="row wrap", grid_gap="24px"))
        app = widgets.VBox([head, top, views, saving, self.saved, self.table])
        app.add_class("wbc-app")
        views.add_class("wbc-views")
        self.table.add_class("wbc-table")
        return app

    def _react(self, action: Callable[[], None], change) -> None:
        if not self._filling:
            action()

    def _fill(self, widget: widgets.Dropdown | widgets.Select, options: list, value: str | None = None) -> None:
        """Replace the options and choose a value, or the first, without reacting to the changes."""
        self._filling = True
        try:
            widget.options = options
            values = [option[1] for option in options]
            widget.index = values.index(value) if value in values else 0 if options else None
        finally:
            self._filling = False

    def _open_study(self) -> None:
        """List the study's runs, the best first."""
        with self._errors():
            study = StudyFolder.of(self.study.value)
            best, _ = best_run(study)
            usable, problems = load_usable_runs(study)
            self._left_out = [str(problem) for problem in problems.values()]
            runs = [run for run in usable if run.complete and run.folder.model.is_file()]
            for run in [run for run in usable if run.complete and run not in runs]:
                self._left_out.append(f"{run.name} is left out: it has no {run.folder.model.name}.")
            self._runs = {run.name: run for run in sorted(runs, key=lambda run: run.name != best.name)}
            labels = [f"{name} (best by validation)" if name == best.name else name for name in self._runs]
            self._fill(self.run, list(zip(labels, self._runs, strict=True)))
            self._list_images()

    def _show_source(self) -> None:
        uploading = self.source.value == YOUR_IMAGES
        self._upload_box.layout.display = None if uploading else "none"
        self.order.layout.display = "none" if uploading else None

    def _list_images(self) -> None:
        """List test images of the run or the uploads; keep the chosen image if it is still listed."""
        self._show_source()
        names, chosen = list(self._images), self.image.value
        self._images = {}
        self._fill(self.image, [])
        with self._errors():
            if self.source.value == YOUR_IMAGES:
                images = list(self._uploads.values())
            else:
                images = sort_images(list_test_images(self._runs[self.run.value]), self.order.value)
            self._images = {image.name: image for image in images}
            # Another order starts with its first image.
            reordered = list(self._images) != names and set(self._images) == set(names)
            self._fill(self.image, [(image.label, image.name) for image in images], None if reordered else chosen)
            self._segment()

    def _add_uploads(self) -> None:
        """Add the chosen files to the list; files that are no images are named."""
        refused, added = [], []
        for file in self.file.value:
            name, content = printable_name(file["name"]), bytes(file["content"])
            try:
                read_upload(name, content)
            except StudyError as error:
                refused.append(_warning(str(error)))
                continue
            self._uploads[name] = ListedImage(name, name, content=content)
            added.append(name)
        self._images = dict(self._uploads)
        self._fill(self.image, [(name, name) for name in self._uploads], added[0] if added else self.image.value)
        self._segment()
        self.problems.value = "".join(refused)

    def _step(self, step: int) -> None:
        if self.image.index is not None:
            self.image.index = min(max(self.image.index + step, 0), len(self.image.options) - 1)

    def _segment(self) -> None:
        """Segment the chosen image as `wbcstudy segment` does."""
        self.problems.value = self.saved.value = ""
        with self._errors():
            if self.image.value is None:
                self._clear()
                self.message.value = "Choose one or more images: PNG, BMP, JPEG or TIFF of any size."
                return
            listed, run = self._images[self.image.value], self._runs[self.run.value]
            self.message.value = f"Segmenting {html.escape(listed.name)} ..."
            image, reference = listed.read(run.config.dataset)
            segmentation = segment_image(image, load_network(run.folder.path), pixel_um=self._pixel_um(listed))
            self._shown = listed, reference, segmentation
            self._draw()
            view = describe_cells(segmentation.cells, segmentation.mask.shape, "cell", _MAX_ROWS)
            self.table.value = table_html(view)
            self.problems.value = "".join(map(_warning, self._left_out))
            self.message.value = _describe(listed, reference, segmentation)

    def _pixel_um(self, listed: ListedImage) -> float | None:
        return (self.pixel_um.value or None) if listed.content is not None else None

    def _draw(self) -> None:
        if self._shown is None:
            return
        listed, reference, segmentation = self._shown
        known = VIEWS if reference is not None else ("Image", "Prediction")
        shown = [title for title in known if self.view.value in (ALL_VIEWS, title)] or ["Prediction"]
        width_px = _WIDTH_PX * self.zoom.value // 100
        # Small images are enlarged before they are drawn, which keeps outlines thin and numbers readable.
        side_px = min(max(width_px, 2 * _WIDTH_PX), _MOST_PX if len(shown) > 1 else _MOST_ALONE_PX)
        view = describe_cells(segmentation.cells, segmentation.mask.shape, "cell", _MAX_ROWS)
        draw = {
            "Image": lambda: resize_for_view(segmentation.image, side_px),
            "Expert": lambda: draw_overlay(
                segmentation.image, reference, split_cells(reference), self.opacity.value, side_px=side_px
            ),
            "Prediction": lambda: segmentation.overlay(self.opacity.value, side_px=side_px),
            "Difference": lambda: draw_difference(segmentation.image, reference, segmentation.mask, side_px=side_px),
        }
        for title, box in self._boxes.items():
            visible = title in shown
            alt = f"{listed.name}: {title.lower()}"
            most_bytes = _MOST_BYTES // len(shown)
            numbers = title == "Prediction"
            box.children[1].value = image_html(draw[title](), alt, view, numbers, most_bytes) if visible else ""
            box.layout.width = f"{width_px}px"
            box.layout.display = None if visible else "none"

    def _clear(self) -> None:
        self._shown = None
        self.table.value = self.saved.value = ""
        for box in self._boxes.values():
            box.children[1].value = ""
            box.layout.display = "none"

    def _save(self, write: Callable[[Results, str], list[Path]], button) -> None:
        """Write files of the shown image into the study's folder, and name them."""
        if self._shown is None:
            self.saved.value = _warning("There is no segmented image to save. Choose one first.")
            return
        run = self._runs[self.run.value]
        folder = run.folder.study.path / "explored" / run.name
        try:
            paths = write_unless_different(folder, self._shown[0].stem, write)
        except OSError as error:
            instead = "free some space or ask for the permission to write there"
            self.saved.value = _warning(str(cannot_write(folder, error, instead=instead)))
            return
        listed = "".join(f"<li><code>{html.escape(str(path.resolve()))}</code></li>" for path in paths)
        self.saved.value = f"Saved:<ul>{listed}</ul>"

    def _write_overlay(self, results: Results, name: str) -> list[Path]:
        listed, _, segmentation = self._shown
        return results.write_overlay(name, segmentation, self._pixel_um(listed), self.opacity.value)

    def _write_masks(self, results: Results, name: str) -> list[Path]:
        listed, _, segmentation = self._shown
        return results.write_masks(name, segmentation, self._pixel_um(listed))

    def _write_table(self, results: Results, name: str) -> list[Path]:
        listed, _, segmentation = self._shown
        return [*results.write_table(name, listed.file, segmentation), results.write_guide()]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Show an error that the user can fix: Jupyter does not show tracebacks of callbacks."""
        try:
            yield
        except StudyError as error:
            self._clear()
            self.message.value = _warning(str(error))


def _view_box(title: str) -> widgets.VBox:
    """Make a box for an image below its title, hidden while there is no image."""
    layout = widgets.Layout(display="none", width=f"{_WIDTH_PX}px")
    return widgets.VBox([widgets.HTML(f"<b>{title}</b>"), widgets.HTML(layout={"width": "100%"})], layout=layout)


def _describe(listed: ListedImage, reference: np.ndarray | None, segmentation: Segmentation) -> str:
    """Describe the shown prediction: cells, Dice, and how the image was given to the network."""
    tiling = segmentation.way
    text = f"{count(len(segmentation.cells), 'cell')}. The image was {DESCRIPTIONS[tiling.name]}: {tiling.reason}."
    if reference is not None:
        scores = score_masks("", [listed.name], [listed.cell_type], [reference], [segmentation.mask])
        dice = dict(zip(scores["region"], scores["dice"], strict=True))
        regions = ", ".join(f"{region} {'-' if np.isnan(value) else f'{value:.3f}'}" for region, value in dice.items())
        mean = float(scores["dice"].mean())
        text = f"Dice {mean:.3f} ({regions}). {text}"
        if abs(mean - listed.mean_dice) >= _SAME_DICE:
            whole = "" if tiling.name == "whole" else ", with the image resized whole"
            text += f" The study scored {listed.mean_dice:.3f}{whole}."
    title = " · ".join(filter(None, (listed.name, listed.cell_type)))
    return f"<b>{html.escape(title)}</b><br>{html.escape(text)}"


def _warning(text: str) -> str:
    return f'<pre style="white-space:pre-wrap;color:#a63a00">{html.escape(text)}</pre>'
