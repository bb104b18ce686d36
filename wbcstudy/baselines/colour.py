"""Colour features of each pixel: seven colour spaces, and smoothed copies."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage import color

from wbcstudy.baselines.base import check_image
from wbcstudy.errors import StudyError

# Components of each colour space, in the order of the features.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "hsv": ("hue", "saturation", "value"),
    "lab": ("lab_l", "lab_a", "lab_b"),
    "luv": ("luv_l", "luv_u", "luv_v"),
    "ycbcr": ("luma", "cb", "cr"),
    "hed": ("haematoxylin", "eosin", "dab"),
    "nrg": ("red_share", "green_share"),
}
SPACES = tuple(COMPONENTS)


def colour_features(image: np.ndarray, spaces: Sequence[str] = SPACES, sigmas_px: Sequence[float] = ()) -> np.ndarray:
    """Compute colour components of each pixel, followed by Gaussian-smoothed copies.

    The components have scikit-image's ranges: RGB, HSV and the shares 0 to 1; L 0 to 100, a, b, u and v about -130 to
    225; luma 16 to 235, Cb and Cr 16 to 240; stains (Ruifrok and Johnston 2001) as optical densities, 0 or more. The
    shares r/(r+g+b) and g/(r+g+b) of a black pixel are 1/3, as those of grey. Hue is an angle and jumps from 1 to 0 at
    red; a smoothed hue is the mean of the numbers, not of the angles.

    Args:
        image: uint8 (H, W, 3) RGB.
        spaces: keys of `COMPONENTS`, in the order of the features.
        sigmas_px: standard deviations of the Gaussians, in px of this image; each adds a smoothed copy of all
            components. The border is mirrored. Empty for no smoothed copies.

    Returns:
        float32 (H, W, F), where F is the length of `feature_names(spaces, sigmas_px)`.

    Raises:
        StudyError: not an RGB image, an unknown or missing colour space, or a sigma that is not above 0.
    """
    check_image(image)
    _check_parameters(spaces, sigmas_px)
    plain = colour_components(image.astype(np.float32) / 255, spaces)
    copies = [plain]
    for sigma in sigmas_px:
        # Channel by channel on contiguous planes: three times as fast as one call on interleaved ones.
        planes = [
            gaussian_filter(np.ascontiguousarray(plain[..., k]), sigma, truncate=3) for k in range(plain.shape[-1])
        ]
        copies.append(np.stack(planes, axis=-1))
    return np.concatenate(copies, axis=-1)


def colour_components(rgb: np.ndarray, spaces: Sequence[str]) -> np.ndarray:
    """Compute the components, float32 (H, W, F), of an image in floating point, (H, W, 3), 0-1.

    `colour_features` documents their ranges.

    Raises:
        StudyError: an unknown or missing colour space.
    """
    _check_parameters(spaces, ())
    return np.concatenate([_CONVERTERS[space](rgb) for space in spaces], axis=-1).astype(np.float32, copy=False)


def feature_names(spaces: Sequence[str] = SPACES, sigmas_px: Sequence[float] = ()) -> tuple[str, ...]:
    """Return the names of the features, in order: "green", ..., "green_s2" for a component smoothed with 2 px.

    Raises:
        StudyError: an unknown or missing colour space, or a sigma that is not above 0.
    """
    _check_parameters(spaces, sigmas_px)
    plain = tuple(name for space in spaces for name in COMPONENTS[space])
    return plain + tuple(f"{name}_s{sigma:g}" for sigma in sigmas_px for name in plain)


def _check_parameters(spaces, sigmas_px) -> None:
    unknown = [space for space in spaces if space not in COMPONENTS]
    if unknown or not len(spaces) or isinstance(spaces, str):
        raise StudyError(
            f"Unknown colour space {unknown[0]!r}." if unknown else "No colour space is given.",
            expected=f"a list of one or more of {', '.join(SPACES)}",
            fix="Change `spaces`.",
        )
    for sigma in sigmas_px:
        if not sigma > 0:
            raise StudyError(
                f"Cannot smooth with sigma {sigma!r} px.", expected="numbers above 0", fix="Change `sigmas_px`."
            )


def _shares(rgb: np.ndarray) -> np.ndarray:
    total = rgb.sum(axis=-1, keepdims=True)
    return np.divide(rgb[..., :2], total, out=np.full_like(rgb[..., :2], 1 / 3), where=total > 0)


_CONVERTERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": lambda rgb: rgb,
    "hsv": color.rgb2hsv,
    "lab": color.rgb2lab,
    "luv": color.rgb2luv,
    "ycbcr": color.rgb2ycbcr,
    "hed": color.rgb2hed,
    "nrg": _shares,
}
