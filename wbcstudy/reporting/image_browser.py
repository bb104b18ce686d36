"""The browser of all test images inside the report: reduced photographs, packed masks and scores.

Everything is in the page as text, so that a page sent by mail needs no other file. JavaScript draws the outlines and
differences by the rules of `wbcstudy.data.overlays`, in the colours of `wbcstudy.labels`.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from wbcstudy.data.arrays import read_scored_case
from wbcstudy.errors import StudyError
from wbcstudy.files import unescape_cell
from wbcstudy.labels import DIFFERENCE_COLOURS, IGNORED, NUCLEUS, REGION_COLOURS, REGIONS
from wbcstudy.registry import method_title, varying_part
from wbcstudy.runs.results import Run, read_predictions
from wbcstudy.wording import count, join_words

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults

# Text of the browser in the page; a report of 18 networks and 60 images must stay below 10 MB.
MOST_BYTES = 6_000_000
# A nucleus of this diameter in px shows its outline, and the longer side of an image is within these limits.
_NUCLEUS_PX, _SIDES_PX = 48, (320, 960)
# Tried in turn until the text is small enough.
_FACTORS = (1.0, 0.8, 0.64, 0.5, 0.4, 0.3)
_QUALITY = 80
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# Code of pixels without label in packed masks; other codes are the labels.
_IGNORED_CODE = 3
_REGIONS = tuple(REGIONS)


@dataclass(frozen=True)
class _Case:
    """A test image, reduced.

    Args:
        image: RGB, uint8 (H, W, 3).
        reference: the expert's labels, uint8 (H, W).
        full_size: width and height at which the case is scored, in px.
    """

    image: np.ndarray
    reference: np.ndarray
    full_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the reduced image, in px."""
        return self.image.shape[1], self.image.shape[0]

    def reduce(self, factor: float) -> _Case:
        size = tuple(max(1, round(factor * side)) for side in self.size)
        if size == self.size:
            return self
        image = Image.fromarray(self.image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
        return replace(self, image=np.asarray(image), reference=_resize(self.reference, size))


def make_browser(results: StudyResults, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Make what the template `image_browser.html` shows. Nothing is predicted here; only stored masks are read.

    Args:
        results: the study.
        most_bytes: largest size of the text in bytes. The images are reduced until they fit. If that is not enough, the
            images with the lowest Dice are kept.

    Returns:
        data: the JSON text for the page's script, or "" without a browser.
        notes: sentences on sizes, and on what is left out and why.
    """
    if results.missing_images:
        return _without(
            f"The browser of all test images is left out, because the images cannot be read. {results.missing_images}"
        )
    scores = results.scores
    if scores.empty:
        return _without("")
    types = scores.drop_duplicates("case_id").set_index("case_id")["cell_type"]
    cases, unreadable = _read_cases(results, sorted(types.index))
    if not cases:
        return _without("The browser of all test images is left out, because none of them is in the dataset.")
    networks = [_read_network(results, pair, runs, cases) for pair, runs in results.scored_runs.items() if runs]
    title_part = varying_part([network["name"] for network in networks])
    for network in networks:
        network["title"] = method_title(network["name"], title_part)
    best = results.best.method if results.best else networks[0]["name"]
    worst_first = _order_by_dice(next((n for n in networks if n["name"] == best), networks[0]), list(cases))
    data, shown = _fit(cases, networks, worst_first, most_bytes)
    order = {case: index for index, case in enumerate(shown)}
    data |= {
        "types": [None if pd.isna(types[case]) else str(types[case]) for case in shown],
        "best": best,
        "regions": list(_REGIONS),
        "colours": {**REGION_COLOURS, **DIFFERENCE_COLOURS},
        "points": _read_points(results, order, [network["name"] for network in networks]),
    }
    return {
        "data": Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        "notes": list(_describe(shown, len(cases), unreadable, networks)),
        "legend": [(name, data["colours"][name]) for name in ("nucleus", "cytoplasm", *DIFFERENCE_COLOURS)],
    }


def pack_mask(mask: np.ndarray) -> str:
    """Pack a mask into text: run lengths, row by row, as numbers of base 32 with the lowest digit first.

    A number is four times the length of a run plus its label (3: pixels without label). Each character holds five bits
    and, in the sixth, whether another follows. Masks of cells need a tenth of the characters of a PNG file as text, and
    a page reads them without drawing them first.

    Args:
        mask: labels, uint8 (H, W).
    """
    flat = np.where(mask == IGNORED, _IGNORED_CODE, mask).ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    numbers = 4 * lengths + flat[starts]
    text = []
    for number in numbers.tolist():
        while number > 31:
            text.append(_DIGITS[32 + number % 32])
            number //= 32
        text.append(_DIGITS[number])
    return "".join(text)


def unpack_mask(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask, uint8 (H, W), that `pack_mask` has packed; the page's script does the same."""
    labels, lengths, number, factor = [], [], 0, 1
    for digit in map(_DIGITS.index, text):
        number, factor = number + factor * (digit % 32), factor * 32
        if digit < 32:
            labels.append(number % 4)
            lengths.append(number // 4)
            number, factor = 0, 1
    flat = np.repeat(np.array(labels, np.uint8), lengths)
    return np.where(flat == _IGNORED_CODE, np.uint8(IGNORED), flat).reshape(shape)


def _without(reason: str) -> dict[str, Any]:
    return {"data": "", "notes": [reason] if reason else [], "legend": []}


def _read_cases(results: StudyResults, case_ids: Sequence[str]) -> tuple[dict[str, _Case], list[str]]:
    """Return case id -> reduced case, and the ids of cases that cannot be read."""
    cases, unreadable = {}, []
    for case_id in case_ids:
        try:
            image, reference = read_scored_case(results.dataset, case_id, results.score_px)
        except StudyError:
            unreadable.append(case_id)
            continue
        case = _Case(image, reference, (image.shape[1], image.shape[0]))
        cases[case_id] = case.reduce(_choose_side(reference) / max(reference.shape))
    return cases, unreadable


def _choose_side(reference: np.ndarray) -> int:
    """Return the longer side in px at which the nuclei of a case are seen, not more than it has."""
    from scipy import ndimage

    side = max(reference.shape)
    nuclei, number = ndimage.label(reference == NUCLEUS)
    wanted = _SIDES_PX[0]
    if number:
        diameter = 2 * math.sqrt(np.median(np.bincount(nuclei.ravel())[1:]) / math.pi)
        wanted = math.ceil(side * _NUCLEUS_PX / diameter)
    return min(side, max(_SIDES_PX[0], min(_SIDES_PX[1], wanted)))


def _read_network(
    results: StudyResults, pair: Sequence[str], runs: Iterable[Run], cases: Mapping[str, _Case]
) -> dict[str, Any]:
    """Return name, mean Dice, packed masks, and the Dice of the runs whose masks these are, of one network.

    The masks are of the first seed that has kept them.
    """
    runs = sorted(runs, key=lambda run: (run.config.seed, run.config.fold))
    masks, made_by = {}, {}
    for run in runs:
        if all(case_id in masks for case_id in cases):
            break
        for case_id, mask in read_predictions(run.folder).items():
            if case_id in cases and case_id not in masks:
                # Packed, since the masks of many networks together would need gigabytes.
                masks[case_id], made_by[case_id] = pack_mask(_resize(mask, cases[case_id].size)), run.name
    scores = results.scores_of(runs)
    own = scores[scores["case_id"].map(made_by) == scores["run"]]
    return {
        "name": "__".join(pair),
        "trainings": len({run.config.seed for run in runs}),
        "masks": masks,
        "dice": _dice_by_case(scores),
        "own_dice": _dice_by_case(own),
    }


def _dice_by_case(scores: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return case id -> Dice of each region (mean over the seeds), None where undefined."""
    if scores.empty:
        return {}
    table = scores.pivot_table(index="case_id", columns="region", values="dice", aggfunc="mean", dropna=False)
    table = table.reindex(columns=list(_REGIONS))
    return {
        case_id: [None if pd.isna(value) else round(float(value), 4) for value in row]
        for case_id, row in zip(table.index, table.to_numpy(), strict=True)
    }


def _order_by_dice(network: Mapping[str, Any], case_ids: Sequence[str]) -> list[str]:
    """Return case ids by the network's mean Dice of nucleus and cytoplasm, lowest first."""

    def mean(case_id: str) -> float:
        values = [value for value in network["dice"].get(case_id, [])[:2] if value is not None]
        return sum(values) / len(values) if values else 2.0

    return sorted(case_ids, key=lambda case_id: (mean(case_id), case_id))


def _fit(
    cases: Mapping[str, _Case], networks: Sequence[Mapping[str, Any]], worst_first: Sequence[str], most_bytes: int
) -> tuple[dict[str, Any], dict[str, _Case]]:
    """Pack cases and masks at the first factor at which they fit.

    Returns:
        Entries of the page's data, and the cases shown.
    """
    for factor in _FACTORS:
        reduced = {case_id: case.reduce(factor) for case_id, case in cases.items()}
        packed = {case_id: _pack_case(case_id, case, cases[case_id], networks) for case_id, case in reduced.items()}
        sizes = {case_id: len(json.dumps(entry)) for case_id, entry in packed.items()}
        if sum(sizes.values()) <= most_bytes:
            break
    kept, total = set(), 0
    for case_id in worst_first:
        total += sizes[case_id]
        if total > most_bytes and kept:
            break
        kept.add(case_id)
    shown = {case_id: case for case_id, case in reduced.items() if case_id in kept}
    entries = [packed[case_id] for case_id in shown]
    described = [
        {
            "name": network["name"],
            "title": network["title"],
            "trainings": network["trainings"],
            "dice": [network["dice"].get(case_id) for case_id in shown],
            "own": [network["own_dice"].get(case_id) for case_id in shown] if network["trainings"] > 1 else None,
        }
        for network in networks
    ]
    return {"cases": entries, "networks": described}, shown


def _pack_case(case_id: str, case: _Case, original: _Case, networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pack a case and its predictions, whose masks have the size of `original`."""
    masks = [network["masks"].get(case_id, "") for network in networks]
    if case is not original:
        shape = original.reference.shape
        masks = [text and pack_mask(_resize(unpack_mask(text, shape), case.size)) for text in masks]
    photo, expert = _encode_photo(case.image), pack_mask(case.reference)
    return {"id": case_id, "size": case.size, "photo": photo, "expert": expert, "masks": masks}


def _encode_photo(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", quality=_QUALITY, method=4)
    return base64.b64encode(file.getvalue()).decode()


def _resize(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize labels by nearest neighbour to (width, height): no pixel gets a label that it does not have."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _read_points(results: StudyResults, cases: Mapping[str, int], methods: Sequence[str]) -> list[list[float]]:
    """Return the indices of network, region and case, and the position, of each point of the figure of scores."""
    path = results.study.figures / "scores_points.csv"
    if not path.is_file():
        return []
    table = pd.read_csv(path, dtype={"case_id": str}, keep_default_na=False)
    rows = []
    for row in table.itertuples():
        case_id = unescape_cell(row.case_id)
        if case_id in cases and row.method in methods and row.region in _REGIONS:
            indices = [methods.index(row.method), _REGIONS.index(row.region), cases[case_id]]
            rows.append([*indices, round(float(row.x), 4), round(float(row.y), 4)])
    return rows


def _describe(
    shown: Mapping[str, _Case], number: int, unreadable: Sequence[str], networks: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
    """Write sentences on sizes and on what is left out."""
    if len(shown) < number:
        yield (
            f"The page holds {len(shown)} of {number} test images, those with the lowest Dice of the recommended "
            "network; more would make it too large to send."
        )
    smaller = sum(case.size != case.full_size for case in shown.values())
    sides = [max(case.size) for case in shown.values()]
    span = f"{min(sides)} px" if min(sides) == max(sides) else f"{min(sides)} to {max(sides)} px"
    if smaller:
        yield (
            f"{count(smaller, 'image')} are reduced to {span} on the longer side, so that a nucleus is seen; masks are "
            "reduced alike. Dice is of the full size."
        )
    if any(network["trainings"] > 1 for network in networks):
        yield "Masks are of the first training of each network; the Dice of that training and the mean are both shown."
    without = [network["title"] for network in networks if not network["masks"]]
    if without:
        names = "any network" if len(without) == len(networks) else join_words(without, most=5)
        yield f"No predicted masks were kept of {names}, so there is no prediction to show; Dice is shown."
    partial = sum(len(n["masks"]) > 0 and any(case not in n["masks"] for case in shown) for n in networks)
    if partial:
        yield f"Of {count(partial, 'network')}, the masks of some images were not kept."
    if unreadable:
        yield f"{count(len(unreadable), 'test image')} cannot be read: {join_words(unreadable, most=5)}."
