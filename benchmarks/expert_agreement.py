"""Measure how well the expert of Dataset 1 agrees with himself: the masks of images that show the same cell.

    wbcstudy data fetch segmentation_wbc
    python benchmarks/expert_agreement.py

One image of a pair is aligned with the other (scale and shift, by correlation of the gradients), and its mask with it.
Image 112 has the pixels of 139, and is not aligned.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy import fft, ndimage, optimize

from wbcstudy.data.datasets import DATASETS, load_dataset, read_case
from wbcstudy.labels import REGIONS, region_mask
from wbcstudy.scoring.boundary import score_boundary
from wbcstudy.scoring.metrics import count_regions, dice

_SCALES = np.geomspace(0.7, 1.43, 15)


def gradient(image: np.ndarray) -> np.ndarray:
    """Return the magnitude of the gradient of an image, float (H, W)."""
    return ndimage.gaussian_gradient_magnitude(image.mean(axis=-1), 1.0)


def warp(array: np.ndarray, transform, shape, order: int = 1) -> np.ndarray:
    """Sample an array at scale * (y, x) + shift for all pixels of `shape`; NaN outside of the array."""
    scale, *shift = transform
    values = array.astype(float)
    return ndimage.affine_transform(values, [scale, scale], shift, shape, order=order, cval=np.nan)


def correlation(transform, fixed: np.ndarray, moving: np.ndarray) -> float:
    """Return the correlation where both images are; -1 if less than a third of the image is common."""
    moved = warp(moving, transform, fixed.shape)
    inside = ~np.isnan(moved)
    return float(np.corrcoef(fixed[inside], moved[inside])[0, 1]) if inside.mean() > 1 / 3 else -1.0


def align(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the transform (scale, shift in y and x) from px of `fixed` to px of `moving`, and its correlation."""
    starts = []
    for scale in _SCALES:
        zoomed = ndimage.zoom(moving, 1 / scale, order=1)
        shape = np.add(fixed.shape, zoomed.shape)
        spectra = [fft.rfft2(values - values.mean(), shape) for values in (fixed, zoomed)]
        peak = np.unravel_index(fft.irfft2(spectra[0] * np.conj(spectra[1]), shape).argmax(), shape)
        # The zoomed image at 0 is the fixed one at `peak`, which wraps around.
        offset = [p - n if p > n / 2 else p for p, n in zip(peak, shape, strict=True)]
        starts.append(np.array([scale, *(-scale * o for o in offset)]))
    best = sorted(starts, key=lambda start: -correlation(start, fixed, moving))[:3]
    options = {"xatol": 1e-3, "fatol": 1e-6, "maxiter": 400}
    fits = [
        optimize.minimize(
            lambda transform: -correlation(transform, fixed, moving),
            start,
            method="Nelder-Mead",
            options=options | {"initial_simplex": start + np.vstack([np.zeros(3), np.diag([0.03, 2, 2])])},
        )
        for start in best
    ]
    result = min(fits, key=lambda result: result.fun)
    return result.x, -result.fun


def measure(dataset) -> pd.DataFrame:
    """Return a row per pair: the correlation, and the Dice of each region."""
    rows = []
    for pair in DATASETS["segmentation_wbc_1"].duplicates:
        (image, mask), (other, other_mask) = (read_case(dataset, dataset.case(case)) for case in pair)
        if image.shape == other.shape and (image == other).all():
            moved, value = other_mask.astype(float), 1.0
            nsd = {name: score_boundary(region_mask(mask, name), region_mask(other_mask, name)).nsd for name in REGIONS}
            print(pair, "NSD at 2 px:", {name: round(score, 3) for name, score in nsd.items()})
        else:
            transform, value = align(gradient(image), gradient(other))
            moved = warp(other_mask, transform, mask.shape, order=0)
        inside = ~np.isnan(moved)
        counts = count_regions(mask[inside][None], moved[inside][None].astype(np.uint8))
        rows.append({"pair": "=".join(pair), "correlation": value} | {name: dice(*counts[name]) for name in REGIONS})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="segmentation_wbc_1", help="name or dataset.yaml of Dataset 1")
    table = measure(load_dataset(parser.parse_args().dataset))
    print(table.round(3).to_string(index=False))
    print(table[list(REGIONS)].mean().round(4).to_string())
