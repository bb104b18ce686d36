"""Which cases train, which decide when to stop, and which are only tested on.

Cases of one group (a patient, a slide) and images with the same pixels stay together, for a network that has seen a
slide's stain, or the very picture, is not tested on it. Every part holds the cell types in the proportions of all.

scikit-learn splits by group and type too, but keeps neither a wanted size (`StratifiedGroupKFold` deals groups out
greedily) nor a type with a single case (`train_test_split`), and real data have both.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.data.datasets import Case, Dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.errors import StudyError
from wbcstudy.files import cannot_write

SETTINGS = ("folds", "test_fraction", "validation_fraction", "split_seed")
_PARTS = ("train", "validation", "test")
# One each for training, validation and test.
FEWEST_UNITS = 3
# Random choices of groups among which the one with the best proportions of cell types is kept.
_TRIES = 50


@dataclass(frozen=True)
class Split:
    """One fold: case ids, each part sorted, no case in two of them.

    Args:
        train: what the network learns from.
        validation: what early stopping looks at.
        test: what is scored.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Train, validation and test, in this order."""
        return self.train, self.validation, self.test

    def __repr__(self) -> str:
        return f"Split: {len(self.train)} train, {len(self.validation)} validation, {len(self.test)} test"


def make_splits(
    cases: Iterable[Case],
    *,
    folds: int,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    duplicates: Iterable[Sequence[str]] = (),
) -> tuple[Split, ...]:
    """Split cases by seed.

    Without groups and duplicates the test part has exactly `round(n * test_fraction)` cases (with folds, n / folds to
    the nearest whole number) and every cell type its share to within one case. With them, each part is as close to that
    as whole groups allow.

    Args:
        cases: at least three; their order does not matter.
        folds: 1 for one split by `test_fraction`; else every case is tested in exactly one of that many folds.
        test_fraction: share of all cases, 0-1; used when `folds` is 1.
        validation_fraction: share of the cases that are not tested, 0-1.
        seed: same cases and seed, same split.
        duplicates: ids of cases that show the same picture, kept together.

    Returns:
        One `Split` a fold; no part is empty.

    Raises:
        StudyError: too few cases or groups to fill every part.
    """
    units = _units(sorted(cases, key=lambda case: case.case_id), duplicates)
    _check_enough(units, folds)
    rng = np.random.default_rng(seed)
    remaining, tests = list(range(len(units))), []
    # Two folds leave one another to train and validate on, which takes two units; of three or more, two remain anyway.
    least = 2 if folds == 2 else 1
    for fold in range(folds if folds > 1 else 1):
        left = folds - fold
        if folds > 1 and left == 1:
            tests.append(remaining)
            break
        share = test_fraction if folds == 1 else 1 / left
        keep = 2 if folds == 1 else (left - 1) * least
        tests.append(_choose(units, remaining, share, least=least, keep=keep, rng=rng))
        remaining = [unit for unit in remaining if unit not in set(tests[-1])]
    splits = []
    for test in tests:
        rest = [unit for unit in range(len(units)) if unit not in set(test)]
        validation = _choose(units, rest, validation_fraction, least=1, keep=1, rng=rng)
        train = [unit for unit in rest if unit not in set(validation)]
        splits.append(Split(*(_ids(units, part) for part in (train, validation, test))))
    return tuple(splits)


def load_or_make_splits(path: Path, dataset: Dataset, config: StudyConfig | RunConfig) -> tuple[Split, ...]:
    """The splits of a study: read from its file, or made and saved on first use.

    Args:
        path: `split.json` of the study.
        dataset: what is split.
        config: has `folds`, `test_fraction`, `validation_fraction` and `split_seed`.

    Raises:
        StudyError: the saved split was made from other images, masks, facts or settings, is damaged, or cannot be
            written.
    """
    path = Path(path)
    settings = {name: getattr(config, name) for name in SETTINGS}
    if not path.exists():
        splits = make_splits(
            dataset.cases,
            folds=config.folds,
            test_fraction=config.test_fraction,
            validation_fraction=config.validation_fraction,
            seed=config.split_seed,
            duplicates=find_duplicates(dataset),
        )
        folds = [asdict(split) for split in splits]
        record = {"dataset": dataset.fingerprint, "settings": settings, "folds": folds}
        _write_first(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    # Read back even what was just made: where several runs start at once, all use the file of the first.
    return _read(path, dataset, settings)


def count_units(cases: Iterable[Case], duplicates: Iterable[Sequence[str]] = ()) -> int:
    """How many parts cases fall into that may be on different sides of a split; arguments as for `make_splits`."""
    return len(_units(sorted(cases, key=lambda case: case.case_id), duplicates))


def split_hash(splits: Iterable[Split]) -> str:
    """Short SHA-256 (16 hex digits): equal for equal folds."""
    text = json.dumps([[split.train, split.validation, split.test] for split in splits])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _units(cases: Sequence[Case], duplicates: Iterable[Sequence[str]]) -> list[list[Case]]:
    """Cases that must stay together, found by following groups and duplicates."""
    parent = {case.case_id: case.case_id for case in cases}

    def root(case_id: str) -> str:
        while parent[case_id] != case_id:
            parent[case_id] = case_id = parent[parent[case_id]]
        return case_id

    groups: dict[str, list[str]] = {}
    for case in cases:
        if case.group is not None:
            groups.setdefault(case.group, []).append(case.case_id)
    for together in [*groups.values(), *duplicates]:
        together = [case_id for case_id in together if case_id in parent]
        for case_id in together[1:]:
            parent[root(case_id)] = root(together[0])
    units: dict[str, list[Case]] = {}
    for case in cases:
        units.setdefault(root(case.case_id), []).append(case)
    return list(units.values())


def _check_enough(units: list[list[Case]], folds: int) -> None:
    need = {1: FEWEST_UNITS, 2: 4}.get(folds, folds)
    if len(units) < need:
        cases = sum(map(len, units))
        what = f"{cases} cases" if cases == len(units) else f"{cases} cases in {len(units)} groups"
        raise StudyError(
            f"{what} cannot be split" + (f" into {folds} folds." if folds > 1 else "."),
            expected=f"at least {need} cases (or groups: patients, slides, equal pictures) that may be parted, "
            "so that training, validation and test each get one",
            fix="Add cases, lower `folds`, or check the column `group` of cases.csv.",
        )


def _choose(units, pool: list[int], fraction: float, *, least: int, keep: int, rng) -> list[int]:
    """Some units of a pool: the nearest size first, then the nearest proportions of cell types.

    Args:
        units: all units.
        pool: indices of those that may be chosen.
        fraction: share of the pool's cases that is wanted.
        least: choose at least so many units.
        keep: leave at least so many units.
        rng: generator.
    """
    types = sorted({case.cell_type or "" for unit in units for case in unit})
    counts = np.zeros((len(pool), len(types)), int)
    for row, unit in enumerate(pool):
        for cell_type, count in Counter(case.cell_type or "" for case in units[unit]).items():
            counts[row, types.index(cell_type)] = count
    sizes = counts.sum(axis=1)
    total, wanted = int(sizes.sum()), fraction * counts.sum(axis=0)
    target = min(max(round(total * fraction), 1), total - 1)
    if np.sort(sizes)[: len(sizes) - keep + 1].sum() > target + sizes.max():
        # Even the smallest units cannot use up so many: no need to count what is left.
        keep = 0
    best, best_error = None, np.inf
    # Where every unit is a single case, exchanges alone reach the best proportions.
    for _ in range(_TRIES if sizes.max() > 1 else 1):
        order = rng.permutation(len(pool))
        chosen = np.zeros(len(pool), bool)
        chosen[order[_nearest_sum(sizes[order].tolist(), target, least, keep)]] = True
        _exchange(chosen, counts, sizes, wanted, rng)
        off = counts[chosen].sum(axis=0) - wanted
        if (off**2).sum() < best_error - 1e-9:
            best, best_error = chosen, (off**2).sum()
        if abs(off).max() <= 0.5:
            # No whole number of cases is nearer.
            break
    return [unit for unit, yes in zip(pool, best, strict=True) if yes]


def _nearest_sum(sizes: list[int], target: int, least: int, keep: int) -> list[int]:
    """Positions whose sizes add up as near to a target as any choice can (of two equally near, to the smaller).

    At least `least` positions are chosen and `keep` left. The first ones are preferred: shuffle for a random choice.

    In `reach[i][a, b]`, bit k tells whether some of the first i sizes add up to k when a of them are chosen and b left;
    a and b count only as far as they are asked for, so that the table stays small.
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
    """Swap chosen units for others of the same size while that brings the cell types nearer to what is wanted."""
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


