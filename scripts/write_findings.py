"""Write the tables of docs/results.md from the small files in outputs/reference/, so that no number is typed.

    python scripts/write_findings.py          # or: make readme-tables

What has no file yet has no table. A test compares the page with what this writes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from wbcstudy.baselines.methods import METHODS
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root, read_json
from wbcstudy.registry import ENCODERS, method_title
from wbcstudy.reporting.text.facts import tell_arithmetic
from wbcstudy.reporting.text.paper import tell_beside_paper
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.reference import restore_study
from wbcstudy.runs.results import Run, load_runs
from wbcstudy.scoring.selection import pick_best

BEGIN, END = "<!-- findings: begin -->", "<!-- findings: end -->"
REGIONS = ("nucleus", "cytoplasm")
# The public set's two parts, and how a reader may call them.
SETS = {"1": "Dataset 1", "2": "Dataset 2"}
SETTINGS = ("colour_augmentation", "stain_normalisation")
# Dice of nucleus, cytoplasm and whole cell: Haider and others, IEEE J. Biomed. Health Inform. 26, 3685-3696 (2022),
# the abstract. It has 98.97 % and 99.0 % for "cytoplasmic segmentation"; beside nuclei of 96 %, whose edge is the
# cytoplasm's too, that can be the whole cell's only.
PUBLISHED = {"1": (0.9635, None, 0.9897), "2": (0.9809, None, 0.9900)}
VGG16 = {
    "vgg16_scratch": "random weights",
    "vgg16_hed": "HED edge weights",
    "vgg16_hed_frozen": "HED edge weights, encoder frozen",
}


def findings(reference: Path) -> str:
    """The section, in Markdown.

    Args:
        reference: `outputs/reference/`.
    """
    parts = [
        *(networks(reference / f"segmentation_wbc_{number}", title) for number, title in SETS.items()),
        trained_again(reference),
        beside_others(reference),
        earlier_methods(reference),
        elsewhere(reference),
        changed_settings(reference),
        pretrained(reference),
    ]
    return "\n\n".join(part for part in parts if part)


def networks(study: Path, title: str) -> str:
    """Table 1 of a study of the public set, best first, and how far the ranking can be trusted."""
    if not (study / "tables" / "table1.csv").exists():
        return ""
    table = pd.read_csv(study / "tables" / "table1.csv")
    config = _config(study)
    rows, place = [], {}
    # A single finished run has no rank.
    if (study / "tables" / "table4.csv").exists():
        for row in pd.read_csv(study / "tables" / "table4.csv").itertuples():
            place.setdefault(row.method, {})[row.region] = row
    table = table.dropna(subset=["dice_mean"]).assign(method=table["encoder"] + "__" + table["loss"])
    order = table.groupby("method")["dice_mean"].mean().sort_values(ascending=False).index
    for method in order:
        regions = table[table["method"] == method].set_index("region")
        one = regions.loc["nucleus"]
        cells = []
        for region in REGIONS:
            found = regions.loc[region]
            cells += [f"{found.dice:.4f}", _with_interval(found.dice_mean, found.dice_ci_low, found.dice_ci_high)]
        ranked = " / ".join(_rank(place.get(method, {}).get(region)) for region in REGIONS) if place else "-"
        rows.append([method_title(method), *cells, ranked, f"{one.best_epoch:.0f} of {one.epochs:.0f}"])
    pairs = len(ENCODERS) * 2
    told = f"{len(rows)} of the {pairs} pairs of encoder and loss" if len(rows) < pairs else f"all {pairs} pairs"
    head = (
        f"**{title}**, {int(table['n'].max())} test images, {told}, {_settings(config)}. Dice pooled over all test "
        "pixels, and its mean over the images with the 95 % interval."
    )
    if place:
        head += (
            " Ranks are among these pairs. The leader's is bold: beaten by the fewest others, then the highest mean; "
            "those with a + cannot be told apart from it on these images."
        )
    if told := tell_arithmetic(read_json(path) or {} for path in sorted((study / "runs").glob("*/run.json"))):
        head += f" {told}"
    heads = ["encoder and loss", "nucleus", "mean", "cytoplasm", "mean", "mean rank, nucleus / cytoplasm", "best epoch"]
    told = " ".join(tell_beside_paper(table))
    return f"{head}\n\n{markdown(heads, rows)}" + (f"\n\nBeside the paper's Table 1. {told}" if told else "")


def trained_again(reference: Path) -> str:
    """How far scores of the same settings, seed and split move from one kind of numbers and processor to another."""
    study = "segmentation_wbc_1_float32"
    path = reference / study / "settings.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path).query("study == 'segmentation_wbc_1'")
    table = table.assign(change=table["second"] - table["first"])
    told = []
    for region in REGIONS:
        change = table.loc[table["region"] == region].set_index("method")["change"]
        most = change.abs().idxmax()
        told.append(
            f"{change.abs().mean():.3f} for the {region} (with its sign {change.mean():+.3f}, at most "
            f"{change[most]:+.3f}, {method_title(most)})"
        )
    surely = int((table["p"] < 0.05).sum())
    return (
        f"**Trained again**: {table['method'].nunique()} of the networks of Dataset 1 were trained twice with the same "
        "settings, split and seed, in float32 on one kind of processor and in bfloat16 on another. "
        f"Their mean Dice moved by {' and '.join(told)} on average; of the {len(table)} pairs of scores "
        f"{surely} differ by a Wilcoxon test of the images alone (p < 0.05, each by itself). So far a score "
        "can move with encoder, loss and seed unchanged "
        f"(one by one: `outputs/reference/{study}/settings.md`)."
    )


def beside_others(reference: Path) -> str:
    """The best networks beside the forest and what another paper prints of these images, and what they miss."""
    rows, missed = [], []
    for number, title in SETS.items():
        study = reference / f"segmentation_wbc_{number}"
        records = [read_json(path) or {} for path in sorted((study / "runs").glob("*/run.json"))]
        scores = {
            f"{record['config']['encoder']}__{record['config']['loss']}": record["scores"]
            for record in records
            if record.get("status") == "complete"
        }
        table1 = study / "tables" / "table1.csv"
        if not scores or not table1.exists():
            continue
        means = pd.read_csv(table1).dropna(subset=["dice_mean"]).groupby(["encoder", "loss"])["dice_mean"].mean()
        best = "__".join(means.idxmax())
        picked = pick_best(_restored_runs(study))
        chosen = f"{picked.encoder}__{picked.loss}" if picked else best
        mine = {f"chosen on validation images: {method_title(chosen)}": _means(scores[chosen])}
        if best != chosen:
            mine[f"highest on the test images: {method_title(best)}"] = _means(scores[best])
        rows += [[title, name, *map(_dice, cells)] for name, cells in mine.items()]
        ensemble = study / "tables" / "ensemble.csv"
        if ensemble.exists():
            found = pd.read_csv(ensemble).set_index("region")
            voters = int(found["voters"].max())
            cells = [*(found.loc[region, "dice_mean"] for region in REGIONS), None]
            rows.append([title, f"{voters} of these networks, one vote a pixel", *map(_dice, cells)])
        forest = reference / f"earlier_methods_{number}" / "tables" / "table3.csv"
        if forest.exists():
            found = pd.read_csv(forest).query("method == 'forest' and variant == 'cleaned'").set_index("region")
            cells = [*(found.loc[region, "dice_mean"] for region in REGIONS), None]
            rows.append([title, "Smoothed-colour forest, cleaned up (256 x 256 px)", *map(_dice, cells)])
        published = PUBLISHED[number]
        rows.append([title, "LDAS-Net, as published", *map(_dice, published)])
        gaps = [
            f"{ours - theirs:+.3f} ({what})"
            for what, ours, theirs in zip(("nucleus", "", "whole cell"), _means(scores[best]), published, strict=True)
            if theirs is not None
        ]
        missed.append(f"{' and '.join(gaps)} on {title}")
    if not rows:
        return ""
    head = (
        "**Beside a forest and another paper's numbers**: mean Dice over the test images. LDAS-Net: abstract of Haider "
        "and others 2022 ([doi](https://doi.org/10.1109/JBHI.2022.3178765)); which images it was tested on, and "
        "whether its Dice is a mean, it does not say, and what it calls cytoplasm is taken for the whole cell. A "
        "network that was picked by its test score looks a little better than it is. From the published to the highest "
        "here: "
        f"{'; '.join(missed)}."
    )
    return f"{head}\n\n{markdown(['images', 'what', *REGIONS, 'whole cell'], rows)}"


def earlier_methods(reference: Path) -> str:
    """Table 3's measured rows: mean Dice of every method on both parts of the public set, raw and cleaned up."""
    tables = {}
    for number in SETS:
        path = reference / f"earlier_methods_{number}" / "tables" / "table3.csv"
        if path.exists():
            tables[number] = pd.read_csv(path).query("kind == 'measured'")
    if not tables:
        return ""
    names = dict.fromkeys(name for table in tables.values() for name in table.dropna(subset=["dice_mean"])["method"])
    # As a network's row is called after its encoder, methods come first.
    rows = []
    for name in sorted(
        names, key=lambda name: (name not in METHODS, list(METHODS).index(name) if name in METHODS else 0)
    ):
        row = [METHODS[name].title if name in METHODS else f"U-Net, {method_title(name)}"]
        for table in tables.values():
            mine = table[table["method"] == name]
            for variant in ("raw", "cleaned"):
                found = mine[mine["variant"] == variant].set_index("region")
                row.append(" / ".join(_score(found, region) for region in REGIONS))
            seconds = mine["seconds_per_image"].dropna()
            row.append(f"{seconds.iloc[0]:.2f}" if len(seconds) else "-")
        rows.append(row)
    heads = ["method"]
    for number in tables:
        heads += [f"{SETS[number]}: raw", "cleaned up", "s per image"]
    config = _config(reference / f"earlier_methods_{next(iter(tables))}")
    size = config["image_size"]
    head = (
        f"**The earlier methods, measured** at {size} x {size} px on the test images of "
        "each part of the public set: mean Dice of nucleus / cytoplasm, over the seeds where a method learns at "
        "random; parameters chosen on training and validation images."
    )
    return f"{head}\n\n{markdown(heads, rows)}"


