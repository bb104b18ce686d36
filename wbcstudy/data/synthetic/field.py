"""Place the white cells of a synthetic field, and draw the field with red cells and platelets around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wbcstudy.data.synthetic.cells import ALL_LOOKS, Outline, coverage, draw_white_cell, edge_line, make_outline, soft
from wbcstudy.data.synthetic.slide import Slide, expose, smooth_noise

_RED_RADIUS_UM = 3.6
_TRIES = 60


@dataclass(frozen=True)
class Field:
    """The size of a field, in pixels and micrometres."""

    height_px: int
    width_px: int
    pixel_size_um: float

    @property
    def size_um(self) -> np.ndarray:
        """Width and height, float64 (2,)."""
        return np.array([self.width_px, self.height_px]) * self.pixel_size_um

    def patch(self, centre_um, reach_um: float):
        """Return the part of the field around a point.

        Returns:
            The slices (rows, columns), and the distances in micrometres from the point to each pixel centre: x to the
            right and y downwards, float32 (h, w). None if the part is outside the field.
        """
        step = self.pixel_size_um
        # The centre of pixel (0, 0) is half a pixel from the field's corner.
        first = np.floor((np.asarray(centre_um) - reach_um) / step - 0.5).astype(int)
        last = np.ceil((np.asarray(centre_um) + reach_um) / step + 0.5).astype(int)
        columns = slice(max(first[0], 0), min(last[0], self.width_px))
        rows = slice(max(first[1], 0), min(last[1], self.height_px))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        x = ((np.arange(columns.start, columns.stop) + 0.5) * step - centre_um[0]).astype(np.float32)
        y = ((np.arange(rows.start, rows.stop) + 0.5) * step - centre_um[1]).astype(np.float32)
        x, y = np.broadcast_arrays(x[None, :], y[:, None])
        return (rows, columns), x, y


@dataclass(frozen=True)
class PlacedCell:
    """A white cell in a field.

    Args:
        cell_type: a key of `cells.ALL_LOOKS`.
        outline: its outline.
        centre_um: its centre (x, y) from the upper left corner.
        damage: "smudged", "ruptured" or ''.
    """

    cell_type: str
    outline: Outline
    centre_um: np.ndarray
    damage: str = ""


def place_white_cells(
    rng: np.random.Generator,
    field: Field,
    count: int,
    touching: float,
    shares: Mapping[str, float],
    main_type: str | None,
) -> list[PlacedCell]:
    """Choose white cells and their positions; fewer than `count` if there is no room.

    The first cell, the main cell, is near the middle. Cells that do not touch are at least a micrometre apart. `shares`
    are the relative frequencies of the cell types, keys of `cells.ALL_LOOKS`.
    """
    cell_types, frequencies = list(shares), np.array(list(shares.values()))
    placed: list[PlacedCell] = []
    for index in range(count):
        name = cell_types[rng.choice(len(cell_types), p=frequencies / frequencies.sum())]
        if index == 0 and main_type is not None:
            name = main_type
        look = ALL_LOOKS[name]
        radius = rng.uniform(*look.radius_um)
        if name == "lymphocyte" and rng.random() < 0.15:  # a large lymphocyte
            radius *= 1.3
        outline = make_outline(rng, radius, look.wobble)
        touch = bool(placed) and rng.random() < touching
        for _ in range(_TRIES):
            if not placed:
                centre = field.size_um * rng.uniform(0.3, 0.7, 2)
                break
            if touch:
                neighbour = placed[rng.integers(len(placed))]
                centre = _touching_centre(rng, neighbour, outline)
            else:
                neighbour = None
                centre = rng.uniform(-0.1, 1.1, 2) * field.size_um
            if _fits(field, centre, outline, placed, neighbour):
                break
        else:
            continue
        placed.append(PlacedCell(name, outline, centre))
    return placed


def _touching_centre(rng, neighbour: PlacedCell, outline: Outline) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    gap = neighbour.outline.radius_at(angle) + outline.radius_at(angle + np.pi)
    return neighbour.centre_um + np.array([np.cos(angle), np.sin(angle)]) * gap * rng.uniform(0.88, 0.97)


def _fits(field, centre, outline, placed, neighbour) -> bool:
    # The border may cut a cell, but most of its nucleus and the contact with its neighbour must be in the field.
    inset = 0.25 * outline.radius_um
    if (centre < inset).any() or (centre > field.size_um - inset).any():
        return False
    for other in placed:
        away = np.hypot(*(centre - other.centre_um))
        if other is not neighbour and away < other.outline.reach_um + outline.reach_um + 1.0:
            return False
    return True


def draw_field(
    seed: np.random.SeedSequence, field: Field, slide: Slide, placed: Sequence[PlacedCell]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a field with the placed white cells, and red cells and platelets around them.

    Returns:
        The image, uint8 (H, W, 3), and the cells and their nuclei as from `draw_density`.
    """
    seeds = seed.spawn(3 + len(placed))
    density, instances, nuclei = draw_density(seeds, field, slide, placed)
    return expose(density, slide, np.random.default_rng(seeds[2]), field.pixel_size_um), instances, nuclei


