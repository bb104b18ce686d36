"""Suggest images to annotate first, and write drafts of their masks."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wbcstudy import __version__
from wbcstudy.data.annotated import AnnotatedFiles, find_annotated
from wbcstudy.data.duplicates import DuplicateFinder, merge_groups
from wbcstudy.data.images import read_image
from wbcstudy.data.new_dataset import dataset_name
from wbcstudy.errors import StudyError, printable, printable_name
from wbcstudy.files import cannot_write, escape_cell, expand_home, path_exists, temporary_folder, write_json
from wbcstudy.inference.applying import check_stain
from wbcstudy.inference.choose_images import Choice, choose_images, measure_uncertainty
from wbcstudy.inference.describe import describe_image
from wbcstudy.inference.drafts import write_drafts
from wbcstudy.inference.find_scale import FoundScale, share_scale
from wbcstudy.inference.folder import Settings
from wbcstudy.inference.image import Segmentation, segment_image
from wbcstudy.inference.inputs import DRAFTS_FILE, Inputs, LeftOut, find_inputs, input_folder
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.summary import Failure, explain_failure, failure_kind, failure_lines, image_facts, write_notes
from wbcstudy.wording import align, count, join_words

NEXT_FILE = "next.csv"
_NEXT_COLUMNS = ("rank", "image", "file", "uncertainty", "distance", "doubts", "mask")
_IMAGE_COLUMNS = ("image", "file", "status", "rank", "uncertainty", "like", "doubts", "error")


@dataclass
class Examined:
    """What the network says about the images.

    Args:
        records: name -> facts about an image, see `summary.image_facts`, with its name and `uncertainty`.
        descriptors: name -> descriptor.
        failed: name -> why an image could not be read.
        like: name -> an image that shows the same cell: annotated, or more uncertain.
    """

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    descriptors: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    like: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Suggestion:
    """The outcome of `annotate_next`.

    Args:
        images: names of the images to annotate, the most helpful first.
        lines: lines for the terminal.
        ok: whether every image and folder could be read.
    """

    images: tuple[str, ...]
    lines: tuple[str, ...] = field(repr=False)
    ok: bool


def annotate_next(
    inputs: Sequence[str | Path],
    model: Network | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    wanted: int = 10,
    done: str | Path | None = None,
    show: Callable[[str], Any] = print,
    step: Callable[[int, int], Any] = lambda done, total: None,
) -> Suggestion:
    """Choose images to annotate, and write drafts of their masks into a new folder.

    `choose_images` has the rule. Of images that show the same cell, one at most is chosen. The network is applied as by
    `wbcstudy segment`. The folder appears complete or not at all.

    Args:
        inputs: as for `folder.segment_images`, as are the next two.
        model: the network.
        out: folder to write: it must not exist or be empty.
        settings: way, scale, pixel size and stain; the defaults if None.
        wanted: number of images to choose.
        done: a dataset or folder whose images with masks are annotated already, see `annotated.find_annotated`.
        show: called with one line for the first image with each fault.
        step: called after each image with the number of images done and in total.

    Raises:
        StudyError: no image is left to annotate; the model, a setting or `done` cannot be used; `out` is not empty or
            cannot be written.
    """
    settings, out = settings or Settings(), expand_home(out)
    if wanted < 1:
        raise StudyError(f"--count {wanted} cannot be used.", expected="1 or more", fix="Change --count.")
    _check_new(out)
    listing = find_inputs(inputs, out)
    annotated = find_annotated(done) if done is not None else AnnotatedFiles((), frozenset())
    _leave_out_masks(listing, annotated)
    network = load_network(model)
    settings.tiling((1, 1), network)  # raises before anything is computed
    check_stain(settings.stain, network)
    scale = share_scale(
        list(listing.images.values()), network, settings.way, settings.scale, settings.pixel_um, settings.stain
    )

    def segment(path: Path) -> Segmentation:
        options = {"way": settings.way, "scale": scale, "pixel_um": settings.pixel_um, "stain": settings.stain}
        return segment_image(read_image(path), network, **options)

    known = {path: name for name, path in listing.images.items()}
    # An annotated image among the inputs keeps its name.
    done_names = {known.get(path, str(path)): path for path in annotated.images}
    examined = _examine(done_names, listing.images, network, segment, show, step)
    choices = _choose(examined, done_names, wanted, listing)
    chosen = {name: listing.images[name] for name in choices}
    try:
        with temporary_folder(out.parent) as temporary:
            part = temporary / "drafts"
            part.mkdir()
            masks, questions = write_drafts(part, chosen, segment, dataset_name(out), settings.pixel_um)
            _write_next(part / NEXT_FILE, choices, examined, listing, masks)
            _write_images(part / "images.csv", choices, examined, listing, done_names)
            write_json(part / DRAFTS_FILE, _record(network, settings, scale, wanted, done, inputs))
            if out.is_dir():
                out.rmdir()
            part.rename(out)
    except OSError as error:
        raise cannot_write(out, error, instead="choose another folder with --out") from None
    ok = not examined.failed and not any(entry.problem for entry in listing.left_out)
    lines = _lines(choices, examined, listing, done_names, network, settings, out, questions)
    return Suggestion(tuple(choices), tuple(lines), ok)


def _check_new(out: Path) -> None:
    if path_exists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise StudyError(
            f"{out} exists and is not empty; nothing is overwritten, since it may hold corrected masks.",
            expected="a new or an empty folder",
            fix=f"Choose another folder with --out. If its images are annotated now, add --done {out}.",
        )


def _leave_out_masks(listing: Inputs, annotated: AnnotatedFiles) -> None:
    for name, path in list(listing.images.items()):
        if path in annotated.masks:
            del listing.images[name]
            listing.left_out.append(LeftOut(path, "that are masks of annotated images"))


def _examine(
    done_names: Mapping[str, Path],
    images: Mapping[str, Path],
    network: Network,
    segment: Callable[[Path], Segmentation],
    show: Callable[[str], Any],
    step: Callable[[int, int], Any],
) -> Examined:
    """Apply the network to all images, one by one, and find the ones that show the same cell."""
    examined, finder, kinds = Examined(), DuplicateFinder(), set()
    everything = {**done_names, **images}
    for number, (name, path) in enumerate(everything.items(), start=1):
        try:
            segmentation = segment(path)
            examined.descriptors[name] = describe_image(
                segmentation.image, network, segmentation.way, segmentation.stain, segmentation.probabilities
            )
        except Exception as error:  # whatever a damaged file causes in a decoder: the other images are not affected
            examined.failed[name] = failure = explain_failure(error)
            if (kind := failure_kind(failure, path)) not in kinds:
                kinds.add(kind)
                show(f"Skipped {name}: {failure.reason}")
        else:
            uncertainty = measure_uncertainty(segmentation.probabilities)
            examined.records[name] = {"image": name, "uncertainty": uncertainty} | image_facts(segmentation)
            finder.add(name, segmentation.image)
        step(number, len(everything))
    groups: dict[Any, list[str]] = {}
    for name, group in merge_groups({}, [pair.case_ids for pair in finder.find()]).items():
        groups.setdefault(group, []).append(name)
    for names in groups.values():
        first = min(names, key=lambda name: (name not in done_names, -examined.records[name]["uncertainty"], name))
        examined.like |= dict.fromkeys((name for name in names if name not in {first, *done_names}), first)
    return examined


def _choose(
    examined: Examined, done_names: Mapping[str, Path], wanted: int, listing: Inputs
) -> dict[str, float | None]:
    """Return the chosen images in their order -> distance to the images before."""
    names = [name for name in sorted(examined.records) if name not in {*done_names, *examined.like}]
    if not names:
        facts = [f"{count(len(done_names), 'image')} annotated", f"{len(examined.like)} like others"]
        failures = [*failure_lines(examined.failed, listing.images)]
        raise StudyError(
            f"No image is left to annotate: {join_words([*facts, f'{len(examined.failed)} unreadable'])}. "
            + " ".join(failures),
            expected="images without a mask",
            fix="Pass other images.",
        )
    uncertainties = [examined.records[name]["uncertainty"] for name in names]
    before = [examined.descriptors[name] for name in done_names if name in examined.descriptors]
    descriptors = np.array([examined.descriptors[name] for name in names])
    choices: list[Choice] = choose_images(uncertainties, descriptors, np.array(before), wanted)
    return {names[choice.index]: choice.distance for choice in choices}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows({name: escape_cell(value) for name, value in row.items()} for row in rows)


def _doubts(record: Mapping[str, Any]) -> str:
    return "; ".join(record["doubts"])


def _write_next(path: Path, choices, examined: Examined, listing: Inputs, masks: Mapping[str, str]) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for rank, (name, distance) in enumerate(choices.items(), start=1):
            record = examined.records[name]
            row = {"rank": rank, "image": name, "file": printable_name(str(listing.images[name]))}
            row |= {"uncertainty": record["uncertainty"], "distance": "" if distance is None else round(distance, 3)}
            yield row | {"doubts": _doubts(record), "mask": masks[name]}

    _write_csv(path, _NEXT_COLUMNS, rows())


def _write_images(path: Path, choices, examined: Examined, listing: Inputs, done_names: Mapping[str, Path]) -> None:
    """Write a row for every image, with the reason why it was not chosen, and for what was left out."""
    ranks = {name: rank for rank, name in enumerate(choices, start=1)}

    def rows() -> Iterator[dict[str, Any]]:
        for name, file in {**listing.images, **done_names}.items():
            row = {"image": name, "file": printable_name(str(file))}
            if name in examined.failed:
                yield row | {"status": "failed", "error": examined.failed[name].reason}
                continue
            record = examined.records[name]
            row |= {"uncertainty": record["uncertainty"], "doubts": _doubts(record), "rank": ranks.get(name, "")}
            row |= {"like": examined.like.get(name, "")}
            status = "annotated" if name in done_names else "near duplicate" if row["like"] else "not chosen"
            yield row | {"status": "chosen" if name in ranks else status}
        for entry in listing.left_out:
            yield {"file": printable_name(str(entry.path)), "status": "left out", "error": entry.reason}

    _write_csv(path, _IMAGE_COLUMNS, rows())


def _record(network: Network, settings: Settings, scale, wanted: int, done, inputs) -> dict[str, Any]:
    shared = scale.scale if isinstance(scale, FoundScale) else scale
    return {
        "model": network.name,
        "model_sha256": network.digest,
        "images": printable(str(input_folder(inputs))),
        "done": None if done is None else printable(str(done)),
        "count": wanted,
        "way": settings.way,
        "scale": shared,
        "pixel_um": settings.pixel_um,
        "stain": settings.stain,
        "code_version": __version__,
    }


def _lines(
    choices: Mapping[str, float | None],
    examined: Examined,
    listing: Inputs,
    done_names: Mapping[str, Path],
    network: Network,
    settings: Settings,
    out: Path,
    questions: Sequence[str],
) -> Iterator[str]:
    """Yield the lines for the terminal: notes, the chosen images, and what to do next."""
    records = [record for name, record in examined.records.items() if name not in done_names]
    yield from write_notes(records, network, settings, 0)
    yield from listing.lines()
    yield from failure_lines(examined.failed, {**listing.images, **done_names})
    if examined.like:
        yield f"Left out: {count(len(examined.like), 'image')} that show the same cells as others (images.csv)."
    if done_names:
        yield f"Annotated already: {count(len(done_names), 'image')}; images unlike these come first."
    yield f"Annotate {count(len(choices), 'image')}, in this order ({out / NEXT_FILE}):"
    rows = [("rank", "image", "uncertainty", "distance", "doubts")]
    for rank, (name, distance) in enumerate(choices.items(), start=1):
        record = examined.records[name]
        shown = "" if distance is None else f"{distance:.2f}"
        rows.append((str(rank), name, f"{record['uncertainty']:.3f}", shown, _doubts(record)))
    yield from (f"  {line}" for line in align(rows))
    if questions:
        yield "Please decide (the lines in dataset.yaml are marked with CHECK):"
        yield from (f"  {question}" for question in questions)
    folder, corrected = shlex.quote(str(out)), shlex.quote(f"{out}_corrected")
    yield f"Drafts: {out}. Correct one kind of them, then check and train:"
    yield "  masks/    in napari or another editor of labels (0 background, 128 cytoplasm, 255 nucleus); then"
    yield f"            wbcstudy data check {folder} --html check.html"
    yield "  geojson/  in QuPath, exported under the same name; then"
    yield f"            wbcstudy data import qupath {folder} {corrected}"
    yield "  roi/      in Fiji, saved under the same name; then"
    yield f"            wbcstudy data import imagej {folder} {corrected}"
    yield "Train with the dataset.yaml of the corrected masks and `start_from: starter` in the study's settings."
