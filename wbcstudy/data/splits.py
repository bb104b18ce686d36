"""Split cases into training, validation and test set.

Cases of one group (patient, slide) and duplicates stay together: a network must not be tested on a slide or a cell that
it was trained on. Each part has about the proportions of cell types of all cases.

scikit-learn also splits by group and type, but `StratifiedGroupKFold` assigns groups greedily and misses the requested
size, and `train_test_split` refuses types with a single case. Real data need both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import seal_record
from wbcstudy.data.datasets import Case, Dataset
from wbcstudy.data.duplicates import load_or_find_duplicates, merge_groups
from wbcstudy.data.records import Split, read_split
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write, temporary_folder
from wbcstudy.wording import count, join_words

# Settings of a study that its split depends on.
SETTINGS = ("folds", "test_fraction", "validation_fraction", "split_seed", "max_training_cases", "near_duplicates")
# Units (see `find_units`) of one split: one each for training, validation and test.
FEWEST_UNITS = 3
# Random choices of units, from which the one with the best proportions of cell types is kept.
_TRIES = 50


def make_splits(
    cases: Iterable[Case],
    *,
    folds: int,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    duplicates: Iterable[Sequence[str]] = (),
    max_training_cases: int = 0,
) -> tuple[Split, ...]:
    """Split cases at random, stratified by cell type.

    Without groups and duplicates, the test set has exactly `round(n * test_fraction)` cases (with folds, n / folds to
    the nearest integer), and the share of every cell type is exact to within one case. With them, each part is as close
    to that as whole groups allow.

    Args:
        cases: at least three, in any order.
        folds: 1 for a single split by `test_fraction`; otherwise every case is in the test set of exactly one fold.
        test_fraction: share of all cases, 0-1; used if `folds` is 1.
        validation_fraction: share of the cases outside the test set, 0-1.
        seed: seed of the random generator; equal cases and seeds give equal splits.
        duplicates: ids of cases that show the same cell, which stay together.
        max_training_cases: training cases to keep, 0 for all. Validation and test sets do not depend on it, and fewer
            cases are always a part of more cases: the 5 are among the 10.

    Returns:
        One `Split` per fold; no part is empty.

    Raises:
        StudyError: there are too few cases or groups to fill every part.
    """
    units = find_units(cases, duplicates)
    if len(units) < _units_needed(folds):
        raise too_few_units(units, folds)
    rng = np.random.default_rng(seed)
    remaining, tests = list(range(len(units))), []
    # With two folds, each is the training and validation set of the other and needs two units.
    least = 2 if folds == 2 else 1
    for fold in range(folds if folds > 1 else 1):
        folds_left = folds - fold
        if folds > 1 and folds_left == 1:
            tests.append(remaining)
            break
        share = test_fraction if folds == 1 else 1 / folds_left
        keep = 2 if folds == 1 else (folds_left - 1) * least
        tests.append(_choose(units, remaining, share, least=least, keep=keep, rng=rng))
        remaining = [unit for unit in remaining if unit not in set(tests[-1])]
    splits = []
    for test in tests:
        rest = [unit for unit in range(len(units)) if unit not in set(test)]
        validation = _choose(units, rest, validation_fraction, least=1, keep=1, rng=rng)
        train = [unit for unit in rest if unit not in set(validation)]
        splits.append(Split(*(_ids(units, part) for part in (train, validation, test))))
    if max_training_cases:
        types = {case.case_id: case.cell_type or "" for unit in units for case in unit}
        splits = [replace(split, train=draw_cases(split.train, types, max_training_cases, seed)) for split in splits]
    return tuple(splits)


def load_or_make_splits(path: Path, dataset: Dataset, config: StudyConfig | RunConfig) -> tuple[Split, ...]:
    """Read the splits of a study, or make and save them on first use.

    Args:
        path: `split.json` of the study. `duplicates.json` is read or written in the same folder.
        dataset: the dataset to split.
        config: settings `folds`, `test_fraction`, `validation_fraction`, `split_seed`, `max_training_cases` and
            `near_duplicates`.

    Raises:
        StudyError: the saved split was made from other images, masks, facts or settings, is damaged, or cannot be
            written.
    """
    path = Path(path)
    settings = {name: getattr(config, name) for name in SETTINGS}
    if not path.exists():
        duplicates = load_or_find_duplicates(path.with_name("duplicates.json"), dataset, config.near_duplicates)
        splits = make_splits(
            dataset.cases,
            folds=config.folds,
            test_fraction=config.test_fraction,
            validation_fraction=config.validation_fraction,
            seed=config.split_seed,
            duplicates=[duplicate.case_ids for duplicate in duplicates],
            max_training_cases=config.max_training_cases,
        )
        used = {case_id for split in splits for part in split.parts for case_id in part}
        unused = [case.case_id for case in dataset.cases if case.case_id not in used]
        record = {"dataset": dataset.fingerprint, "settings": settings, "folds": [asdict(split) for split in splits]}
        record = seal_record(record | ({"unused": sorted(unused)} if unused else {}))
        _write_first(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    # Read the file even if it was just written: of several runs that start together, all use the file of the first.
    return _read(path, dataset, settings)


def find_leaks(splits: Iterable[Split], linked: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find cases that a network is evaluated on although it was trained on another image of the same cell.

    Args:
        splits: the folds of a study.
        linked: ids of cases that show the same cell.

    Returns:
        Ids of the test cases and of the validation cases with such an image in the training set of their fold, sorted.
    """
    cells, test, validation = merge_groups({}, linked), set(), set()
    for split in splits:
        trained = {cells[case_id] for case_id in split.train if case_id in cells}
        test |= {case_id for case_id in split.test if cells.get(case_id) in trained}
        validation |= {case_id for case_id in split.validation if cells.get(case_id) in trained}
    return tuple(sorted(test)), tuple(sorted(validation))


