"""Synthetic blood smears: images with exact masks, for a first run, for tests, and for figures that can be shared.

A smear depends on its seed only; no file is read or downloaded. Image and mask are drawn from the same shapes.
"""

from __future__ import annotations

import csv
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from wbcstudy.data.synthetic.cells import CELL_TYPES, LOOKS
from wbcstudy.data.synthetic.field import Field, PlacedCell, draw_field, place_white_cells
from wbcstudy.data.synthetic.slide import make_slide
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, temporary_folder
from wbcstudy.labels import CYTOPLASM, IGNORED, LABELS, NUCLEUS
from wbcstudy.registry import unknown_name

__all__ = ["CELL_TYPES", "Smear", "SmearCell", "make_smear", "pixel_size", "write_smears", "write_synthetic_dataset"]

# A 100x objective on a common camera.
_PIXEL_SIZE_UM = 0.16
# Room for the largest white cell and some surroundings.
_SMALLEST_FIELD_UM = 20.5
_SMALLEST_PX, _LARGEST_PX = 16, 8192

_CITATION = "Synthetic images, drawn by wbcstudy. They show no patient and may be used freely."
# Grey levels of the masks, as in public datasets of this field and visible in any viewer.
_GREY = {"background": 0, "cytoplasm": 128, "nucleus": 255}
_IGNORED_GREY = 64


@dataclass(frozen=True)
class SmearCell:
    """A white cell of a smear.

    Args:
        instance: its number in `Smear.instances`, from 1.
        cell_type: one of `CELL_TYPES`.
        centre_px: row and column of its centre; (0, 0) is the centre of the first pixel.
        touches_border: whether it touches the border of the image, which may cut it.
    """

    instance: int
    cell_type: str
    centre_px: tuple[float, float]
    touches_border: bool


