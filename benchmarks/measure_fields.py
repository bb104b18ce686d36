"""Run every earlier method on whole fields with several white cells, and write what each scores.

    python benchmarks/measure_fields.py

The public images are crops around one cell, and methods can lean on that. Synthetic fields of 768 x 1024 px with four
to six white cells each tell which do. Training: fields of 384 x 512 px with two or three cells, of the same slides.
Writes outputs/reference/fields/earlier_methods.csv.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.baselines.methods import METHODS, build_method
from wbcstudy.data.synthetic.dataset import Smear, make_smear
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.labels import CYTOPLASM, NUCLEUS
from wbcstudy.scoring.cleanup import clean_up

SLIDES = range(3)
TRAINING_FIELDS = 12
TEST_FIELDS = 6
# The sizes of `clean_up` are those of cells in crops of this area.
CROP_PX = 256**2


def fields() -> tuple[list[Smear], list[Smear]]:
    """Training and test fields; none is in both."""
    training = [
        make_smear(k, 384, 512, white_cells=(2, 3), slide=SLIDES[k % len(SLIDES)]) for k in range(TRAINING_FIELDS)
    ]
    test = [
        make_smear(1000 + k, 768, 1024, white_cells=(4, 6), slide=SLIDES[k % len(SLIDES)]) for k in range(TEST_FIELDS)
    ]
    return training, test


def cleaned(mask: np.ndarray) -> np.ndarray:
    """Clean up with sizes for the cells, which do not grow with the field as `clean_up` takes for granted."""
    share = CROP_PX / mask.size
    return clean_up(mask, min_nucleus_px=40 * share, min_cell_px=120 * share, opening_px=3 * share**0.5)


def pooled_dice(fields: list[Smear], masks: list[np.ndarray], label: int) -> float:
    """Dice over all pixels of all fields."""
    both = sum(np.sum((one.mask == label) & (mask == label)) for one, mask in zip(fields, masks, strict=True))
    total = sum(np.sum(one.mask == label) + np.sum(mask == label) for one, mask in zip(fields, masks, strict=True))
    return 2 * both / total


def measure(name: str, training: list[Smear], test: list[Smear]) -> dict:
    """One row: Dice raw and cleaned, the share of nuclei found, and processor seconds."""
    start = time.process_time()
    method = build_method(name)
    method.fit([one.image for one in training], [one.mask for one in training], np.random.default_rng(0))
    fitted = time.process_time()
    masks = [method.predict(one.image) for one in test]
    done = time.process_time()
    tidy = [cleaned(mask) for mask in masks]
    # A nucleus is found where most of it is called nucleus.
    found = [
        np.mean(mask[one.nuclei == cell.instance] == NUCLEUS) > 0.5
        for one, mask in zip(test, masks, strict=True)
        for cell in one.cells
    ]
    return {
        "method": name,
        "title": METHODS[name].title,
        "nucleus_dice": round(pooled_dice(test, masks, NUCLEUS), 4),
        "cytoplasm_dice": round(pooled_dice(test, masks, CYTOPLASM), 4),
        "nucleus_dice_cleaned": round(pooled_dice(test, tidy, NUCLEUS), 4),
        "cytoplasm_dice_cleaned": round(pooled_dice(test, tidy, CYTOPLASM), 4),
        "nuclei": len(found),
        "nuclei_found": int(np.sum(found)),
        "fit_seconds": round(fitted - start, 2),
        "seconds_per_field": round((done - fitted) / len(test), 2),
    }


def main() -> None:
    """Measure all methods whose packages are installed."""
    training, test = fields()
    rows = []
    for name, row in METHODS.items():
        if not row.available:
            print(f"{name}: not run, it needs the package {row.needs}", flush=True)
            continue
        rows.append(measure(name, training, test))
        print(*rows[-1].values(), flush=True)
    target = project_root() / "outputs" / "reference" / "fields" / "earlier_methods.csv"
    with atomic_write(target) as part:
        pd.DataFrame(rows).to_csv(part, index=False, lineterminator="\n")
    print(f"Written: {target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target}")


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
