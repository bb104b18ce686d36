"""Check a whole dataset before a study uses it: list all errors and warnings, each with its file.

One case is in memory at a time, and an unreadable file does not end the check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wbcstudy.data.case_files import FACT_COLUMNS, find_case_files, read_facts, unused_columns
from wbcstudy.data.check_masks import MaskChecks
from wbcstudy.data.check_report import CheckedCase, CheckReport, ImagePair
from wbcstudy.data.datasets import Dataset, check_sizes, find_spec, make_dataset
from wbcstudy.data.duplicates import Duplicate, DuplicateFinder, add_known, compare_masks
from wbcstudy.data.findings import Finding, group_errors, group_findings
from wbcstudy.data.images import image_fault, is_grey, read_image, read_instances, read_orientation
from wbcstudy.data.masks import examine_case_mask, read_case_mask
from wbcstudy.data.spec import SPEC_FILE, Case, read_spec
from wbcstudy.data.splits import FEWEST_UNITS, find_units, too_few_units
from wbcstudy.errors import StudyError
from wbcstudy.labels import BACKGROUND, IGNORED, LABELS, NUM_LABELS
from wbcstudy.wording import count, join_words

_CELL_LABELS = tuple(name for name, label in LABELS.items() if label != BACKGROUND)
_CHECK_LABELS = "Check the values under `labels` in dataset.yaml."


def check_dataset(
    dataset: Dataset | str | Path,
    data_folder: Path | None = None,
    *,
    to_split: bool = True,
    near_duplicates: bool = True,
) -> CheckReport:
    """Read every file of a dataset once and report errors and warnings.

    Errors: an invalid dataset.yaml or cases.csv, no images, images without mask and the reverse, unreadable files,
    unlisted mask values, masks and instance maps of another size than their image, no cell in any mask, too few cases
    or groups to split.
    Warnings: stray pixels, duplicates, different masks of one image, masks without a cell, labels that never occur,
    images of one colour, nearly black or without colour, images rotated by EXIF while their masks are not, cell types
    that are unknown or have a single case, cases without group, folders without groups, unused columns of cases.csv.

    Args:
        dataset: a dataset, a name in `DATASETS`, or the path of a `dataset.yaml` or its folder.
        data_folder: folder of named datasets.
        to_split: whether the dataset is used for training, and must have enough cases and groups.
        near_duplicates: whether to search for images of the same cell too, which takes minutes for 10,000 images.

    Raises:
        StudyError: there is nothing to check: an unknown name, a dataset not downloaded, no dataset.yaml.
    """
    spec_path = dataset.folder / SPEC_FILE if isinstance(dataset, Dataset) else find_spec(dataset, data_folder)
    folder = spec_path.parent
    try:
        spec = dataset.spec if isinstance(dataset, Dataset) else read_spec(spec_path)
    except StudyError as error:
        return CheckReport(str(spec_path), str(spec_path), folder, 0, (), (Finding.of(error),), (), {})
    case_files = find_case_files(folder, spec)
    errors, warnings, facts = list(case_files.problems), [], {}
    if spec.cases:
        facts, problems = read_facts(folder / spec.cases, case_files.images, folder)
        errors += problems
        warnings += _check_columns(folder / spec.cases)
    complete = make_dataset(spec, folder, case_files, facts)
    for case_id in sorted(case_files.images.keys() ^ case_files.masks.keys()):
        _try(errors, read_image, case_files.images.get(case_id) or case_files.masks[case_id])
    checked, finder, mask_checks = [], DuplicateFinder(near_duplicates), MaskChecks(spec)
    for case in complete.cases:
        checked_case = _check_case(case, complete, errors, warnings, finder, mask_checks)
        if checked_case is not None:
            checked.append(checked_case)
    errors += mask_checks.errors()
    warnings += mask_checks.warnings()
    readable = {case.case_id for case in checked}
    warnings += _check_orientations([case for case in complete.cases if case.case_id in readable])
    duplicates = add_known(finder.find(), complete) if near_duplicates else finder.find()
    pairs = [_compare_pair(duplicate, complete) for duplicate in duplicates if readable.issuperset(duplicate.case_ids)]
    warnings += _check_duplicates(pairs)
    # Cases with a missing file will count once it is added.
    if to_split and len(complete.cases) == len(case_files.images) and not case_files.problems:
        errors += _check_size(complete.cases, [duplicate.case_ids for duplicate in duplicates])
    if checked:
        warnings += _check_colours(checked, complete) + _check_labels(checked) + _check_facts(checked)
        warnings += _check_folders(complete.cases, spec.images)
        if all(case.shares[name] == 0 for case in checked for name in _CELL_LABELS):
            message = f"None of the {len(checked)} masks contains a cell, so no network can be trained."
            errors.append(Finding(message, _CHECK_LABELS))
    notes = {"cite": spec.citation, "acknowledge": spec.acknowledgement, "licence": spec.licence}
    return CheckReport(
        spec.name,
        complete.title,
        folder,
        len(case_files.images),
        tuple(checked),
        tuple(group_errors(errors, folder)),
        tuple(group_findings(warnings, folder)),
        {name: text for name, text in notes.items() if text},
        tuple(pairs),
        complete,
    )


def _check_case(
    case: Case, dataset: Dataset, errors: list, warnings: list, finder: DuplicateFinder, mask_checks: MaskChecks
) -> CheckedCase | None:
    """Return the facts of a case and add its image to the finder; None if a file cannot be read."""
    image = _try(errors, read_image, case.image_path)
    read = _try(errors, examine_case_mask, case, dataset.spec)
    instances = _try(errors, read_instances, case.instances_path) if case.instances_path else None
    if image is None or read is None:
        return None
    mask = read.labels
    if not _try(errors, lambda: check_sizes(case, image, mask) or True):
        return None
    if instances is not None and instances.shape != mask.shape:
        message = f"Instance map {case.instances_path} differs in size from its image {case.image_path}."
        errors.append(Finding(message, "Export it at the size of the image."))
    elif instances is not None and (differing := _count_differing(instances, mask)):
        message = f"{case.instances_path} and {case.mask_path} disagree about cells in {differing} pixels."
        warnings.append(Finding(message))
    mask_checks.add(case.mask_path, read)
    if fault := image_fault(image):
        warnings.append(Finding(f"{case.image_path} {fault[0]}.", fault[1]))
    counts = np.bincount(mask.ravel(), minlength=NUM_LABELS)[:NUM_LABELS]
    if counts[BACKGROUND] == counts.sum():
        warnings.append(Finding(f"{case.mask_path} contains no cell.", "Check that the mask is finished."))
    height, width = mask.shape
    shares = {name: float(counts[label] / mask.size) for name, label in LABELS.items()}
    finder.add(case.case_id, image)
    return CheckedCase(
        case.case_id, width, height, case.cell_type, case.group, shares, read.strays.total(), is_grey(image)
    )


def _count_differing(instances: np.ndarray, mask: np.ndarray) -> int:
    """Count the pixels that are cell in an instance map or in a mask only; those without label do not count."""
    return int((((instances > 0) != (mask != BACKGROUND)) & (mask != IGNORED)).sum())


def _compare_pair(duplicate: Duplicate, dataset: Dataset) -> ImagePair:
    """Describe a pair of readable cases."""
    first, second = map(dataset.case, duplicate.case_ids)
    differing, agreement = None, {}
    if duplicate.kind == "pixels":
        masks = [read_case_mask(case, dataset.spec) for case in (first, second)]
        labelled = (masks[0] != IGNORED) & (masks[1] != IGNORED)
        differing, agreement = int(((masks[0] != masks[1]) & labelled).sum()), compare_masks(*masks)
    facts = {"cell types": (first.cell_type, second.cell_type), "groups": (first.group, second.group)}
    different = tuple(name for name, (one, other) in facts.items() if one != other)
    return ImagePair(duplicate, first.image_path, second.image_path, differing, agreement, different)


def _check_duplicates(pairs: Sequence[ImagePair]) -> list[Finding]:
    """Report duplicates, and equal images whose masks or facts differ."""
    findings = []
    if pairs:
        message = f"{count(len(pairs), 'pair')} of images show the same cell; see Duplicates below."
        fix = "A split keeps them in the same part, and they count as one image. "
        fix += "Look at them: of one cell, you can remove all images but one; if pairs show different cells, set "
        fix += "`near_duplicates: false` in the study."
        findings.append(Finding(message, fix))
    for pair in pairs:
        if pair.differing_pixels:
            dice = join_words([f"{region} {value:.3f}" for region, value in pair.agreement.items()])
            message = (
                f"Conflict: {pair.first_path} and {pair.second_path} are the same image, but their masks differ in "
            )
            message += f"{count(pair.differing_pixels, 'pixel')} (Dice: {dice})."
            fix = "Keep the better mask and remove the other case. If two experts drew them, keep both: a network can "
            fix += "hardly agree better with an expert than the experts agree with each other."
            findings.append(Finding(message, fix))
        if pair.different:
            message = f"{pair.first_path} and {pair.second_path} show the same cell, but their "
            fix = "Look at both, and correct cases.csv if it is one cell."
            findings.append(Finding(f"{message}{join_words(pair.different)} differ.", fix))
    return findings


def _check_labels(cases: Sequence[CheckedCase]) -> list[Finding]:
    missing = [name for name in LABELS if all(case.shares[name] == 0 for case in cases)]
    present = [name for name in _CELL_LABELS if name not in missing]
    findings = []
    for name in missing:
        consequence = f"; networks are compared by the {present[0]} only" if name in _CELL_LABELS and present else ""
        findings.append(Finding(f"No mask contains {name}{consequence}.", _CHECK_LABELS))
    return findings


def _check_colours(cases: Sequence[CheckedCase], dataset: Dataset) -> list[Finding]:
    """Report images without colour."""
    grey = [dataset.case(case.case_id).image_path.name for case in cases if case.grey]
    if not grey:
        return []
    if len(grey) == len(cases):
        message = "No image has colour. Encoders pretrained on ImageNet have seen colour images only."
        return [Finding(message, "If the stain has colours, export the images as RGB.")]
    message = f"{len(grey)} of {len(cases)} images have no colour: {join_words(grey, most=5)}."
    return [Finding(message, "Export them as RGB, as the others, or remove them.")]


def _check_facts(cases: Sequence[CheckedCase]) -> list[Finding]:
    """Check cell types and groups."""
    findings = []
    types = Counter(case.cell_type for case in cases)
    unknown = types.pop(None, 0)
    if types and unknown:
        findings.append(Finding(f"{unknown} of {len(cases)} cases have no cell type.", "Add them to cases.csv."))
    single = sorted(name for name, n in types.items() if n == 1)
    if single:
        message = f"Cell types with a single case: {join_words(single)}. They cannot be in both training and test set."
        findings.append(Finding(message))
    ungrouped = sum(case.group is None for case in cases)
    if 0 < ungrouped < len(cases):
        message = f"{ungrouped} of {len(cases)} cases have no group; each is treated as a separate group."
        findings.append(Finding(message, "Fill in the column `group` of cases.csv."))
    return findings


def _check_folders(cases: Sequence[Case], pattern: str) -> list[Finding]:
    """Report image folders that may be patients: a '*' in the pattern, and no case has a group."""
    folders = sorted({case.image_path.parent.name for case in cases})
    if not 1 < len(folders) < len(cases) or any(case.group for case in cases):
        return []
    if {"{folder}", "{cell_type}"} & set(pattern.split("/")):
        # The author of dataset.yaml has stated the meaning of the folders.
        return []
    message = f"The images are in {len(folders)} folders ({join_words(folders, most=5)}), but no case has a group."
    message += " Images of one folder can be in both training and test set."
    fix = "If each folder is a patient or slide, write {group} for the folder in the patterns, for example "
    fix += (
        f"`images: {_with_group(pattern)}`. If it is a cell type, write {{cell_type}}; if it means nothing, {{folder}}."
    )
    return [Finding(message, fix)]


def _with_group(pattern: str) -> str:
    """Return a pattern with {group} for its last folder that is not a fixed name."""
    *folders, name = pattern.split("/")
    wild = [index for index, folder in enumerate(folders) if "*" in folder]
    if wild:
        folders[wild[-1]] = "{group}"
    return "/".join([*folders, name])


def _check_size(cases: Sequence[Case], duplicates: Sequence[Sequence[str]]) -> list[Finding]:
    """Report a dataset that `make_splits` would refuse."""
    units = find_units(cases, duplicates)
    if not 0 < len(units) < FEWEST_UNITS:
        return []
    error = too_few_units(units, folds=1)
    fix = " To use these cases for evaluation only, list the dataset under `also_score` of a study."
    return [Finding(error.message, error.fix + fix, error.expected)]


def _check_columns(path: Path) -> list[Finding]:
    unused = list(map(repr, unused_columns(path)))
    if not unused:
        return []
    columns = f"column {unused[0]} is" if len(unused) == 1 else f"columns {join_words(unused)} are"
    fix = "If a column identifies patients or slides, which a split must not divide, rename it to `group`."
    return [Finding(f"{path}: {columns} not used; only {join_words(FACT_COLUMNS)} are.", fix)]


def _check_orientations(cases: Sequence[Case]) -> list[Finding]:
    """Find images that are rotated by their EXIF orientation while the mask has another orientation."""
    orientations = [(case, read_orientation(case.image_path)) for case in cases]
    paths = [case.image_path for case, o in orientations if o != 1 and o != read_orientation(case.mask_path)]
    if not paths:
        return []
    message = (
        f"The EXIF orientation rotates {count(len(paths), 'image')}, but not the mask: {join_words(paths, most=5)}."
    )
    fix = "If the mask does not match the rotated image, rotate it, or remove the orientation from the image "
    return [Finding(message, fix + "(exiftool -Orientation= FILE).")]


def _try(errors: list[StudyError | Finding], read, *args):
    """Call a function; on `StudyError`, add it to the errors and return None."""
    try:
        return read(*args)
    except StudyError as error:
        errors.append(error)
        return None