@dataclass(frozen=True)
class Smear:
    """A synthetic image with its exact annotation.

    Args:
        image: uint8 (H, W, 3) RGB.
        mask: uint8 (H, W) of labels (`wbcstudy.labels`).
        instances: uint16 (H, W), 0 for background and k for nucleus and cytoplasm of the k-th white cell.
        nuclei: uint16 (H, W), 0 for background and k for the nucleus of the k-th white cell.
        cells: the white cells by number; the first is the main cell, near the middle.
        pixel_size_um: side of a pixel, in micrometres.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    nuclei: np.ndarray
    cells: tuple[SmearCell, ...]
    pixel_size_um: float


def pixel_size(height_px: int, width_px: int) -> float:
    """Return the pixel size of `make_smear` in micrometres: 0.16, or more if a white cell would not fit the image."""
    return max(_PIXEL_SIZE_UM, round(_SMALLEST_FIELD_UM / min(height_px, width_px), 4))


def make_smear(
    seed: int,
    height_px: int = 192,
    width_px: int = 192,
    *,
    white_cells: tuple[int, int] = (1, 2),
    touching: float = 0.0,
    slide: int | None = None,
    cell_types: Sequence[str] | None = None,
    main_type: str | None = None,
) -> Smear:
    """Draw a smear.

    Args:
        seed: non-negative; equal seeds and arguments give equal smears.
        height_px: image height, 16 or more.
        width_px: image width, 16 or more.
        white_cells: smallest and largest number of white cells; fewer are drawn if there is no room.
        touching: probability that a white cell after the first touches and slightly overlaps an earlier one. Other
            cells are at least a micrometre apart.
        slide: non-negative number of the slide; its images share stain and light. None for a random slide.
        cell_types: types to draw from, by their frequency; rare types are more frequent than in blood. None for all of
            `CELL_TYPES`.
        main_type: type of the first cell, also one outside `cell_types`; None to draw it like the others.

    Raises:
        StudyError: an argument is not valid.
    """
    low, high = white_cells
    cell_types = CELL_TYPES if cell_types is None else tuple(cell_types)
    _check("seed", seed, "a whole number, 0 or more", valid=_is_whole(seed, 0))
    sides = f"a whole number from {_SMALLEST_PX} to {_LARGEST_PX}"
    for side in (height_px, width_px):
        _check("size in px", side, sides, valid=_is_whole(side, _SMALLEST_PX, _LARGEST_PX))
    _check("white_cells", white_cells, "two whole numbers from 0", valid=_is_whole(low, 0) and _is_whole(high, low))
    probability = isinstance(touching, numbers.Real) and 0 <= touching <= 1
    _check("touching", touching, "a probability from 0 to 1", valid=probability)
    _check("slide", slide, "a whole number, 0 or more", valid=slide is None or _is_whole(slide, 0))
    _check("cell_types", cell_types, "at least one type", valid=len(cell_types) > 0)
    for cell_type in (*cell_types, main_type or CELL_TYPES[0]):
        if cell_type not in CELL_TYPES:
            raise unknown_name(cell_type, CELL_TYPES, "cell type")

    layout_seed, draw_seed, slide_seed = np.random.SeedSequence([seed, 0x5EA2]).spawn(3)
    if slide is None:
        slide = int(slide_seed.generate_state(1, np.uint64)[0])
    look = make_slide(slide)
    field = Field(height_px, width_px, pixel_size(height_px, width_px))
    rng = np.random.default_rng(layout_seed)
    count = int(rng.integers(low, high + 1))
    shares = {name: LOOKS[name].share for name in cell_types}
    placed = place_white_cells(rng, field, count, touching, shares, main_type)
    image, instances, nuclei = draw_field(draw_seed, field, look, placed)
    return assemble_smear(field, placed, image, instances, nuclei)


def assemble_smear(
    field: Field, placed: Sequence[PlacedCell], image: np.ndarray, instances: np.ndarray, nuclei: np.ndarray
) -> Smear:
    """Make the smear of a drawn field; arguments as returned by `field.draw_field`."""
    mask = np.where(instances > 0, CYTOPLASM, LABELS["background"]).astype(np.uint8)
    mask[nuclei > 0] = NUCLEUS
    border = np.concatenate([instances[[0, -1]].ravel(), instances[:, [0, -1]].ravel()])
    cells = tuple(
        SmearCell(
            number,
            cell.cell_type,
            tuple(float(position) for position in cell.centre_um[::-1] / field.pixel_size_um - 0.5),
            number in border,
        )
        for number, cell in enumerate(placed, 1)
    )
    return Smear(image, mask, instances, nuclei, cells, field.pixel_size_um)


def _make_case(
    index: int,
    *,
    seed: int,
    size_px: int | tuple[int, int] = 192,
    slides: int = 10,
    white_cells: tuple[int, int] = (1, 2),
    touching: float = 0.25,
) -> Smear:
    """Draw case `index` of a synthetic dataset; it does not depend on the number of cases.

    The main cells of five successive cases have the five types, in a random order. Case k is on slide k modulo
    `slides`. The other arguments and errors are those of `write_synthetic_dataset`.
    """
    _check("seed", seed, "a whole number, 0 or more", valid=_is_whole(seed, 0))
    _check("slides", slides, "a whole number, 1 or more", valid=_is_whole(slides, 1))
    height_px, width_px = size_px if isinstance(size_px, tuple | list) else (size_px, size_px)
    turn, position = divmod(index, len(CELL_TYPES))
    order = np.random.default_rng(np.random.SeedSequence([seed, 1, turn])).permutation(len(CELL_TYPES))
    return make_smear(
        _derive(seed, 2, index),
        height_px,
        width_px,
        white_cells=white_cells,
        touching=touching,
        slide=_derive(seed, 3, index % slides),
        main_type=CELL_TYPES[order[position]],
    )


def write_synthetic_dataset(
    folder: str | Path,
    *,
    cases: int,
    seed: int,
    size_px: int | tuple[int, int] = 192,
    slides: int = 10,
    white_cells: tuple[int, int] = (1, 2),
    touching: float = 0.25,
    instances: bool = True,
    name: str = "synthetic",
) -> Path:
    """Write a synthetic dataset.

    The folder contains `dataset.yaml`, `cases.csv` (`case_id,cell_type,group`: the type of the main cell, empty if
    there is no white cell, and the slide), `images/`, `masks/` (grey levels 0, 128 and 255 for background, cytoplasm
    and nucleus) and, on request, `instances/` (16-bit: k for the k-th white cell). It is written completely or not at
    all. Equal arguments give equal bytes with the same versions of NumPy, SciPy and Pillow.

    Args:
        folder: folder to write, which must be empty or not exist.
        cases: number of images, 1 or more. Case k is the same in a longer dataset.
        seed: non-negative.
        size_px: side, or height and width.
        slides: number of slides.
        white_cells: as for `make_smear`.
        touching: as for `make_smear`.
        instances: whether to write `instances/`.
        name: name in `dataset.yaml`.

    Returns:
        The folder.

    Raises:
        StudyError: an argument is not valid, the folder is not empty, or it cannot be written.
    """
    options = {"seed": seed, "size_px": size_px, "slides": slides, "white_cells": white_cells, "touching": touching}

    def draw(index: int) -> tuple[str, Smear, str]:
        return f"smear{index:04d}", _make_case(index, **options), f"slide{index % slides:02d}"

    return write_smears(folder, cases, draw, name, "Synthetic blood smears", instances)


def write_smears(
    folder: str | Path,
    cases: int,
    draw: Callable[[int], tuple[str, Smear, str]],
    name: str,
    title: str,
    instances: bool,
) -> Path:
    """Write smears as a dataset, completely or not at all.

    Args:
        folder: folder to write, which must be empty or not exist.
        cases: number of images, 1 or more.
        draw: index -> case id, smear and group ('' for none).
        name: name in `dataset.yaml`.
        title: title in `dataset.yaml`.
        instances: whether to write `instances/`.

    Returns:
        The folder.

    Raises:
        StudyError: the folder is not empty, or cannot be written.
    """
    folder = Path(folder)
    _check("cases", cases, "a whole number, 1 or more", valid=_is_whole(cases, 1))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise StudyError(
            f"{folder} exists and is not empty.",
            expected="a new or an empty folder for the synthetic dataset",
            fix="Choose another folder, or delete this one if you do not need it.",
        )
    first = draw(0)  # checks the arguments before anything is written
    try:
        # Files in the subfolder get the usual permissions, although the temporary folder is private.
        with temporary_folder(folder.parent) as temporary:
            part = temporary / "dataset"
            for subfolder in ("images", "masks", *(["instances"] if instances else [])):
                (part / subfolder).mkdir(parents=True)
            rows, ignored = [("case_id", "cell_type", "group")], False
            for index in range(cases):
                case_id, smear, group = first if index == 0 else draw(index)
                _write_case(part, case_id, smear, instances)
                ignored |= bool((smear.mask == IGNORED).any())
                rows.append((case_id, smear.cells[0].cell_type if smear.cells else "", group))
            with (part / "cases.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            _write_description(part, name, title, first[1].pixel_size_um, instances, ignored)
            if folder.is_dir():
                folder.rmdir()  # it is empty; Windows cannot rename onto it
            part.rename(folder)
    except OSError as error:
        instead = "choose another folder (for named datasets, set WBCSTUDY_DATA)"
        raise cannot_write(folder, error, instead=instead) from None
    return folder


def _write_case(folder: Path, case_id: str, smear: Smear, instances: bool) -> None:
    from PIL import Image

    grey = np.zeros(256, np.uint8)
    grey[IGNORED] = _IGNORED_GREY
    for label, value in LABELS.items():
        grey[value] = _GREY[label]
    Image.fromarray(smear.image).save(folder / "images" / f"{case_id}.png")
    Image.fromarray(grey[smear.mask]).save(folder / "masks" / f"{case_id}.png")
    if instances:
        Image.fromarray(smear.instances).save(folder / "instances" / f"{case_id}.png")


def _write_description(
    folder: Path, name: str, title: str, pixel_size_um: float, instances: bool, ignored: bool
) -> None:
    fields = {
        "name": name,
        "title": title,
        "images": "images/{case}.png",
        "masks": "masks/{case}.png",
        "labels": _GREY,
        "tolerance": 0,
        "cases": "cases.csv",
        "pixel_size_um": pixel_size_um,
        "citation": _CITATION,
    }
    if ignored:
        fields["ignore"] = [_IGNORED_GREY]
    if instances:
        fields["instances"] = "instances/{case}.png"
    text = "# Written by wbcstudy: drawn, not photographed.\n"
    text += yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=1000)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8", newline="\n")


def _derive(seed: int, purpose: int, index: int) -> int:
    """Derive an independent seed for one purpose and index."""
    return int(np.random.SeedSequence([seed, purpose, index]).generate_state(1, np.uint64)[0])


def _is_whole(value: object, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= value <= most


def _check(argument: str, value: object, expected: str, *, valid: bool) -> None:
    if not valid:
        raise StudyError(f"Synthetic smears: {argument} = {value!r} is not valid.", expected=expected, fix="Change it.")
