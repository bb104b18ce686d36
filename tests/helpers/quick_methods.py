"""Earlier methods with small settings, and smears that they learn from in seconds."""

from functools import cache

import numpy as np

from wbcstudy.baselines.base import Method, region_dice
from wbcstudy.baselines.methods import build_method
from wbcstudy.data.synthetic.dataset import make_smear
from wbcstudy.labels import region_mask

PIXEL_METHODS = ("settouti2020_tree", "settouti2020_forest", "saidi2018", "settouti2020_ivsel")
SUPERPIXEL_METHODS = ("bechar2019", "bechar2018_tree", "bechar2018_forest", "bechar2018_coforest", "bechar2018_setred")
SIMPLE_METHODS = ("otsu_levels", "forest", "benazzouz2013", "baghli2014", "benomar2021")
_QUICK = {
    "forest": {"trees": 12, "sigmas_px": (2, 4), "spaces": ("rgb", "lab")},
    "bechar2019": {"trees": 10},
    **{name: {"trees": 12, "pixels_per_label": 600, "sigma_px": 1.0} for name in PIXEL_METHODS},
    **{name: {"trees": 10, "labelled_images": 3, "unlabelled_images": 4} for name in SUPERPIXEL_METHODS[1:]},
}
Training = tuple[list[np.ndarray], list[np.ndarray]]


def build_quick(name: str, **params) -> Method:
    return build_method(name, **(_QUICK.get(name, {}) | params))


@cache
def make_training(count: int, first_seed: int = 0) -> Training:
    """Make images and masks of smears of one slide, 160 px wide."""
    smears = [make_smear(first_seed + index, 160, 160, slide=3) for index in range(count)]
    return [smear.image for smear in smears], [smear.mask for smear in smears]


@cache
def make_large_training() -> Training:
    """Make images and masks of four smears with one white cell each, 320 px wide."""
    smears = [make_smear(seed, 240, 320, white_cells=(1, 1), slide=3) for seed in range(4)]
    return [smear.image for smear in smears], [smear.mask for smear in smears]


def _training_of(name: str) -> Training:
    if name in SIMPLE_METHODS:
        return make_large_training()
    return make_training(4 if name in PIXEL_METHODS else 8)


def fit_again(name: str, method: Method) -> Method:
    return method.fit(*_training_of(name), np.random.default_rng(0))


@cache
def fit_quick(name: str) -> Method:
    return fit_again(name, build_quick(name))


def dice(reference: np.ndarray, prediction: np.ndarray, region: str) -> float:
    return region_dice(region_mask(reference, region), region_mask(prediction, region))
