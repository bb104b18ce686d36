"""Write the tables of docs/results.md and how_we_compare.md from outputs/reference/: no number is typed by hand.

    python scripts/write_results.py          # or: make results

Results that are not in outputs/reference/ get no section. Tests compare the pages with the output of this script.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from reference import reference_folder, restore_study

from wbcstudy.baselines.khouani2020 import MaskRcnn
from wbcstudy.config_io import read_study
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root, read_json
from wbcstudy.registry import ENCODERS, METHODS, loss_title, method_title
from wbcstudy.reporting.results import StudyResults
from wbcstudy.reporting.tables.questions import question_sentences
from wbcstudy.reporting.text.answer import answer_sentences
from wbcstudy.reporting.text.cautions import limit_sentences, precision_sentence
from wbcstudy.reporting.text.methods_paragraph import pretrained_sentence
from wbcstudy.reporting.text.paper_comparison import paper_sentences
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, load_runs
from wbcstudy.scoring.decision import decide
from wbcstudy.scoring.selection import method_names
from wbcstudy.wording import count, interval_brackets, join_words

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
REGIONS = ("nucleus", "cytoplasm")
SETS = {"1": "Dataset 1", "2": "Dataset 2"}
SETTINGS = ("colour_augmentation", "stain_normalisation")
# Dice of nucleus, cytoplasm and whole cell in the abstract of Haider et al., IEEE J. Biomed. Health Inform. 26,
# 3685-3696 (2022). The abstract calls 98.97 % and 99.0 % "cytoplasmic segmentation". With nuclei of 96 %, whose border
# is part of the cytoplasm's, this must be the whole cell.
PUBLISHED = {"1": (0.9635, None, 0.9897), "2": (0.9809, None, 0.9900)}
VGG16 = {
    "vgg16_scratch": "random weights",
    "vgg16_hed": "HED edge weights",
    "vgg16_hed_frozen": "HED edge weights, encoder frozen",
}
# Starts in benchmarks/starter_curve.py.
CURVE_STARTS = {
    "random": "random weights",
    "imagenet": "ImageNet weights, fine-tuned",
    "imagenet-frozen": "ImageNet weights, encoder frozen",
    "starter": "the starter",
}
# Encoder of a curve -> name of its tables and figure, title of its section, and a note.
CURVE_ENCODERS = {
    "resnet18": ("starter_curve", "Annotated images: how many does the starter save?", ""),
    "mobilenet": (
        "starter_curve_mobilenet",
        "Annotated images: the starter and ImageNet weights",
        "The starter is that of candidate 2, from `wbcstudy starter build --encoder mobilenet` (commit 70f8065). ",
    ),
}
# The aim of the curve: dataset, region, number of annotated images.
CURVE_AIM = ("segmentation_wbc_2", "cytoplasm", 10)
# Encoder and size of the starter that comes with the package, as benchmarks/leave_one_stain_out.py names them.
SHIPPED_CANDIDATE = "resnet18-96"
# Choices in benchmarks/annotation_order.py, and the starter that was trained further.
ORDER_STARTER = "candidate 4"
ORDER_CHOICES = {"annotate-next": "images of annotate-next", "random": "random images"}
RETRAINED = "segmentation_wbc_1_float32"
# Parts of a dataset in benchmarks/measure_starter.py.
STARTER_PARTS = {
    "all": "all",
    "even": "half for choices",
    "odd": "held-out half",
    "without_test": "without test images",
    "test": "test images",
}
# Drawn images of another domain in benchmarks/measure_starter.py.
DOUBTFUL = {"text": "text", "tissue": "like tissue", "empty": "empty fields", "inverted": "inverted smears"}
# Rows of the starter in benchmarks/measure_starter.py: versions of how it is applied.
STARTERS = {
    "starter": "starter, candidate 1",
    "starter_2": "starter, candidate 2",
    "starter_3": "starter, candidate 3",
    "starter_4": "starter, candidate 4",
}
PRESENT_STARTER = "starter_4"


def make_sections(reference: Path) -> str:
    """Return all sections as Markdown.

    Args:
        reference: `outputs/reference/`.
    """
    sections = [
        *(network_section(reference / f"segmentation_wbc_{number}", title) for number, title in SETS.items()),
        retrained_section(reference),
        published_section(reference),
        earlier_methods_section(reference),
        transfer_section(reference),
        starter_section(reference),
        stains_section(reference),
        *(curve_section(reference, encoder) for encoder in CURVE_ENCODERS),
        order_section(reference),
        settings_section(reference),
        *(protocol_section(reference / f"paper_protocol_{number}", number) for number in SETS),
        pretrained_section(reference),
        splits_section(reference),
        fields_section(reference),
        touching_cells_section(reference),
    ]
    return "\n\n".join(section for section in sections if section)


def network_section(study: Path, title: str) -> str:
    """Table 1 of a study of the public dataset, best first, with ranks."""
    results = _restored_results(study)
    if results is None:
        return ""
    table, config = results.table1, _read_config(study)
    ranks = {}
    # A single pair has no ranks.
    for row in results.ranks.itertuples() if results.several else ():
        ranks.setdefault(row.method, {})[row.region] = row
    table = table.dropna(subset=["dice_mean"]).assign(method=method_names(table))
    order = table.groupby("method")["dice_mean"].mean().sort_values(ascending=False).index
    rows = []
    for method in order:
        regions = table[table["method"] == method].set_index("region")
        cells = []
        for region in REGIONS:
            scores = regions.loc[region]
            mean = _with_interval(scores["dice_mean"], scores["dice_ci_low"], scores["dice_ci_high"])
            cells += [f"{scores['dice']:.4f}", mean]
        ranked = " / ".join(_rank(ranks.get(method, {}).get(region)) for region in REGIONS) if ranks else "-"
        epochs = regions.loc["nucleus"]
        rows.append([method_title(method), *cells, ranked, f"{epochs['best_epoch']:.0f} of {epochs['epochs']:.0f}"])
    pairs = len(ENCODERS) * 2
    trained = f"All {pairs}" if len(rows) == pairs else f"{len(rows)} of the {pairs}"
    text = (
        f"{int(table['n'].max())} test images. {trained} pairs of encoder and loss, "
        f"{_describe_training(config)}. Each region has the Dice pooled over all test pixels, and the mean Dice over "
        "the images with its 95 % interval."
    )
    if ranks:
        text += (
            " Ranks compare the networks of this table; 1 is best. Bold: the leader, which is beaten by the fewest "
            "others and, among those, has the highest mean. +: no significant difference from the leader, over all "
            "pairs and both regions together. There is one seed, so this is about these trained networks."
        )
    precision = precision_sentence(read_json(path) or {} for path in _records(study))
    texts = [text, f"**Recommended.** {answer_sentences(results)[0]} {results.certainty.headline}", precision]
    heads = ["encoder and loss", "nucleus", "mean", "cytoplasm", "mean", "mean rank, nucleus / cytoplasm", "best epoch"]
    comparison = " ".join(paper_sentences(table))
    if comparison:
        comparison = f"**The paper's Table 1.** {comparison}"
    return _section(title, texts, heads, rows, [study.name], after=comparison)


def retrained_section(reference: Path) -> str:
    """How much scores change if networks are trained again with the same settings on another processor."""
    path = reference / RETRAINED / "settings.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path).query("study == 'segmentation_wbc_1'")
    table = table.assign(change=table["second"] - table["first"])
    changes = []
    for region in REGIONS:
        change = table.loc[table["region"] == region].set_index("method")["change"]
        largest = change.abs().idxmax()
        changes.append(
            f"{change.abs().mean():.3f} for the {region} (with sign {change.mean():+.3f}; largest "
            f"{change[largest]:+.3f}, {method_title(largest)})"
        )
    text = (
        f"{table['method'].nunique()} networks of Dataset 1 were trained twice with the same settings, split and seed: "
        f"in float32 (`{RETRAINED}`) and in bfloat16 on another type of processor (`segmentation_wbc_1`). On average "
        f"their mean Dice changed by {' and '.join(changes)}. The p value is below 0.05 for "
        f"{int((table['p'] < 0.05).sum())} of the {len(table)} pairs of scores (t test over the images, not adjusted). "
        "A difference of this size therefore does not show that one encoder or loss is better. All pairs: "
        f"`outputs/reference/{RETRAINED}/settings.md`."
    )
    command = f"python benchmarks/compare_settings.py {RETRAINED} segmentation_wbc_1"
    return _section("Training again", [text], [], [], [RETRAINED], command)


def published_section(reference: Path) -> str:
    """The best networks compared with the forest and with published scores of the same images."""
    rows, gaps, leaders, studies = [], [], [], []
    for number, title in SETS.items():
        study = reference / f"segmentation_wbc_{number}"
        records = [read_json(path) or {} for path in _records(study)]
        scores = {
            f"{record['config']['encoder']}__{record['config']['loss']}": _mean_dice(record["scores"])
            for record in records
            if record.get("status") == "complete"
        }
        if not scores:
            continue
        studies.append(study.name)
        best = max(scores, key=lambda method: sum(scores[method][:2]))
        decision = decide(_restored_runs(study))
        chosen = decision.recommended.method if decision else best
        networks = {f"{method_title(chosen)}, chosen on the validation images": scores[chosen]}
        if best != chosen:
            networks[f"{method_title(best)}, best on the test images"] = scores[best]
        highest = [max(values) for values in zip(*scores.values(), strict=True)]
        networks["highest of any network in each region"] = highest
        first = [max(scores, key=lambda method: scores[method][index]) for index in range(3)]
        leaders.append(f"{title}: {', '.join(map(method_title, first))}")
        rows += [[title, name, *map(_dice, values)] for name, values in networks.items()]
        ensemble = study / "tables" / "ensemble.csv"
        if ensemble.exists():
            table = pd.read_csv(ensemble).set_index("region")
            values = [*(table.loc[region, "dice_mean"] for region in REGIONS), None]
            rows.append([title, f"majority vote of {int(table['voters'].max())} networks", *map(_dice, values)])
        forest = reference / f"earlier_methods_{number}" / "tables" / "table3.csv"
        if forest.exists():
            table = pd.read_csv(forest).query("method == 'forest' and variant == 'cleaned'").set_index("region")
            values = [*(table.loc[region, "dice_mean"] for region in REGIONS), None]
            rows.append([title, "smoothed-colour forest, cleaned up (fitted at 256 x 256 px)", *map(_dice, values)])
            studies.append(f"earlier_methods_{number}")
        rows.append([title, "LDAS-Net, as published", *map(_dice, PUBLISHED[number])])
        compared = zip(("nucleus", "cytoplasm", "whole cell"), highest, PUBLISHED[number], strict=True)
        differences = [f"{ours - theirs:+.3f} ({region})" for region, ours, theirs in compared if theirs is not None]
        gaps.append(f"{' and '.join(differences)} on {title}")
    texts = [
        "Mean Dice over the test images. The LDAS-Net scores are from the abstract of Haider et al. 2022 "
        "([doi](https://doi.org/10.1109/JBHI.2022.3178765)). It does not say which images were tested or whether the "
        "Dice is a mean. Its cytoplasm score is taken to be that of the whole cell. Scores here are measured on small "
        "images, where one pixel at the border weighs more than in the full image. A network that is chosen on the "
        "test images has optimistic scores there.",
        f"Difference of the highest scores here from the published ones: {'; '.join(gaps)}. The highest of several "
        "networks on the test images is too high. Networks with the highest score of nucleus, cytoplasm and whole "
        f"cell: {'; '.join(leaders)}.",
    ]
    heads = ["images", "method", *REGIONS, "whole cell"]
    return _section("Compared with published scores", texts, heads, rows, studies)


def earlier_methods_section(reference: Path) -> str:
    """The measured rows of Table 3: every method on both datasets, raw and cleaned up."""
    tables = {}
    for number in SETS:
        path = reference / f"earlier_methods_{number}" / "tables" / "table3.csv"
        if path.exists():
            tables[number] = pd.read_csv(path).query("kind == 'measured'")
    if not tables:
        return ""
    names = dict.fromkeys(name for table in tables.values() for name in table.dropna(subset=["dice_mean"])["method"])
    rows = []
    # The registry's order; networks come last.
    for name in [*(name for name in METHODS if name in names), *(name for name in names if name not in METHODS)]:
        row = [METHODS[name].title if name in METHODS else f"U-Net, {method_title(name)}"]
        for table in tables.values():
            own = table[table["method"] == name]
            for variant in ("raw", "cleaned"):
                scores = own[own["variant"] == variant].set_index("region")["dice_mean"]
                row.append(" / ".join(_dice(scores.get(region)) for region in REGIONS))
            seconds = own["seconds_per_image"].dropna()
            row.append(f"{seconds.iloc[0]:.2f}" if len(seconds) else "-")
        rows.append(row)
    heads = ["method"]
    for number in tables:
        heads += [f"{SETS[number]}: raw", "cleaned up", "s per image"]
    studies = [f"earlier_methods_{number}" for number in tables]
    config = _read_config(reference / studies[0])
    size = f"{config['image_size']} x {config['image_size']} px"
    scored = f"at {size}"
    if config.get("score_at") == "native":
        scored = f"fitted {scored} and scored at the size of the images"
    texts = [
        f"Mean Dice of nucleus / cytoplasm on the test images, {scored}. Methods that draw random numbers "
        "have the mean over their seeds. Parameters were chosen on the training and validation images."
    ]
    if "khouani2020" in names:
        texts.append(
            f"{METHODS['khouani2020'].title} is torchvision's network, trained from random weights for "
            f"{MaskRcnn.steps} steps of {MaskRcnn.batch_size} images at {MaskRcnn.image_size_px} px, with one seed. "
            "The authors' changes and pretrained weights are not known, so their network may score higher."
        )
    else:
        texts.append(f"{METHODS['khouani2020'].title}, has no results yet.")
    return _section("Earlier methods", texts, heads, rows, studies)


def transfer_section(reference: Path) -> str:
    """Scores of networks on the other dataset."""
    rows, studies = [], []
    for study in ("transfer_2to1", "transfer_1to2"):
        path = reference / study / "tables" / "table8.csv"
        if not path.exists():
            continue
        studies.append(study)
        trained = _title(_read_config(reference / study)["dataset"])
        for (method, dataset), part in pd.read_csv(path).groupby(["method", "dataset"], sort=False):
            part = part.set_index("region")
            own = " / ".join(f"{part.loc[region, 'own_mean']:.3f}" for region in REGIONS)
            other = " / ".join(
                _with_interval(*part.loc[region, ["dice_mean", "ci_low", "ci_high"]]) for region in REGIONS
            )
            networks = int(part["networks"].max())
            rows.append([method_title(method), f"{trained} ({networks})", own, _title(dataset), other])
    heads = ["encoder and loss", "trained on (networks)", "own test images", "scored on", "all its images"]
    text = "Mean Dice of nucleus / cytoplasm; for the other dataset with the 95 % interval over its images."
    return _section("Images from another laboratory", [text], heads, rows, studies)


def starter_section(reference: Path) -> str:
    """Scores of the starter on real images, next to earlier methods fitted to drawn smears; its scales and doubts."""
    path = reference / "starter" / "scores.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    rows = []
    # The public datasets first, in each of them the starter first.
    rank = {name: 0 if name.startswith("starter") else 1 if _laboratory(name) else 2 for name in table["network"]}
    order = table.assign(other=table["dataset"] == "bcisc", method=table["network"].map(rank))
    table = order.sort_values(["other", "dataset", "method", "part", "network", "stain"], kind="stable")
    for keys, group in table.groupby(["dataset", "part", "network", "stain"], sort=False):
        dataset, part, network, stain = keys
        cells = []
        for region in (*REGIONS, "cell"):
            row = group[group["region"] == region]
            if row.empty:
                cells.append("-")
                continue
            row = row.iloc[0]
            cells.append(f"{_with_interval(row.dice_mean, row.dice_low, row.dice_high)}; {row.dice:.3f}")
        scale = group["scale"].iloc[0]
        rows.append(
            [
                _dataset_title(dataset),
                f"{group['images'].iloc[0]} ({STARTER_PARTS[part]})",
                _starter_row_title(network) + (", `--stain none`" if stain == "none" else ""),
                "-" if pd.isna(scale) else f"{scale:g}",
                *cells,
            ]
        )
    text = (
        "The starter, one network of one seed, and the earlier methods are fitted to drawn smears only. For the "
        "starter, scale and colours are found from the images, without masks; the rules for this were chosen on "
        "drawn smears, training images of Dataset 1 and one half of BCISC. Dice at the size of the images: mean with "
        "the 95 % interval over the images; pooled over all pixels. BCISC has masks of whole cells only."
    )
    candidates = (
        "Candidates 1 and 2 are one network with MobileNet. Candidate 1 found the scale by white cells only (commit "
        "28e10b6), candidate 2 by red and white cells (commit 70f8065). Candidate 3 is a network with ResNet-18, "
        "trained on smears with more kinds of eosinophils (commit 0f8c305). Candidate 4, the present one, was trained "
        "on twice as many smears, which also have dark borders, colour fringes, less contrast between nucleus and "
        "cytoplasm, and more eosinophils; it predicts the mean over eight orientations of the image. On the images for "
        "design choices none has a lower pooled Dice than the one before; two further networks without all of these "
        "changes, one of them with 2,400 smears, were lower there and not scored on others. Candidates were scored "
        "on Dataset 2, the test images of Dataset 1 and the held-out half of BCISC only after they were fixed. What is "
        "drawn was widened after errors in training images of Dataset 1, so this is not an unseen laboratory for "
        "candidates 3 and 4. "
        "`--stain none`: the colours are not changed."
    )
    heads = ["images of", "number", "network or method", "scale", "nucleus", "cytoplasm", "cell"]
    texts, studies, commands = [text, candidates], [], []
    for name in dict.fromkeys(table["network"]):
        if name in STARTERS and name != PRESENT_STARTER:
            # Measured with an earlier version.
            continue
        source, public, extra = name, "segmentation_wbc_1 segmentation_wbc_2", ""
        if laboratory := _laboratory(name):
            study, encoder = laboratory
            studies += [study] if study not in studies else []
            source = f"outputs/{study}/runs/{encoder}__dice__fold0__seed0"
            public, extra = " ".join(dict.fromkeys(table[table["network"] == name]["dataset"])), f" --name {name}"
            public = public.replace(" bcisc", "")
        if name in STARTERS:
            source, extra = "starter", f" --name {name}"
        commands.append(f"python benchmarks/measure_starter.py scores {source} {public}{extra}")
    if studies:
        texts.append(_laboratory_text(reference, studies))
    both = " segmentation_wbc_1 segmentation_wbc_2"
    for command, public in (("scales", ""), ("real_scales", both + " bcisc/dataset.yaml"), ("doubts", both)):
        path = reference / "starter" / f"{command}.csv"
        if path.exists() and PRESENT_STARTER in set(pd.read_csv(path)["network"]):
            commands.append(f"python benchmarks/measure_starter.py {command} starter{public} --name {PRESENT_STARTER}")
    if (reference / "starter" / "cell_sizes.csv").exists():
        commands.append(f"python benchmarks/cell_sizes.py{both} bcisc/dataset.yaml")
    after = [_scales_table(reference), _real_scales_table(reference), _doubts_table(reference)]
    after.append(
        "For BCISC, and the options for parts of a dataset, regions and stains, see `benchmarks/measure_starter.py`; "
        "earlier candidates were measured with the code of their commit."
    )
    after = "\n\n".join(part for part in after if part)
    return _section("Without annotations: the starter", texts, heads, rows, studies, *commands, after=after)


def _laboratory(network: str) -> tuple[str, str] | None:
    """Return study and encoder of a network that was trained on the images of one laboratory, None for others."""
    match = re.fullmatch(r"(one_laboratory_\d)-(\w+)", network)
    return (match[1], match[2]) if match else None


def _starter_row_title(network: str) -> str:
    if laboratory := _laboratory(network):
        study, encoder = laboratory
        return f"{ENCODERS[encoder].title} trained on {SETS[study[-1]]}"
    return method_title(network) if network in METHODS else STARTERS.get(network, network)


def _laboratory_text(reference: Path, studies: Iterable[str]) -> str:
    """Say how the networks of one laboratory are trained, and what they reach on their own test images."""
    own = []
    for study in studies:
        for path in _records(reference / study):
            record = read_json(path)
            means = " / ".join(f"{record['scores'][region]['dice_mean']:.3f}" for region in (*REGIONS, "cell"))
            config, split = record["config"], record["split"]
            own.append(f"{ENCODERS[config['encoder']].title} of {SETS[study[-1]]} {means}")
    steps = config["epochs"] * config["augmented_copies"] * split["train"] // config["batch_size"]
    return (
        "Networks trained on one dataset have the starter's input size, loss, augmentation and random weights at the "
        f"start, and {steps} steps; scale and colours are found for them in the same way, and the scale is not "
        "searched where images have the size of the training images. Mean Dice of nucleus / cytoplasm / "
        f"cell on test images of their own dataset: {'; '.join(own)}."
    )


def _scales_table(reference: Path) -> str:
    path = reference / "starter" / "scales.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    sizes = sorted(set(table["pixel_um"]))
    rows = []
    fields = " or ".join(map(str, sorted(set(table["fields"]))))
    for network, part in table.groupby("network"):
        close = part.set_index("pixel_um")["close"]
        rows.append([_starter_row_title(network), *(f"{close[size]:.1%}" for size in sizes)])
    text = (
        f"Share of single drawn fields of 32 µm ({fields} of each size) whose scale is found within "
        "15 %, by the size of a pixel:"
    )
    return text + "\n\n" + _markdown_table(["", *(f"{size:g} µm" for size in sizes)], rows)


def _real_scales_table(reference: Path) -> str:
    path = reference / "starter" / "real_scales.csv"
    if not path.exists():
        return ""
    rows = [
        [
            _dataset_title(row.dataset),
            _starter_row_title(row.network),
            f"{row.images}",
            f"{row.best:g}",
            f"{row.nearly_from:g} to {row.nearly_to:g}",
            f"{row.together:g}",
            f"{row.close:.1%}",
            *(f"{dice:.3f}" if pd.notna(dice) else "-" for dice in (row.dice_mean, row.dice_together, row.dice_single)),
        ]
        for row in pd.read_csv(path).itertuples()
    ]
    heads = ["images of", "network", "number", "best scale", "nearly as good", "found together"]
    heads += ["single images within 15 % of the best"]
    heads += ["Dice, best scale", "Dice, found together", "Dice, single images"]
    text = (
        "The pixel size of these datasets is not known. Here the scale with the highest mean Dice of the cells stands "
        "for the right one; given scales from 0.5 to 2.5 were tried. Scales within 0.01 of its Dice are nearly as "
        "good: where that range is wide, the images do not show which scale is right. The last columns have the mean "
        "Dice of the cells: with the best scale for all images, with the scale found in several of them together, and "
        "with the scale found in each image alone, as for `wbcstudy segment` with one image. Given scales are applied "
        "in tiles; found ones as `wbcstudy segment` does, which shows an image of about the size of a training image "
        "as a whole:"
    )
    return text + "\n\n" + _markdown_table(heads, rows) + _cell_sizes_text(reference)


def _cell_sizes_text(reference: Path) -> str:
    path = reference / "starter" / "cell_sizes.csv"
    if not path.exists():
        return ""
    rows = list(pd.read_csv(path).itertuples())
    one = ", ".join(f"{100 * row.close:.0f} % of {_dataset_title(row.dataset)}" for row in rows)
    typed = ", ".join(f"{100 * row.close_with_type:.0f} % of {_dataset_title(row.dataset)}" for row in rows)
    return (
        "\n\nMost of these images show one white cell, and white cells differ in size. Even with the expert's outline "
        f"of the cell, a rule that assumes one size for all white cells is within 15 % for {one}. With one size for "
        f"each cell type, and the type known, it is for {typed}. These are upper bounds for rules by the size of the "
        "white cell alone: the sizes are those that suit the images best, and all images of a dataset are taken to "
        "have the same pixel size. The starter can exceed them where an image shows red cells, as many of Dataset 2 "
        "do. Cells at the border of an image were left out (`python benchmarks/cell_sizes.py`)."
    )


def _doubts_table(reference: Path) -> str:
    path = reference / "starter" / "doubts.csv"
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    kinds = list(DOUBTFUL) + [name for name in dict.fromkeys(table["images_of"]) if name not in DOUBTFUL]
    numbers = table.drop_duplicates("images_of").set_index("images_of")["images"]
    rows = []
    for network, part in table.groupby("network"):
        warned = part.set_index("images_of")["warned"]
        rows.append(
            [_starter_row_title(network), *(f"{warned[kind]:.1%}" if kind in warned else "-" for kind in kinds)]
        )
    heads = [f"{DOUBTFUL.get(kind) or _dataset_title(kind)} ({numbers[kind]})" for kind in kinds]
    return "Share of images with a warning (number of images):\n\n" + _markdown_table(["", *heads], rows)


def _dataset_title(name: str) -> str:
    return _title(name).replace("bcisc", "BCISC")


def curve_section(reference: Path, encoder: str = "resnet18") -> str:
    """Dice against the number of annotated images, by start, and how many images the starter saves."""
    own, heading, note = CURVE_ENCODERS[encoder]
    folder = reference / own
    if not (folder / "curve.csv").exists():
        return ""
    curve, differences, points = (pd.read_csv(folder / f"{name}.csv") for name in ("curve", "differences", "points"))
    trained = curve[curve["steps"] > 0]
    usual = int(trained["steps"].mode().iloc[0])
    main = curve[curve["steps"].isin((0, usual))]
    numbers = sorted(main["images"].unique())
    seeds = {_title(name): int(part["seeds"].max()) for name, part in main[main["steps"] > 0].groupby("dataset")}
    seeds_text = " and ".join(f"{count(number, 'seed')} ({name})" for name, number in seeds.items())
    if len(set(seeds.values())) == 1:
        seeds_text = count(next(iter(seeds.values())), "seed")
    longest = trained.loc[trained["seeds"].idxmax()]
    most_steps, most_seeds = int(longest["steps"]), int(longest["seeds"])
    rows = []
    for dataset, part in main.groupby("dataset"):
        for start, title in CURVE_STARTS.items():
            for region in (*REGIONS, "cell"):
                scores = part[(part["start"] == start) & (part["region"] == region)].set_index("images")
                if len(scores):
                    cells = [
                        f"{scores.loc[n, 'dice_mean']:.3f} / {scores.loc[n, 'dice']:.3f}" if n in scores.index else "-"
                        for n in numbers
                    ]
                    rows.append([_title(dataset), title, region, *cells])
    tested = [f"{int(part['test_images'].max())} of {_title(name)}" for name, part in main.groupby("dataset")]
    computed = " and ".join(sorted(set(points["processor"] + ", " + points["arithmetic"])))
    texts = [
        f"One U-Net ({ENCODERS[encoder].title}, Dice loss) at 96 x 96 px for each start, number of annotated images "
        f"and seed. {note}All are trained for {usual} steps of 8 images and scored on the same test images "
        f"({join_words(tested)}) at their own "
        "size. The annotated images are drawn from the training images of the split, other ones for each seed if "
        "there are more, and the smaller numbers are a part of the larger ones. The moving average of the weights "
        "after the last step is kept: no validation image is used. 0 images: the starter as it is, without adapting "
        "scale and colours. Nothing was tuned: the learning rate is 0.001, and from the starter 0.0003 as in its "
        f"guide. Trained with {computed}.",
        f"![{_curve_alternative(main)}](images/{own}.svg)",
        f"Mean Dice over the test images and {seeds_text}. Thin bars: 95 % interval over the test images. "
        "Thick bars: range over the seeds. Dotted line: the most annotated images from random weights."
        + (
            f" {most_steps} steps on {_title(longest['dataset'])}: {most_seeds} seeds."
            if most_seeds > max(seeds.values())
            else ""
        ),
        "\n".join(f"- {sentence}" for sentence in curve_sentences(curve, differences)),
        f"The number of steps decides what random weights reach: {usual} steps are few for them. The "
        "[large tables](#dataset-2) have networks from random weights that were trained for longer on all training "
        "images. Differences have simultaneous 95 % intervals over test images and seeds, one family for each dataset "
        "and number of steps. Table: mean Dice over the images / Dice pooled over all pixels, both averaged over the "
        "seeds.",
    ]
    heads = ["images of", "start", "region", *(f"{n} images" for n in numbers)]
    names = list(dict.fromkeys(curve["dataset"]))
    commands, option = [], "" if own == "starter_curve" else f" --encoder {encoder}"
    for name in names:
        starts = [start for start in CURVE_STARTS if start in set(main.loc[main["dataset"] == name, "start"])]
        chosen = "" if starts == ["random", "imagenet", "starter"] else f" --starts {' '.join(starts)}"
        commands.append(f"python benchmarks/starter_curve.py train {name}{chosen}{option}")
    commands += [
        f"python benchmarks/starter_curve.py train {row.dataset} --starts {row.start} --images {row.images} "
        f"--steps {row.steps}{option}"
        + (f" --seeds {' '.join(map(str, range(row.seeds)))}" if row.seeds > max(seeds.values()) else "")
        for row in trained[trained["steps"] != usual]
        .drop_duplicates(["dataset", "start", "images", "steps"])
        .itertuples()
    ]
    commands.append(f"python benchmarks/starter_curve.py collect{option}")
    return _section(heading, texts, heads, rows, [], *commands)


def curve_sentences(curve: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Say how many annotated images from the starter reach what the most reach from random weights.

    Args:
        curve: curve.csv of benchmarks/starter_curve.py.
        differences: differences.csv, starter minus random weights.
    """
    sentences = []
    usual = int(curve.loc[curve["steps"] > 0, "steps"].mode().iloc[0])
    for (dataset, region, steps), every in differences.groupby(["dataset", "region", "goal_steps"], sort=False):
        part = every[every["steps"].isin((0, usual))].sort_values("images")
        most = int(part["goal_images"].iloc[0])
        random = curve.query("dataset == @dataset and region == @region and steps == @steps and start == 'random'")
        random = random.set_index("images")["dice_mean"]
        goal, highest = random[most], random.idxmax()
        reached = part[part["difference"] >= 0]
        shown = (reached if len(reached) else part.tail(1)).iloc[0]
        images = f"{shown['images']:.0f} annotated images"
        gain = f"difference {_signed(shown)}{_more_seeds(curve, dataset, shown, usual)}"
        best = f" (their best: {random[highest]:.3f}, with {highest} images)" if highest != most else ""
        start = (
            f"{_title(dataset)}, {region}: with {most} annotated images and {steps} steps, random weights reach a mean "
            f"Dice of {goal:.3f}{best}."
        )
        if not len(reached):
            trained = f"{usual} steps from the starter"
            lower = "practically equal" if shown["difference"] > -0.0005 else "lower"
            unsure = "; the interval includes higher scores" if shown["high"] > 0 else ""
            sentences.append(f"{start} With {images} and {trained}, the mean is {lower}: {gain}{unsure}.")
        else:
            unsure = "; the interval includes lower scores" if shown["low"] < 0 else ""
            sentences.append(f"{start} The starter reaches this with **{images}**: {gain}{unsure}.")
        if (dataset, region) == CURVE_AIM[:2] and (part["images"] == CURVE_AIM[2]).any():
            aimed = part[part["images"] == CURVE_AIM[2]].iloc[0]
            result = "missed" if aimed["difference"] < 0 else "met" if aimed["low"] >= 0 else "met by the mean only"
            sentences[-1] += (
                f" **Aim, {CURVE_AIM[2]} from the starter reach what {most} reach from random weights: {result}**, "
                f"difference {_signed(aimed)}{_more_seeds(curve, dataset, aimed, usual)}."
            )
        for longer in every[~every["steps"].isin((0, usual))].itertuples():
            sentences[-1] += (
                f" After {longer.steps} steps from the starter too, {longer.images} annotated images: difference "
                f"{_signed(pd.Series(longer._asdict()))}{_more_seeds(curve, dataset, longer, usual)}."
            )
    return sentences


