"""The widgets of `notebooks/5_explore.ipynb`: look into a study, and segment an image of one's own.

Everything a person can press is an attribute, so that a test, or a script, can press it too.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd

from wbcstudy.data.datasets import Dataset, load_dataset, read_case
from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_difference, draw_overlay, shrink
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json
from wbcstudy.inference.image import Segmentation, segment_image
from wbcstudy.inference.network import best_run, known_studies, load_network
from wbcstudy.inference.split_cells import split_cells
from wbcstudy.labels import DIFFERENCE_COLOURS, REGION_COLOURS
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs

# What of a cell is shown: the rest is in the file to save.
SHOWN_COLUMNS = {
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
_PICTURE_PX, _UPLOAD_PX = 300, 480
# Jupyter drops what a kernel sends beyond 3 MB in 3 seconds: pictures of a whole field would not arrive.
_SENT_PX, _QUALITY = 960, 92
_MOST_ROWS = 200


class Explorer:
    """Widgets that follow one another: study, run, image; pictures and a table; an upload.

    Args:
        study: the study to open; the first that has a trained network if ''.

    Attributes:
        choices: study, run, image and opacity.
        pictures: image, expert, prediction and difference of the chosen image.
        table: its cells.
        upload: choose a file, the size of its pixels, and its result.
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
        self._shown = {name: _picture(name) for name in ("Image", "Expert", "Prediction", "Difference")}
        self.pictures = widgets.VBox([_row(self._shown), widgets.HTML(_legend())])

        self.file = widgets.FileUpload(accept=".png,.bmp,.jpg,.jpeg,.tif,.tiff", description="Choose an image")
        self.file.layout.width = "14rem"
        self.pixel_um = widgets.FloatText(0, description="µm per pixel (0: unknown)", **wide)
        self.pixel_um.style.description_width = "12rem"
        self.upload_message, self.upload_table = widgets.HTML(), widgets.HTML()
        self._uploaded = {name: _picture(name, _UPLOAD_PX) for name in ("Your image", "Segmented")}
        self.upload = widgets.VBox(
            [self.pixel_um, self.file, self.upload_message, _row(self._uploaded), self.upload_table]
        )

        self._runs: dict[str, Run] = {}
        self._case: tuple[np.ndarray, np.ndarray, Segmentation] | None = None
        self._own: Segmentation | None = None
        self._filling = False
        if not studies:
            self.message.value = _warn("No study has a trained network yet. `make study` makes one in some minutes.")
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
        """Do what a person's choice asks for; a list that is being filled asks for nothing."""
        if not self._filling:
            action()

    def _fill(self, widget: widgets.Dropdown, options: list) -> None:
        """New options, the first of them chosen."""
        self._filling = True
        try:
            widget.options = options
            widget.index = 0 if options else None
        finally:
            self._filling = False

    def _open_study(self) -> None:
        """List the study's runs, the best first."""
        with _Told(self.message, self._clear):
            study = StudyFolder.of(self.study.value)
            runs = [run for run in load_runs(study) if run.complete and run.folder.model.is_file()]
            best, _ = best_run(study)
            runs.sort(key=lambda run: run.name != best.name)
            self._runs = {run.name: run for run in runs}
            names = [
                (f"{run.name} (best by validation)" if run.name == best.name else run.name, run.name) for run in runs
            ]
            self._fill(self.run, names)
            self._open_run()

    def _open_run(self) -> None:
        """List the run's test images: those that its network has not seen."""
        with _Told(self.message, self._clear):
            run = self._runs[self.run.value]
            test = self._split(run)
            self._fill(self.image, [case.case_id for case in self._data(run).cases if case.case_id in test])
            self._segment_case()
        self._segment_upload()

    def _segment_case(self) -> None:
        with _Told(self.message, self._clear):
            run = self._runs[self.run.value]
            data = self._data(run)
            self.message.value = "Segmenting ..."
            image, reference = read_case(data, data.case(self.image.value))
            self._case = image, reference, segment_image(image, load_network(run.folder.path))
            self._draw()

    def _draw(self) -> None:
        with _Told(self.message):
            if self._case is not None:
                image, reference, found = self._case
                opacity = self.opacity.value
                _show(self._shown["Image"], image)
                _show(self._shown["Expert"], draw_overlay(image, reference, split_cells(reference), opacity))
                _show(self._shown["Prediction"], found.overlay(opacity))
                _show(self._shown["Difference"], draw_difference(image, reference, found.mask))
                self.table.value = _tell_cells(found, f"{self.image.value}_cells.csv")
                self.message.value = _tell_way(found)
            if self._own is not None:
                self._draw_upload()

    def _clear(self) -> None:
        """Show no pictures rather than those of another choice."""
        self._case = None
        self.table.value = ""
        for picture in self._shown.values():
            _show(picture, None)

    def _segment_upload(self) -> None:
        with _Told(self.upload_message, self._clear_upload):
            if not self.file.value:
                return
            chosen = self.file.value[0]
            self.upload_message.value = f"Segmenting {html.escape(chosen['name'])} ..."
            image = _read_upload(chosen["name"], chosen["content"])
            network = load_network(self._runs[self.run.value].folder.path)
            self._own = segment_image(image, network, pixel_um=self.pixel_um.value or None)
            self._draw_upload()

    def _clear_upload(self) -> None:
        self._own = None
        self.upload_table.value = ""
        for picture in self._uploaded.values():
            _show(picture, None)

    def _draw_upload(self) -> None:
        own = self._own
        _show(self._uploaded["Your image"], own.image)
        _show(self._uploaded["Segmented"], own.overlay(self.opacity.value))
        self.upload_table.value = _tell_cells(own, "cells.csv")
        self.upload_message.value = _tell_way(own)

    def _data(self, run: Run) -> Dataset:
        return _load_dataset(run.config.dataset)

    def _split(self, run: Run) -> set[str]:
        folds = (read_json(run.folder.study.split) or {}).get("folds", [])
        if run.config.fold < len(folds):
            return set(folds[run.config.fold]["test"])
        return {case.case_id for case in self._data(run).cases}


