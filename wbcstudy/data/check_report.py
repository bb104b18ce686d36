"""The result of a dataset check, as text, table and page."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from wbcstudy.data.datasets import Dataset, read_case
from wbcstudy.data.duplicates import Duplicate
from wbcstudy.data.findings import Finding
from wbcstudy.data.images import read_image
from wbcstudy.data.overlays import draw_overlay, encode_png
from wbcstudy.data.spec import Case
from wbcstudy.errors import StudyError
from wbcstudy.files import POLICY, page_template
from wbcstudy.labels import LABELS, REGION_COLOURS
from wbcstudy.wording import count, join_words

# Pairs of duplicates that are listed, and shown in the page.
_MOST_PAIRS = 200
# Cases that are drawn with their masks, and the longest side of a drawing.
_MOST_EXAMPLES, _EXAMPLE_PX = 24, 192
_KINDS = {"pixels": "equal pixels", "near": "same cell", "name": "copies by name"}
# Image sizes that are listed one by one; the others are counted.
_MOST_SIZES = 4


@dataclass(frozen=True)
class CheckedCase:
    """Facts about a readable case.

    Args:
        case_id: its id.
        width_px: width of the image.
        height_px: height of the image.
        cell_type: leukocyte type, or None.
        group: patient or slide, or None.
        shares: label name -> share of the pixels, 0-1.
        stray_pixels: number of mask pixels with an unlisted value.
        grey: whether the image has no colour.
    """

    case_id: str
    width_px: int
    height_px: int
    cell_type: str | None
    group: str | None
    shares: Mapping[str, float]
    stray_pixels: int
    grey: bool = False


@dataclass(frozen=True)
class ImagePair:
    """Two images of the same cell.

    Args:
        duplicate: their case ids, and how they were found.
        first_path: file of the first image.
        second_path: file of the second image.
        differing_pixels: number of pixels in which the masks of equal images differ; None for other pairs.
        agreement: region -> Dice of the masks of equal images; empty for other pairs.
        different: the facts that differ: "cell types", "groups".
    """

    duplicate: Duplicate
    first_path: Path
    second_path: Path
    differing_pixels: int | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)
    different: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """How the images were found to be duplicates."""
        kind, correlation = _KINDS[self.duplicate.kind], self.duplicate.correlation
        return kind if correlation is None or kind == "equal pixels" else f"{kind}, correlation {correlation:.3f}"

    def thumbnails(self) -> list[str]:
        """Return both images as data URIs of 96x96 px."""
        uris = []
        for path in (self.first_path, self.second_path):
            buffer = io.BytesIO()
            Image.fromarray(read_image(path)).resize((96, 96)).save(buffer, "PNG")
            uris.append(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")
        return uris


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Args:
        name: name of the dataset, or the path of dataset.yaml if it cannot be read.
        title: its title.
        folder: its folder.
        num_images: number of image files.
        cases: the readable cases.
        errors: problems that must be fixed before the dataset can be used.
        warnings: problems with which the dataset can be used.
        notes: citation, acknowledgement and licence, if given.
        pairs: pairs of images of the same cell.
        dataset: the readable cases, to draw some of them; None if there are none.
    """

    name: str
    title: str
    folder: Path
    num_images: int
    cases: tuple[CheckedCase, ...]
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    notes: Mapping[str, str]
    pairs: tuple[ImagePair, ...] = ()
    dataset: Dataset | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """True if a study can use the dataset."""
        return not self.errors

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.ok:
            return f"{self.name} can be used" + ("; read the warnings." if self.warnings else ".")
        return f"{self.name} has errors; fix them first."

    @property
    def label_shares(self) -> dict[str, float]:
        """Label name -> share of all pixels of all readable cases, 0-1."""
        if not self.cases:
            return dict.fromkeys(LABELS, 0.0)
        pixels = np.array([case.width_px * case.height_px for case in self.cases], float)
        return {name: float(np.average([c.shares[name] for c in self.cases], weights=pixels)) for name in LABELS}

    def frame(self) -> pd.DataFrame:
        """Return one row per readable case: case_id, width_px, height_px, cell_type, group, labels, stray_pixels."""
        columns = ["case_id", "width_px", "height_px", "cell_type", "group", *LABELS, "stray_pixels"]
        return pd.DataFrame([vars(case) | dict(case.shares) for case in self.cases], columns=columns)

    def stop_on_errors(self) -> None:
        """Raise `StudyError` with the first errors, if there are any."""
        if self.ok:
            return
        more = f"; and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
        raise StudyError(
            f"{self.name} cannot be used: {'; '.join(error.message for error in self.errors[:3])}{more}",
            expected="images and masks without errors",
            fix=f"{self.errors[0].fix} `wbcstudy data check` lists all {len(self.errors)}.",
        )

    def summary(self) -> dict[str, str]:
        """Return cases, image sizes, shapes, cell types, groups, label shares and stray pixels as text."""
        strays = [case.stray_pixels for case in self.cases if case.stray_pixels]
        types = Counter(case.cell_type for case in self.cases)
        groups = {case.group for case in self.cases} - {None}
        sizes = Counter(f"{case.width_px}x{case.height_px} px" for case in self.cases).most_common()
        shares = [f"{name} {share:.1%}" for name, share in self.label_shares.items()] if self.cases else []
        readable = len(self.cases)
        ratios = [max(case.width_px, case.height_px) / min(case.width_px, case.height_px) for case in self.cases]
        oblong = [ratio for ratio in ratios if ratio > 1]
        return {
            "cases": str(readable) if readable == self.num_images else f"{readable} readable of {self.num_images}",
            "image sizes": join_words([f"{size} ({n})" for size, n in sizes], most=_MOST_SIZES) or "-",
            "shapes": f"{len(oblong)} of {readable} are not square (up to {max(oblong):.2f} to 1); networks see them "
            "squeezed to squares"
            if oblong
            else "square",
            "cell types": ", ".join(f"{name or 'unknown'} {n}" for name, n in types.most_common())
            if set(types) - {None}
            else "-",
            "groups": str(len(groups)) if groups else "-",
            "label shares": ", ".join(shares) or "-",
            "stray pixels": f"{sum(strays)} in {count(len(strays), 'mask')}" if strays else "none",
        }

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [f"{self.name}: {self.title}", f"  {self.folder}"]
        lines += [f"  {name:13} {value}" for name, value in (self.summary() | dict(self.notes)).items()]
        for title, findings in (("Errors", self.errors), ("Warnings", self.warnings)):
            if findings:
                lines += ["", f"{title} ({len(findings)})"]
            for finding in findings:
                lines += [f"  - {finding.message}", *(f"    {line}" for line in finding.advice())]
        if self.pairs:
            lines += ["", f"Duplicates ({count(len(self.pairs), 'pair')})"]
            lines += [f"  {' = '.join(pair.duplicate.case_ids)}  {pair.description}" for pair in self.listed_pairs]
            lines += ["  ..."] if len(self.pairs) > len(self.listed_pairs) else []
        return "\n".join([*lines, "", self.verdict])

    @property
    def listed_pairs(self) -> tuple[ImagePair, ...]:
        """The first pairs, as many as are listed."""
        return self.pairs[:_MOST_PAIRS]

    def examples(self) -> dict[str, str]:
        """Return case id -> image with the outlines of its mask, as a data URI, of cases from the whole list."""
        readable = {case.case_id for case in self.cases}
        cases = [case for case in (self.dataset.cases if self.dataset else ()) if case.case_id in readable]
        chosen = cases[:: max(1, -(-len(cases) // _MOST_EXAMPLES))]
        return {case.case_id: _outlined(self.dataset, case) for case in chosen}

    def html(self) -> str:
        """Return the report as a self-contained page; all text from files is escaped."""
        colours = {"background": "#dddddd"} | dict(REGION_COLOURS)
        return page_template("check.html").render(
            report=self, policy=POLICY, summary=self.summary() | dict(self.notes), colours=colours, labels=list(LABELS)
        )


def _outlined(dataset: Dataset, case: Case) -> str:
    drawn = draw_overlay(*read_case(dataset, case), opacity=0, side_px=_EXAMPLE_PX)
    return f"data:image/png;base64,{base64.b64encode(encode_png(drawn)).decode()}"