def find_units(cases: Iterable[Case], duplicates: Iterable[Sequence[str]] = ()) -> list[list[Case]]:
    """Return the cases that stay together in a split, because of a common group or as duplicates.

    Arguments as for `make_splits`.
    """
    cases = sorted(cases, key=lambda case: case.case_id)
    groups = {case.case_id: case.group for case in cases if case.group is not None}
    merged = merge_groups(groups, duplicates)
    units: dict[tuple, list[Case]] = {}
    for case in cases:
        key = ("group", merged[case.case_id]) if case.case_id in merged else ("case", case.case_id)
        units.setdefault(key, []).append(case)
    return list(units.values())


def too_few_units(units: Sequence[Sequence[Case]], folds: int) -> StudyError:
    """Return the error for cases that cannot be split, with the ways out; arguments as of `find_units`."""
    needed, cases = _units_needed(folds), sum(map(len, units))
    size = count(cases, "case") + (f" in {count(len(units), 'group')}" if len(units) < cases else "")
    names = [f"{unit[0].group or unit[0].case_id} ({count(len(unit), 'case')})" for unit in units]
    fix = "Add cases of other patients or slides" + (", or lower `folds`." if folds > 1 else ".")
    if any(case.group for unit in units for case in unit):
        fix += (
            " If the groups are scanners or laboratories, there are two ways. To test on cases of all: leave `group` "
            "in cases.csv empty, or name the patient there; in the patterns of dataset.yaml, write {folder} instead of "
            "{group}. To test on a scanner that the network has not seen: write a dataset.yaml for each, train on one "
            "and list the other under `also_score` of the study."
        )
    return StudyError(
        f"{size} cannot be split"
        + (f" into {folds} folds" if folds > 1 else "")
        + (f": {join_words(names, most=5)}." if len(units) < cases else "."),
        expected=f"at least {needed} cases, or groups (patients, slides, duplicates), so that training, "
        "validation and test set are not empty; a group is never divided",
        fix=fix,
    )


def _units_needed(folds: int) -> int:
    """Return how many units fill training, validation and test set of each fold."""
    return {1: FEWEST_UNITS, 2: 4}.get(folds, folds)


def _choose(units, pool: list[int], fraction: float, *, least: int, keep: int, rng) -> list[int]:
    """Choose units of a pool: those of the nearest total size and, among these, the nearest proportions of cell types.

    Args:
        units: all units.
        pool: indices of the units to choose from.
        fraction: requested share of the pool's cases, 0-1.
        least: smallest number of units to choose.
        keep: smallest number of units to leave.
        rng: random generator.

    Returns:
        Indices of the chosen units.
    """
    types = sorted({case.cell_type or "" for unit in units for case in unit})
    counts = np.zeros((len(pool), len(types)), int)
    for row, unit in enumerate(pool):
        for case in units[unit]:
            counts[row, types.index(case.cell_type or "")] += 1
    sizes = counts.sum(axis=1)
    total, wanted = int(sizes.sum()), fraction * counts.sum(axis=0)
    target = min(max(round(total * fraction), 1), total - 1)
    if np.sort(sizes)[: len(sizes) - keep + 1].sum() > target + sizes.max():
        # Even the smallest units leave more than `keep`, so the number left need not be tracked.
        keep = 0
    best, best_error = None, np.inf
    # If every unit is a single case, exchanges alone reach the best proportions.
    for _ in range(_TRIES if sizes.max() > 1 else 1):
        order = rng.permutation(len(pool))
        chosen = np.zeros(len(pool), bool)
        chosen[order[_nearest_sum(sizes[order].tolist(), target, least, keep)]] = True
        _exchange(chosen, counts, sizes, wanted, rng)
        off = counts[chosen].sum(axis=0) - wanted
        if (off**2).sum() < best_error - 1e-9:
            best, best_error = chosen, (off**2).sum()
        if abs(off).max() <= 0.5:
            # No other choice of whole cases is nearer.
            break
    return [pool[row] for row in np.flatnonzero(best)]


