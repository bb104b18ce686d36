"""The widgets of `notebooks/5_explore.ipynb`: look into a study, and segment an uploaded image.

Everything a user can operate is an attribute, so that tests and scripts can operate it too.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from wbcstudy.data.datasets import load_dataset, read_case
from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_difference, draw_overlay, shrink
from wbcstudy.data.records import read_split
from wbcstudy.errors import StudyError
from wbcstudy.inference.image import Segmentation, segment_image
from wbcstudy.inference.network import best_run, known_studies, load_network
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.inference.tiling import DESCRIPTIONS
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_usable_runs
from wbcstudy.wording import count

# Columns of cells.csv in the table, with their headings; the file to save has all columns.
_COLUMNS = {
    "cell_id": "cell",
    "cell_area_px": "cell, px",
    "nucleus_area_px": "nucleus, px",
    "cytoplasm_area_px": "cytoplasm, px",
    "nucleus_to_cytoplasm_ratio": "N:C ratio",
    "nuclear_lobes": "lobes",
    "cell_circularity": "circularity",
    "cell_eccentricity": "eccentricity",
    "touches_border": "cut by the border",
    "mean_confidence": "confidence",
}
_SQUARE_MICROMETRES = {f"{region}_area_um2": f"{region}, µm²" for region in ("cell", "nucleus", "cytoplasm")}
_MAX_ROWS = 200
_WIDTH_PX, _UPLOAD_WIDTH_PX = 300, 480
# Jupyter drops what a kernel sends beyond 3 MB in 3 seconds, so images of whole fields must be small.
_MAX_SENT_PX, _JPEG_QUALITY = 960, 92


class Explorer:
    """Widgets to choose a study, run and image, with the images, a table of the cells, and an upload.

    Args:
        study: the study to open; '' for the first with a trained network.

    Attributes:
        choices: study, run, image and opacity.
        comparison: image, expert, prediction and difference of the chosen image.
        table: its cells.
        upload: a file to choose, the size of its pixels, and its segmentation.
    """

    def __init__(self, study: str = "") -> None:
        studies = known_studies()
        wide = {"style": {"description_width": "5.5rem"}, "layout": widgets.Layout(width="34rem")}
        self.study = widgets.Dropdown(options=studies, description="Study", **wide)
        self.run = widgets.Dropdown(description="Run", **wide)
        self.image = widgets.Dropdown(description="Image", **wide)
        self.opacity = widgets.FloatSlider(
            0.35, min=0, max=1, step=0.05, description="Opacity", continuous_update=False, **wide
        )
        self.message, self.table = widgets.HTML(), widgets.HTML()
        self.choices = widgets.VBox([self.study, self.run, self.image, self.opacity, self.message])
        self._boxes = {title: _image_box(title) for title in ("Image", "Expert", "Prediction", "Difference")}
        self.comparison = widgets.VBox([_row(self._boxes), widgets.HTML(_legend())])

        self.file = widgets.FileUpload(accept=".png,.bmp,.jpg,.jpeg,.tif,.tiff", description="Choose an image")
        self.file.layout.width = "14rem"
        self.pixel_um = widgets.FloatText(0, description="µm per pixel (0: unknown)", **wide)
        self.pixel_um.style.description_width = "12rem"
        self.upload_message, self.upload_table = widgets.HTML(), widgets.HTML()
        self._upload_boxes = {title: _image_box(title, _UPLOAD_WIDTH_PX) for title in ("Your image", "Segmented")}
        self.upload = widgets.VBox(
            [self.pixel_um, self.file, self.upload_message, _row(self._upload_boxes), self.upload_table]
        )

        self._runs: dict[str, Run] = {}
        self._problems: dict[str, StudyError | str] = {}
        self._case: tuple[np.ndarray, np.ndarray, Segmentation] | None = None
        self._uploaded: Segmentation | None = None
        self._filling = False
        if not studies:
            self.message.value = _warning("No study has a trained network yet. `make study` trains some in minutes.")
            return
        self.study.value = study if study in studies else studies[0]
        self._open_study()
        for widget, action in (
            (self.study, self._open_study),
            (self.run, self._open_run),
            (self.image, self._segment_case),
            (self.opacity, self._draw),
            (self.file, self._segment_upload),
            (self.pixel_um, self._segment_upload),
        ):
            widget.observe(functools.partial(self._react, action), names="value")

    def _react(self, action: Callable[[], None], change) -> None:
        if not self._filling:
            action()

    def _fill(self, widget: widgets.Dropdown, options: list) -> None:
        """Replace the options and choose the first, without reacting to the changes."""
        self._filling = True
        try:
            widget.options = options
            widget.index = 0 if options else None
        finally:
            self._filling = False

    def _open_study(self) -> None:
        """List the study's runs, the best first."""
        with _show_errors(self.message, self._clear):
            study = StudyFolder.of(self.study.value)
            best, _ = best_run(study)
            usable, self._problems = load_usable_runs(study)
            runs = [run for run in usable if run.complete and run.folder.model.is_file()]
            for run in [run for run in usable if run.complete and run not in runs]:
                self._problems[run.name] = f"{run.name} is left out: it has no {run.folder.model.name}."
            self._runs = {run.name: run for run in sorted(runs, key=lambda run: run.name != best.name)}
            labels = [f"{name} (best by validation)" if name == best.name else name for name in self._runs]
            self._fill(self.run, list(zip(labels, self._runs, strict=True)))
            self._open_run()

    def _open_run(self) -> None:
        """List the run's test images, which its network has not seen in training."""
        with _show_errors(self.message, self._clear):
            run = self._runs[self.run.value]
            case_ids = [case.case_id for case in _load_dataset(run.config.dataset).cases]
            splits, _ = read_split(run.folder.study.split) or ((), {})
            test = set(splits[run.config.fold].test if run.config.fold < len(splits) else case_ids)
            self._fill(self.image, [case_id for case_id in case_ids if case_id in test])
            self._segment_case()
        self._segment_upload()

    def _segment_case(self) -> None:
        with _show_errors(self.message, self._clear):
            run = self._runs[self.run.value]
            dataset = _load_dataset(run.config.dataset)
            self.message.value = "Segmenting ..."
            image, reference = read_case(dataset, dataset.case(self.image.value))
            self._case = image, reference, segment_image(image, load_network(run.folder.path))
            self._draw()

    def _draw(self) -> None:
        with _show_errors(self.message):
            if self._case is not None:
                image, reference, segmentation = self._case
                opacity = self.opacity.value
                _show(self._boxes["Image"], image)
                _show(self._boxes["Expert"], draw_overlay(image, reference, split_cells(reference), opacity))
                _show(self._boxes["Prediction"], segmentation.overlay(opacity))
                _show(self._boxes["Difference"], draw_difference(image, reference, segmentation.mask))
                self.table.value = _cell_table(segmentation, f"{self.image.value}_cells.csv")
                left_out = "".join(map(_warning, map(str, self._problems.values())))
                self.message.value = _describe(segmentation) + left_out
            if self._uploaded is not None:
                self._draw_upload()

    def _clear(self) -> None:
        self._case = None
        _hide(self._boxes, self.table)

    def _segment_upload(self) -> None:
        with _show_errors(self.upload_message, self._clear_upload):
            if not self.file.value:
                return
            file = self.file.value[0]
            self.upload_message.value = f"Segmenting {html.escape(file['name'])} ..."
            image = _read_upload(file["name"], file["content"])
            network = load_network(self._runs[self.run.value].folder.path)
            self._uploaded = segment_image(image, network, pixel_um=self.pixel_um.value or None)
            self._draw_upload()

    def _clear_upload(self) -> None:
        self._uploaded = None
        _hide(self._upload_boxes, self.upload_table)

    def _draw_upload(self) -> None:
        _show(self._upload_boxes["Your image"], self._uploaded.image)
        _show(self._upload_boxes["Segmented"], self._uploaded.overlay(self.opacity.value))
        self.upload_table.value = _cell_table(self._uploaded, "cells.csv")
        self.upload_message.value = _describe(self._uploaded)


