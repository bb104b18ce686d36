"""Synthetic smears, version 2: many laboratories instead of one, with exact masks.

The first version (`dataset.make_smear`) draws one stain, well focused, with a white cell near the middle. It stays as
it is, since studies record its images. This version draws the ranges of `domains.RANGES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wbcstudy.data.synthetic.camera import photograph
from wbcstudy.data.synthetic.cells import ALL_LOOKS, make_outline
from wbcstudy.data.synthetic.dataset import Smear, assemble_smear, write_smears
from wbcstudy.data.synthetic.domains import DOMAINS, RANGES, draw_slide
from wbcstudy.data.synthetic.field import Field, PlacedCell, draw_density, place_white_cells
from wbcstudy.data.synthetic.odd_cells import (
    damage_white_cell,
    draw_basket_cell,
    draw_debris,
    draw_nucleated_red_cell,
    draw_platelet_clump,
)
from wbcstudy.errors import StudyError
from wbcstudy.labels import IGNORED
from wbcstudy.registry import pick

# Images of a dataset: one scale, at which a network can be trained.
PIXEL_SIZE_UM = 0.16
SIZE_PX = 192
_TRIES = 30
# Kind -> its function; the rest of a field is drawn in this order.
_EXTRAS = {"nucleated_red": draw_nucleated_red_cell, "clump": draw_platelet_clump, "debris": draw_debris}


def make_varied_smear(
    seed: int,
    domain: str = "mgg",
    height_px: int = SIZE_PX,
    width_px: int = SIZE_PX,
    *,
    pixel_size_um: float = PIXEL_SIZE_UM,
    white_cells: tuple[int, int] = (1, 3),
) -> Smear:
    """Draw a smear of a domain.

    Args:
        seed: 0 or more; equal seeds and arguments give equal smears.
        domain: a key of `domains.DOMAINS`.
        height_px: image height, 16 or more.
        width_px: image width, 16 or more.
        pixel_size_um: side of a pixel of the image; the camera's own pixels vary.
        white_cells: smallest and largest number of white cells in a field that has some.

    Returns:
        The smear. Pixels of `mask` without a label are `labels.IGNORED`. There may be no white cell.

    Raises:
        StudyError: an unknown domain, or an argument out of range.
    """
    if not (0.02 <= pixel_size_um <= 1 and 16 <= min(height_px, width_px) and max(height_px, width_px) <= 8192):
        raise StudyError(
            f"Synthetic smears: {width_px}x{height_px} px of {pixel_size_um:g} µm cannot be drawn.",
            expected="16 to 8192 px of 0.02 to 1 µm",
            fix="Change it.",
        )
    pick(DOMAINS, domain, "domain")
    order = np.random.SeedSequence([seed, 0x0D03, list(DOMAINS).index(domain)])
    slide_seed, layout_seed, draw_seed, extra_seed, camera_seed = order.spawn(5)
    slide, camera = draw_slide(domain, np.random.default_rng(slide_seed))
    field = Field(height_px, width_px, pixel_size_um)
    rng = np.random.default_rng(layout_seed)
    share = {name: row.draw(rng) for name, row in RANGES.items()}

    fate = rng.random()
    if fate < share["bare"]:
        slide = replace(slide, red_cover=0.0, platelets=0.0)
    elif fate > 1 - share["crowded"]:
        slide = replace(slide, red_cover=rng.uniform(0.75, 0.95), red_overlap=rng.uniform(0.5, 0.9))
    placed = [] if fate < share["bare"] + share["empty"] else _place(rng, field, white_cells, share)
    seeds = draw_seed.spawn(3 + len(placed))
    density, instances, nuclei = draw_density(seeds, field, slide, placed, damage_white_cell)
    without_label = np.zeros(instances.shape, bool)
    if fate >= share["bare"]:
        rng = np.random.default_rng(extra_seed)
        without_label = _draw_extras(rng, field, slide, share, placed, instances, density)
    image = photograph(density, slide, camera, np.random.default_rng(camera_seed), pixel_size_um)
    smear = assemble_smear(field, placed, image, instances, nuclei)
    smear.mask[without_label & (instances == 0)] = IGNORED
    return smear


def write_varied_dataset(
    folder: str | Path,
    *,
    cases: int,
    seed: int,
    domains: Sequence[str] = tuple(DOMAINS),
    size_px: int = SIZE_PX,
    name: str = "synthetic_varied",
) -> Path:
    """Write smears of several domains as a dataset; the id of a case begins with its domain.

    Case k is of domain k modulo their number, and the same in a longer dataset. All images have 0.16 µm per pixel. To
    leave one stain out, write one dataset of the others for the training and one of this stain for `also_score`.

    Args:
        folder: folder to write, which must be empty or not exist.
        cases: number of images, 1 or more.
        seed: 0 or more.
        domains: keys of `domains.DOMAINS`, at least one.
        size_px: side of an image.
        name: name in `dataset.yaml`.

    Returns:
        The folder.

    Raises:
        StudyError: an argument is not valid, the folder is not empty, or it cannot be written.
    """
    if not domains:
        raise StudyError("No domain is given.", expected=", ".join(DOMAINS), fix="Name at least one.")
    for domain in domains:
        pick(DOMAINS, domain, "domain")

    def draw(index: int) -> tuple[str, Smear, str]:
        # Every image is of a slide of its own. A domain is no group: a split would not divide it.
        return *draw_case(index, seed, domains, size_px), ""

    return write_smears(folder, cases, draw, name, "Synthetic blood smears of many laboratories", instances=True)


def draw_case(index: int, seed: int, domains: Sequence[str], size_px: int = SIZE_PX) -> tuple[str, Smear]:
    """Draw case `index` of the dataset that `write_varied_dataset` writes; return its id and the smear."""
    domain = domains[index % len(domains)]
    return f"{domain}{index:04d}", make_varied_smear(case_seed(seed, index), domain, size_px, size_px)


def case_seed(seed: int, index: int) -> int:
    """Return the seed of case `index` of a dataset."""
    return int(np.random.SeedSequence([seed, 4, index]).generate_state(1, np.uint64)[0])


def _place(rng, field: Field, white_cells: tuple[int, int], share) -> list[PlacedCell]:
    """Place white cells, damage some, and let the border cut one."""
    count = int(rng.integers(white_cells[0], white_cells[1] + 1))
    shares = {name: look.share for name, look in ALL_LOOKS.items()} | {"eosinophil": share["eosinophils"]}
    placed = place_white_cells(rng, field, count, 0.3, shares, None)
    if rng.random() < share["border"]:
        name = str(rng.choice(list(ALL_LOOKS)))
        outline = make_outline(rng, rng.uniform(*ALL_LOOKS[name].radius_um), ALL_LOOKS[name].wobble)
        for _ in range(_TRIES):
            centre = field.size_um * rng.uniform(0, 1, 2)
            axis, end = rng.integers(2), rng.integers(2)
            depth = rng.uniform(-0.7, 0.9) * outline.radius_um
            centre[axis] = depth if end == 0 else field.size_um[axis] - depth
            if _is_clear(centre, outline.reach_um + 1, placed):
                placed.append(PlacedCell(name, outline, centre))
                break
    kinds = rng.choice(
        ["", "smudged", "ruptured"],
        len(placed),
        p=[1 - share["smudged"] - share["ruptured"], share["smudged"], share["ruptured"]],
    )
    return [replace(cell, damage=str(kind)) for cell, kind in zip(placed, kinds, strict=True)]


def _is_clear(centre, reach_um: float, placed: Sequence[PlacedCell]) -> bool:
    return all(np.hypot(*(centre - cell.centre_um)) > cell.outline.reach_um + reach_um for cell in placed)


def _draw_extras(rng, field, slide, share, placed, instances, density) -> np.ndarray:
    """Draw what is not a white cell, away from them; return the pixels without label, bool (H, W)."""
    without_label = np.zeros(instances.shape, bool)
    for kind in ("basket", *_EXTRAS):
        if rng.random() >= share[kind]:
            continue
        reach = {"basket": 8.0, "nucleated_red": 5.0}.get(kind, 3.0)
        for _ in range(_TRIES):
            centre = field.size_um * rng.uniform(0, 1, 2)
            if not _is_clear(centre, reach, placed):
                continue
            before = density.copy()
            if kind == "basket":
                without_label |= draw_basket_cell(rng, field, slide, centre, density)
            else:
                _EXTRAS[kind](rng, field, slide, centre, density)
            # White cells are on top.
            density[instances > 0] = before[instances > 0]
            break
    return without_label