def _more_seeds(curve: pd.DataFrame, dataset: str, row, usual: int) -> str:
    """Say how many seeds the trainings of a difference have, where these are more than those of the curve."""
    own = curve[curve["dataset"] == dataset]
    trained = own.groupby(["start", "images", "steps"])["seeds"].max()
    seeds = [trained["starter", row.images, row.steps], trained["random", row.goal_images, row.goal_steps]]
    if max(seeds) <= own.loc[own["steps"] == usual, "seeds"].max():
        return ""
    return (
        f" ({seeds[0]} seeds, from random weights {seeds[1]})" if len(set(seeds)) > 1 else f" ({seeds[0]} seeds each)"
    )


def _signed(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return f"{row['difference']:+.3f} (too few images for an interval)"
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _curve_alternative(curve: pd.DataFrame) -> str:
    """Return the alternative text of the figure: both ends of each cytoplasm curve."""
    clauses = []
    for (dataset, start), part in curve[curve["region"] == "cytoplasm"].groupby(["dataset", "start"], sort=False):
        ends = [f"{row.dice_mean:.3f} with {row.images} images" for row in part.iloc[[0, -1]].itertuples()]
        clauses.append(f"{_title(dataset)}, {CURVE_STARTS[start]}: {ends[0]}, {ends[1]}")
    return f"Mean Dice against the number of annotated images. Cytoplasm: {'; '.join(clauses)}."


def stains_section(reference: Path) -> str:
    """Encoders and input sizes for the starter, on stains that they have not seen."""
    folder = reference / "leave_one_stain_out"
    if not (folder / "candidates.csv").exists():
        return ""
    candidates, scores, differences = (
        pd.read_csv(folder / f"{name}.csv") for name in ("candidates", "scores", "differences")
    )
    stains = [stain for stain in dict.fromkeys(scores["stain"]) if stain != "all"]
    best, chosen = (candidates[candidates[column]].iloc[0] for column in ("best", "chosen"))
    order = scores[(scores["stain"] == "all") & (scores["region"] == "cytoplasm")].sort_values(
        "dice_mean", ascending=False
    )
    rows = []
    for name in order["candidate"]:
        row = candidates[candidates["candidate"] == name].iloc[0]
        own = scores[scores["candidate"] == name].set_index(["region", "stain"])
        cells = [f"{own.loc[(region, 'all'), 'dice_mean']:.3f}" for region in (*REGIONS, "cell")]
        for stain in stains:
            means = own.loc[("cytoplasm", stain)]
            cells.append(_with_interval(means["dice_mean"], means["low"], means["high"]))
        lead = "-" if name == best["candidate"] else _signed(_pair(differences, "cytoplasm", name, best["candidate"]))
        cost = [f"{row['packed_mb']:.1f}", f"{row['multiply_adds'] / 1e6:.0f}", f"{row['fit_seconds']:.0f}"]
        rows.append([_candidate_title(row), *cost, *cells, lead])
    first = candidates.iloc[0]
    steps = int(first["epochs"] * -(-first["train"] // first["batch_size"]))
    rule = (
        "Rule, written before the first training: of the candidates with a file of at most 20 MB, the best has the "
        "highest mean Dice of the cytoplasm over the left-out stains; the choice is the one with the fewest "
        "multiply-adds that is equivalent to it (nucleus and cytoplasm, margin 0.01). Best: "
        f"**{_candidate_title(best)}**."
    )
    equal = candidates[candidates["equivalent"]]
    if chosen["candidate"] != best["candidate"]:
        rule += f" Choice, equivalent and cheaper: **{_candidate_title(chosen)}**."
    elif len(equal):
        rule += f" None that is cheaper is equivalent. Choice: **{_candidate_title(chosen)}**."
    else:
        rule += " No other candidate is equivalent, so it was chosen."
    if best.get("half_mb", 0) > 20:
        rule += (
            f" In half precision, its file would have {best['half_mb']:.0f} MB. Storing kernels in eight bits was "
            "added after a first comparison, on smears of commit 70f8065, which had the same best network: by the rule "
            "with half precision only, the choice would have been another one. This comparison has the present smears "
            "and was made after the present starter."
        )
    shipped = SHIPPED_CANDIDATE
    if chosen["candidate"] != shipped and shipped in set(candidates["candidate"]):
        gain = _signed(_pair(differences, "cytoplasm", chosen["candidate"], shipped))
        rule += (
            f" The starter of the package is still {_candidate_title(_row(candidates, shipped))}, which was chosen "
            f"before this comparison; difference of the cytoplasm between choice and starter {gain}."
        )
    elif chosen["candidate"] == shipped:
        rule += " The starter of the package has this encoder and size."
    texts = [
        f"U-Nets trained on {first['train']} drawn smears of three stains for {steps} steps of "
        f"{first['batch_size']} images, with the starter's other settings, and tested on the fourth, at the size of "
        f"the smears ({count(int(first['seeds']), 'seed')}; smears and code of commit {first['commit']}). {rule}",
        "Mean Dice, each stain with the same weight; by stain with the 95 % interval over its smears. Differences have "
        "simultaneous intervals over the smears of all stains and both regions, for these trainings. A smear without "
        "white cells counts as 0 if the network finds any, and is left out otherwise. Size: the packed file, in "
        "half precision, or with kernels in eight bits where that needs more than 20 MB. Multiply-adds in millions an "
        "image. Time: mean training time in s with other load, one core of "
        f"{join_words(sorted(set(candidates['processor'])))}.",
    ]
    heads = ["encoder and size", "MB", "multiply-adds", "time", "nucleus", "cytoplasm", "cell"]
    heads += [f"cytoplasm of {stain}" for stain in stains] + ["cytoplasm minus the best"]
    commands = [
        f"python benchmarks/leave_one_stain_out.py train {size} {' '.join(part['encoder'])}"
        for size, part in candidates.groupby("image_size")
    ]
    commands.append("python benchmarks/leave_one_stain_out.py collect")
    return _section("Which encoder and size for the starter?", texts, heads, rows, [], *commands)


def _candidate_title(row: pd.Series) -> str:
    return f"{ENCODERS[row['encoder']].title}, {row['image_size']} px"


def _row(candidates: pd.DataFrame, name: str) -> pd.Series:
    return candidates[candidates["candidate"] == name].iloc[0]


def _pair(differences: pd.DataFrame, region: str, first: str, second: str) -> dict[str, float]:
    """Return the difference of two methods, first minus second, with its interval."""
    table = differences[differences["region"] == region].set_index(["method_a", "method_b"])
    if (first, second) in table.index:
        row = table.loc[(first, second)]
        return {"difference": row["difference"], "low": row["ci_low"], "high": row["ci_high"]}
    row = table.loc[(second, first)]
    return {"difference": -row["difference"], "low": -row["ci_high"], "high": -row["ci_low"]}


def order_section(reference: Path) -> str:
    """Images that `annotate-next` lists, compared with random ones."""
    folder = reference / "annotation_order"
    if not (folder / "scores.csv").exists():
        return ""
    scores, differences = (pd.read_csv(folder / f"{name}.csv") for name in ("scores", "differences"))
    rows, sentences = [], []
    for dataset, part in scores.groupby("dataset"):
        for choice, own in part.groupby("choice", sort=False):
            own = own.set_index("region")
            cells = []
            for region in (*REGIONS, "cell"):
                row = own.loc[region]
                means = f"{row['low_seed']:.3f} to {row['high_seed']:.3f}"
                cells.append(f"{_with_interval(row['dice_mean'], row['low'], row['high'])}; {means}")
            trained = int(own["seeds"].iloc[0])
            rows.append([_title(dataset), f"{ORDER_CHOICES[choice]} ({count(trained, 'training')})", *cells])
        sentences.append(order_sentence(dataset, differences[differences["dataset"] == dataset], part))
    first = scores.iloc[0]
    tested = [f"{int(part['test_images'].max())} of {_title(name)}" for name, part in scores.groupby("dataset")]
    texts = [
        f"The starter ({ORDER_STARTER}) is trained further on {first['images']} annotated images, with the settings of "
        f"`benchmarks/starter_curve.py`: {first['steps']} steps of 8 images, the same split and test images "
        f"({join_words(tested)}), nothing tuned. Either the images that `wbcstudy annotate-next` lists first of all "
        "training images, for which only the seed of the training varies, or images drawn at random without regard to "
        "cell types, other ones for each training.",
        "\n".join(f"- {sentence}" for sentence in sentences),
        "Mean Dice over the test images and trainings, with the 95 % interval over the test images; lowest and highest "
        "mean of a training. Differences have simultaneous 95 % intervals over test images and trainings, one family "
        "for each dataset.",
    ]
    commands = [f"python benchmarks/annotation_order.py train {name}" for name in sorted(set(scores["dataset"]))]
    commands.append("python benchmarks/annotation_order.py collect")
    heads = ["images of", "trained on", *REGIONS, "cell"]
    return _section("Which images to annotate first?", texts, heads, rows, [], *commands)


def order_sentence(dataset: str, differences: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Say whether the images of `annotate-next` are better than random ones.

    Args:
        dataset: name of the dataset.
        differences: its rows of differences.csv of benchmarks/annotation_order.py.
        scores: its rows of scores.csv.
    """
    parts = [f"{row['region']} {_signed(row)}" for _, row in differences.iterrows()]
    better, worse = ((differences[end] * sign > 0).to_list() for end, sign in (("low", 1), ("high", -1)))
    finding = "the intervals include 0"
    if any(better) or any(worse):
        regions = [
            f"{'better' if up else 'worse'} for the {region}"
            for region, up, down in zip(differences["region"], better, worse, strict=True)
            if up or down
        ]
        finding = join_words(regions)
    ends = scores.set_index(["choice", "region"])
    above = [
        region
        for region in differences["region"]
        if ends.loc[("annotate-next", region), "low_seed"] > ends.loc[("random", region), "high_seed"]
    ]
    all_above = (
        f" Every training of annotate-next is above every random one for the {join_words(above)}." if above else ""
    )
    return f"{_title(dataset)}, annotate-next minus random: **{finding}** ({', '.join(parts)}).{all_above}"


def settings_section(reference: Path) -> str:
    """The effect of one changed setting on own and other images."""
    path = reference / "transfer_2to1" / "settings.csv"
    if not path.exists():
        return ""
    rows = []
    table = pd.read_csv(path)
    for (study, method, images), part in table.groupby(["study", "method", "images"], sort=False):
        part = part.set_index("region")
        before = _read_config(reference / "transfer_2to1")
        after = _read_config(reference / study)
        setting = ", ".join(f"`{name}: {after[name]}`" for name in SETTINGS if after.get(name) != before.get(name))
        gains = []
        for region in REGIONS:
            gain, low, high = part.loc[region, ["difference", "ci_low", "ci_high"]]
            gains.append(f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]")
        means = [" / ".join(f"{part.loc[region, name]:.3f}" for region in REGIONS) for name in ("first", "second")]
        title = f"{method_title(method)} ({int(part['networks'].max())})"
        rows.append([setting, title, images.split(", ")[-1], *means, *gains])
    heads = ["setting", "network (number)", "images", "without", "with", "nucleus, gain", "cytoplasm, gain"]
    text = (
        "Mean Dice of nucleus / cytoplasm without and with the setting, and the gain, the difference of both means, "
        "with its 95 % interval over the images. Networks were trained on Dataset 2."
    )
    studies = ["transfer_2to1", *dict.fromkeys(table["study"])]
    command = f"python benchmarks/compare_settings.py {' '.join(studies)}"
    return _section("Changing one setting", [text], heads, rows, studies, command)


def protocol_section(study: Path, number: str) -> str:
    """Return the paper's protocol on ImageNet weights: answers to the planned questions, and scores by start."""
    results = _restored_results(study)
    if results is None:
        return ""
    table, rows = results.table1.dropna(subset=["dice_mean"]), []
    keys = ["encoder", "loss", "start"]
    # Best first.
    table = table.assign(mean=table.groupby(keys)["dice_mean"].transform("mean"))
    table = table.sort_values("mean", ascending=False, kind="stable")
    for (encoder, loss, start), group in table.groupby(keys, sort=False):
        regions = group.set_index("region")
        names = [ENCODERS[encoder].title, loss_title(loss), start]
        cells = []
        for region in REGIONS:
            scores = regions.loc[region]
            cells.append(_with_interval(scores["dice_mean"], scores["dice_ci_low"], scores["dice_ci_high"]))
        first = regions.iloc[0]
        rows.append([*names, *cells, str(first["seeds"]), f"{first['best_epoch']:.0f} of {first['epochs']:.0f}"])
    config = results.config
    texts = [
        f"{int(table['n'].max())} test images, scored at their own size. At most {config.epochs} epochs of "
        f"{count(config.augmented_copies, 'augmented pass')} at {config.image_size} x {config.image_size} px, the same "
        "for all. Mean Dice over the images and seeds, with its 95 % interval over the images.",
        *pretrained_sentence(results),
        "Planned questions:",
        "\n".join(f"- **{question}** {answer}" for question, answer in question_sentences(results.answers)),
        f"**Recommended.** {answer_sentences(results)[0]} {_pooled_sentence(results.best_runs)}" if rows else "",
        *limit_sentences(results.complete),
        precision_sentence(read_json(path) or {} for path in _records(study)),
    ]
    heads = ["encoder", "loss", "start", "nucleus", "cytoplasm", "seeds", "best epoch"]
    return _section(f"The paper's protocol, Dataset {number}", texts, heads, rows, [study.name])


def _pooled_sentence(runs: Sequence[Run]) -> str:
    """Return the pooled Dice of the recommended networks on the test images, mean over their seeds."""
    regions = (*REGIONS, "cell")
    dice = [pd.Series([run.record["scores"][region]["dice"] for run in runs]).mean() for region in regions]
    values = join_words([f"{region} {value:.3f}" for region, value in zip(regions, dice, strict=True)])
    seeds = f", mean over {len(runs)} seeds" if len(runs) > 1 else ""
    return f"Its Dice pooled over all test pixels{seeds}: {values}."


def pretrained_section(reference: Path) -> str:
    """VGG-16 with random and with pretrained weights: scores, and epochs to the same validation Dice."""
    runs = {study: [run for run in _restored_runs(reference / study) if run.complete] for study in VGG16}
    validation = {study: [_validation_dice(run) for run in runs[study]] for study in VGG16}
    # The mean of the best epochs of random weights.
    goal = pd.Series([dice.max() for dice in validation["vgg16_scratch"]], dtype=float).mean()
    rows = []
    for study, start in VGG16.items():
        if not runs[study]:
            continue
        records = [run.record for run in runs[study]]
        cells = [_spread([record["scores"][region]["dice_mean"] for record in records], 4) for region in REGIONS]
        cells.append(_spread([record["best_epoch"] for record in records]))
        cells.append(_epochs_to(goal, validation[study]))
        cells.append(_spread([record["fit_seconds"] for record in records]))
        rows.append([start, str(len(records)), *cells])
    heads = ["encoder starts from", "seeds", "nucleus", "cytoplasm", "best epoch", "epochs to goal", "training time, s"]
    texts = ["Dataset 2, cross-entropy. Mean Dice over the test images; mean over the seeds, with the range."]
    if goal == goal:
        texts[0] += (
            f" Epochs to goal: until the Dice on the validation images first reaches {goal:.3f}, the mean of the best "
            "epochs from random weights."
        )
        record = read_json(
            reference / "segmentation_wbc_2" / "runs" / "vgg16__cross_entropy__fold0__seed0" / "run.json"
        )
        if record:
            short, config = runs["vgg16_scratch"][0].config, record["config"]
            scores = " / ".join(f"{value:.3f}" for value in _mean_dice(record["scores"])[:2])
            texts.append(
                "The HED weights save epochs. The table does not show that they give better final scores: training was "
                f"limited to {short.epochs} epochs of {short.augmented_copies} passes, and with at most "
                f"{config['epochs']} epochs of {config['augmented_copies']} passes VGG-16 reaches {scores} from random "
                "weights (`segmentation_wbc_2`)."
            )
    return _section("VGG-16 with pretrained weights", texts, heads, rows, [study for study in VGG16 if runs[study]])


def splits_section(reference: Path) -> str:
    """How much scores depend on which cases are tested."""
    rows = []
    methods = {"otsu_levels": "Three-level Otsu", "forest": "Smoothed-colour forest"}
    for number, title in SETS.items():
        path = reference / "splits" / f"segmentation_wbc_{number}.csv"
        if path.exists():
            table = pd.read_csv(path)
            for method, name in methods.items():
                cells = [_spread(table[f"{method}_{region}"], 3) for region in REGIONS]
                rows.append([title, name, str(len(table)), str(int(table["test_cases"].max())), *cells])
    text = (
        "A study has one split, so its scores depend on which images are tested. Mean Dice of two methods, cleaned up, "
        "over several splits of the same images: mean and range."
    )
    command = "python benchmarks/measure_splits.py segmentation_wbc_1 segmentation_wbc_2"
    heads = ["images", "method", "splits", "test images", *REGIONS]
    return _section("Other splits", [text], heads, rows, [], command)


def fields_section(reference: Path) -> str:
    """Earlier methods on whole synthetic fields."""
    path = reference / "fields" / "earlier_methods.csv"
    if not path.exists():
        return ""
    rows = [
        [
            row.title,
            f"{row.nucleus_dice:.3f} / {row.cytoplasm_dice:.3f}",
            f"{row.nucleus_dice_cleaned:.3f} / {row.cytoplasm_dice_cleaned:.3f}",
            f"{row.nuclei_found} of {row.nuclei}",
            f"{row.seconds_per_field:.2f}",
        ]
        for row in pd.read_csv(path).itertuples()
    ]
    heads = ["method", "raw", "cleaned up", "nuclei found", "s per field"]
    text = (
        "The public images are crops around one cell. Here the earlier methods segment synthetic fields of "
        "768 x 1024 px with four to six white cells. Pooled Dice of nucleus / cytoplasm."
    )
    return _section("Earlier methods on whole fields", [text], heads, rows, [], "python benchmarks/measure_fields.py")


def touching_cells_section(reference: Path) -> str:
    """Ways to separate touching cells."""
    titles = {"synthetic": "synthetic fields", "segmentation_wbc_2": "pairs of Dataset 2"}
    rows, commands = [], []
    for name, title in titles.items():
        path = reference / "instances" / f"{name}.csv"
        if path.exists():
            table = pd.read_csv(path)
            size = re.search(r", (\d+) px", table["images_from"].iloc[0])
            option = f" --image-size {size[1]}" if size else ""
            commands.append(f"python benchmarks/compare_instances.py {name}{option}")
            for row in table.itertuples():
                quality = _with_interval(row.pq, row.pq_low, row.pq_high)
                cells = [quality, f"{row.ap50:.3f}", f"{row.aji:.3f}", str(row.cells), str(row.cells_found)]
                rows.append([title, row.masks, row.way, *cells])
    heads = ["images", "masks", "separated by", "panoptic quality", "AP at IoU 0.5", "AJI", "cells", "found"]
    text = (
        "Synthetic fields with touching cells, and pairs of touching cells composed from two test images of Dataset 2 "
        "at 64 x 64 px; one training of each network. `split_cells` is what `wbcstudy segment` uses. A U-Net with "
        "channels also predicts the distance to the cell's border, or the border itself; `split_cells` then uses this "
        "output. Panoptic quality has its 95 % interval over the images."
    )
    return _section("Touching cells", [text], heads, rows, [], *commands)


def make_statistics(reference: Path) -> str:
    """Return coverage, error rates, power and wrong decisions as Markdown; empty without their files."""
    folder = reference / "statistics"
    sections = {"coverage": _coverage_section, "error_rates": _error_section, "decision": _decision_section}
    if not all((folder / f"{name}.csv").exists() for name in sections):
        return ""
    return "\n".join(make(folder) for make in sections.values())


def _coverage_section(folder: Path) -> str:
    table = pd.read_csv(folder / "coverage.csv")
    sizes = sorted(table["n"].unique())
    rows = []
    for (interval, images, region), part in table.groupby(["interval", "images", "region"], sort=False):
        by_size = part.set_index("n")
        cells = ["too few" if pd.isna(by_size.loc[n, "covered"]) else f"{by_size.loc[n, 'covered']:.3f}" for n in sizes]
        largest = by_size.loc[sizes[-2:]]
        ends = f"{largest['too_low'].mean():.3f} / {largest['too_high'].mean():.3f}"
        names = f"{_title(images) if images != 'transfer_2to1' else 'Dataset 2 to 1'}, {region}"
        rows.append([interval, names, *cells, f"{by_size.loc[sizes[-2], 'lowest']:.2f}", ends])
    heads = ["interval", "images, region", *(f"n = {n}" for n in sizes), f"lowest, n = {sizes[-2]}"]
    return (
        "### Coverage\n\n"
        "Share of samples of n images whose 95 % interval contains the value of all images, mean over networks (or "
        "pairs of networks). Lowest: the network with the lowest share. Below / above: share of intervals that are "
        "entirely below or above the value, for the two largest n.\n\n"
        f"{_markdown_table([*heads, 'below / above'], rows)}\n"
    )


# How networks were made equal -> explanation.
_EQUAL_NETWORKS = {
    "exchanged": "For each image, every method gets the scores of a network drawn at random: the methods differ as two "
    "trainings of one network do (A against A).",
    "shifted": "Each method is one network with its own difficult images; a constant makes the means over all images "
    "equal.",
}


def _error_section(folder: Path) -> str:
    table = pd.read_csv(folder / "error_rates.csv")
    heads = ["images", "methods", "seeds", "n", "studies"]
    parts = [
        "### Error rate of the family\n",
        "Images were drawn from real scores, and effects of seeds (standard deviation 0.002 to 0.006, another one for "
        "each method) and residuals (0.015) were added. With one seed the trainings are fixed and have no effects. "
        "Share of simulated studies of equal networks with any significant difference, in nucleus or cytoplasm, "
        "between any pair, with its standard error. Earlier rule (two methods): Wilcoxon's test of each region on the "
        "means over the seeds.\n",
    ]
    power = []
    for null, rows in table.groupby("networks", sort=False):
        mean = (rows["false_alarms"] * rows["studies"]).sum() / rows["studies"].sum()
        alarms = []
        for row in rows.itertuples():
            error = (row.false_alarms * (1 - row.false_alarms) / row.studies) ** 0.5
            study = [_title(row.images), str(row.methods), str(row.seeds), str(row.n), str(row.studies)]
            earlier = "" if pd.isna(row.earlier_rule) else f"{row.earlier_rule:.3f}"
            alarms.append([*study, f"{row.false_alarms:.3f} (± {error:.3f})", earlier])
            if not pd.isna(row.detectable):
                power.append([null, *study, f"{row.detectable:.4f}", f"{row.power_at_twice:.3f}"])
        text = f"**Equal networks, {null}.** {_EQUAL_NETWORKS[null]} All rows together: {mean:.3f}; highest: "
        parts.append(f"{text}{rows['false_alarms'].max():.3f}.\n")
        parts.append(f"{_markdown_table([*heads, 'false alarms', 'earlier rule'], alarms)}\n")
    parts.append(
        "### Power\n\n"
        "Detectable: median over the studies of the smallest detectable difference that they state. Found: share of "
        "studies that find a difference of twice this size.\n\n"
        f"{_markdown_table(['networks', *heads, 'detectable', 'found'], power)}\n"
    )
    return "\n".join(parts)


def _decision_section(folder: Path) -> str:
    rows = []
    for row in pd.read_csv(folder / "decision.csv").itertuples():
        shares = [
            f"{share:.3f} (± {(share * (1 - share) / row.repeats) ** 0.5:.3f})" for share in (row.wrong, row.right)
        ]
        rows.append([f"{row.seeds}", f"{row.images}", f"{row.repeats}", *shares])
    heads = ["seeds", "validation images", "studies", "wrong", "right"]
    return (
        "### Decision\n\n"
        "Share of simulated studies that call any of four cheaper networks equivalent to the best, with its standard "
        "error. Wrong: all four are worse by exactly the margin of 0.01 for the nucleus, and equal for the cytoplasm. "
        "Right: all are equal. Scores are normal, with the spread of VGG-16 on Dataset 2.\n\n"
        f"{_markdown_table(heads, rows)}\n"
    )


def replace_section(text: str, section: str) -> str:
    """Return a page with the text between its two marks replaced.

    Raises:
        StudyError: the page does not have both marks once, in order.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise StudyError(
            "The page has no marks for the tables.", expected=f"{BEGIN} and {END}, once", fix="Add the marks."
        )
    return pattern.sub(lambda _: f"{BEGIN}\n{section}\n{END}", text)


def _section(
    title: str,
    texts: Iterable[str],
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    studies: Sequence[str],
    *commands: str,
    after: str = "",
) -> str:
    """Return a heading, paragraphs, a table, and the studies and commands it comes from; "" without rows and text."""
    if heads and not rows:
        return ""
    parts = [f"## {title}", *texts]
    if heads:
        parts.append(_markdown_table(heads, rows))
    parts.append(after)
    runs = [f"`wbcstudy run params/{study}.yaml`" for study in studies]
    made_by = [*runs, *(f"`{command}`" for command in commands)]
    parts.append(f"Made by {join_words(made_by)}.")
    return "\n\n".join(part for part in parts if part)


def _markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]])


def _records(study: Path) -> list[Path]:
    return sorted(study.glob("runs/*/run.json"))


def _restored_runs(study: Path) -> list[Run]:
    """Return the runs of a kept study, with their histories and scores read."""
    if not study.exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        restored = StudyFolder(Path(folder) / study.name)
        restore_study(restored, study)
        runs = load_runs(restored)
        for run in runs:
            # Read before the folder is deleted.
            assert len(run.history) and len(run.scores)
            assert run.validation_scores is None or len(run.validation_scores)
    return runs


def _restored_results(study: Path) -> StudyResults | None:
    """Return the results of a kept study, whose images are not needed; None if it is not kept."""
    runs = _restored_runs(study)
    if not runs:
        return None
    config = read_study(project_root() / "params" / f"{study.name}.yaml")
    return StudyResults(StudyFolder(study), config, runs, groups={})


def _read_config(study: Path) -> dict:
    record = next(iter(_records(study)), None) or next(study.glob("baselines/*/run.json"))
    return read_json(record)["config"]


def _describe_training(config: dict) -> str:
    size = config["image_size"]
    start = {"none": "random weights", "imagenet": "ImageNet weights"}
    weights = start.get(config["encoder_weights"], Path(config["encoder_weights"]).name)
    return (
        f"trained from {weights} at {size} x {size} px for at most {config['epochs']} epochs of "
        f"{count(config['augmented_copies'], 'augmented pass')}"
    )


def _mean_dice(scores: dict) -> list[float]:
    return [scores[region]["dice_mean"] for region in (*REGIONS, "cell")]


def _validation_dice(run: Run) -> pd.Series:
    """Return epoch -> Dice on the validation images, mean of the regions."""
    return run.history.set_index("epoch")[[f"val_dice_{region}" for region in REGIONS]].mean(axis=1)


def _epochs_to(goal: float, validation: Iterable[pd.Series]) -> str:
    """Return the epochs until a Dice is reached, and how many trainings never reach it."""
    epochs = [dice.index[dice >= goal].min() for dice in validation]
    reached = [epoch for epoch in epochs if epoch == epoch]
    if not reached:
        return "-"
    never = len(epochs) - len(reached)
    return _spread(reached) + (f", {never} never" if never else "")


def _dice(value: float | None) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.3f}"


def _rank(row) -> str:
    if row is None:
        return ""
    return f"**{row.mean_rank:.1f}**" if row.leader else f"{row.mean_rank:.1f}{'+' if row.undecided else ''}"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} {interval_brackets(low, high)}".strip()


def _spread(values: Iterable[float], digits: int = 0) -> str:
    values = pd.Series(list(values), dtype=float)
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def _title(dataset: str) -> str:
    return SETS.get(dataset.removeprefix("segmentation_wbc_"), dataset)


def main() -> None:
    """Replace the tables of the pages."""
    for name, make in PAGES.items():
        page = project_root() / "docs" / name
        try:
            text = replace_section(page.read_text(encoding="utf-8"), make(reference_folder()))
        except StudyError as error:
            sys.exit(str(error))
        with atomic_write(page) as part:
            part.write_text(text, encoding="utf-8")


# Page -> function that makes its tables from the reference folder.
PAGES = {"results.md": make_sections, "how_we_compare.md": make_statistics}


if __name__ == "__main__":
    main()
