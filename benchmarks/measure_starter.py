"""Score a network, or an earlier method fitted to drawn smears, on datasets that it was not trained on.

    python benchmarks/measure_starter.py scores starter segmentation_wbc_1 segmentation_wbc_2
    python benchmarks/measure_starter.py scores starter bcisc/dataset.yaml --part odd --region cell
    python benchmarks/measure_starter.py scores benomar2021 segmentation_wbc_1 segmentation_wbc_2
    python benchmarks/measure_starter.py scales starter
    python benchmarks/measure_starter.py real_scales starter segmentation_wbc_1 segmentation_wbc_2
    python benchmarks/measure_starter.py doubts starter segmentation_wbc_1 segmentation_wbc_2

`scores`: scale and colours are found as `wbcstudy segment` finds them, for the images of a dataset together; scores
count at the size of each image. `scales`: share of drawn fields whose scale is found within 15 %. `real_scales`: the
same for single images of datasets, whose pixel size is not known; the scale with the highest mean Dice of the cells,
given for all images, stands for the right one. `doubts`: share of images with a warning, real ones and drawn ones of
another domain. Results: outputs/reference/starter/<command>.csv; a row of the same network, dataset, part and stain is
replaced.

BCISC (github.com/fpklipic/BCISC) is described by this dataset.yaml:

    name: bcisc
    images: sub-images/images/{cell_type}_{case}.jpg
    masks: sub-images/masks/{cell_type}_{case}.png
    labels: {background: 0, cytoplasm: 255, nucleus: none}
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.baselines.methods import build_method
from wbcstudy.data.arrays import resize_image
from wbcstudy.data.datasets import Case, Dataset, load_dataset, read_case
from wbcstudy.data.records import read_split
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.data.synthetic.varied import make_varied_smear
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.inference.applying import STAINS
from wbcstudy.inference.find_scale import FoundScale, find_scale, pick_evenly, share_scale
from wbcstudy.inference.image import predict_with, segment_image
from wbcstudy.inference.network import Network, load_network
from wbcstudy.inference.tiling import Way
from wbcstudy.registry import METHODS
from wbcstudy.scoring.evaluation import score_masks, summarise
from wbcstudy.scoring.intervals import mean_interval

TABLES = project_root() / "outputs" / "reference" / "starter"
PARTS = ("all", "even", "odd", "test")
_FIRST_SEED = 70_000
# Drawn smears that an earlier method is fitted to.
_FITTED = 40
# Pixel sizes of the drawn fields in µm, and the side of a field: about that of a public image.
PIXEL_SIZES = (0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25)
_FIELD_UM = 32.0
CLOSE = 0.15
# Scales that are given to real images, and how much less Dice than that of the best one is nearly as good.
GIVEN_SCALES = tuple(round(1.12**step, 2) for step in range(-6, 9))
_NEARLY = 0.01


def pick_cases(dataset: Dataset, part: str, split: Path | None) -> list[Case]:
    """Return the cases of a part: every second one of each cell type, or those of the test set of a split, or the rest.

    Raises:
        StudyError: "test" without a split, or every second case with one.
    """
    cases = sorted(dataset.cases, key=lambda case: (str(case.cell_type), case.case_id))
    if split is not None and part in ("even", "odd"):
        raise StudyError(
            f"--part {part} with --split.",
            expected="every second case, or the cases of a split",
            fix="Leave out one of the two options.",
        )
    if split is not None:
        folds, _ = read_split(split)
        test = set(folds[0].test)
        cases = [case for case in cases if (case.case_id in test) == (part == "test")]
    elif part == "test":
        raise StudyError(
            "--part test without --split.",
            expected="the split whose test cases count",
            fix="Add --split, for example outputs/reference/segmentation_wbc_1/split.json.",
        )
    if part in ("all", "test"):
        return cases
    chosen, seen = [], {}
    for case in cases:
        number = seen[case.cell_type] = seen.get(case.cell_type, -1) + 1
        if (number % 2 == 0) == (part == "even"):
            chosen.append(case)
    return chosen


def score(source: str, dataset: Dataset, cases: Sequence[Case], stain: str) -> tuple[pd.DataFrame, dict]:
    """Score a network or method; return the scores of each case, and facts of how it was applied."""
    facts: dict = {}
    if source in METHODS:
        # Fitted to drawn smears only, as the starter: some methods choose channels and thresholds.
        smears = [
            make_varied_smear(_FIRST_SEED + number, list(DOMAINS)[number % len(DOMAINS)]) for number in range(_FITTED)
        ]
        images, masks = [smear.image for smear in smears], [smear.mask for smear in smears]
        method = build_method(source).fit(images, masks, np.random.default_rng(0))
        predict = method.predict
    else:
        network = load_network(source)
        shared = share_scale([case.image_path for case in cases], network, "auto", None, None, stain)
        changed: list[bool] = []

        def predict(image: np.ndarray) -> np.ndarray:
            _, prediction = predict_with(image, network, scale=shared, stain=stain)
            changed.append(prediction.stain != "none")
            return prediction.probabilities.argmax(axis=2).astype(np.uint8)

        facts = {"scale": shared.scale if isinstance(shared, FoundScale) else shared}
    references, predictions = [], []
    for case in cases:
        image, mask = read_case(dataset, case)
        references.append(mask)
        predictions.append(predict(image))
    if source not in METHODS:
        facts["colours_changed"] = round(float(np.mean(changed)), 3)
    ids, types = [case.case_id for case in cases], [case.cell_type for case in cases]
    return score_masks(source, ids, types, references, predictions), facts


def measure_scores(options: argparse.Namespace) -> None:
    """Write one row per dataset and region."""
    rows = []
    name = options.name or options.source
    for given in options.datasets:
        dataset = load_dataset(given)
        cases = pick_cases(dataset, options.part, options.split)
        frame, facts = score(options.source, dataset, cases, options.stain)
        part = "without_test" if options.split and options.part != "test" else options.part
        for region, values in summarise(frame).items():
            if options.region and region not in options.region:
                continue
            row = {"network": name, "dataset": dataset.name, "part": part, "stain": options.stain, "region": region}
            interval = mean_interval(frame.loc[frame["region"] == region, "dice"])
            row |= {"images": len(cases), "dice": values["dice"], "dice_mean": values["dice_mean"]}
            row |= {"dice_low": interval.low, "dice_high": interval.high} | facts
            rows.append(row)
            print(row, flush=True)
    write_rows("scores", rows, ["network", "dataset", "part", "stain", "region"])


def measure_scales(options: argparse.Namespace) -> None:
    """Write one row per pixel size: how often the scale of a single drawn field is found within 15 %."""
    network = load_network(options.source)
    trained = network.training.pixel_size_um
    rows = []
    for pixel_um in PIXEL_SIZES:
        side = round(_FIELD_UM / pixel_um)
        errors = []
        for number in range(options.fields):
            seed = _FIRST_SEED + number
            domain = list(DOMAINS)[number % len(DOMAINS)]
            smear = make_varied_smear(seed, domain, side, side, pixel_size_um=pixel_um)
            if not smear.instances.any():
                continue
            found = find_scale([smear.image], network)
            errors.append(abs(np.log(found.scale * pixel_um / trained)) if found else np.inf)
        close = np.asarray(errors) <= np.log(1 + CLOSE)
        row = {"network": options.name or options.source, "pixel_um": pixel_um, "fields": len(errors)}
        row |= {"close": round(float(close.mean()), 3), "not_found": int(np.isinf(errors).sum())}
        rows.append(row)
        print(row, flush=True)
    write_rows("scales", rows, ["network", "pixel_um"])


def measure_real_scales(options: argparse.Namespace) -> None:
    """Write one row per dataset: the best given scale, and how good the scales are that are found.

    `nearly_from` to `nearly_to` are the given scales with nearly the best mean Dice. Of the scales found in single
    images, `close` is the share within 15 % of the best one, and `nearly` the share in that range. `dice_together` and
    `dice_single` are the mean Dice of the cells with the scale found in several images, and with each image's own.
    """
    network = load_network(options.source)
    rows = []
    for given in options.datasets:
        dataset = load_dataset(given)
        cases = pick_evenly(pick_cases(dataset, options.part, options.split), options.images)
        read = [read_case(dataset, case) for case in cases]
        # "auto" shows images of about the size of training images as a whole, alike at all scales near it.
        dice = np.array([_mean_cell_dice(network, read, [scale] * len(read), "tiles") for scale in GIVEN_SCALES])
        nearly = [scale for scale, value in zip(GIVEN_SCALES, dice, strict=True) if value >= dice.max() - _NEARLY]
        best = GIVEN_SCALES[int(dice.argmax())]
        found = [find_scale([image], network) for image, _ in read]
        errors = np.array([abs(np.log(one.scale / best)) if one else np.inf for one in found])
        together = find_scale(pick_evenly([image for image, _ in read]), network)
        row = {"network": options.name or options.source, "dataset": dataset.name, "images": len(read)}
        row |= {"best": best, "nearly_from": min(nearly), "nearly_to": max(nearly), "dice_mean": dice.max()}
        row |= {"together": together.scale if together else np.nan}
        # As in `wbcstudy segment`, 1 where none is found.
        own = [one.scale if one else 1.0 for one in found]
        row["dice_together"] = _mean_cell_dice(network, read, [together.scale if together else 1.0] * len(read))
        row["dice_single"] = _mean_cell_dice(network, read, own)
        row |= {"close": round(float((errors <= np.log(1 + CLOSE)).mean()), 3)}
        good = [one is not None and min(nearly) <= one.scale <= max(nearly) for one in found]
        row |= {"nearly": round(float(np.mean(good)), 3), "not_found": int(np.isinf(errors).sum())}
        rows.append(row)
        print(row, flush=True)
    write_rows("real_scales", rows, ["network", "dataset"])


def _mean_cell_dice(
    network: Network, read: Sequence[tuple[np.ndarray, np.ndarray]], scales: Sequence[float], way: Way = "auto"
) -> float:
    """Return the mean Dice of the cells of images and their masks, with one scale for each image."""
    masks = [
        predict_with(image, network, way, scale=scale)[1].probabilities.argmax(axis=2).astype(np.uint8)
        for (image, _), scale in zip(read, scales, strict=True)
    ]
    names = [str(number) for number in range(len(read))]
    frame = score_masks("scale", names, [None] * len(read), [mask for _, mask in read], masks)
    return float(frame.loc[frame["region"] == "cell", "dice"].mean())


def odd_images(count: int, side: int = 256) -> dict[str, list[np.ndarray]]:
    """Draw images that are no blood smears: kind -> uint8 (side, side, 3) images."""
    from PIL import Image, ImageDraw
    from scipy.ndimage import gaussian_filter

    kinds: dict[str, list[np.ndarray]] = {"text": [], "tissue": [], "empty": [], "inverted": []}
    for number in range(count):
        rng = np.random.default_rng([_FIRST_SEED, number])
        page = Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(220, 256, 3)))
        pen = ImageDraw.Draw(page)
        for line in range(0, side, 14):
            letters = "".join(rng.choice(list("abcdefghiklmnoprstuvw   ")) for _ in range(60))
            pen.text((4, line), letters, fill=tuple(int(v) for v in rng.integers(0, 80, 3)))
        kinds["text"].append(np.asarray(page))
        # Densely packed small nuclei in pink fibres, as in a stained section.
        fibres = gaussian_filter(rng.normal(size=(side, side)), rng.uniform(2, 5))
        tissue = np.float32([225, 160, 195]) + 40 * (fibres / fibres.std())[..., None] * np.float32([0.4, 1, 0.6])
        nuclei = gaussian_filter(rng.normal(size=(side, side)), rng.uniform(3, 4.5))
        tissue[nuclei > np.quantile(nuclei, rng.uniform(0.65, 0.8))] = rng.uniform([80, 50, 120], [120, 90, 160])
        kinds["tissue"].append(np.clip(tissue + rng.normal(0, 6, tissue.shape), 0, 255).astype(np.uint8))
        grey = rng.uniform([200, 200, 200], [250, 250, 250])
        kinds["empty"].append(np.clip(grey + rng.normal(0, 3, (side, side, 3)), 0, 255).astype(np.uint8))
        smear = make_varied_smear(_FIRST_SEED + number, list(DOMAINS)[number % len(DOMAINS)])
        kinds["inverted"].append(255 - resize_image(smear.image, side, side))
    return kinds


def measure_doubts(options: argparse.Namespace) -> None:
    """Write one row per kind of image: the share that gets a warning."""
    network = load_network(options.source)
    rows = []

    def add(kind: str, images: Sequence[np.ndarray], shared) -> None:
        doubts = [_doubts(image, network, shared) for image in images]
        row = {"network": options.name or options.source, "images_of": kind, "images": len(doubts)}
        row["warned"] = round(float(np.mean([bool(listed) for listed in doubts])), 3)
        rows.append(row)
        print(row, sorted({clause for listed in doubts for clause in listed})[:8], flush=True)

    for given in options.datasets:
        dataset = load_dataset(given)
        images = [read_case(dataset, case)[0] for case in pick_cases(dataset, options.part, options.split)]
        add(dataset.name, images, find_scale(pick_evenly(images), network))
    for kind, images in odd_images(options.fields).items():
        add(kind, images, None)
    write_rows("doubts", rows, ["network", "images_of"])


def _doubts(image: np.ndarray, network: Network, shared) -> tuple[str, ...]:
    return segment_image(image, network, scale=shared).doubts


def write_rows(name: str, rows: list[dict], keys: list[str]) -> None:
    """Add rows to a table of `TABLES`; they replace those with the same values of `keys`."""
    path = TABLES / f"{name}.csv"
    frame = pd.DataFrame(rows)
    if path.is_file():
        frame = pd.concat([pd.read_csv(path), frame]).drop_duplicates(keys, keep="last")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        frame.sort_values(keys, kind="stable").round(4).to_csv(part, index=False, lineterminator="\n")
    print(path)


def main() -> None:
    """Measure and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("scores", "scales", "real_scales", "doubts"))
    parser.add_argument("source", help="a network as for `segment --model`, or an earlier method")
    parser.add_argument("datasets", nargs="*", help="names or dataset.yaml files")
    parser.add_argument("--name", help="name in the table; default: the network's")
    parser.add_argument(
        "--part", choices=PARTS, default="all", help="every second case of each cell type, or test cases of --split"
    )
    parser.add_argument(
        "--split", type=Path, help="split.json: leave out its test cases, or score only these with --part test"
    )
    parser.add_argument("--stain", choices=STAINS, default="auto")
    parser.add_argument("--region", action="append", help="only this region; may be repeated")
    parser.add_argument("--images", type=int, default=100, help="most real images of a dataset for `real_scales`")
    parser.add_argument("--fields", type=int, default=40, help="drawn images per row")
    options = parser.parse_args()
    commands = {"scores": measure_scores, "scales": measure_scales, "real_scales": measure_real_scales}
    (commands | {"doubts": measure_doubts})[options.command](options)


if __name__ == "__main__":
    main()
