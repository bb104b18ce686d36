"""A methods paragraph for a paper, from the settings and the records of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wbcstudy.config import EncoderStart, Method, RunConfig, StudyConfig
from wbcstudy.registry import ENCODERS, loss_title, method_title
from wbcstudy.reporting.text.network_starts import describe_network_starts, name_network
from wbcstudy.runs.own_parts import name_parts
from wbcstudy.runs.results import Run
from wbcstudy.scoring.boundary import TOLERANCE_PX
from wbcstudy.scoring.statistics import IMAGINED_DISTANCE
from wbcstudy.wording import capitalise, count, join_words, number_range

if TYPE_CHECKING:
    from wbcstudy.reporting.results import StudyResults


# Whether there are several seeds -> sentence.
_STANDARD_ERROR = {
    False: "The trained networks were taken as fixed, so the results hold for these networks, not for other seeds.",
    True: "Its standard error includes the variation between images and, pooled over the methods, between seeds, with "
    "the smaller of their degrees of freedom.",
}


def methods_paragraph(results: StudyResults) -> str:
    """Describe the data, training and evaluation of the networks that were trained, for a paper.

    Unknown facts are left out.
    """
    config, dataset = results.config, results.dataset_record
    methods = {method.name for method in config.methods()}
    complete = [run for run in results.complete if run.config.method in methods]
    if not complete:
        return "No network of this study is trained yet, so there is no training to describe."
    sentences = [
        *_describe_study(config, dataset, complete),
        *_describe_ignored(dataset),
        *_describe_duplicates(results),
        *_describe_training(config, complete),
        *_describe_own_parts(complete),
        *_describe_files_of_weights(complete),
        *describe_network_starts(complete),
        _describe_scoring(results),
        *_describe_evaluation(results, complete),
        *_describe_software(complete[0].record, complete),
    ]
    if dataset.get("citation"):
        sentences.append(f"Data: {dataset['citation']}")
    return " ".join(sentences)


def scored_size(results: StudyResults) -> str:
    """Return the size at which predictions were scored: "128 x 128 px", or "the size of each image (88 to 120 px)"."""
    if results.score_px is not None:
        return f"{results.score_px} x {results.score_px} px"
    sides = results.scores.reindex(columns=["height_px", "width_px"]).stack()
    span = f" ({number_range(int(sides.min()), int(sides.max()))} px)" if len(sides) else ""
    return f"the size of each image{span}"


def weights_sentence(configs: Iterable[RunConfig | StudyConfig]) -> str:
    """Say which weights the encoders started from."""
    # The plain U-Net never has weights, so it says nothing about the others.
    starts: dict[tuple[str, str, bool, str], None] = {}
    for config in configs:
        if not isinstance(config, RunConfig):
            starts |= {
                (m.start, m.encoder_weights, m.freeze_encoder, m.start_from): None
                for m in config.methods()
                if _has_weights(m)
            }
            starts = starts or {("", str(config.encoder_weights), config.freeze_encoder, config.start_from): None}
        elif _has_weights(config):
            starts[config.start, config.encoder_weights, config.freeze_encoder, config.start_from] = None
    groups: dict[tuple[str, str, bool, str], list[str]] = {}
    for name, weights, frozen, network in sorted(starts) or [("", "none", False, "none")]:
        kind = weights if weights in ("none", "imagenet") else "file"
        groups.setdefault((name, kind, frozen, network), []).append(weights)
    parts = []
    for (name, kind, frozen, network), files in groups.items():
        if network != "none":
            text = f"networks started from all weights of {name_network(network)}{', encoders frozen' * frozen}"
        elif kind == "none":
            text = "trained from scratch, without ImageNet weights"
        else:
            noun = "the file" if len(files) == 1 else "the files"
            source = "ImageNet weights" if kind == "imagenet" else f"weights from {noun} {join_words(files)}"
            text = f"encoders started from {source} and were {'frozen' if frozen else 'trained further'}"
        parts.append(f"{name}: {text}" if name else text)
    return f"{capitalise('; '.join(parts))}."


def pretrained_sentence(results: StudyResults) -> list[str]:
    """Say which encoders started from public weights whose origin is recorded, and which never did."""
    origins = weight_origins(results.complete)
    if not origins:
        return []
    training = {origin["training"].partition(" (")[0] for origin in origins.values()}
    others = dict.fromkeys(run.config.encoder for run in results.complete if run.config.encoder not in origins)
    titles = join_words([ENCODERS[name].title for name in origins])
    rest = f"; {join_words([ENCODERS[name].title for name in others])} did not" if others else ""
    return [f"{titles} started from weights trained on {join_words(sorted(training))}{rest}."]


def weight_origins(runs: Iterable[Run]) -> dict[str, Mapping[str, Any]]:
    """Return encoder -> origin of its pretrained weights (training, package, licence, citation), where recorded."""
    starts = {
        run.config.encoder: run.record.get("encoder_start") or {}
        for run in runs
        if run.config.encoder_weights != "none"
    }
    return {encoder: start["origin"] for encoder, start in starts.items() if start.get("origin")}


def _has_weights(config: RunConfig | Method) -> bool:
    return ENCODERS[config.encoder].backbone is not None or config.start_from != "none"


def version_text(record: Mapping[str, Any]) -> str:
    """Return the version of wbcstudy that a run used, with the commit if it ran from a repository."""
    commit = f" (commit {record['commit']})" if record.get("commit") else ""
    return f"{record.get('code_version') or ''}{commit}".strip()


def split_sizes(runs: Iterable[Run]) -> str:
    """Return the sizes of the split: "64 training, 16 validation and 20 test images"; empty where unknown."""
    splits = [run.record["split"] for run in runs if run.record.get("split")]
    if not splits:
        return ""
    sizes = {part: [split[part] for split in splits] for part in ("train", "validation", "test")}
    train, validation, test = (number_range(min(numbers), max(numbers)) for numbers in sizes.values())
    return f"{train} training, {validation} validation and {test} test images"


def _describe_study(config: StudyConfig, dataset: Mapping[str, Any], complete: Sequence[Run]) -> list[str]:
    trained = [method for method in config.methods() if method.name in {run.config.method for run in complete}]
    encoders, losses = (
        list(dict.fromkeys(names)) for names in zip(*((m.encoder, m.loss) for m in trained), strict=True)
    )
    starts = {method.start for method in trained} - {""}
    total = sum(method.encoder in encoders and method.loss in losses for method in config.methods())
    encoder_titles = join_words([ENCODERS[name].title for name in encoders])
    loss_titles = join_words([loss_title(name, in_sentence=True) for name in losses])
    partial = f"; {len(trained)} of the {total} {'combinations' if starts else 'pairs'}" if len(trained) < total else ""
    versions = join_words(sorted({version_text(run.record) for run in complete} - {""}))
    cases = f"{dataset['cases']} images of " if dataset.get("cases") else ""
    sizes = split_sizes(complete)
    return [
        f"U-Nets with {count(len(encoders), 'encoder')} ({encoder_titles}) were trained with "
        f"{count(len(losses), 'loss')} ({loss_titles}{partial}), using {f'wbcstudy {versions}'.strip()}.",
        f"The data were {cases}{dataset.get('title') or config.dataset}, resized to "
        f"{config.image_size} x {config.image_size} pixels (masks {_describe_masks(complete)}).",
        f"Cases were split{' into ' + sizes if sizes else ''} with seed {config.split_seed}, stratified by cell type "
        "where it is known"
        + (f", in {config.folds} folds of a cross-validation" if config.folds > 1 else "")
        + f"; all networks used the same split.{_describe_drawn(config)}",
    ]


def _describe_drawn(config: StudyConfig) -> str:
    if not config.max_training_cases:
        return ""
    drawn = count(config.max_training_cases, "training image")
    return f" At most {drawn} per fold were drawn at random, the same for all networks; the others were not used."


def _describe_ignored(dataset: Mapping[str, Any]) -> list[str]:
    if not dataset.get("ignored"):
        return []
    values = join_words(dataset["ignored"])
    return [
        f"Mask pixels with the value {values} have no label; they neither trained nor scored, and distances between "
        "boundaries leave out boundary pixels next to them."
    ]


def _describe_duplicates(results: StudyResults) -> list[str]:
    if not results.duplicates:
        return []
    number, divided = len(results.duplicates), len(results.leaks[0])
    pairs = f"{count(number, 'pair')} of images {'shows' if number == 1 else 'show'} the same cell"
    method = "equal pixels, or the correlation of their gradients after an affine alignment"
    if divided:
        verb = "shows" if divided == 1 else "show"
        split = f"the split did not take account of this, and {count(divided, 'test image')} {verb} a training cell"
        return [f"{pairs} ({method}); such images counted as one in tests, but {split}."]
    return [f"{pairs} ({method}); such images stayed together in the split and counted as one in tests."]


def _describe_masks(complete: Sequence[Run]) -> str:
    # Runs whose record lacks the setting were trained by an earlier version.
    if all("score_at" in (run.record.get("config") or {}) for run in complete):
        return "as the share of each label in a pixel, the target of the training"
    return "by nearest neighbour"


def _describe_scoring(results: StudyResults) -> str:
    if results.score_px is not None:
        return f"Predictions were compared with masks at {scored_size(results)}, where masks were nearest neighbours."
    return (
        "Predicted probabilities were resized bilinearly, and the most probable label was compared with the expert's "
        f"mask at {scored_size(results)}."
    )


def _describe_training(config: StudyConfig, complete: Sequence[Run]) -> list[str]:
    seeds = sorted({run.config.seed for run in complete})
    colours = ""
    if config.colour_augmentation:
        colours += (
            f"their hue was shifted by up to {180 * config.colour_augmentation:g} degrees and their saturation changed "
            f"by up to {100 * config.colour_augmentation:g} %; "
        )
    if config.stain_normalisation != "none":
        name = config.stain_normalisation.capitalize()
        colours += f"before that, all images were normalised to the mean stain of the training images ({name}); "
    return [
        "Training images and their masks were flipped together, rotated by up to "
        f"{config.rotation_degrees:g} degrees and zoomed by up to {100 * config.zoom:g} %, and the brightness of the "
        f"images was changed by up to {100 * config.brightness:g} %; {colours}an epoch was "
        f"{count(config.augmented_copies, 'augmented pass')} over the training images.",
        f"Networks were {_start(config)} and optimised with Adam (learning rate {_learning_rate(config)}, batch size "
        f"{config.batch_size}) for {_length(config)}; {config.kept_weights}. Dropout was "
        f"{config.dropout:g}, the momentum of batch normalisation {config.batch_norm_momentum:g}, the precision "
        f"{_precision(config, complete)}.",
        f"Each {combination(config)} was trained with "
        + (f"seed {seeds[0]}." if len(seeds) == 1 else f"seeds {join_words([str(seed) for seed in seeds])}."),
    ]


def _describe_own_parts(complete: Sequence[Run]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for run in complete:
        if parts := name_parts(run.record.get("own_parts")):
            groups.setdefault(parts, []).append(run.name)
    return [
        f"{count(len(runs), 'training')} of {len(complete)} used own code: {parts}, in {join_words(runs)}."
        for parts, runs in groups.items()
    ]


def _describe_files_of_weights(complete: Sequence[Run]) -> Iterator[str]:
    """Say which layers each encoder took from which file. Records of earlier versions do not have it."""
    starts = {run.config.encoder: run.record["encoder_start"] for run in complete if run.record.get("encoder_start")}
    for encoder, start in starts.items():
        rest = ""
        if start.get("unused"):
            rest = f"; other layers of the file were not used ({join_words(start['unused'], most=3)})"
        yield (
            f"{ENCODERS[encoder].title} took the weights of all its {start['layers']} layers ({start['first']} to "
            f"{start['last']}, matched by {start.get('matched_by', 'name')}) from {start['file']} (SHA-256 "
            f"{start['sha256'][:16]}){rest}."
        )
        if origin := start.get("origin"):
            yield (
                f"These weights were trained on {origin['training']} and taken from {origin['package']} (licence "
                f"{origin['licence']}; {origin['citation']})."
            )


def _describe_evaluation(results: StudyResults, complete: Sequence[Run]) -> list[str]:
    config, intervals = results.config, ""
    if results.table1["dice_ci_low"].notna().any():
        intervals = (
            " Their 95 % intervals are over images (over slides or patients, where known): t intervals, whose lower "
            "end includes one imagined image worse than the worst."
        )
    sentences = [
        "Precision and Dice were computed from the pixels of all test images together; mean Dice is the mean over "
        f"images.{intervals} The best {combination(config)} had the highest Dice on the validation "
        "images."
    ]
    if len({run.config.method for run in complete}) > 1:
        several_seeds = len({run.config.seed for run in complete}) > 1
        sentences.append(
            f"{factors(config).capitalize()} were compared in pairs by the difference of their mean Dice on the same "
            f"test images. {_STANDARD_ERROR[several_seeds]} The standard error also includes one imagined image, whose "
            f"difference is {IMAGINED_DISTANCE:g} standard deviations from the mean. p values and intervals (t "
            "distribution) were adjusted for all pairs and regions together (Bonferroni), at a level of 0.05. Mean "
            "ranks were compared with Friedman's and Nemenyi's tests. Images of one slide or patient, where known, "
            "counted as one."
        )
        if config.compare_with != "none":
            sentences.append(f"Only comparisons with {method_title(config.compare_with)} were planned and tested.")
        sentences.append(
            "The cheapest network (by multiply-adds) whose mean Dice on the validation images was equivalent to that "
            f"of the best was recommended, or else the best itself (two one-sided t tests with a margin of "
            f"{config.equivalence_margin:g} for both the nucleus and the cytoplasm, Holm's correction over the cheaper "
            "networks)."
        )
        if results.rank_stability is not None:
            resampled = "test images and seeds" if several_seeds else "test images"
            sentences.append(f"The probability that it is not the best comes from a bootstrap of the {resampled}.")
    sentences.append(
        f"Boundaries were compared by the normalised surface distance (tolerance {TOLERANCE_PX} pixels), the 95th "
        "percentile of the Hausdorff distance and the average symmetric surface distance (definitions of Metrics "
        "Reloaded; SciPy's k-d tree), areas by bias and limits of agreement (Bland and Altman)."
    )
    if config.test_time_flips:
        sentences.append(
            "Test images were predicted in eight orientations (four rotations, each also mirrored), and the "
            "probabilities were averaged."
        )
    if config.also_score:
        sentences.append(
            "Every network also segmented all images of other datasets, on which none was trained; scores there are "
            "means over the networks of a method, and intervals of the drop in Dice combine those of both sets of "
            "images (Zou and Donner)."
        )
    return sentences


def _describe_software(record: Mapping[str, Any], complete: Sequence[Run]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in (record.get("packages") or {}).items())
    if not packages:
        return []
    # Runs may come from several machines.
    names = [
        dict.fromkeys(run.record[key] for run in complete if run.record.get(key)) for key in ("device", "platform")
    ]
    hardware = ", ".join(join_words(list(map(str, several)), "or") for several in names if several) or "not recorded"
    python = f"Python {record['python']}, " if record.get("python") else ""
    return [f"Software: {python}{packages}. Hardware: {hardware}."]


def _start(config: StudyConfig) -> str:
    if config.starts:
        parts = [f"{name}: {_start_clause(start)}" for name, start in config.starts.items()]
        plain = "; the plain U-Net started from random weights" if "unet" in config.encoders else ""
        return f"started in {count(len(parts), 'way')} ({'; '.join(parts)}{plain})"
    if config.start_from != "none":
        frozen = " (encoder frozen)" * config.freeze_encoder
        return f"started from all weights of {name_network(config.start_from)}{frozen}"
    if config.encoder_weights == "none":
        return "trained from scratch (random weights)"
    start = EncoderStart(encoder_weights=config.encoder_weights, freeze_encoder=config.freeze_encoder)
    plain = "; the plain U-Net started from random weights" if "unet" in config.encoders else ""
    kind = "frozen" if config.freeze_encoder else "trained further"
    return f"started with encoders from {_source(start)} ({kind}{plain})"


def _start_clause(start: EncoderStart) -> str:
    if start.start_from != "none":
        return f"all weights of {name_network(start.start_from)}{', encoders not trained' * start.freeze_encoder}"
    if start.encoder_weights == "none":
        return "random weights"
    return f"encoders from {_source(start)}, {'not trained' if start.freeze_encoder else 'trained further'}"


def _source(start: EncoderStart) -> str:
    weights = start.encoder_weights
    if isinstance(weights, Mapping):
        weights = join_words(list(dict.fromkeys(weights.values())))
    return "ImageNet weights" if weights == "imagenet" else f"the weights {weights}"


def combination(config: StudyConfig) -> str:
    """Return the name of what is compared: "pair of encoder and loss"."""
    return "combination of encoder, start and loss" if config.starts else "pair of encoder and loss"


def factors(config: StudyConfig) -> str:
    """Return the names of what varies: "encoders and losses"."""
    return "encoders, starts and losses" if config.starts else "encoders and losses"


def _learning_rate(config: StudyConfig) -> str:
    if config.learning_rate_schedule == "constant":
        return f"{config.learning_rate:g}"
    return f"rising to {config.learning_rate:g} in the first epoch, then falling to 0 along a cosine"


def _length(config: StudyConfig) -> str:
    if config.patience >= config.epochs:
        return count(config.epochs, "epoch")
    stop = f"stopping when the validation loss had not fallen for {count(config.patience, 'epoch')}"
    return f"at most {count(config.epochs, 'epoch')}, {stop}"


def _precision(config: StudyConfig, complete: Sequence[Run]) -> str:
    """Return the precision that was used, why with `precision: auto`, and whose convolutions computed in it."""
    used = _values(complete, "arithmetic")
    if not used:
        return config.precision
    notes = []
    if config.precision == "auto":
        notes.append("bfloat16 on processors and GPUs with units for it, otherwise float32")
    if kernels := _values(complete, "kernels"):
        notes.append(f"convolutions of {join_words(kernels)}")
    return join_words(used) + (f" ({'; '.join(notes)})" if notes else "")


def _values(runs: Sequence[Run], field: str) -> list[str]:
    return sorted({run.record[field] for run in runs if run.record.get(field)})