def _nearest_sum(sizes: list[int], target: int, least: int, keep: int) -> list[int]:
    """Choose the positions whose sizes add up to the sum nearest to a target; of two equally near, the smaller.

    At least `least` positions are chosen and `keep` left. First positions are preferred: shuffle for a random choice.

    Dynamic programming: bit k of `reach[i][a, b]` is set if some of the first i sizes add up to k with a of them chosen
    and b left. a and b are counted only up to `least` and `keep`, which keeps the table small.
    """
    reach = [{(0, 0): 1}]
    for size in sizes:
        step: dict[tuple[int, int], int] = {}
        for (a, b), sums in reach[-1].items():
            for state, reached in (((min(a + 1, least), b), sums << size), ((a, min(b + 1, keep)), sums)):
                step[state] = step.get(state, 0) | reached
        reach.append(step)
    sums = reach[-1][least, keep]
    goal = min((k for k in range(sum(sizes)) if sums >> k & 1), key=lambda k: (abs(k - target), k))
    a, b, chosen = least, keep, []
    for i in reversed(range(len(sizes))):
        leave = [((a, before), goal) for before in (b, b - 1) if min(before + 1, keep) == b]
        take = [((before, b), goal - sizes[i]) for before in (a, a - 1) if min(before + 1, least) == a]
        for state, rest in leave + take:
            if rest >= 0 and reach[i].get(state, 0) >> rest & 1:
                if rest < goal:
                    chosen.append(i)
                (a, b), goal = state, rest
                break
    return chosen


def _exchange(chosen: np.ndarray, counts: np.ndarray, sizes: np.ndarray, wanted: np.ndarray, rng) -> None:
    """Exchange chosen units for others of the same size while this improves the proportions of cell types."""
    better = True
    while better:
        better = False
        for inside in rng.permutation(np.flatnonzero(chosen)):
            others = rng.permutation(np.flatnonzero(~chosen & (sizes == sizes[inside])))
            if not len(others):
                continue
            off = counts[chosen].sum(axis=0) - wanted
            errors = ((off - counts[inside] + counts[others]) ** 2).sum(axis=1)
            if errors.min() < (off**2).sum() - 1e-9:
                chosen[inside], chosen[others[errors.argmin()]] = False, True
                better = True


def draw_cases(case_ids: Sequence[str], types: Mapping[str, str], count: int, seed: int) -> tuple[str, ...]:
    """Draw cases with about the proportions of cell types; a smaller number gives a part of a larger one's cases."""
    rng = np.random.default_rng(seed)
    of_type: dict[str, list[str]] = {}
    for case_id in rng.permutation(sorted(case_ids)).tolist():
        of_type.setdefault(types[case_id], []).append(case_id)
    # Systematic sampling: each type is spread evenly over the order, from a random place on.
    positions = {}
    for cell_type in sorted(of_type):
        offset, same = rng.random(), of_type[cell_type]
        positions |= {case_id: (number + offset) / len(same) for number, case_id in enumerate(same)}
    return tuple(sorted(sorted(positions, key=lambda case_id: (positions[case_id], case_id))[:count]))


def _ids(units: list[list[Case]], part: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(case.case_id for unit in part for case in units[unit]))


def _write_first(path: Path, text: str) -> None:
    """Write a file in one step, unless it exists by now: of several processes, the file of the first is kept."""
    try:
        with temporary_folder(path.parent) as folder:
            part = folder / path.name
            part.write_text(text, encoding="utf-8")
            try:
                path.hardlink_to(part)
            except FileExistsError:
                pass
            except OSError:
                # Some shared disks have no hard links. There the last file is kept; runs of a study make equal splits.
                part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def _read(path: Path, dataset: Dataset, settings: dict) -> tuple[Split, ...]:
    splits, record = read_split(path)
    # Files of earlier versions lack these settings.
    saved = {"near_duplicates": settings["near_duplicates"], "max_training_cases": 0} | record["settings"]
    fingerprint = record["dataset"]
    changed = [
        f"{name} was {saved.get(name)}, is {value}" for name, value in settings.items() if saved.get(name) != value
    ]
    if changed:
        raise StudyError(
            f"{path} was made with other settings: {'; '.join(changed)}.",
            expected="the settings at the start of the study, so that all its runs share one split",
            fix="Restore them in params/<study>.yaml, or save the file under a new name as a new study.",
        )
    before = {case_id for split in splits for part in split.parts for case_id in part} | {*record.get("unused", ())}
    now = {case.case_id for case in dataset.cases}
    if fingerprint != dataset.fingerprint or before != now:
        changes = [
            f"{count(len(ids), 'case')} {change} ({join_words(sorted(ids), most=5)})"
            for ids, change in ((now - before, "added"), (before - now, "removed"))
            if ids
        ]
        changes = changes or ["the cases are the same, but images, masks, labels or cases.csv differ"]
        raise StudyError(
            f"The dataset {dataset.name!r} in {dataset.folder} has changed since {path} was written: "
            f"{'; '.join(changes)}.",
            expected="the data at the start of the study, so that its runs can be compared",
            fix="Restore the data, or copy params/<study>.yaml under a new name to start a study with a new split.",
        )
    return splits
