"""The summary of `wbcstudy segment`: the lines at its end, and the notes for the reader of the results."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbcstudy.data.images import DARK, is_grey
from wbcstudy.errors import StudyError, printable_name
from wbcstudy.inference.inputs import Inputs
from wbcstudy.inference.network import Network
from wbcstudy.inference.tiling import DESCRIPTIONS
from wbcstudy.wording import count, join_words

if TYPE_CHECKING:
    from wbcstudy.inference.folder import Settings
    from wbcstudy.inference.image import Segmentation

# Cells larger or smaller than in training by this factor suggest a wrong scale.
_ODD_SCALE = 1.5
_SOURCES = {"reinhard": "Reinhard et al. 2001", "macenko": "Macenko et al. 2009"}
_MAX_LISTED_FAILURES = 20


@dataclass(frozen=True)
class Failure:
    """The reason why an image could not be segmented, in one line, and what the user can do, or ''."""

    reason: str
    fix: str = ""


@dataclass(frozen=True)
class Summary:
    """The outcome of `segment_images`.

    Args:
        images: number of images.
        kept: number of these images that an earlier command had finished.
        cells: number of cells in all images.
        failed: name -> failure, of images that could not be segmented.
        notes: sentences for the reader of the results.
        gallery: the page.
        inputs: the images, and what was left out.
    """

    images: int
    kept: int
    cells: int
    failed: dict[str, Failure]
    notes: tuple[str, ...]
    gallery: Path
    inputs: Inputs = field(default_factory=Inputs, repr=False)

    @property
    def ok(self) -> bool:
        """Whether every image was segmented and every folder could be read."""
        return not self.failed and not any(entry.problem for entry in self.inputs.left_out)

    def lines(self) -> Iterator[str]:
        """Yield the lines to print at the end; the last one has the counts."""
        yield from self.notes
        yield from failure_lines(self.failed, self.inputs.images)
        yield f"Gallery: {self.gallery}"
        kept = f" ({self.kept} already done)" if self.kept else ""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        left_out = len(self.inputs.left_out)
        others = f", {left_out} left out (listed in images.csv)" if left_out else ""
        segmented = count(self.images - len(self.failed), "image")
        yield f"{count(self.cells, 'cell')} in {segmented}{kept}{failed}{others}."


def image_facts(segmentation: Segmentation) -> dict[str, Any]:
    """Return the facts about a segmented image that its record keeps and `write_notes` reads."""
    image, instances = segmentation.image, segmentation.instances
    areas = np.bincount(instances.ravel())[1:]
    diameters = 2 * np.sqrt(areas[areas > 0] / np.pi)
    return {
        "height_px": image.shape[0],
        "width_px": image.shape[1],
        "way": segmentation.way.name,
        "why": segmentation.way.reason,
        "cells": int(instances.max()),
        "scale": segmentation.way.scale,
        "stain": segmentation.stain,
        "doubts": list(segmentation.doubts),
        # Of discs with the cells' areas.
        "cell_px": round(float(np.median(diameters)), 1) if diameters.size else None,
        "brightest": int(image.max()),
        "one_colour": bool(image.min() == image.max()),
        "grey": is_grey(image),
    }


def explain_failure(error: Exception) -> Failure:
    """Return the reason and the advice of an error in one image."""
    if isinstance(error, StudyError):
        return Failure(printable_name(error.message), error.fix)
    # TensorFlow's error for memory is no MemoryError.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return Failure(
            "The memory is not sufficient for this image.", "Crop or shrink the image, or close other programs."
        )
    if isinstance(error, OSError):
        return Failure(
            printable_name(f"The file cannot be read: {error.strerror or error}."), "Check that you may read it."
        )
    text = printable_name(f"Unexpected {type(error).__name__}: {error}")
    return Failure(text, "This is a bug in wbcstudy. Report it with the image.")


def failure_lines(failed: Mapping[str, Failure], paths: Mapping[str, Path]) -> Iterator[str]:
    """Yield lines about images that could not be segmented; arguments as for `group_failures`."""
    if not failed:
        return
    yield f"{count(len(failed), 'image')} could not be segmented:"
    groups = group_failures(failed, paths)
    for names in groups[:_MAX_LISTED_FAILURES]:
        others = f" ({count(len(names), 'image')} with this fault: {join_words(names, most=5)})"
        yield f"  {names[0]}: {failed[names[0]].reason}{others if len(names) > 1 else ''}"
    if len(groups) > _MAX_LISTED_FAILURES:
        yield f"  and {len(groups) - _MAX_LISTED_FAILURES} more, see images.csv"
    for fix, number in Counter(failure.fix for failure in failed.values() if failure.fix).most_common():
        yield f"To fix ({count(number, 'image')}): {fix}"


def failure_kind(failure: Failure, path: Path) -> str:
    """Return a failure without its file and numbers: equal for images with the same fault."""
    reason = failure.reason
    for name in (printable_name(str(path)), printable_name(path.name)):
        reason = reason.replace(name, "FILE")
    return re.sub(r"\d+", "#", reason)


def group_failures(failed: Mapping[str, Failure], paths: Mapping[str, Path]) -> list[list[str]]:
    """Return the names of failed images in groups of the same fault, the first that failed first.

    Args:
        failed: name -> failure.
        paths: name -> file, of all images.
    """
    groups: dict[str, list[str]] = {}
    for name, failure in failed.items():
        groups.setdefault(failure_kind(failure, paths.get(name, Path(name))), []).append(name)
    return list(groups.values())


def write_notes(records: list[dict[str, Any]], network: Network, settings: Settings, others: int) -> Iterator[str]:
    """Yield sentences about the images of a command.

    Args:
        records: records of the segmented images.
        network: the network that segmented them.
        settings: settings of the command.
        others: number of images in the output folder that the command did not list.
    """
    for way, description in DESCRIPTIONS.items():
        if group := [record for record in records if record["way"] == way]:
            yield f"{count(len(group), 'image')} {description} ({group[0]['image']}: {group[0]['why']})."
    yield from _scale_notes(records, network, settings)
    yield from _colour_notes(records)
    if doubted := [record for record in records if record.get("doubts")]:
        examples = [f"{record['image']} ({'; '.join(record['doubts'])})" for record in doubted]
        yield (
            f"Check {count(len(doubted), 'image')} of {len(records)} that may be unlike anything the network has "
            f"learnt: {join_words(examples, most=3)}. images.csv lists them in the column doubts."
        )
    if "files" not in network.run.record:
        yield "Not verifiable: the network's run, of wbcstudy 0.2 or earlier, has no SHA-256 of model.keras."
    # Records of earlier versions lack the brightest value.
    if dark := [record for record in records if record.get("brightest", DARK) < DARK]:
        yield (
            f"Nearly black: {count(len(dark), 'image')} ({dark[0]['image']}: the brightest value is "
            f"{dark[0]['brightest']} of 255). If a camera of 12 or 14 bits wrote 16-bit files, save them as 8 bits."
        )
    # One value in all three channels: white, black or a grey.
    if plain := [record["image"] for record in records if record.get("one_colour")]:
        yield (
            f"One colour everywhere: {join_words(plain, most=5)}. If another program shows an image there, save it "
            "without transparency (alpha channel)."
        )
    elif grey := [record["image"] for record in records if record.get("grey")]:
        yield f"Without colour: {join_words(grey, most=5)}. A network trained on colour images may fail on them."
    if others:
        yield (
            f"Not listed: {count(others, 'image')} of earlier commands. cells.csv, images.csv and gallery.html list "
            "only the images of this command."
        )


def _scale_notes(records: list[dict[str, Any]], network: Network, settings: Settings) -> Iterator[str]:
    areas_only = settings.pixel_um is not None and settings.scale is None and network.training.pixel_size_um is None
    if areas_only:
        yield (
            "--pixel-um only adds areas in µm²: the pixel size of the training images is unknown. If magnification or "
            "camera differ, set --scale."
        )
    diameters = [record["cell_px"] for record in records if record["cell_px"]]
    if not diameters or not network.training.cell_px:
        return
    diameter = float(np.median(diameters))
    default = settings.tiling((1, 1), network).scale
    scale = float(np.median([record.get("scale", default) for record in records]))
    expected = network.training.cell_px * scale
    if not 1 / _ODD_SCALE <= diameter / expected <= _ODD_SCALE:
        yield (
            f"Check the scale: the median cell diameter is {diameter:.0f} px, the training images suggest "
            f"{expected:.0f} px. If magnification or camera differ, set {'' if areas_only else '--pixel-um or '}"
            f"--scale (for example --scale {diameter / expected * scale:.2g})."
        )


def _colour_notes(records: list[dict[str, Any]]) -> Iterator[str]:
    for stain, source in _SOURCES.items():
        if changed := [record["image"] for record in records if record.get("stain") == stain]:
            yield (
                f"Colours of {count(len(changed), 'image')} were brought to those of the training images ({source}): "
                f"{join_words(changed, most=3)}. --stain none switches this off."
            )
