"""Find out which files of a folder are images, which are their masks, and the patterns that describe both.

Content decides what a file is: a mask has few values and large areas of one value. Names decide which mask belongs to
which image: the most frequent way in which their names agree.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from wbcstudy.data.folder_names import facts_in_names, folder_field
from wbcstudy.data.image_files import read_pixels
from wbcstudy.data.spec import SPEC_FILE
from wbcstudy.errors import StudyError

IMAGE_SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"})
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
_MOST_FILES, _MOST_READ, _MOST_VOTES = 100_000, 400, 60
_DEEPEST = 8
# A mask: this share of neighbouring pixels is equal, and it has at most so many values.
_EQUAL_NEIGHBOURS, _MOST_VALUES = 0.75, 4096
_SEPARATORS = "_-. "
_MASK_WORDS = re.compile(r"(?i)mask|label|(?<![a-z])gt(?![a-z])|truth|seg|annot|expert|manual")
# Of several masks of one image, classes are better than single objects.
_OBJECT_WORDS = re.compile(r"(?i)object|instance|flow|overlay|outline|edge|prob|vis|thumb|preview|normali")


@dataclass(frozen=True)
class Paired:
    """Images with masks.

    Args:
        images: pattern of the images.
        masks: pattern of the masks.
        pairs: (image, mask) of each case, relative to the folder.
        notes: choices that a person should confirm.
    """

    images: str
    masks: str
    pairs: tuple[tuple[PurePosixPath, PurePosixPath], ...]
    notes: tuple[str, ...] = ()


def list_folder(folder: Path) -> list[PurePosixPath]:
    """List the files below a folder, relative to it; hidden and system folders and links are left out."""
    paths: list[PurePosixPath] = []
    for root, folders, names in os.walk(folder):
        relative = PurePosixPath(Path(root).relative_to(folder).as_posix())
        deep = len(relative.parts) >= _DEEPEST
        folders[:] = [] if deep else sorted(f for f in folders if not f.startswith(".") and f not in _SYSTEM_FOLDERS)
        paths += [relative / name for name in sorted(names) if not name.startswith(".") and name != SPEC_FILE]
        if len(paths) > _MOST_FILES:
            return paths[:_MOST_FILES]
    return paths


def pair_files(folder: Path, paths: Iterable[PurePosixPath]) -> Paired | None:
    """Pair images and masks, and describe them by patterns.

    Args:
        folder: the dataset's folder.
        paths: its files, relative to it.

    Returns:
        The patterns; None if no image has a mask.
    """
    images, masks = _divide(folder, [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES])
    notes: list[str] = []
    for _ in range(4):
        affixes = _vote(images, masks)
        pairs, tied = _match(images, masks, affixes)
        family = _choose_family(tied)
        if family is None:
            break
        position, value, values, role = family
        kept = [path for path in (images, masks)[role] if _part(path, position) not in values - {value}]
        noun = ("image", "mask")[role]
        notes.append(f"Each case has {len(values)} {noun}s ({', '.join(sorted(values))}); {value} is used.")
        images, masks = (images, kept) if role else (kept, masks)
    if not pairs:
        return None
    shapes = Counter((len(image.parts), len(mask.parts)) for image, mask in pairs)
    depths = shapes.most_common(1)[0][0]
    pairs = sorted(pair for pair in pairs if (len(pair[0].parts), len(pair[1].parts)) == depths)
    patterns, questions = describe_pairs(pairs, affixes)
    return Paired(*patterns, tuple(pairs), tuple(notes + questions))


def looks_like_mask(path: Path) -> bool | None:
    """Whether an image file has few values in large areas; None if it cannot be read."""
    try:
        values = read_pixels(path).values
    except StudyError:
        return None
    if values.ndim == 3:
        values = values[..., 0].astype(np.int64) << 32 | values[..., 1].astype(np.int64) << 16 | values[..., 2]
    pairs_of_neighbours = values[:, 1:] == values[:, :-1]
    few = len(np.unique(values)) <= _MOST_VALUES
    return bool(few and (not pairs_of_neighbours.size or pairs_of_neighbours.mean() >= _EQUAL_NEIGHBOURS))


def _divide(folder: Path, paths: Sequence[PurePosixPath]) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """Divide files into images and masks. Of many files, some of each kind of name are read."""
    kinds: dict[tuple, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        letters = re.sub(r"[\W\d_]+", " ", path.stem.lower()).strip()[-12:]
        kinds[str(path.parent), path.suffix.lower(), letters].append(path)
    everything = len(paths) <= _MOST_READ
    images, masks = [], []
    per_kind = max(1, _MOST_READ // max(1, len(kinds)))
    for kind in list(kinds.values()):
        step = 1 if everything else max(1, len(kind) // per_kind)
        answers = {path: looks_like_mask(folder / path) for path in kind[::step]}
        known = [answer for answer in answers.values() if answer is not None]
        usual = sum(known) * 2 > len(known)
        # One smooth image among many does not make a mask.
        clear = len(known) > 4 and not 0.2 < sum(known) / len(known) < 0.8
        for path in kind:
            answer = usual if clear else answers.get(path, usual)
            if answer is not None:
                (masks if answer else images).append(path)
    return images, masks


def _vote(images: Sequence[PurePosixPath], masks: Sequence[PurePosixPath]) -> tuple | None:
    """Return the text before and after the case id, for images and for masks; None if the case id is a folder."""
    stems = sorted({path.stem for path in images})
    if len({path.parent for path in masks}) > 1 and len(stems) == 1 and re.search("[A-Za-z]{3}", stems[0]):
        # All images have one name, like image.png.
        return None
    votes: Counter = Counter()
    for mask in masks[:: max(1, len(masks) // _MOST_VOTES)]:
        votes.update({affixes for stem in stems for affixes in _affixes(stem, mask.stem)})
    most = max(votes.values(), default=0)
    # Of equally frequent texts, prefer words for masks; then the shortest.
    return min(
        (affixes for affixes, number in votes.items() if number == most),
        key=lambda affixes: (*_rank("".join(affixes[1])), len("".join(affixes[0] + affixes[1])), affixes),
        default=None,
    )


def _affixes(image: str, mask: str) -> set[tuple]:
    """Return each ((before, after) in the image's name, (before, after) in the mask's) with a common rest."""
    if image in mask:
        before, _, after = mask.partition(image)
        return {(("", ""), (before, after))}
    if mask in image:
        before, _, after = image.partition(mask)
        return {((before, after), ("", ""))}
    start, end = _shared(image, mask), _shared(image[::-1], mask[::-1])
    first, last = image[:start], image[len(image) - end :]
    # A word or number is not divided: img_1 and seg_1 share 1, not g_1; 10_a and 12_b share nothing.
    if first and first[-1].isalpha() and (image[start : start + 1] + mask[start : start + 1]).isalpha():
        first = re.sub(r"[^\W\d_]+$", "", first)
    if last and last[0].isalpha() and (image[: len(image) - end][-1:] + mask[: len(mask) - end][-1:]).isalpha():
        last = re.sub(r"^[^\W\d_]+", "", last)
    affixes = set()
    if (first := first.rstrip(_SEPARATORS)) and not (first[-1].isdigit() and image[len(first) :][:1].isdigit()):
        affixes.add((("", image[len(first) :]), ("", mask[len(first) :])))
    if last := last.lstrip(_SEPARATORS):
        affixes.add(((image[: len(image) - len(last)], ""), (mask[: len(mask) - len(last)], "")))
    return affixes


def _shared(first: str, second: str) -> int:
    """Return the number of equal characters at the start of two names."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _core(stem: str, before: str, after: str) -> str | None:
    fits = stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after)
    return stem[len(before) : len(stem) - len(after)] if fits else None