class _Told:
    """Shows an error that a user can mend in a widget instead of a traceback nobody sees."""

    def __init__(self, place: widgets.HTML, clear: Callable[[], None] = lambda: None) -> None:
        self._place, self._clear = place, clear

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> bool:
        if not isinstance(error, StudyError):
            return False
        self._clear()
        self._place.value = _warn(str(error))
        return True


def _read_upload(name: str, content: memoryview) -> np.ndarray:
    with tempfile.TemporaryDirectory() as place:
        # The content decides what it is; the name is anybody's.
        path = Path(place) / "image"
        path.write_bytes(content)
        try:
            return read_image(path)
        except StudyError as error:
            what = error.message.replace(str(path), name)
            raise StudyError(what, expected=error.expected, fix="Choose another file.") from None


@functools.lru_cache(maxsize=4)
def _load_dataset(name: str) -> Dataset:
    return load_dataset(name)


def _picture(title: str, width_px: int = _PICTURE_PX) -> widgets.VBox:
    """A place for a picture below its title, hidden while there is none."""
    image = widgets.Image(format="jpeg", layout=widgets.Layout(width=f"{width_px}px", height="auto"))
    return widgets.VBox([widgets.HTML(f"<b>{title}</b>"), image], layout=widgets.Layout(display="none"))


def _show(picture: widgets.VBox, image: np.ndarray | None) -> None:
    picture.children[1].value = b"" if image is None else _encode(image)
    picture.layout.display = "none" if image is None else None


def _encode(image: np.ndarray) -> bytes:
    """A picture no larger than a screen shows, as the bytes of a JPEG file without blurred colours."""
    file = io.BytesIO()
    shrink(image, _SENT_PX).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _row(pictures: dict[str, widgets.VBox]) -> widgets.Box:
    return widgets.Box(list(pictures.values()), layout=widgets.Layout(flex_flow="row wrap", grid_gap="12px"))


def _legend() -> str:
    colours = {name: REGION_COLOURS[name] for name in ("nucleus", "cytoplasm")} | dict(DIFFERENCE_COLOURS)
    box = "display:inline-block;width:.9em;height:.9em;border:1px solid #333;margin:0 .35em 0 1em"
    return "".join(f'<span style="{box};background:{colour}"></span>{name}' for name, colour in colours.items())


def _tell_way(found: Segmentation) -> str:
    count = len(found.cells)
    how = "resized whole" if found.way.name == "whole" else "brought to the scale of the training images"
    return html.escape(f"{count} {'cell' if count == 1 else 'cells'}. The image was {how}: {found.way.why}.")


def _tell_cells(found: Segmentation, file: str) -> str:
    """The cells as a table, and as a file to save that lies in the page itself."""
    cells = found.cells
    if cells.empty:
        return "<p>No cell was found.</p>"
    columns = dict(SHOWN_COLUMNS)
    if cells["cell_area_um2"].notna().any():
        columns |= _SQUARE_MICROMETRES
    shown = cells[list(columns)].head(_MOST_ROWS).rename(columns=columns)
    shown["cut by the border"] = np.where(shown["cut by the border"], "yes", "no")
    table = shown.to_html(index=False, border=0, na_rep="-", float_format=_short, classes="cells")
    content = base64.b64encode(cells.to_csv(index=False, lineterminator="\n").encode()).decode()
    link = (
        f'<a style="color:#0b5394;text-decoration:underline" download="{html.escape(file, quote=True)}" '
        f'href="data:text/csv;base64,{content}">Save all as CSV</a>'
    )
    more = f" The first {_MOST_ROWS} of {len(cells)} cells." if len(cells) > _MOST_ROWS else ""
    style = "<style>table.cells td, table.cells th { padding: .25em .8em; text-align: right }</style>"
    return f'{style}<div style="overflow:auto;max-height:24em">{table}</div><p>{link}.{more}</p>'


def _short(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _warn(text: str) -> str:
    return f'<pre style="white-space:pre-wrap;color:#a63a00">{html.escape(text)}</pre>'
