"""Start trainings from all weights of another network (`start_from`): the starter, a run, or a study's winner.

Which network this is, is decided once per study and recorded in `network_starts.json`: a study's winner may change, and
a starter may be built again, while the trainings of this study run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wbcstudy.config import RunConfig
from wbcstudy.config_io import seal_record
from wbcstudy.data.datasets import DATASETS, Dataset, load_dataset
from wbcstudy.data.duplicates import DuplicateFinder, read_duplicates
from wbcstudy.data.images import read_image
from wbcstudy.data.records import Split, read_split, split_hash
from wbcstudy.data.splits import find_leaks
from wbcstudy.errors import StudyError
from wbcstudy.files import sha256_sum, write_json
from wbcstudy.inference.network import find_run
from wbcstudy.inference.starter_file import STARTER, starter_path
from wbcstudy.nets.weights import find_weights
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.records import NetworkStartRecord, read_network_starts, read_run_record
from wbcstudy.runs.results import Run, load_run
from wbcstudy.runs.start import NEW_STUDY
from wbcstudy.wording import count, join_words

# Prefix of the ids of the other network's images in a search; no case id contains it.
_SEEN = "seen:/"
# Fields of a record that depend on the images and the network of the study that starts from it.
_OF_THE_STUDY = ("validation_seen", "unknown", "layers")


def check_network_starts(configs: Iterable[RunConfig], study: StudyFolder) -> None:
    """Stop before the first training if a network to start from is missing, changed, or has another encoder.

    Args:
        configs: settings of the runs to train.
        study: their study.

    Raises:
        StudyError: see above.
    """
    sources: dict[str, dict[str, RunConfig]] = {}
    for config in configs:
        if config.start_from != "none":
            sources.setdefault(config.start_from, {}).setdefault(config.encoder, config)
    for source, encoders in sources.items():
        run, _, _ = _find(source, study)
        for encoder in encoders:
            _check_encoder(run.config.encoder, run.name, source, encoder)


def record_network_starts(
    configs: Iterable[RunConfig], study: StudyFolder, dataset: Dataset, splits: Sequence[Split]
) -> dict[str, NetworkStartRecord]:
    """Decide which networks the runs start from, and write `network_starts.json`. Recorded networks stay.

    Args:
        configs: settings of the runs to train.
        study: their study.
        dataset: dataset of the study.
        splits: all folds of the study.

    Returns:
        Source (`start_from`) -> network.

    Raises:
        StudyError: as `check_network_starts`, or a network was trained on test images of this study.
    """
    recorded = read_network_starts(study.network_starts)
    checked = [source for source, start in recorded.items() if "validation_seen" in start]
    configs = {config.start_from: config for config in configs if config.start_from not in ("none", *checked)}
    added = {source: _describe(config, study, dataset, splits) for source, config in configs.items()}
    if added:
        recorded |= added
        study.path.mkdir(parents=True, exist_ok=True)
        write_json(study.network_starts, seal_record({"sources": recorded}))
    return recorded


def check_encoder_weights(
    configs: Iterable[RunConfig], study: StudyFolder, dataset: Dataset, splits: Sequence[Split]
) -> None:
    """Stop if `encoder_weights` is the network of a run that was trained on test images of this study.

    Other files of weights pass: their images are not known.

    Args:
        configs: settings of the runs to train.
        study: their study.
        dataset: dataset of the study.
        splits: all folds of the study.

    Raises:
        StudyError: see above.
    """
    for given, config in {config.encoder_weights: config for config in configs}.items():
        if given in ("none", "imagenet"):
            continue
        path = find_weights(config).resolve()
        folder = RunFolder(path.parent)
        if path == folder.model and folder.record.is_file():
            _find_seen(_trained_on(load_run(folder)), config, study, dataset, splits, "encoder_weights")


def keep_network_start(record: Path, source: str, study: StudyFolder) -> None:
    """Record that the repetition of a run starts from the network of that run, even if another one replaced it.

    Args:
        record: run.json of the run; without one, or if it is damaged, the repetition only has its settings.
        source: `start_from` of the repetition.
        study: the new study. `record_network_starts` compares its images with those of the network.
    """
    try:
        start = (read_run_record(record) or {}).get("network_start")
    except StudyError:
        return
    if start and not study.network_starts.exists():
        kept = {name: value for name, value in start.items() if name not in _OF_THE_STUDY} | {"source": source}
        study.path.mkdir(parents=True, exist_ok=True)
        write_json(study.network_starts, seal_record({"sources": {source: kept}}))


def start_from_network(model, config: RunConfig, study: StudyFolder, dataset: Dataset, splits: Sequence[Split]):
    """Give a network the weights of the network that `start_from` names; without `start_from`, change nothing.

    Args:
        model: from `nets.unet.build_unet(config)`; changed in place.
        config: settings of the run.
        study: folder of its study.
        dataset: its dataset.
        splits: all folds of the study.

    Returns:
        The model; its attribute `network_start` is the record for run.json.

    Raises:
        StudyError: the network is missing, has changed since the study began, has another encoder, or was trained on
            test images of this study (also as `encoder_weights`).
    """
    check_encoder_weights([config], study, dataset, splits)
    if config.start_from == "none":
        return model
    from wbcstudy.nets.model_file import copy_weights

    check_network_starts([config], study)
    record = record_network_starts([config], study, dataset, splits)[config.start_from]
    run, _, _ = _find(config.start_from, study)
    model.network_start = dict(record) | {"layers": copy_weights(model, run.folder.model)}
    return model


def _find(source: str, study: StudyFolder) -> tuple[Run, str, str]:
    """Find the network of a source: as recorded in the study, else as `segment --model` finds it.

    Returns:
        Its run, why it was chosen, and its SHA-256: of the starter's file, or of model.keras.
    """
    recorded = read_network_starts(study.network_starts).get(source)
    if recorded:
        folder = RunFolder(Path(recorded["folder"]))
        if folder.model.is_file() and sha256_sum(folder.model) == recorded["model_sha256"]:
            return load_run(folder), recorded.get("chosen", ""), recorded["sha256"]
    run, chosen = find_run(source)
    if run.folder.study.path.resolve() == study.path.resolve():
        raise StudyError(
            f"start_from: {source} is a network of this study itself.",
            expected="a run of another study",
            fix=f"Write start_from {NEW_STUDY}.",
        )
    # Checks the SHA-256 of the network.
    run = load_run(run.folder, used=(run.folder.model.name,))
    if not run.folder.model.is_file():
        raise StudyError(
            f"start_from: {run.folder.path} has no model.keras.",
            expected="a finished run with its network",
            fix="Restore the file, or start from another run.",
        )
    digest = sha256_sum(starter_path() if source == STARTER and _is_starter(run) else run.folder.model)
    if recorded and digest != recorded["sha256"]:
        raise StudyError(
            f"start_from: {source} is now another network than the recorded one (SHA-256 {digest[:16]}, "
            f"was {recorded['sha256'][:16]}).",
            expected=f"the network {recorded['network']}, so that all trainings of the study start from the same one",
            fix=f"Restore it in {recorded['folder']}, or start from the new one {NEW_STUDY}.",
        )
    return run, chosen, digest


def _check_encoder(own: str, name: str, source: str, wanted: str) -> None:
    if own != wanted:
        raise StudyError(
            f"start_from: {source} is a network with the encoder {own} ({name}), but the study trains {wanted}.",
            expected=f"a network with the encoder {wanted}, since all weights are taken",
            fix=f"Write `encoders: [{own}]`, or start {wanted} from a run of its own.",
        )


def _describe(config: RunConfig, study: StudyFolder, dataset: Dataset, splits: Sequence[Split]) -> NetworkStartRecord:
    run, chosen, digest = _find(config.start_from, study)
    trained_on = _trained_on(run)
    scale = run.record.get("trained_on") or {}
    # From pixels of the stored images to pixels of the network's input.
    factor = run.config.image_size / scale["height_px"][1] if scale else 1
    pixel_um, cell_px = scale.get("pixel_size_um"), scale.get("cell_px")
    record = {
        "source": config.start_from,
        "network": f"{run.folder.study.name}/{run.name}",
        "folder": str(run.folder.path.resolve()),
        "sha256": digest,
        "model_sha256": sha256_sum(run.folder.model),
        "chosen": chosen,
        "encoder": run.config.encoder,
        "image_size": run.config.image_size,
        "stain_normalisation": run.config.stain_normalisation,
        "pixel_size_um": round(pixel_um / factor, 4) if pixel_um else None,
        "cell_px": round(cell_px * factor, 1) if cell_px else None,
        "code_version": str(run.record.get("code_version") or ""),
        "trained_on": trained_on,
    }
    return record | _find_seen(trained_on, config, study, dataset, splits)


def _is_starter(run: Run) -> bool:
    # A study of the user's may have the same name.
    return run.record.get("study") == STARTER != run.config.study


def _trained_on(run: Run) -> list[dict[str, Any]]:
    """Say on which images a network was trained, and those of the networks that it started from itself."""
    record = run.record
    own = {
        "network": f"{run.folder.study.name}/{run.name}",
        "folder": str(run.folder.path.resolve()),
        "fold": run.config.fold,
        "source": run.config.dataset,
        "dataset": {name: value for name, value in (record.get("dataset") or {}).items() if name != "label_shares"},
        "split_hash": record.get("split_hash"),
        "split": record.get("split"),
        # The starter is trained on drawn smears only, see `study.starter`.
        "drawn": _is_starter(run) and (record.get("dataset") or {}).get("name") == STARTER,
    }
    return [own, *((record.get("network_start") or {}).get("trained_on") or ())]


def _find_seen(
    trained_on: Sequence[dict[str, Any]],
    config: RunConfig,
    study: StudyFolder,
    dataset: Dataset,
    splits: Sequence[Split],
    setting: str = "start_from",
) -> dict[str, list[str]]:
    """Search the images of a study for those that a network was trained on or chosen by.

    Returns:
        validation_seen: ids of validation cases that it was trained on; unknown: networks whose images are not known.

    Raises:
        StudyError: a test image is among them.
    """
    validation_seen, unknown = set(), []
    tested = {case_id for split in splits for case_id in split.test}
    validated = {case_id for split in splits for case_id in split.validation}
    for facts in trained_on:
        if facts.get("drawn"):
            continue
        seen = _seen_cases(facts, config, study, dataset, tested | validated)
        if seen is None:
            unknown.append(facts["network"])
            continue
        trained, chosen_by = seen
        if cases := sorted(tested & (trained | chosen_by)):
            raise StudyError(
                f"{setting}: {facts['network']} was trained on images of {count(len(cases), 'test case')} of this "
                f"study ({join_words(cases, most=5)}).",
                expected="a network that has not seen the test images, whose scores would be too high",
                fix="Start from a network of other images, or give this study the split of that network (the same "
                "folds, test_fraction, validation_fraction, split_seed and near_duplicates).",
            )
        validation_seen |= validated & trained
    return {"validation_seen": sorted(validation_seen), "unknown": unknown}


def _seen_cases(
    facts: dict[str, Any], config: RunConfig, study: StudyFolder, dataset: Dataset, own: set[str]
) -> tuple[set[str], set[str]] | None:
    """Return the cases of a study that show a cell of the training and of the validation images of a network.

    None where these are not known: the split or the images of the network are gone.
    """
    split = _read_own_split(facts)
    if split is None:
        return None
    if facts["dataset"].get("fingerprint") == dataset.fingerprint:
        prefix, pairs = "", [duplicate.case_ids for duplicate in read_duplicates(study.duplicates, dataset.name)]
    elif (row := DATASETS.get(facts["source"])) and row.generator:
        # Drawn images, of another dataset.
        return set(), set()
    else:
        try:
            other = load_dataset(facts["source"])
            finder = DuplicateFinder(config.near_duplicates)
            for mark, cases, wanted in (
                (_SEEN, other.cases, {*split.train, *split.validation}),
                ("", dataset.cases, own),
            ):
                for case in cases:
                    if case.case_id in wanted:
                        finder.add(mark + case.case_id, read_image(case.image_path))
        except StudyError:
            return None
        prefix, pairs = _SEEN, [duplicate.case_ids for duplicate in finder.find()]

    def find(part: Sequence[str]) -> set[str]:
        seen = {prefix + case_id for case_id in part}
        return (own & seen) | set(find_leaks([Split(tuple(seen), (), tuple(own - seen))], pairs)[0])

    return find(split.train), find(split.validation)


def _read_own_split(facts: dict[str, Any]) -> Split | None:
    """Return the split that a network was trained with; None if it is not there."""
    try:
        splits = (read_split(RunFolder(Path(facts["folder"])).study.split) or ((), {}))[0]
    except StudyError:
        return None
    fold = facts.get("fold", 0)
    if fold >= len(splits) or facts.get("split_hash") not in (None, split_hash(splits)):
        return None
    return splits[fold]