def _match(images, masks, affixes: tuple | None) -> tuple[list[tuple], list[tuple[int, list[PurePosixPath]]]]:
    """Pair files of one case id whose folders agree best; also return the files between which nothing decides.

    Without affixes, the folders alone decide.
    """
    by_core: dict[str, list[PurePosixPath]] = defaultdict(list)
    for image in images:
        core = _core(image.stem, *affixes[0]) if affixes else str(image.parent)
        if core is not None:
            by_core[core].append(image)
    if affixes is None:
        by_core = {core: files for core, files in by_core.items() if core != "." and len(files) == 1}
    of_image: dict[PurePosixPath, list[tuple[int, PurePosixPath]]] = defaultdict(list)
    tied: list[tuple[int, list[PurePosixPath]]] = []
    for mask in masks:
        core = _core(mask.stem, *affixes[1]) if affixes else str(mask.parent)
        candidates = by_core.get(core, []) if core is not None else []
        if not candidates:
            continue
        scores = [shared_folders(image, mask) for image in candidates]
        nearest = [image for image, score in zip(candidates, scores, strict=True) if score == max(scores)]
        if len(nearest) > 1:
            tied.append((0, nearest))
        of_image[nearest[0]].append((max(scores), mask))
    pairs = []
    for image, scored in of_image.items():
        most = max(score for score, _ in scored)
        nearest = [mask for score, mask in scored if score == most]
        if len(nearest) > 1:
            tied.append((1, nearest))
        pairs.append((image, nearest[0]))
    return pairs, tied