def elsewhere(reference: Path) -> str:
    """What networks are worth on the other part of the public set."""
    rows = []
    for study in ("transfer_2to1", "transfer_1to2"):
        for path in sorted((reference / study / "tables").glob("*.csv")):
            table = pd.read_csv(path)
            if not {"dataset", "own_mean", "drop"} <= set(table.columns):
                continue
            for (method, dataset), part in table.groupby(["method", "dataset"], sort=False):
                part = part.set_index("region")
                own = " / ".join(f"{part.loc[region, 'own_mean']:.3f}" for region in REGIONS)
                there = " / ".join(
                    _with_interval(
                        part.loc[region, "dice_mean"], part.loc[region, "ci_low"], part.loc[region, "ci_high"]
                    )
                    for region in REGIONS
                )
                trained = _title(_config(reference / study)["dataset"])
                networks = int(part["networks"].max())
                rows.append([method_title(method), f"{trained} ({networks})", own, _title(dataset), there])
    if not rows:
        return ""
    heads = ["encoder and loss", "trained on (networks)", "own test images", "scored on", "all its images"]
    head = "**On another laboratory's images**: mean Dice of nucleus / cytoplasm, with the 95 % interval over images."
    return f"{head}\n\n{markdown(heads, rows)}"


def changed_settings(reference: Path) -> str:
    """What one changed setting of the network from Dataset 2 does to its scores here and there."""
    path = reference / "transfer_2to1" / "settings.csv"
    if not path.exists():
        return ""
    rows = []
    for (study, method, images), part in pd.read_csv(path).groupby(["study", "method", "images"], sort=False):
        part = part.set_index("region")
        plain = _config(reference / "transfer_2to1")
        changed = {name: value for name, value in _config(reference / study).items() if value != plain.get(name)}
        setting = ", ".join(f"`{name}: {value}`" for name, value in changed.items() if name in SETTINGS)
        gains = []
        for region in REGIONS:
            gain, low, high = part.loc[region, ["difference", "ci_low", "ci_high"]]
            gains.append(f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]")
        means = [" / ".join(f"{part.loc[region, name]:.3f}" for region in REGIONS) for name in ("first", "second")]
        title = f"{method_title(method)} ({int(part['networks'].max())})"
        rows.append([setting, title, images.split(", ")[-1], *means, *gains])
    heads = ["setting", "network (how many)", "images", "without", "with it", "nucleus, gain", "cytoplasm, gain"]
    head = (
        "**One setting changed**: mean Dice of nucleus / cytoplasm, and an image's typical gain (Hodges and Lehmann's, "
        "which single images move less than the difference of the means) with its 95 % interval."
    )
    return f"{head}\n\n{markdown(heads, rows)}"


