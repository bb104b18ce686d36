"""Scores of the earlier methods on whole fields with several white cells.

    python benchmarks/measure_fields.py

The public images are crops around one cell, and some methods depend on this. Here they segment synthetic fields of
768 x 1024 px with four to six white cells, after training on fields of 384 x 512 px with two or three cells from the
same slides. Writes outputs/reference/fields/earlier_methods.csv.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from wbcstudy.baselines.methods import build_method
from wbcstudy.data.synthetic.dataset import Smear, make_smear
from wbcstudy.errors import StudyError
from wbcstudy.files import atomic_write, project_root
from wbcstudy.labels import CYTOPLASM, NUCLEUS
from wbcstudy.registry import METHODS
from wbcstudy.scoring.cleanup import clean_up

SLIDES = range(3)
TRAINING_FIELDS = 12
TEST_FIELDS = 6
# The default sizes of `clean_up` are for cells in crops of this area.
CROP_PX = 256**2


def fields() -> tuple[list[Smear], list[Smear]]:
    """Return training and test fields, without overlap."""
    training = [
        make_smear(k, 384, 512, white_cells=(2, 3), slide=SLIDES[k % len(SLIDES)]) for k in range(TRAINING_FIELDS)
    ]
    test = [
        make_smear(1000 + k, 768, 1024, white_cells=(4, 6), slide=SLIDES[k % len(SLIDES)]) for k in range(TEST_FIELDS)
    ]
    return training, test


def cleaned(mask: np.ndarray) -> np.ndarray:
    """Clean up with sizes of the cells; `clean_up` scales them with the image, but these cells do not grow with it."""
    share = CROP_PX / mask.size
    return clean_up(mask, min_nucleus_px=40 * share, min_cell_px=120 * share, opening_px=3 * share**0.5)


def pooled_dice(fields: list[Smear], masks: list[np.ndarray], label: int) -> float:
    """Return the Dice over all pixels of all fields."""
    both = sum(np.sum((field.mask == label) & (mask == label)) for field, mask in zip(fields, masks, strict=True))
    total = sum(np.sum(field.mask == label) + np.sum(mask == label) for field, mask in zip(fields, masks, strict=True))
    return 2 * both / total


def measure(name: str, training: list[Smear], test: list[Smear]) -> dict:
    """Return one row: Dice raw and cleaned, the number of detected nuclei, and processor time in s."""
    start = time.process_time()
    method = build_method(name)
    method.fit([field.image for field in training], [field.mask for field in training], np.random.default_rng(0))
    fitted = time.process_time()
    masks = [method.predict(field.image) for field in test]
    done = time.process_time()
    clean_masks = [cleaned(mask) for mask in masks]
    # A nucleus is detected if more than half of it is labelled as nucleus.
    detected = [
        np.mean(mask[field.nuclei == cell.instance] == NUCLEUS) > 0.5
        for field, mask in zip(test, masks, strict=True)
        for cell in field.cells
    ]
    return {
        "method": name,
        "title": METHODS[name].title,
        "nucleus_dice": round(pooled_dice(test, masks, NUCLEUS), 4),
        "cytoplasm_dice": round(pooled_dice(test, masks, CYTOPLASM), 4),
        "nucleus_dice_cleaned": round(pooled_dice(test, clean_masks, NUCLEUS), 4),
        "cytoplasm_dice_cleaned": round(pooled_dice(test, clean_masks, CYTOPLASM), 4),
        "nuclei": len(detected),
        "nuclei_found": int(np.sum(detected)),
        "fit_seconds": round(fitted - start, 2),
        "seconds_per_field": round((done - fitted) / len(test), 2),
    }


def main() -> None:
    """Measure all methods whose packages are installed, and write the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    training, test = fields()
    rows = []
    for name, row in METHODS.items():
        if not row.available:
            print(f"{name}: not run, needs the package {row.needs}", flush=True)
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