@contextlib.contextmanager
def _show_errors(message: widgets.HTML, clear: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Show an error that the user can fix in a widget: Jupyter does not show tracebacks of callbacks."""
    try:
        yield
    except StudyError as error:
        clear()
        message.value = _warning(str(error))


def _read_upload(name: str, content: memoryview) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        # The format follows from the content; the name may be anything.
        path = Path(folder) / "image"
        path.write_bytes(content)
        try:
            return read_image(path)
        except StudyError as error:
            message = error.message.replace(str(path), name)
            raise StudyError(message, expected=error.expected, fix="Choose another file.") from None


_load_dataset = functools.lru_cache(maxsize=4)(load_dataset)


def _image_box(title: str, width_px: int = _WIDTH_PX) -> widgets.VBox:
    """Make a box for an image below its title, hidden while there is no image."""
    image = widgets.Image(format="jpeg", layout=widgets.Layout(width=f"{width_px}px", height="auto"))
    return widgets.VBox([widgets.HTML(f"<b>{title}</b>"), image], layout=widgets.Layout(display="none"))


def _show(box: widgets.VBox, image: np.ndarray) -> None:
    """Show an image as JPEG, no larger than a screen and without subsampled colours."""
    file = io.BytesIO()
    shrink(image, _MAX_SENT_PX).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    box.children[1].value = file.getvalue()
    box.layout.display = None


def _hide(boxes: dict[str, widgets.VBox], table: widgets.HTML) -> None:
    """Hide the images and the table of a previous choice."""
    table.value = ""
    for box in boxes.values():
        box.children[1].value = b""
        box.layout.display = "none"


def _row(boxes: dict[str, widgets.VBox]) -> widgets.Box:
    return widgets.Box(list(boxes.values()), layout=widgets.Layout(flex_flow="row wrap", grid_gap="12px"))


def _legend() -> str:
    colours = {name: REGION_COLOURS[name] for name in ("nucleus", "cytoplasm")} | dict(DIFFERENCE_COLOURS)
    square = "display:inline-block;width:.9em;height:.9em;border:1px solid #333;margin-right:.35em"
    return "".join(
        f'<span style="margin-right:1.2em"><span style="{square};background:{colour}"></span>{name}</span>'
        for name, colour in colours.items()
    )


def _describe(segmentation: Segmentation) -> str:
    tiling = segmentation.way
    cells = count(len(segmentation.cells), "cell")
    return html.escape(f"{cells}. The image was {DESCRIPTIONS[tiling.name]}: {tiling.reason}.")


def _cell_table(segmentation: Segmentation, file_name: str) -> str:
    """Write the cells as an HTML table, with a link that saves all columns from the page itself."""
    cells = segmentation.cells
    if cells.empty:
        return "<p>No cells.</p>"
    columns = _COLUMNS | (_SQUARE_MICROMETRES if cells["cell_area_um2"].notna().any() else {})
    shown = cells[list(columns)].head(_MAX_ROWS).rename(columns=columns)
    shown["cut by the border"] = np.where(shown["cut by the border"], "yes", "no")
    table = shown.to_html(index=False, border=0, na_rep="-", float_format=_number, classes="cells")
    content = base64.b64encode(cells.to_csv(index=False, lineterminator="\n").encode()).decode()
    link = (
        f'<a style="color:#0b5394;text-decoration:underline" download="{html.escape(file_name, quote=True)}" '
        f'href="data:text/csv;base64,{content}">Save all as CSV</a>'
    )
    more = f" The table shows the first {_MAX_ROWS} of {len(cells)} cells." if len(cells) > _MAX_ROWS else ""
    style = "<style>table.cells td, table.cells th { padding: .25em .8em; text-align: right }</style>"
    return f'{style}<div style="overflow:auto;max-height:24em">{table}</div><p>{link}.{more}</p>'


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _warning(text: str) -> str:
    return f'<pre style="white-space:pre-wrap;color:#a63a00">{html.escape(text)}</pre>'
