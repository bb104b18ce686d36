"""How many planted copies does the search for near duplicates find, how many false pairs, and how long does it take?

    python benchmarks/duplicates.py copies --seeds 1000 1001 1002
    python benchmarks/duplicates.py splits
    python benchmarks/duplicates.py time --images 10000

`copies`: 300 of the 400 public images (Datasets 1 and 2) are copied. Every copy is changed in all ways at once: scale
by 0.8 to 1.2, shift by up to 5 px, up to 10 % cut off at each side, one of eight orientations, contrast by 0.8 to 1.2,
brightness by up to 20, JPEG of quality 60. A copy is found if it is in one group with its source. A pair is false if it
shows different cells, by the known duplicates. The method and its thresholds were chosen with the seeds 100 and 101.
`splits`: 100 random splits and 20 times 5 folds of Dataset 1; counts the known pairs that are divided.
`time`: different parts of drawn fields of 128x128 px, with 100 copies among them.
"""

import argparse
import io
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from machine import write_table
from PIL import Image

from wbcstudy.data.datasets import DATASETS, load_dataset
from wbcstudy.data.duplicates import DuplicateFinder, find_duplicates, known_duplicates, merge_groups
from wbcstudy.data.images import read_image
from wbcstudy.data.splits import make_splits
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.errors import StudyError

COPIES = 300
SIDE_PX = 128
REAL = ("segmentation_wbc_1", "segmentation_wbc_2")


def make_copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a changed copy of an image, uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    scale, (down, right) = rng.uniform(0.8, 1.2), rng.uniform(-5, 5, 2)
    pad = int(np.ceil(max(height, width) * 0.15)) + 6
    padded = Image.fromarray(np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))
    y, x = pad + height / 2 + down, pad + width / 2 + right
    top, bottom, left, end = rng.uniform(0, 0.1, 4)
    half_height, half_width = height / 2 / scale, width / 2 / scale
    box = (
        x - half_width * (1 - 2 * left),
        y - half_height * (1 - 2 * top),
        x + half_width * (1 - 2 * end),
        y + half_height * (1 - 2 * bottom),
    )
    size = (round(width * (1 - left - end)), round(height * (1 - top - bottom)))
    orientation = int(rng.integers(8))
    copy = np.rot90(np.asarray(padded.resize(size, Image.Resampling.BICUBIC, box=box)), orientation // 2)
    copy = copy[:, ::-1] if orientation % 2 else copy
    copy = np.clip(copy * rng.uniform(0.8, 1.2) + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(copy)).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


def count_found(finder: DuplicateFinder, sources: dict[str, str], known: list[tuple[str, str]]) -> dict[str, int]:
    """Search, and count copies found, known pairs found and false pairs."""
    pairs = [duplicate.case_ids for duplicate in finder.find()]
    groups = merge_groups({}, pairs)
    truth = merge_groups({}, [*known, *sources.items()])
    return {
        "copies": len(sources),
        "copies found": sum(groups.get(a, a) == groups.get(b, b) for a, b in sources.items()),
        "known pairs": len(known),
        "known pairs found": sum(groups.get(a, a) == groups.get(b, b) for a, b in known),
        "false pairs": sum(truth.get(a, a) != truth.get(b, b) for a, b in pairs),
    }


def measure_copies(seeds: list[int]) -> None:
    """Write one row per seed."""
    cases = [(f"{name}/{case.case_id}", case) for name in REAL for case in load_dataset(name).cases]
    known = [tuple(f"{name}/{case_id}" for case_id in pair) for name in REAL for pair in DATASETS[name].duplicates]
    rows = []
    for seed in seeds:
        rng, finder = np.random.default_rng(seed), DuplicateFinder()
        images = {name: read_image(case.image_path) for name, case in cases}
        for name, image in images.items():
            finder.add(name, image)
        chosen = rng.choice(len(cases), COPIES, replace=False)
        sources = {f"copy of {cases[k][0]}": cases[k][0] for k in chosen}
        for copy, source in sources.items():
            finder.add(copy, make_copy(images[source], rng))
        rows.append({"seed": seed, "images": len(cases) + COPIES, **count_found(finder, sources, known)})
        print(rows[-1], flush=True)
    write_table("duplicates_copies", "Planted copies among the public images", pd.DataFrame(rows), [])


def measure_splits() -> None:
    """Count the known pairs that random splits and folds divide."""
    dataset = load_dataset(REAL[0])
    pairs = [duplicate.case_ids for duplicate in find_duplicates(dataset)]
    known = [duplicate.case_ids for duplicate in known_duplicates(dataset.name)]
    rows = []
    for folds, seeds in ((1, 100), (5, 20)):
        for linked, name in ((pairs, "yes"), ([], "no")):
            divided = [
                sum(len({a, b} & set(part)) == 1 for a, b in known for part in split.parts) // 2
                for seed in range(seeds)
                for split in make_splits(
                    dataset.cases, folds=folds, test_fraction=0.2, validation_fraction=0.2, seed=seed, duplicates=linked
                )
            ]
            rows.append({"folds": folds, "splits": len(divided), "search": name, "pairs divided": sum(divided)})
            print(rows[-1], flush=True)
    write_table("duplicates_splits", "Pairs of Dataset 1 that a split divides", pd.DataFrame(rows), [])


def measure_time(number: int) -> None:
    """Measure time and memory of a search in a dataset on disk."""
    rng = np.random.default_rng(2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images: list[np.ndarray] = []
        for seed in range(10**6):
            if len(images) >= number - 100:
                break
            field = make_smear(seed, 768, 1024).image
            images += [
                field[y : y + SIDE_PX, x : x + SIDE_PX] for y in range(0, 768, SIDE_PX) for x in range(0, 1024, SIDE_PX)
            ]
        images = images[: number - 100]
        chosen = rng.choice(len(images), 100, replace=False)
        images += [make_copy(images[k], rng) for k in chosen]
        for k, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{k:06d}.png")
            Image.new("L", image.shape[1::-1]).save(folder / f"{k:06d}_mask.png")
        fields = {"name": "many", "images": "{case}.png", "masks": "{case}_mask.png"}
        fields["labels"] = {"background": 0, "cytoplasm": 1, "nucleus": 2}
        (folder / "dataset.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
        dataset = load_dataset(folder)
        del images
        before, wall, processor = peak_mb(), time.perf_counter(), time.process_time()
        pairs = [duplicate.case_ids for duplicate in find_duplicates(dataset)]
        row = {"images": number, "wall s": round(time.perf_counter() - wall)}
        row |= {"processor s": round(time.process_time() - processor), "peak MB": round(peak_mb())}
        row["peak MB before"] = round(before)
    truth = {(f"{k:06d}", f"{number - 100 + row_:06d}") for row_, k in enumerate(chosen)}
    row |= {"copies": 100, "copies found": len(truth & set(pairs)), "other pairs": len(set(pairs) - truth)}
    print(row, sorted(set(pairs) - truth)[:10], flush=True)
    write_table("duplicates_time", "Search for near duplicates in a large dataset", pd.DataFrame([row]), [])


def peak_mb() -> float:
    """Return the peak memory of this process in MB (10**6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("copies", "splits", "time"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001, 1002])
    parser.add_argument("--images", type=int, default=10_000)
    args = parser.parse_args()
    if args.part == "copies":
        measure_copies(args.seeds)
    elif args.part == "splits":
        measure_splits()
    else:
        measure_time(args.images)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
