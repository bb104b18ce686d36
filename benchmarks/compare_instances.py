"""Compare methods that separate touching cells, with and without learned channels.

    python benchmarks/compare_instances.py synthetic              # some minutes on a free core
    python benchmarks/compare_instances.py segmentation_wbc_2     # or _1: the public dataset, after fetching it
    python benchmarks/compare_instances.py segmentation_wbc_2 --image-size 64      # less work

Synthetic: the demo's network (from `make study`, or trained now) segments fields of 768 x 1024 px with touching cells,
at the scale of its training. Public dataset: pairs of touching cells are composed from two cases, one placed over the
edge of the other; test cases are combined only with each other.

Learned channels are additional outputs of the same U-Net, one number per pixel, trained together with the labels on the
same images: `distance` is the distance to the cell's edge as a share of the cell's largest, `boundary` marks the cell's
outermost pixels. Their waists are chosen on other images than those that are scored; `split_cells` has its default.

Writes <images>.csv and <images>_differences.csv to outputs/reference/instances/. Networks are kept in
outputs/instances/, so a second call does not train them again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from instances import SCORES, InstanceCounts, count_instances, score_instances, sum_counts
from PIL import Image
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter
from skimage.segmentation import watershed

from wbcstudy.config import RunConfig
from wbcstudy.config_io import read_study
from wbcstudy.data.arrays import read_cases, resize_image
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.duplicates import find_duplicates
from wbcstudy.data.splits import make_splits
from wbcstudy.data.synthetic.dataset import make_smear, pixel_size
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, outputs_folder, project_root
from wbcstudy.inference.split_cells import WAIST, connected_cells, split_cells
from wbcstudy.labels import BACKGROUND, CYTOPLASM, NUCLEUS
from wbcstudy.nets.augment import augment, make_augmentation
from wbcstudy.nets.backend import load_keras
from wbcstudy.nets.batches import make_order
from wbcstudy.nets.losses import build_loss
from wbcstudy.nets.model_file import load_model
from wbcstudy.nets.training import train
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder

ENCODER = "mobilenet"
CHANNELS = ("distance", "boundary")
WAISTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FIELD = {"height_px": 768, "width_px": 1024, "white_cells": (8, 14), "touching": 0.7}
# Seeds of the fields on which waists are chosen, and of the fields that are scored.
TUNING, TEST = range(10_000, 10_008), range(20_000, 20_024)
BOUNDARY_PX = 1.5
RESAMPLES = 2000
PAIRS = 80
# Cases of each part of the split; Dataset 1 has three times as many as Dataset 2.
MOST_CASES = 64


@dataclass(frozen=True)
class Part:
    """Images with their cells: lists or arrays of uint8 (H, W, 3), uint8 (H, W) of labels, integer (H, W) of cells."""

    images: list | np.ndarray
    masks: list | np.ndarray
    instances: list | np.ndarray
    aspects: float = 1.0

    @property
    def shares(self) -> np.ndarray:
        """The masks as `Arrays.shares`; each pixel has one label."""
        return np.stack([np.asarray(self.masks) == label for label in (CYTOPLASM, NUCLEUS)], -1) * np.uint8(255)


@dataclass(frozen=True)
class Prediction:
    """The output for one image, at the image's size: uint8 (H, W) of labels, and channel name -> float (H, W), 0-1."""

    mask: np.ndarray
    channels: dict[str, np.ndarray]


# ------------------------------------------------------------------------------------------------------- what to learn


def make_channels(instances: np.ndarray) -> np.ndarray:
    """Return the target of `CHANNELS` for one image: uint8 (H, W, 2), 255 for 1."""
    channels = np.zeros((*instances.shape, 2), np.float32)
    for number, box in enumerate(find_objects(instances), 1):
        if box is None:
            continue
        # With a border of background, except at the image's edge, where the cell continues.
        window = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        inside = instances[window] == number
        depth = distance_transform_edt(inside)
        channels[window][inside] = np.stack([depth / depth.max(), depth <= BOUNDARY_PX], axis=-1)[inside]
    return np.rint(255 * channels).astype(np.uint8)


def with_channels(model):
    """Return the same U-Net with a second output, float32 (B, H, W, 2), 0-1."""
    keras = load_keras()
    features = model.get_layer("head_dropout").output
    logits = keras.layers.Conv2D(len(CHANNELS), 3, padding="same", name="channels_head")(features)
    channels = keras.layers.Activation("sigmoid", dtype="float32", name="channels")(logits)
    return keras.Model(model.input, [model.output, channels])