def pretrained(reference: Path) -> str:
    """VGG-16 from random weights, and from weights that were learnt elsewhere: better, and in fewer epochs?"""
    learning = {study: _validation_dice(reference / study) for study in VGG16}
    # What random weights come to, the mean of their seeds' best epochs.
    goal = pd.Series([dice.max() for dice in learning["vgg16_scratch"]], dtype=float).mean()
    rows = []
    for study, start in VGG16.items():
        records = [read_json(path) for path in sorted((reference / study / "runs").glob("*/run.json"))]
        if records := [record for record in records if record.get("status") == "complete"]:
            frame = pd.DataFrame(
                [
                    {region: record["scores"][region]["dice_mean"] for region in REGIONS}
                    | {name: record[name] for name in ("best_epoch", "fit_seconds")}
                    for record in records
                ]
            )
            cells = [_spread(frame[region], "{:.4f}") for region in REGIONS]
            cells += [_spread(frame["best_epoch"], "{:.0f}"), _epochs_to(goal, learning[study])]
            cells.append(_spread(frame["fit_seconds"], "{:.0f}"))
            rows.append([start, str(len(frame)), *cells])
    if not rows:
        return ""
    start = "with and without" if rows[0][0] == VGG16["vgg16_scratch"] else "with"
    head = f"**VGG-16 {start} weights learnt elsewhere**, on Dataset 2: mean over seeds, lowest to highest."
    heads = [
        "encoder starts from",
        "seeds",
        "nucleus, mean Dice",
        "cytoplasm, mean Dice",
        "best epoch",
        "epochs to it",
        "seconds to fit",
    ]
    if goal == goal:
        head += (
            f" Epochs to it: until the Dice on the validation images first reaches {goal:.3f}, the mean of what random "
            "weights reach there in their best epoch."
        )
    return f"{head}\n\n{markdown(heads, rows)}"