def draw_density(
    seeds: Sequence[np.random.SeedSequence],
    field: Field,
    slide: Slide,
    placed: Sequence[PlacedCell],
    damage: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the optical density of a field.

    Where two white cells overlap, the pixels belong to the later one, which is on top.

    Args:
        seeds: for red cells, for specks, one that is not used, and one for each white cell.
        field: size of the field.
        slide: the slide.
        placed: the white cells.
        damage: changes a drawn white cell; see `odd_cells.damage_white_cell`, whose `kind` is the cell's `damage`.

    Returns:
        The density, float32 (H, W, 3), and the cells and their nuclei, uint16 (H, W), k for the k-th white cell.
    """
    shape = (field.height_px, field.width_px)
    density = np.zeros((*shape, 3), np.float32)
    instances, nuclei = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
    white = np.full(shape, 1e3, np.float32)

    drawn = []
    for number, (placed_cell, cell_seed) in enumerate(zip(placed, seeds[3:], strict=True), 1):
        outline, rng = placed_cell.outline, np.random.default_rng(cell_seed)
        where, x, y = field.patch(placed_cell.centre_um, outline.reach_um + 1.0)
        drawn_cell = draw_white_cell(rng, placed_cell.cell_type, outline, x, y, slide, field.pixel_size_um)
        if placed_cell.damage:
            drawn_cell = damage(rng, placed_cell.damage, outline, drawn_cell, x, y, field.pixel_size_um)
        cell, nucleus, cell_density = drawn_cell
        drawn.append((where, cell, cell_density))
        white[where] = np.minimum(white[where], cell)
        inside = cell < 0
        instances[where][inside] = number
        nuclei[where][inside] = np.where(nucleus < 0, number, 0)[inside]

    rng = np.random.default_rng(seeds[0])
    reds = _place_red_cells(rng, field, slide, placed)
    _draw_red_cells(rng, field, slide, reds, white, density)
    _draw_specks(np.random.default_rng(seeds[1]), field, slide, placed, reds, density)
    for where, cell, cell_density in drawn:
        cover = coverage(cell, field.pixel_size_um)[..., None]
        density[where] = density[where] * (1 - cover) + cell_density * cover
    return density, instances, nuclei


def _red_cell(rng: np.random.Generator, outline: Outline, x: np.ndarray, y: np.ndarray, pallor: float):
    """Return the shape and the haemoglobin of a red cell whose middle is thinner by the fraction `pallor`.

    Returns:
        Signed distance in micrometres to the outline, float32 (h, w), and the function from such a distance to the
        amount of haemoglobin.
    """
    shift = 0.10 * outline.radius_um * rng.normal(0, 1, 2)
    wide = outline.radius_um * rng.uniform(0.38, 0.62)
    dip = np.exp(-((((x - shift[0]) ** 2 + (y - shift[1]) ** 2) / np.float32(wide**2)) ** 1.5))
    tilt = 1 + 0.05 * (rng.normal() * x + rng.normal() * y) / outline.radius_um

    def amount(distance):
        # A dried cell has a steep edge, which refracts the light: a thin dark line just inside.
        edge = np.exp(-(((distance + 0.30) / 0.20) ** 2))
        return ((1 - 0.8 * pallor * dip) * tilt * soft(distance, 0.5) + 0.12 * edge) * (distance < 0)

    return outline.distance(x, y), amount


def draw_platelet(
    rng: np.random.Generator, distance: np.ndarray, pixel_size_um: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the azure and violet of a platelet: a pale blue body with violet granules in its middle."""
    grain = smooth_noise(rng, distance.shape, max(0.5, 0.16 / pixel_size_um))
    body = soft(distance, 0.35)
    granules = soft(distance + 0.25, 0.8) * np.clip(0.55 + 0.55 * grain, 0, 1.6)
    return 0.40 * body, 0.16 * body + 0.50 * granules


def _away_from_white(centre, placed, margin_um) -> bool:
    return all(np.hypot(*(centre - cell.centre_um)) > cell.outline.radius_um + margin_um for cell in placed)


def _place_red_cells(rng, field, slide, placed) -> np.ndarray:
    """Return the centres of red cells in micrometres, (n, 2); some overlap each other, none a white cell."""
    border = _RED_RADIUS_UM
    low, high = -border * np.ones(2), field.size_um + border
    cover = slide.red_cover * rng.uniform(0.85, 1.15)
    wanted = int(np.prod(high - low) * cover / (np.pi * _RED_RADIUS_UM**2))
    reds = np.zeros((wanted, 2))
    count = 0
    # Some touch a white cell, which deforms them.
    for cell in placed:
        for angle in rng.uniform(0, 2 * np.pi, rng.poisson(2)):
            away = cell.outline.radius_at(angle) + _RED_RADIUS_UM * rng.uniform(0.7, 0.98)
            centre = cell.centre_um + np.array([np.cos(angle), np.sin(angle)]) * away
            if count < wanted and _is_free(centre, reds[:count], 1.9 * _RED_RADIUS_UM, placed, 0.65 * _RED_RADIUS_UM):
                reds[count] = centre
                count += 1
    for _ in range(12 * wanted):
        if count == wanted:
            break
        overlaps = rng.random() < slide.red_overlap
        apart = 2 * _RED_RADIUS_UM * (rng.uniform(0.5, 0.9) if overlaps else rng.uniform(0.95, 1.06))
        centre = rng.uniform(low, high)
        if _is_free(centre, reds[:count], apart, placed, _RED_RADIUS_UM * rng.uniform(0.7, 1.1)):
            reds[count] = centre
            count += 1
    return reds[:count]


def _is_free(centre, reds, apart_um, placed, margin_um) -> bool:
    return _away_from_white(centre, placed, margin_um) and not (np.hypot(*(reds - centre).T) < apart_um).any()


def _draw_red_cells(rng, field, slide, reds, white, density) -> None:
    amounts, lines = np.zeros(white.shape, np.float32), np.zeros(white.shape, np.float32)
    for centre in reds:
        outline = make_outline(rng, _RED_RADIUS_UM * rng.normal(1, 0.05), 0.028, waves=4)
        pallor = float(np.clip(slide.pallor + rng.normal(0, 0.15), 0, 1))
        strength = rng.normal(1, 0.07)
        patch = field.patch(centre, outline.reach_um + 0.3)
        if patch is None:
            continue
        where, x, y = patch
        distance, amount = _red_cell(rng, outline, x, y, pallor)
        distance = np.maximum(distance, np.float32(-0.15) - white[where])
        above = strength * amount(distance)
        # Where two cells overlap, both have dried thinner.
        below = amounts[where]
        amounts[where] = np.maximum(below, above) + 0.5 * np.minimum(below, above)
        if slide.edge:
            lines[where] = np.maximum(lines[where], edge_line(distance, slide))
    density += amounts[..., None] * slide.stains["haemoglobin"] + lines[..., None]


def _draw_specks(rng, field, slide, placed, reds, density) -> None:
    """Draw platelets and dried stain."""
    for _ in range(rng.poisson(slide.platelets * max(len(reds), 4))):
        centre = rng.uniform(0, 1, 2) * field.size_um
        outline = make_outline(rng, rng.uniform(0.8, 1.6), 0.10, waves=5)
        covered = len(reds) and np.hypot(*(reds - centre).T).min() < _RED_RADIUS_UM + 0.8
        if not _away_from_white(centre, placed, 2.0) or covered:
            continue
        where, x, y = field.patch(centre, outline.reach_um + 0.3)
        azure, violet = draw_platelet(rng, outline.distance(x, y), field.pixel_size_um)
        density[where] += azure[..., None] * slide.stains["azure"] + violet[..., None] * slide.stains["violet"]
    for _ in range(rng.poisson(slide.dirt * np.prod(field.size_um) / 1000)):
        centre, radius = rng.uniform(0, 1, 2) * field.size_um, rng.uniform(0.2, 0.45)
        if not _away_from_white(centre, placed, 1.0):
            continue
        where, x, y = field.patch(centre, radius + 0.3)
        speck = soft(np.hypot(x, y) - np.float32(radius), 0.3)
        density[where] += 0.9 * speck[..., None] * slide.stains["basophil_granule"]
