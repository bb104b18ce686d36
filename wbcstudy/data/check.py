"""Looking through a whole dataset before hours are spent on it: everything wrong or odd, each with its file.

One case is in memory at a time, and the first bad file does not end the check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.data.case_files import FACT_COLUMNS, find_files, read_facts, shortlist, unused_columns
from wbcstudy.data.datasets import Dataset, check_sizes, find_spec, make_dataset
from wbcstudy.data.duplicates import image_digest
from wbcstudy.data.images import DARK, read_image, read_instances, read_mask, read_orientation
from wbcstudy.data.spec import Case, read_spec
from wbcstudy.data.splits import FEWEST_UNITS, count_units
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, LABELS, NUM_LABELS, REGION_COLOURS

_OF_CELLS = tuple(name for name, label in LABELS.items() if label != BACKGROUND)


@dataclass(frozen=True)
class Finding:
    """One thing wrong or odd.

    Args:
        what: in words, with the file.
        fix: what the user can do, or ''.
        expected: what should be there instead, or ''.
    """

    what: str
    fix: str = ""
    expected: str = ""

    def advice(self) -> list[str]:
        """The lines below `what`."""
        named = (("Expected", self.expected), ("To fix", self.fix))
        return [f"{name}: {words}" for name, words in named if words]


@dataclass(frozen=True)
class CheckedCase:
    """What was seen of one readable case.

    Args:
        case_id: its id.
        width_px: of the image.
        height_px: of the image.
        cell_type: or None.
        group: or None.
        shares: label name -> share of the pixels, 0-1.
        stray_pixels: mask pixels whose value no label lists.
    """

    case_id: str
    width_px: int
    height_px: int
    cell_type: str | None
    group: str | None
    shares: Mapping[str, float]
    stray_pixels: int


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a check.

    Args:
        name: the dataset's name, or its path where dataset.yaml cannot be read.
        title: its title.
        folder: where it lies.
        found: number of images found.
        cases: the readable cases.
        errors: what keeps the dataset from being used.
        warnings: what it can be used in spite of.
        notes: citation, acknowledgement and licence, where given.
    """

    name: str
    title: str
    folder: Path
    found: int
    cases: tuple[CheckedCase, ...]
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    notes: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether a study can use the dataset."""
        return not self.errors

    def frame(self) -> pd.DataFrame:
        """One row a readable case: case_id, width_px, height_px, cell_type, group, a share per label, stray_pixels."""
        columns = ["case_id", "width_px", "height_px", "cell_type", "group", *LABELS, "stray_pixels"]
        rows = [
            (
                c.case_id,
                c.width_px,
                c.height_px,
                c.cell_type,
                c.group,
                *(c.shares[name] for name in LABELS),
                c.stray_pixels,
            )
            for c in self.cases
        ]
        return pd.DataFrame(rows, columns=columns)

    @property
    def label_shares(self) -> dict[str, float]:
        """Label name -> share of all pixels of all readable cases, 0-1."""
        pixels = np.array([case.width_px * case.height_px for case in self.cases], float)
        return {
            name: float(np.average([case.shares[name] for case in self.cases], weights=pixels)) if self.cases else 0.0
            for name in LABELS
        }

    def stop_on_errors(self) -> None:
        """Raise `StudyError` with the first errors, if there are any."""
        if self.ok:
            return
        more = f"; and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
        raise StudyError(
            f"{self.name} cannot be used: {'; '.join(error.what for error in self.errors[:3])}{more}",
            expected="images and masks without errors",
            fix=f"{self.errors[0].fix} `wbcstudy data check` lists all {len(self.errors)}.",
        )

    def facts(self) -> dict[str, str]:
        """The summary, as pairs of words: cases, image sizes, cell types, groups, label shares, stray pixels."""
        strays = [case.stray_pixels for case in self.cases if case.stray_pixels]
        types, groups = Counter(c.cell_type for c in self.cases), {c.group for c in self.cases} - {None}
        sizes = Counter(f"{case.width_px}x{case.height_px}" for case in self.cases).most_common()
        shown = ", ".join(f"{size} ({n})" for size, n in sizes[:4])
        return {
            "cases": str(self.found)
            if self.found == len(self.cases)
            else f"{len(self.cases)} readable of {self.found}",
            "image sizes": (shown + (f", and {len(sizes) - 4} more" if len(sizes) > 4 else "") + " px")
            if sizes
            else "-",
            "cell types": ", ".join(f"{t or 'unknown'} {n}" for t, n in types.most_common())
            if set(types) - {None}
            else "-",
            "groups": str(len(groups)) if groups else "-",
            "label shares": ", ".join(f"{name} {share:.1%}" for name, share in self.label_shares.items())
            if self.cases
            else "-",
            "stray pixels": f"{sum(strays)} in {len(strays)} masks" if strays else "none",
        }

    def text(self) -> str:
        """The report for a terminal."""
        lines = [f"{self.name}: {self.title}", f"  {self.folder}"]
        lines += [f"  {name:13} {value}" for name, value in (self.facts() | dict(self.notes)).items()]
        for title, findings in (("Errors", self.errors), ("Warnings", self.warnings)):
            if findings:
                lines += ["", f"{title} ({len(findings)})"]
            for finding in findings:
                lines += [f"  - {finding.what}", *(f"    {line}" for line in finding.advice())]
        lines += ["", self._verdict()]
        return "\n".join(lines)

    def html(self) -> str:
        """The report as one page that loads nothing else; all text from files is escaped."""
        facts = "".join(f"<tr><th>{escape(k)}<td>{escape(v)}" for k, v in (self.facts() | dict(self.notes)).items())
        lists = ""
        for title, findings in (("Errors", self.errors), ("Warnings", self.warnings)):
            items = "".join(
                f"<li>{escape(f.what)}<br><small>{'<br>'.join(map(escape, f.advice()))}</small>" for f in findings
            )
            lists += f"<h2>{title} ({len(findings)})</h2><ul class={title.lower()}>{items}</ul>" if findings else ""
        heads = ("case", "size (px)", "cell type", "group", *(f"{name} (%)" for name in LABELS), "", "stray pixels")
        head = "".join(f"<th>{text}" for text in heads)
        rows = "".join(_row(case) for case in self.cases)
        verdict = f"<p class={'good' if self.ok else 'bad'}>{escape(self._verdict())}</p>"
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Check of {escape(self.name)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>\n'
            f"<h1>{escape(self.title)}</h1><p><code>{escape(str(self.folder))}</code></p>{verdict}\n"
            f"<table class=facts>{facts}</table>\n{lists}\n"
            f"<h2>Cases</h2><table class=cases><thead><tr>{head}<tbody>\n{rows}</table></html>\n"
        )

    def _verdict(self) -> str:
        if self.ok:
            return f"{self.name} can be used" + ("; read the warnings." if self.warnings else ".")
        return f"{self.name} cannot be used before the errors are mended."


def check_dataset(
    dataset: Dataset | str | Path, data_folder: Path | None = None, *, to_split: bool = True
) -> CheckReport:
    """Read every file of a dataset once and report what is wrong or odd.

    Errors: a dataset.yaml or cases.csv that breaks a rule, no images, files without partner, unreadable files,
    unlisted mask values, masks and instance maps of another size than their image, too few cases or groups to split.
    Warnings: stray pixels, equal pictures, masks without a cell, labels that never occur, nearly black images, images
    that are turned where their masks are not, cell types of one case or unknown, cases without group, columns of
    cases.csv that are not used.

    Args:
        dataset: a dataset, a name in `DATASETS`, or the path of a `dataset.yaml` or its folder.
        data_folder: where named datasets lie.
        to_split: whether it is to be trained on, for which it must have enough cases and groups.

    Raises:
        StudyError: only where there is nothing to check: an unknown name, a set not fetched, no dataset.yaml.
    """
    spec_path = dataset.folder / "dataset.yaml" if isinstance(dataset, Dataset) else find_spec(dataset, data_folder)
    folder = spec_path.parent
    try:
        spec = dataset.spec if isinstance(dataset, Dataset) else read_spec(spec_path)
    except StudyError as error:
        return CheckReport(str(spec_path), str(spec_path), folder, 0, (), (_finding(error),), (), {})
    found = find_files(folder, spec)
    errors, warnings = [_finding(problem) for problem in found.problems], []
    facts = {}
    if spec.cases:
        facts, problems = read_facts(folder / spec.cases, found.images)
        errors += map(_finding, problems)
        warnings += _unused(folder / spec.cases)
    whole = make_dataset(spec, folder, found, facts)
    for path in _unpaired(found):
        try:
            read_image(path)
        except StudyError as error:
            errors.append(_finding(error))
    checked, pictures = [], {}
    for case in whole.cases:
        seen = _check_case(case, whole, errors, warnings)
        if seen is not None:
            checked.append(seen[0])
            pictures.setdefault(seen[1], []).append((case, seen[2]))
    warnings += _turned(whole.cases, {case.case_id for case in checked})
    warnings += _duplicates(pictures.values())
    # Files without partner are cases once that is mended.
    if to_split and len(whole.cases) == len(found.images):
        errors += _too_few(whole.cases, [[case.case_id for case, _ in same] for same in pictures.values()])
    if checked:
        warnings += _overall(checked)
        if all(case.shares[name] == 0 for case in checked for name in _OF_CELLS):
            what = f"None of the {len(checked)} masks marks a cell, so there is nothing to learn."
            errors.append(Finding(what, "Are the values under `labels` in dataset.yaml those of the masks?"))
    notes = {"cite": spec.citation, "acknowledge": spec.acknowledgement, "licence": spec.licence}
    notes = {name: value for name, value in notes.items() if value}
    return CheckReport(
        spec.name,
        spec.title or spec.name,
        folder,
        len(found.images),
        tuple(checked),
        tuple(errors),
        tuple(warnings),
        notes,
    )


def _check_case(case: Case, dataset: Dataset, errors: list, warnings: list) -> tuple[CheckedCase, str, str] | None:
    """What was seen of a case and the digests of its image and mask; None where a file cannot be read."""
    image = _try(errors, read_image, case.image_path)
    read = _try(errors, read_mask, case.mask_path, dataset.spec)
    instances = _try(errors, read_instances, case.instances_path) if case.instances_path else None
    if image is None or read is None:
        return None
    mask, strays = read
    if _try(errors, lambda: check_sizes(case, image, mask) or True) is None:
        return None
    if instances is not None and instances.shape != mask.shape:
        what = f"Instance map {case.instances_path} is not as large as its image {case.image_path}."
        errors.append(Finding(what, "Export it at the image's size."))
    elif instances is not None and ((instances > 0) != (mask != BACKGROUND)).any():
        off = int(((instances > 0) != (mask != BACKGROUND)).sum())
        warnings.append(
            Finding(f"{case.instances_path} and {case.mask_path} disagree on where cells are in {off} pixels.")
        )
    if strays:
        warnings.append(
            Finding(
                f"{case.mask_path} has {strays} stray pixels, taken for the label with the nearest value.",
                "Nothing to do if they are few; else list their values in dataset.yaml.",
            )
        )
    if image.max() < DARK:
        what = f"{case.image_path} is nearly black: its brightest value is {image.max()} of 255."
        warnings.append(Finding(what, "Was an image of 12 or 14 bits saved as 16 bits? Save it anew with 8 bits."))
    counts = np.bincount(mask.ravel(), minlength=NUM_LABELS)
    if counts[BACKGROUND] == mask.size:
        warnings.append(Finding(f"{case.mask_path} marks no cell.", "Is the mask finished?"))
    height, width = mask.shape
    shares = {name: float(counts[label] / mask.size) for name, label in LABELS.items()}
    checked = CheckedCase(case.case_id, width, height, case.cell_type, case.group, shares, strays)
    return checked, image_digest(image), image_digest(mask)


def _duplicates(pictures) -> list[Finding]:
    findings = []
    for same in pictures:
        if len(same) > 1:
            paths = " and ".join(str(case.image_path) for case, _ in same)
            differ = [
                word
                for word, values in (
                    ("masks", {digest for _, digest in same}),
                    ("cell types", {case.cell_type for case, _ in same}),
                    ("groups", {case.group for case, _ in same}),
                )
                if len(values) > 1
            ]
            but = f", but their {' and '.join(differ)} differ" if differ else ""
            findings.append(
                Finding(f"{paths} show the same picture{but}.", "Splits keep them on one side; one of them can go.")
            )
    return findings


def _overall(cases: list[CheckedCase]) -> list[Finding]:
    """Oddities that no single file has."""
    findings = []
    missing = [name for name in LABELS if all(case.shares[name] == 0 for case in cases)]
    for name in missing:
        alone = [region for region in _OF_CELLS if region not in missing]
        what = f"No mask has any {name}"
        what += f"; networks are then compared by the {alone[0]} alone." if name in _OF_CELLS and alone else "."
        findings.append(Finding(what, "Are the values under `labels` in dataset.yaml right?"))
    types = Counter(case.cell_type for case in cases)
    unknown = types.pop(None, 0)
    if types and unknown:
        findings.append(Finding(f"{unknown} of {len(cases)} cases have no cell type.", "Fill in cases.csv."))
    single = sorted(name for name, n in types.items() if n == 1)
    if single:
        findings.append(Finding(f"Only one case shows: {', '.join(single)}. It cannot be in both training and test."))
    grouped = sum(case.group is not None for case in cases)
    if 0 < grouped < len(cases):
        what = f"{len(cases) - grouped} of {len(cases)} cases have no group; each is split as a patient of its own."
        findings.append(Finding(what, "Fill in the column `group` of cases.csv."))
    return findings


def _too_few(cases: Sequence[Case], duplicates: list[list[str]]) -> list[Finding]:
    """What `make_splits` would refuse."""
    units = count_units(cases, duplicates)
    if not 0 < units < FEWEST_UNITS:
        return []
    what = f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}"
    what += f" in {units} {'group' if units == 1 else 'groups'}" if units < len(cases) else ""
    fix = "Add cases of other patients or slides, or check the column `group` of cases.csv. "
    fix += "Networks that are trained on other data can be scored on these: `also_score`."
    return [Finding(f"{what} cannot be split into training, validation and test.", fix)]


def _unused(path: Path) -> list[Finding]:
    unused = unused_columns(path)
    if not unused:
        return []
    names = ", ".join(map(repr, unused))
    what = f"{path}: column {names} is not used" if len(unused) == 1 else f"{path}: columns {names} are not used"
    fix = "If one of them says what must not be divided by a split (patient, slide), call it `group`."
    return [Finding(f"{what}; only {', '.join(FACT_COLUMNS)} are.", fix)]


def _turned(cases: Sequence[Case], readable: set[str]) -> list[Finding]:
    """Images that are turned upright as their camera noted, where the mask notes something else."""
    turns = {case: read_orientation(case.image_path) for case in cases if case.case_id in readable}
    turned = {case: turn for case, turn in turns.items() if turn != 1}
    paths = [case.image_path for case, turn in turned.items() if turn != read_orientation(case.mask_path)]
    if not paths:
        return []
    what = f"{len(paths)} {'image is' if len(paths) == 1 else 'images are'} turned as the EXIF orientation says, and"
    fix = "If a mask does not fit its image turned upright, turn it, or take the orientation from the image "
    fix += "(exiftool -Orientation= FILE)."
    return [Finding(f"{what} the masks are not: {shortlist(paths)}.", fix)]


def _try(errors: list, read, *args):
    try:
        return read(*args)
    except StudyError as error:
        errors.append(_finding(error))
        return None


def _finding(error: StudyError) -> Finding:
    return Finding(error.message, error.fix, error.expected)


def _unpaired(found) -> list[Path]:
    """Files without partner, which no case reads."""
    lonely = [path for case_id, path in found.images.items() if case_id not in found.masks]
    return lonely + [path for case_id, path in found.masks.items() if case_id not in found.images]


def _row(case: CheckedCase) -> str:
    colours = {"background": "#dddddd"} | dict(REGION_COLOURS)
    bar = "".join(
        f'<i style="width:{case.shares[name] * 100:.2f}px;background:{colours[name]}"></i>' for name in LABELS
    )
    texts = (case.case_id, f"{case.width_px}x{case.height_px}", case.cell_type or "", case.group or "")
    cells = "".join(f"<td>{escape(text)}" for text in texts)
    cells += "".join(f"<td class=n>{case.shares[name] * 100:.1f}" for name in LABELS)
    return f"<tr>{cells}<td class=bar>{bar}<td class=n>{case.stray_pixels or ''}\n"


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse}th,td{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}
.facts th{white-space:nowrap}.cases{font-size:13px}.cases thead th{border-bottom:1px solid #999;position:sticky;top:0;
background:#fff}.n{text-align:right;font-variant-numeric:tabular-nums}.bar{white-space:nowrap;font-size:0}
.bar i{display:inline-block;height:12px;vertical-align:middle}small{color:#666}li{overflow-wrap:anywhere}
.good{color:#006644}.bad,.errors{color:#a33b00}
"""
