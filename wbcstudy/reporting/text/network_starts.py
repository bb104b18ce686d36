"""Say which networks the trainings started from (`start_from`), and on which images those were trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wbcstudy.runs.results import Run
from wbcstudy.wording import capitalise, count, join_words

# Sizes of a cell at the inputs of two networks that differ by more than this factor.
_LARGE_FACTOR = 1.5


def name_network(source: str) -> str:
    """Return the name of a network to start from, for the middle of a sentence."""
    return "the starter" if source == "starter" else f"the network {source}"


def describe_network_starts(complete: Sequence[Run]) -> list[str]:
    """Say for the methods paragraph which network each training started from, and what it was trained on."""
    sentences = []
    for start in _starts(complete):
        images = join_words([_describe_training(facts) for facts in start["trained_on"]], "and, before that, on")
        sentences.append(
            f"{capitalise(name_network(start['source']))} is {start['network']} (SHA-256 {start['sha256'][:16]}; all "
            f"{start.get('layers', '')} layers with weights were taken, with the statistics of batch normalisation). "
            f"It was trained on {images}, {_describe_input(start)}."
        )
    return sentences


def network_start_cautions(complete: Sequence[Run]) -> list[str]:
    """Say what a reader must know about networks that trainings started from."""
    sentences = []
    for start in _starts(complete):
        name = name_network(start["source"])
        if start.get("unknown"):
            sentences.append(
                f"The training images of {name} ({join_words(start['unknown'])}) are not known here: they may include "
                "test images of this study, whose scores would then be too high."
            )
        if seen := start.get("validation_seen"):
            sentences.append(
                f"{capitalise(name)} was trained on {count(len(seen), 'validation image')} of this study "
                f"({join_words(seen, most=5)}). Early stopping and the recommended network depend on them."
            )
        sentences += _input_cautions(start, name, complete)
    sources: dict[str, set[str]] = {}
    for start in _starts(complete):
        sources.setdefault(start["source"], set()).add(start["sha256"])
    for source, digests in sources.items():
        if len(digests) > 1:
            sentences.append(
                f"Runs with start_from: {source} started from {len(digests)} different networks; do not compare them."
            )
    return sentences


def _input_cautions(start: Mapping[str, Any], name: str, complete: Iterable[Run]) -> list[str]:
    runs = [run for run in complete if (run.record.get("network_start") or {}).get("sha256") == start["sha256"]]
    config, scale = runs[0].config, runs[0].record.get("trained_on") or {}
    sentences = []
    if scale.get("cell_px") and start.get("cell_px"):
        cell_px = scale["cell_px"] * config.image_size / scale["height_px"][1]
        if max(cell_px / start["cell_px"], start["cell_px"] / cell_px) > _LARGE_FACTOR:
            sentences.append(
                f"At the input of {name}, a cell had a diameter of {start['cell_px']:.0f} px; here it has "
                f"{cell_px:.0f} px. Another image_size brings them nearer."
            )
    if start.get("stain_normalisation", "none") != config.stain_normalisation:
        sentences.append(
            f"{capitalise(name)} was trained with stain_normalisation: {start['stain_normalisation']}, these networks "
            f"with {config.stain_normalisation}."
        )
    return sentences


def _starts(complete: Iterable[Run]) -> list[Mapping[str, Any]]:
    """Return the different networks that runs started from."""
    starts = [run.record["network_start"] for run in complete if run.record.get("network_start")]
    return list({(start["source"], start["sha256"]): start for start in starts}.values())


def _describe_training(facts: Mapping[str, Any]) -> str:
    dataset, split = facts.get("dataset") or {}, facts.get("split") or {}
    title = dataset.get("title") or dataset.get("name") or "unknown images"
    drawn = ", drawn smears" if facts.get("drawn") else ""
    if not split:
        return f"{title}{drawn}"
    return f"{split['train']} training and {split['validation']} validation images of {title}{drawn}"


def _describe_input(start: Mapping[str, Any]) -> str:
    parts = [f"at {start['image_size']} x {start['image_size']} pixels"]
    if start.get("pixel_size_um"):
        parts.append(f"{start['pixel_size_um']:g} µm per pixel")
    if start.get("cell_px"):
        parts.append(f"cells of {start['cell_px']:.0f} pixels")
    return ", ".join(parts)