def shared_folders(first: PurePosixPath, second: PurePosixPath) -> int:
    """Return the number of folders that two paths share."""
    return sum((Counter(first.parts[:-1]) & Counter(second.parts[:-1])).values())


def count_mask_folders(path: PurePosixPath) -> int:
    """Return the number of folders of a path whose names say that they hold masks."""
    return sum(bool(_MASK_WORDS.search(part)) for part in path.parts[:-1])


def _part(path: PurePosixPath, position: int) -> str:
    """Return a folder of a path; -1 is the suffix."""
    return path.suffix if position < 0 else "/".join(path.parts[:-1][position : position + 1])


def _choose_family(tied: Sequence[tuple[int, Sequence[PurePosixPath]]]) -> tuple | None:
    """Choose one of the folders (or suffixes) in which the files of a case differ."""
    for role in (1, 0):
        lists = [paths for r, paths in tied if r == role]
        positions = Counter()
        for paths in lists:
            for position in [*range(max(len(path.parts) for path in paths) - 1), -1]:
                if len({_part(path, position) for path in paths}) > 1:
                    positions[position] += 1
                    break
        if not positions:
            continue
        position = positions.most_common(1)[0][0]
        values = Counter(_part(path, position) for paths in lists for path in paths)
        if len(values) > 5:
            # Too many to be kinds of files; these are cases or patients.
            continue
        rank = _rank if role else _rank_image
        value = min(values, key=lambda text: (*rank(text), -values[text], text))
        return position, value, set(values), role
    return None


def _rank(text: str) -> tuple[bool, bool]:
    """Rank names of masks: lower is better."""
    return bool(_OBJECT_WORDS.search(text)), not _MASK_WORDS.search(text)


def _rank_image(text: str) -> tuple[bool, bool]:
    """Rank names of images: lower is better."""
    return bool(_MASK_WORDS.search(text)), bool(_OBJECT_WORDS.search(text))


def describe_pairs(pairs: Sequence[tuple], affixes: tuple | None = (("", ""), ("", ""))) -> tuple[list[str], list[str]]:
    """Return the patterns of images and masks, and questions about the meaning of folders.

    Args:
        pairs: image and mask of each case; all images are equally deep in folders, and so are all masks.
        affixes: the text before and after the case id, in the names of images and of masks; None if the case id is a
            folder.
    """
    roles = list(zip(*pairs, strict=True))
    columns = [list(zip(*(path.parts[:-1] for path in role), strict=True)) for role in roles]
    cores = [_core(path.stem, *affixes[0]) for path in roles[0]] if affixes else _folder_cores(columns)
    questions: list[str] = []
    used: set[str] = set()
    facts = facts_in_names(cores) if affixes else ""
    # Texts of a folder in all cases -> its field; image and mask share the fields of equal texts.
    fields: dict[tuple[str, ...], str] = {tuple(cores or ()): "{case}"}
    patterns = []
    for role in (0, 1):
        parts = []
        for column in columns[role]:
            start = _common_start(column)
            texts = tuple(text[len(start) :] for text in column)
            if len(set(column)) == 1:
                parts.append(column[0])
                continue
            if texts not in fields:
                fields[texts] = folder_field(texts, used, questions)
            parts.append(start + fields[texts])
        stems, suffixes = {path.stem for path in roles[role]}, {path.suffix.lower() for path in roles[role]}
        name = f"{facts}{{case}}".join(affixes[role]) if affixes else stems.pop() if len(stems) == 1 else "*"
        patterns.append("/".join([*parts, name + (roles[role][0].suffix if len(suffixes) == 1 else ".*")]))
    return patterns, questions


def _folder_cores(columns) -> list[str] | None:
    """Return the names of the folders that stand for the case: different in each pair, equal for image and mask."""
    for column in columns[0]:
        if len(set(column)) == len(column) and column in columns[1]:
            return list(column)
    return None


def _common_start(texts: Sequence[str]) -> str:
    """Return the words that all folder names start with, as imagesTr and imagesTs of nnU-Net; '' for other names."""
    match = re.match(r"(images|labels)T(?=[rs]$)", texts[0])
    return match[0] if match and all(text.startswith(match[0]) for text in texts) else ""