def _ids(units: list[list[Case]], part: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(case.case_id for unit in part for case in units[unit]))


def _write_first(path: Path, text: str) -> None:
    """Write a whole file unless it is there by now; of several processes, the first one's file stays."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix=".part-", suffix=path.suffix, dir=path.parent, delete=False
        ) as file:
            part = Path(file.name)
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        try:
            path.hardlink_to(part)
        except FileExistsError:
            pass
        except OSError:
            # Some shared disks have no hard links. Runs of one study make equal splits, so the last may win there.
            part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _read(path: Path, dataset: Dataset, settings: dict) -> tuple[Split, ...]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        splits = tuple(Split(*(tuple(fold[part]) for part in _PARTS)) for fold in record["folds"])
        saved, fingerprint = record["settings"], record["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} holds no split: {type(error).__name__}: {error}.",
            expected="the file as it was written when the study began",
            fix="Restore it, or remove the study's folder and run it again.",
        ) from None
    changed = [
        f"{name} was {saved.get(name)}, is {value}" for name, value in settings.items() if saved.get(name) != value
    ]
    if changed:
        raise StudyError(
            f"{path} was made with other settings: {'; '.join(changed)}.",
            expected="the settings with which the study began, so that all its runs share one split",
            fix="Restore them in params/<study>.yaml, or save the file under a new name: that is a new study.",
        )
    used = {case_id for split in splits for part in (split.train, split.validation, split.test) for case_id in part}
    there = {case.case_id for case in dataset.cases}
    if fingerprint != dataset.fingerprint or used != there:
        gone, new = sorted(used - there), sorted(there - used)
        facts = [f"{len(new)} cases are new ({', '.join(new[:5])})"] if new else []
        facts += [f"{len(gone)} cases are gone ({', '.join(gone[:5])})"] if gone else []
        facts = facts or ["the cases are the same, but images, masks, labels or cases.csv differ"]
        raise StudyError(
            f"The dataset {dataset.name!r} in {dataset.folder} has changed since {path} was made: {'; '.join(facts)}.",
            expected="the data with which the study began, so that its runs can be compared",
            fix="Restore the data, or give the study a new name (copy params/<study>.yaml) to split them anew.",
        )
    return splits