def train_with_channels(training: Part, validation: Part, config: RunConfig, report: Callable):
    """Train the U-Net of `config` with a second output, as `training.train` does."""
    keras = load_keras()
    model = with_channels(build_unet(config))
    losses = [build_loss(config.loss), keras.losses.BinaryCrossentropy()]
    model.compile(keras.optimizers.Adam(config.learning_rate), losses, jit_compile=False)
    target, validation_target = (
        np.stack([make_channels(cells) for cells in part.instances]) for part in (training, validation)
    )
    best, kept = np.inf, None
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        for images, masks, channels in _batches(training, target, config, epoch):
            model.train_on_batch(images, [masks, channels])
        targets = [validation.masks, validation_target / np.float32(255)]
        loss = model.test_on_batch(validation.images.astype(np.float32), targets, return_dict=True)["loss"]
        if loss < best:
            best, kept = loss, model.get_weights()
        report(f"epoch {epoch}/{config.epochs}  val_loss {loss:.4f}  {time.perf_counter() - start:.1f} s")
    model.set_weights(kept)
    return model


def _batches(part: Part, target: np.ndarray, config: RunConfig, epoch: int):
    """Yield the batches of `batches.make_batches`, with augmented channels."""
    order = make_order(len(part.images), config, epoch)
    plan = make_augmentation(len(order), config, epoch)
    steps = -(-len(order) // config.batch_size)
    for start, stop in itertools.pairwise(np.arange(steps + 1) * len(order) // steps):
        cases, moves = order[start:stop], (plan.transforms[start:stop], plan.brightness[start:stop])
        images, shares = augment(part.images[cases], part.shares[cases], config.image_size, *moves)
        _, channels = augment(part.images[cases], target[cases], config.image_size, *moves)
        yield images, shares, channels.numpy()[..., 1:]


def network(name: str, channels: bool, training: Part, validation: Part, config: RunConfig):
    """Return a trained network: of the study (`make study`), from outputs/instances/, or trained now."""
    folder = outputs_folder() / "instances"
    path = folder / f"{name}__{'channels' if channels else 'labels'}__seed{config.seed}.weights.h5"
    studied = outputs_folder() / name / "runs" / config.name / "model.keras"
    if studied.is_file() and not channels:
        return load_model(studied)
    if path.is_file():
        model = build_unet(config)
        model = with_channels(model) if channels else model
        model.load_weights(path)
        return model
    print(f"training {path.stem}", flush=True)
    report = functools.partial(print, flush=True)
    if channels:
        model = train_with_channels(training, validation, config, report)
    else:
        model = build_unet(config)
        train(model, training, validation, config, RunFolder(folder / path.name.split(".")[0]), report)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name("part-" + path.name)
    model.save_weights(part)
    part.replace(path)
    return model


# ------------------------------------------------------------------------------------------------------------- images


def read_part(dataset, case_ids, image_size: int) -> Part:
    """Read cases with their cells, from instance maps or else from connected components of the masks."""
    arrays = read_cases(dataset, case_ids, image_size)
    instances = []
    for case_id, mask in zip(case_ids, arrays.masks, strict=True):
        path = dataset.folder / "instances" / f"{case_id}.png"
        if path.is_file():
            cells = Image.open(path).resize((image_size, image_size), Image.Resampling.NEAREST)
            instances.append(np.asarray(cells).astype(np.int32))
        else:
            instances.append(connected_cells(mask))
    return Part(arrays.images, arrays.masks, np.stack(instances))


def synthetic_fields(seeds) -> Part:
    """Draw fields with touching cells."""
    smears = [make_smear(seed, slide=seed, **FIELD) for seed in seeds]
    return Part(*([getattr(smear, name) for smear in smears] for name in ("image", "mask", "instances")))


def composed(part: Part, count: int, seed: int, *, crop: bool = False) -> Part:
    """Compose pairs of touching cells: one image is placed over the right edge of another, so that the cells overlap.

    Args:
        part: square images of size S. Those with exactly one cell, not touching the border, are used.
        count: number of pairs.
        seed: seed of choices, rotations and overlaps.
        crop: cut out S x S px around the contact, for training.

    Returns:
        Images of S x W px, W between S and 2 S and a multiple of 32 (the right column is repeated), with cells 1 and 2.
    """
    rng = np.random.default_rng(seed)
    good = [
        k
        for k, cells in enumerate(part.instances)
        if cells.max() == 1 and not (cells[[0, -1]].any() or cells[:, [0, -1]].any())
    ]
    made = []
    while len(made) < count:
        first, second = rng.choice(good, 2, replace=False)
        pair = _compose(rng, *(_turned(rng, part, k) for k in (first, second)))
        made.append(_around_contact(pair, part.images.shape[1]) if crop else _widened(pair))
    lists = [list(arrays) for arrays in zip(*made, strict=True)]
    return Part(*(np.stack(arrays) for arrays in lists)) if crop else Part(*lists)


def _turned(rng, part: Part, k: int):
    turns, flip = rng.integers(4), rng.integers(2)
    arrays = (np.rot90(stack[k], turns) for stack in (part.images, part.masks, part.instances))
    return tuple(array[:, ::-1] if flip else array for array in arrays)


def _compose(rng, left, right):
    (image, mask, cells), (image2, mask2, cells2) = left, right
    size = len(mask)
    inside, inside2 = cells > 0, cells2 > 0
    overlap = rng.uniform(0.005, 0.06) * min(inside.sum(), inside2.sum())
    for shift in range(size - 1, 0, -1):
        both = inside[:, shift:] & inside2[:, : size - shift]
        if both.sum() >= overlap:
            break
    width = size + shift

    def placed(array, start, fill=0):
        canvas = np.full((size, width, *array.shape[2:]), fill, array.dtype)
        canvas[:, start : start + size] = array
        return canvas

    # Match the brightness of the plasma.
    light, light2 = (np.percentile(pixels[~cell], 85, axis=0) for pixels, cell in ((image, inside), (image2, inside2)))
    image2 = np.clip(image2 * light / light2, 0, 255)
    seam = (shift + size) / 2
    blend = np.clip((np.arange(width) - seam) / 6 + 0.5, 0, 1)[None, :, None]
    canvas = placed(image.astype(float), 0) * (1 - blend) + placed(image2, shift) * blend
    top, top2 = placed(inside, 0), placed(inside2, shift)
    for pixels, cell in ((placed(image.astype(float), 0), top), (placed(image2, shift), top2)):
        cover = np.where(cell, 1.0, gaussian_filter(cell.astype(float), 1.0))[..., None]
        # Only within the image of this cell.
        cover = cover * (pixels.sum(axis=-1, keepdims=True) > 0)
        canvas = canvas * (1 - cover) + pixels * cover
    labels = np.where(top2, placed(mask2, shift), np.where(top, placed(mask, 0), BACKGROUND)).astype(np.uint8)
    numbers = np.where(top2, 2, np.where(top, 1, 0)).astype(np.int32)
    return np.rint(canvas).astype(np.uint8), labels, numbers


def _around_contact(pair, size: int):
    numbers = pair[2]
    near = (distance_transform_edt(numbers != 1) < 3) & (numbers == 2)
    middle = int(np.nonzero(near)[1].mean())
    start = min(max(middle - size // 2, 0), numbers.shape[1] - size)
    return tuple(array[:, start : start + size] for array in pair)


def _widened(pair):
    extra = -pair[2].shape[1] % 32
    image, mask, numbers = pair
    return (
        np.pad(image, ((0, 0), (0, extra), (0, 0)), mode="edge"),
        np.pad(mask, ((0, 0), (0, extra))),
        np.pad(numbers, ((0, 0), (0, extra))),
    )


# ----------------------------------------------------------------------------------------------------------- measuring


def predict(model, images, scale: float) -> list[Prediction]:
    """Segment whole images at `scale` times their size (rounded to 32 px), and resize the output to their size."""
    predictions = []
    for image in images:
        height, width = image.shape[:2]
        size = [max(32, round(length * scale / 32) * 32) for length in (height, width)]
        outputs = model.predict_on_batch(resize_image(image, *size)[None].astype(np.float32))
        probabilities, *channels = [output[0] for output in (outputs if isinstance(outputs, list) else [outputs])]
        mask = np.stack([_resized(probabilities[..., k], height, width) for k in range(3)]).argmax(axis=0)
        resized = {name: _resized(channels[0][..., k], height, width) for k, name in enumerate(CHANNELS) if channels}
        predictions.append(Prediction(mask.astype(np.uint8), resized))
    return predictions


def _resized(array: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(np.float32(array)).resize((width, height), Image.Resampling.BILINEAR))


def nuclei_cells(predicted: Prediction, waist: float) -> np.ndarray:
    """Separate by a watershed on the distance map, with each connected nucleus as a seed."""
    from skimage.measure import label

    nuclei = label(predicted.mask == NUCLEUS, connectivity=2)
    areas = np.bincount(nuclei.ravel())
    nuclei[areas[nuclei] < 0.05 * np.median(areas[1:]) if len(areas) > 1 else nuclei > 0] = 0
    cell = predicted.mask != BACKGROUND
    return watershed(-distance_transform_edt(cell), nuclei, mask=cell)


def edge_cells(predicted: Prediction, waist: float) -> np.ndarray:
    """Separate by `split_cells`."""
    return split_cells(predicted.mask, waist=waist)


def distance_cells(predicted: Prediction, waist: float) -> np.ndarray:
    """Separate by `split_cells` on the learned distance."""
    return split_cells(predicted.mask, distances=predicted.channels["distance"].clip(0), waist=waist)


def boundary_cells(predicted: Prediction, waist: float) -> np.ndarray:
    """Separate by `split_cells` on the distance to background or learned boundary."""
    inner = (predicted.mask != BACKGROUND) & (predicted.channels["boundary"] < 0.5)
    return split_cells(predicted.mask, distances=distance_transform_edt(inner), waist=waist)


METHODS = {
    "connected components": lambda predicted, waist: connected_cells(predicted.mask),
    "seeds from nuclei": nuclei_cells,
    "split_cells": edge_cells,
}
LEARNED = {"learned distance": distance_cells, "learned boundary": boundary_cells}


def count_all(method: Callable, predictions: list[Prediction], part: Part, waist: float) -> list[InstanceCounts]:
    """Return the counts of each image."""
    pairs = zip(predictions, part.instances, strict=True)
    return [count_instances(cells, method(predicted, waist)) for predicted, cells in pairs]


def choose_waist(method: Callable, predictions: list[Prediction], part: Part) -> float:
    """Return the waist with the highest PQ; of equal ones, the one closest to the default of `split_cells`."""
    scores = {waist: score_instances(sum_counts(count_all(method, predictions, part, waist)))["pq"] for waist in WAISTS}
    return max(scores, key=lambda waist: (round(scores[waist], 4), -abs(waist - WAIST)))


def interval(values: Callable[[np.ndarray], float], count: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval over images."""
    rng = np.random.default_rng(0)
    drawn = [values(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    return tuple(float(value) for value in np.nanquantile(drawn, [0.025, 0.975]))


def pq_of(counts: np.ndarray, chosen) -> float:
    """Return the PQ of some images, from an array of counts (images, 8)."""
    tp, fp, fn, iou_sum = counts[chosen].sum(axis=0)[:4]
    return iou_sum / (tp + fp / 2 + fn / 2) if tp + fp + fn else np.nan


@dataclass
class Table:
    """The rows of both tables."""

    name: str
    scores: list[dict] = field(default_factory=list)
    differences: list[dict] = field(default_factory=list)

    def measure(self, columns: dict, plain, learned, tuning: Part, test: Part, scale: float) -> None:
        """Measure all methods on the U-Net of one seed without (`plain`) and with channels (`learned`)."""
        perfect = [Prediction(mask, {}) for mask in test.masks]
        for name, method in METHODS.items():
            self._add(columns, "expert's masks", name, WAIST, count_all(method, perfect, test, WAIST))
        counts = {}
        for masks, model, methods in (
            ("U-Net", plain, METHODS),
            ("U-Net with channels", learned, {"split_cells": edge_cells} | LEARNED),
        ):
            tuned, predicted = predict(model, tuning.images, scale), predict(model, test.images, scale)
            for name, method in methods.items():
                waist = choose_waist(method, tuned, tuning) if name in LEARNED else WAIST
                counts[masks, name] = count_all(method, predicted, test, waist)
                self._add(columns, masks, name, waist, counts[masks, name])
        for key, rows in counts.items():
            if key != ("U-Net", "split_cells"):
                self._compare(columns, *key, rows, counts["U-Net", "split_cells"])

    def _add(self, columns, masks, method, waist, rows) -> None:
        total, table = sum_counts(rows), np.asarray(rows, float)
        low, high = interval(lambda chosen: pq_of(table, chosen), len(rows))
        waist = waist if method == "split_cells" or method in LEARNED else np.nan
        row = columns | {"masks": masks, "way": method, "waist": waist}
        row |= {"images": len(rows), "cells": total.tp + total.fn, "cells_found": total.tp + total.fp}
        row |= {name: round(value, 4) for name, value in score_instances(total).items()}
        self.scores.append(row | {"pq_low": round(low, 4), "pq_high": round(high, 4)})
        print("  ", masks, "|", method, "|", {name: self.scores[-1][name] for name in SCORES}, flush=True)

    def _compare(self, columns, masks, method, rows, base) -> None:
        first, second = np.asarray(rows, float), np.asarray(base, float)
        low, high = interval(lambda chosen: pq_of(first, chosen) - pq_of(second, chosen), len(rows))
        every = slice(None)
        difference = pq_of(first, every) - pq_of(second, every)
        row = columns | {"masks": masks, "way": method, "against": "U-Net, split_cells"}
        row |= {"pq_difference": round(difference, 4), "low": round(low, 4), "high": round(high, 4)}
        self.differences.append(row)

    def write(self) -> None:
        """Write both tables."""
        folder = project_root() / "outputs" / "reference" / "instances"
        for suffix, rows in (("", self.scores), ("_differences", self.differences)):
            with atomic_write(folder / f"{self.name}{suffix}.csv") as part:
                pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")
        print(f"Written: {folder}")


# ----------------------------------------------------------------------------------------------------------------- main


def measure_synthetic(seeds) -> None:
    """Measure the demo's network on fields with touching cells."""
    study = read_study(project_root() / "params" / "demo.yaml")
    config = next(run for run in study.runs() if (run.encoder, run.loss) == (ENCODER, "cross_entropy"))
    dataset, split = _split(config)
    training, validation = (read_part(dataset, ids, config.image_size) for ids in (split.train, split.validation))
    tuning, test = synthetic_fields(TUNING), synthetic_fields(TEST)
    # Micrometres per pixel of the fields, divided by those of the resized training images.
    side = read_side(dataset)
    scale = pixel_size(FIELD["height_px"], FIELD["width_px"]) / (dataset.spec.pixel_size_um * side / config.image_size)
    print(f"fields are segmented at {scale:.3f} of their size", flush=True)
    _measure("synthetic", "synthetic", "demo", config, seeds, training, validation, tuning, test, scale)


def measure_real(name: str, seeds, image_size: int) -> None:
    """Train on single real cells and composed pairs, and measure on composed pairs of other cases."""
    config = RunConfig(
        dataset=name, image_size=image_size, epochs=10, augmented_copies=2, encoder=ENCODER, loss="cross_entropy"
    )
    dataset, split = _split(config)
    parts = [read_part(dataset, ids[:MOST_CASES], config.image_size) for ids in split.parts]
    pairs = [composed(part, len(part.images), seed, crop=True) for seed, part in enumerate(parts[:2])]
    training, validation = (
        Part(*(np.concatenate([getattr(part, name), getattr(pair, name)]) for name in ("images", "masks", "instances")))
        for part, pair in zip(parts, pairs, strict=False)
    )
    tuning, test = composed(parts[1], PAIRS // 2, 2), composed(parts[2], PAIRS, 3)
    _measure(
        name,
        f"{name}, {image_size} px",
        f"{name}_{image_size}px",
        config,
        seeds,
        training,
        validation,
        tuning,
        test,
        1.0,
    )


def _measure(images, source, study, config, seeds, training, validation, tuning, test, scale) -> None:
    table = Table(images)
    for seed in seeds:
        own = config.model_copy(update={"seed": seed})
        plain, learned = (network(study, channels, training, validation, own) for channels in (False, True))
        columns = {"images_from": source, "network": config.encoder, "seed": seed}
        table.measure(columns, plain, learned, tuning, test, scale)
        table.write()


def _split(config: RunConfig):
    dataset = load_dataset(config.dataset)
    split = make_splits(
        dataset.cases,
        folds=1,
        test_fraction=config.test_fraction,
        validation_fraction=config.validation_fraction,
        seed=config.split_seed,
        duplicates=[duplicate.case_ids for duplicate in find_duplicates(dataset)],
    )[0]
    return dataset, split


def read_side(dataset) -> int:
    """Return the height of the dataset's first image in px."""
    with Image.open(dataset.cases[0].image_path) as image:
        return image.height


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", choices=("synthetic", "segmentation_wbc_1", "segmentation_wbc_2"))
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="seeds; one training of each network per seed"
    )
    parser.add_argument("--image-size", type=int, default=96, help="size of the public images in px")
    options = parser.parse_args()
    if options.images == "synthetic":
        measure_synthetic(options.seeds)
    else:
        measure_real(options.images, options.seeds, options.image_size)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