def _validation_dice(study: Path) -> list[pd.Series]:
    """Of each finished training, epoch -> Dice on the validation images, mean of the regions."""
    histories = [run.history.set_index("epoch") for run in _restored_runs(study) if run.complete]
    return [history[[f"val_dice_{region}" for region in REGIONS]].mean(axis=1) for history in histories]


def _restored_runs(study: Path) -> list[Run]:
    if not study.exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        restored = StudyFolder(Path(folder) / study.name)
        restore_study(restored, study)
        runs = load_runs(restored)
        for run in runs:
            # Read before the folder is deleted.
            assert len(run.history)
    return runs


def _epochs_to(goal: float, learning: Iterable[pd.Series]) -> str:
    """How many epochs trainings take to a Dice, and how many of them never come to it."""
    learning = list(learning)
    reached = pd.Series([dice.index[dice >= goal].min() for dice in learning if (dice >= goal).any()])
    if reached.empty:
        return "-"
    never = len(learning) - len(reached)
    return _spread(reached, "{:.0f}") + (f", {never} never" if never else "")


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; cells are text already."""
    lines = [list(heads), *map(list, rows)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]])


def replace_section(text: str, section: str) -> str:
    """Return a page with the section between its two marks replaced.

    Raises:
        StudyError: the marks are not there, once each and in order.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise StudyError(
            "The page has no place for the findings.", expected=f"{BEGIN} and {END}, once", fix="Put the marks back."
        )
    return pattern.sub(lambda _: f"{BEGIN}\n{section}\n{END}", text)


def _means(scores: dict) -> list[float]:
    return [scores[region]["dice_mean"] for region in (*REGIONS, "cell")]


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _config(study: Path) -> dict:
    record = next(iter(sorted((study / "runs").glob("*/run.json"))), None) or next(study.glob("baselines/*/run.json"))
    return read_json(record)["config"]


def _settings(config: dict) -> str:
    size = config["image_size"]
    start = {"none": "from random weights", "imagenet": "from ImageNet weights"}
    weights = start.get(config["encoder_weights"], f"from {Path(config['encoder_weights']).name}")
    most = f"at most {config['epochs']} epochs of {config['augmented_copies']} augmented passes"
    return f"{weights}, {size} x {size} px, {most}"


def _rank(row) -> str:
    if row is None:
        return ""
    return f"**{row.mean_rank:.1f}**" if row.leader else f"{row.mean_rank:.1f}{'+' if row.undecided else ''}"


def _score(found: pd.DataFrame, region: str) -> str:
    value = found["dice_mean"].get(region, float("nan"))
    return "-" if pd.isna(value) else f"{value:.3f}"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if low == low else f"{value:.3f}"


def _spread(values: pd.Series, form: str) -> str:
    one = form.format(values.mean())
    return one if len(values) < 2 else f"{one} ({form.format(values.min())} to {form.format(values.max())})"


def _title(dataset: str) -> str:
    return SETS.get(dataset.removeprefix("segmentation_wbc_"), dataset)


def main() -> None:
    """Replace the section."""
    page, reference = project_root() / "docs" / "results.md", project_root() / "outputs" / "reference"
    try:
        text = replace_section(page.read_text(encoding="utf-8"), findings(reference))
    except StudyError as error:
        sys.exit(str(error))
    with atomic_write(page) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
