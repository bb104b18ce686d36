"""Find images that show the same cell: resized, cropped, shifted, turned, mirrored, brighter, or saved as JPEG.

Every image becomes a grey square. Three steps, each on the gradients, which do not depend on brightness:

1. *Candidates.* A descriptor is the magnitude of the gradient in 12x12 fields of a window, whitened. The descriptor of
   the whole image is searched among those of 19 windows in eight orientations of all other images, and the descriptor
   of the window around its cell among those of three such windows. Each image gets its nearest few candidates.
2. *Rough check.* At half the size, the gradient vectors of the aligned windows are correlated at all shifts.
3. *Final check.* At full size, the alignment is refined to an affine one. Two images are a pair if the correlation of
   their gradient vectors is at least `MIN_CORRELATION`.

`benchmarks/duplicates.py` measures how many copies are found.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

# Between the lowest pair of Dataset 1 (0.97) and the highest of two different cells (0.95).
MIN_CORRELATION = 0.96
# Side of the squares in px.
SIDE_PX = 96
_FIELDS = 12
_ZOOMS = (1.0, 1.15, 1.35)
# Half the side of the window around a cell, in standard deviations of its gradients, and its variations.
_CELL_RADIUS = 1.6
_CELL_ZOOMS = (1.0, 0.85, 1.17)
_ORIENTATIONS = 8
# Candidates per image and descriptor, and their smallest similarity.
_NEAREST = 3
_MIN_SCORE = 0.35
# Images per matrix product, which has _BLOCK * 19 * 8 * N elements.
_BLOCK = 8
# Regularisation of the whitening, as a share of the mean variance.
_WHITENING = 0.1
_WHITENING_IMAGES = 2000
# Share of the square's side that is compared.
_TEMPLATE = 0.625
_ROUGH_ZOOMS = (0.91, 1.0, 1.1)
_MIN_ROUGH = 0.8
# Smallest share of the compared square that is inside of both images.
_MIN_INSIDE = 0.6
_ITERATIONS = 15


class Pair(NamedTuple):
    """Two images of the same cell.

    Args:
        first: index of an image.
        second: index of another, larger than `first`.
        correlation: correlation of the gradient vectors of the aligned images, `MIN_CORRELATION` to 1.
    """

    first: int
    second: int
    correlation: float


class _Candidate(NamedTuple):
    """An alignment: the `window` of image `first`, turned by `orientation`, may show the `target` of image `second`.

    Windows are (top, left, height, width) in px.
    """

    first: int
    second: int
    window: np.ndarray
    orientation: int
    target: np.ndarray


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 (H, W, 3), as a grey square, uint8 (S, S), S = `SIDE_PX`."""
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


def find_pairs(thumbnails: np.ndarray) -> list[Pair]:
    """Find images that show the same cell.

    Args:
        thumbnails: uint8 (N, S, S), from `make_thumbnail`; no two are of equal images.

    Returns:
        The pairs, sorted. If an image has many copies, not every pair of them is listed, but each copy is in a pair.
    """
    if len(thumbnails) < 2:
        return []
    best: dict[tuple[int, int], tuple[float, np.ndarray]] = {}
    candidates = sorted(_candidates(thumbnails), key=lambda candidate: candidate.second)
    for second, group in itertools.groupby(candidates, key=lambda candidate: candidate.second):
        target = _RoughTarget(thumbnails[second])
        for candidate in group:
            pair = candidate.first, second
            rough, transform = target.correlate(_halve(thumbnails[candidate.first]), candidate)
            if rough > best.get(pair, (_MIN_ROUGH,))[0]:
                best[pair] = rough, transform
    pairs: dict[tuple[int, int], float] = {}
    for (first, second), (_, transform) in best.items():
        correlation = _refine(thumbnails[first], thumbnails[second], transform)
        key = min(first, second), max(first, second)
        pairs[key] = max(correlation, pairs.get(key, 0.0))
    return sorted(Pair(*key, correlation) for key, correlation in pairs.items() if correlation >= MIN_CORRELATION)


def _candidates(thumbnails: np.ndarray) -> Iterator[_Candidate]:
    fixed = _fixed_windows()
    by_window, by_cell, cells = _describe(thumbnails, fixed)
    for first, second, window, orientation in _search(by_window):
        yield _Candidate(first, second, fixed[window], orientation, fixed[0])
    for first, second, window, orientation in _search(by_cell):
        yield _Candidate(first, second, cells[first, window], orientation, cells[second, 0])


def _fixed_windows() -> np.ndarray:
    """Return the windows (19, 4), the whole square first."""
    windows = []
    for zoom in _ZOOMS:
        side = SIDE_PX / zoom
        shifts = (0.0, 0.5, 1.0) if zoom > 1 else (0.0,)
        windows += [((SIDE_PX - side) * y, (SIDE_PX - side) * x, side, side) for y in shifts for x in shifts]
    return np.array(windows)


def _describe(thumbnails: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return descriptors (N, windows, 12, 12) of the fixed windows and of those around the cell; and the latter."""
    from scipy.ndimage import gaussian_gradient_magnitude

    n = len(thumbnails)
    by_window = np.empty((n, len(fixed), _FIELDS, _FIELDS), np.float32)
    by_cell = np.empty((n, len(_CELL_ZOOMS), _FIELDS, _FIELDS), np.float32)
    cells = np.empty((n, len(_CELL_ZOOMS), 4))
    rows, columns = _averages(fixed[:, 0], fixed[:, 2]), _averages(fixed[:, 1], fixed[:, 3])
    for k, thumbnail in enumerate(thumbnails):
        magnitude = gaussian_gradient_magnitude(thumbnail.astype(np.float32), 1.0)
        by_window[k] = rows @ magnitude @ columns.transpose(0, 2, 1)
        cells[k] = _cell_windows(magnitude)
        top, left, height, width = cells[k].T
        by_cell[k] = _averages(top, height) @ magnitude @ _averages(left, width).transpose(0, 2, 1)
    return np.sqrt(by_window), np.sqrt(by_cell), cells


def _averages(start: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the matrices (n, 12, S) that average n windows of a line in 12 fields; outside of the image is 0."""
    edges = start[:, None] + side[:, None] * np.arange(_FIELDS + 1) / _FIELDS
    pixels = np.arange(SIDE_PX)
    overlap = np.minimum(edges[:, 1:, None], pixels + 1) - np.maximum(edges[:, :-1, None], pixels)
    return (np.clip(overlap, 0, 1) * (_FIELDS / side[:, None, None])).astype(np.float32)


def _cell_windows(magnitude: np.ndarray) -> np.ndarray:
    """Return windows (3, 4) around the largest cell: the mean and spread of the squared gradient, near that mean."""
    weight, pixels = magnitude.astype(float) ** 2, np.arange(SIDE_PX) + 0.5
    centre, spread = np.full(2, SIDE_PX / 2), np.full(2, np.inf)
    for _ in range(3):
        near = np.exp(-0.5 * ((pixels - centre[:, None]) / spread[:, None]) ** 2)
        profiles = np.stack([near[0] * (weight @ near[1]), near[1] * (near[0] @ weight)])
        profiles /= profiles.sum(axis=1, keepdims=True) + 1e-9
        centre = profiles @ pixels
        variance = (profiles * (pixels - centre[:, None]) ** 2).sum(axis=1) + 1e-9
        # The product with a normal curve narrows the spread; undo it, up to half the image.
        spread = np.maximum(1 / variance - 1 / spread**2, (2 / SIDE_PX) ** 2) ** -0.5
    half = _CELL_RADIUS * np.outer(_CELL_ZOOMS, spread)
    return np.concatenate([centre - half, 2 * half], axis=1)


def _turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn the last two axes by `orientation // 2` quarters; mirror them if it is odd."""
    turned = np.rot90(array, orientation // 2, axes=(-2, -1))
    return turned[..., ::-1] if orientation % 2 else turned


def _orientation_matrix(orientation: int) -> np.ndarray:
    """Return the matrix (2, 2) that maps (y, x) in a turned image to (y, x) in the image."""
    corners = np.array([[[-1.0, -1.0], [1.0, 1.0]], [[-1.0, 1.0], [-1.0, 1.0]]])
    (top_left, top_right), (bottom_left, _) = np.moveaxis(_turn(corners, orientation), 0, -1)
    return np.stack([bottom_left - top_left, top_right - top_left], axis=1) / 2


def _search(descriptors: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Find the nearest descriptors.

    Args:
        descriptors: float32 (N, windows, 12, 12).

    Yields:
        For every image the `_NEAREST` others whose first window is most like one of its windows: index of the image,
        of the other, of the window, and its orientation.
    """
    n = len(descriptors)
    nearest = min(_NEAREST, n - 1)
    whiten = _fit_whitening(descriptors)
    first_windows = np.concatenate([whiten(part[:, :1])[:, 0] for part in np.array_split(descriptors, -(-n // 256))])
    for start in range(0, n, _BLOCK):
        variants = whiten(descriptors[start : start + _BLOCK])
        scores = variants.reshape(-1, variants.shape[-1]) @ first_windows.T
        scores = scores.reshape(*variants.shape[:2], n).max(axis=1)
        for image, (own, row) in enumerate(zip(variants, scores, strict=True), start):
            row[image] = -np.inf
            for other in np.argpartition(-row, nearest - 1)[:nearest]:
                if row[other] >= _MIN_SCORE:
                    best = int((own @ first_windows[other]).argmax())
                    yield image, int(other), *divmod(best, _ORIENTATIONS)


def _fit_whitening(descriptors: np.ndarray):
    """Return a function from descriptors (n, windows, 12, 12) to unit vectors (n, windows * 8, 144).

    Fields that vary together in all images get less weight, so that every image is far from the others.
    """

    def variants(part: np.ndarray) -> np.ndarray:
        turned = np.stack([_turn(part, orientation) for orientation in range(_ORIENTATIONS)], axis=2)
        vectors = turned.reshape(len(part), -1, _FIELDS**2)
        vectors = vectors - vectors.mean(axis=-1, keepdims=True)
        return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)

    sample = descriptors[:: -(-len(descriptors) // _WHITENING_IMAGES)]
    total, products, count = 0.0, 0.0, 0
    for part in np.array_split(sample, -(-len(sample) // 32)):
        vectors = variants(part).reshape(-1, _FIELDS**2)
        total, products = total + vectors.sum(axis=0, dtype=float), products + (vectors.T @ vectors).astype(float)
        count += len(vectors)
    mean = total / count
    variances, axes = np.linalg.eigh(products / count - np.outer(mean, mean))
    scale = (axes / np.sqrt(np.maximum(variances, 0) + _WHITENING * variances.mean() + 1e-12)).astype(np.float32)
    mean = mean.astype(np.float32)

    def whiten(part: np.ndarray) -> np.ndarray:
        vectors = (variants(part) - mean) @ scale
        return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)

    return whiten


@cache
def _gradient_matrices(side: int, sigma: float, margin: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import gaussian_filter1d

    line = np.eye(side, dtype=np.float32)
    smooth, derive = (gaussian_filter1d(line, sigma, axis=0, order=order) for order in (0, 1))
    return smooth[margin : side - margin], derive[margin : side - margin]


def _gradient(square: np.ndarray, sigma: float, margin: int) -> np.ndarray:
    """Return the gradient of smoothed squares (..., S, S), complex64, without a margin in px."""
    smooth, derive = _gradient_matrices(square.shape[-1], sigma, margin)
    return smooth @ square @ derive.T + 1j * (derive @ square @ smooth.T)


def _interpolate(length: int, start: np.ndarray, step: np.ndarray, count: int) -> np.ndarray:
    """Return matrices (n, count, length) that sample a line at px start, start + step, ...; its ends are repeated."""
    positions = np.clip(start[:, None] + step[:, None] * np.arange(count), 0, length - 1)
    return np.maximum(0, 1 - abs(positions[:, :, None] - np.arange(length))).astype(np.float32)


class _RoughTarget:
    """An image at half size, which is correlated with others at all shifts."""

    side = SIDE_PX // 2
    template = 2 * round(side * _TEMPLATE / 2)
    sigma = 0.7
    margin = 3

    def __init__(self, thumbnail: np.ndarray) -> None:
        from scipy import fft

        field = _gradient(_halve(thumbnail), self.sigma, 0)
        self._spectrum = fft.fft2(field)
        sums = np.pad((abs(field).astype(float) ** 2).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        size = self.template
        energy = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
        self._norm = np.sqrt(np.maximum(energy, 1e-9))

    def correlate(self, half: np.ndarray, candidate: _Candidate) -> tuple[float, np.ndarray]:
        """Return the highest correlation, and the transform (2, 3) from px of this image to px of the other.

        Args:
            half: the other image, `_halve` of its thumbnail.
            candidate: where to look.
        """
        from scipy import fft

        window, target = candidate.window / 2, candidate.target / 2
        turn = _orientation_matrix(candidate.orientation)
        scale = window[2:] / abs(turn @ target[2:])
        window_centre, target_centre = window[:2] + window[2:] / 2, target[:2] + target[2:] / 2
        start = np.clip(np.round(target_centre - self.template / 2), 0, self.side - self.template)
        centre = start + self.template / 2
        side, free = self.template + 2 * self.margin, self.side - self.template + 1
        # All zooms at once: each operation on one takes less time than its call.
        steps = np.multiply.outer(_ROUGH_ZOOMS, scale)
        matrices = steps[:, :, None] * turn
        read_centres = window_centre + matrices @ (centre - target_centre)
        first = read_centres - 0.5 - steps * (side - 1) / 2
        rows, columns = (_interpolate(self.side, first[:, k], steps[:, k], side) for k in range(2))
        sampled = _turn(rows @ half @ columns.transpose(0, 2, 1), candidate.orientation)
        fields = _gradient(sampled, self.sigma, self.margin)
        spectra = self._spectrum * np.conj(fft.fft2(fields, self._spectrum.shape))
        products = fft.ifft2(spectra)[:, :free, :free].real
        norms = np.linalg.norm(fields, axis=(1, 2))[:, None, None] + 1e-9
        correlations = products / (self._norm * norms)
        zoom, *shift = np.unravel_index(correlations.argmax(), correlations.shape)
        # This image at `shift` + template / 2 shows the other at the centre that was read; both in px of full size.
        offset = 2 * (read_centres[zoom] - matrices[zoom] @ (np.array(shift) + self.template / 2))
        return float(correlations[zoom, *shift]), np.column_stack([matrices[zoom], offset])


def _sample(square: np.ndarray, side: int, transforms: np.ndarray) -> np.ndarray:
    """Sample squares (..., side, side): the pixel at (y, x) from the centre is read at `transforms` @ (y, x, 1)."""
    from scipy.ndimage import map_coordinates

    offsets = np.arange(side) - (side - 1) / 2
    a, b, c = (transforms[..., :2, k, None, None] for k in range(3))
    positions = a * offsets[:, None] + b * offsets + c
    return map_coordinates(
        square, [positions[..., 0, :, :], positions[..., 1, :, :]], np.float32, order=1, mode="nearest"
    )


def _halve(thumbnail: np.ndarray) -> np.ndarray:
    lines = thumbnail[::2].astype(np.float32) + thumbnail[1::2]
    return (lines[:, ::2] + lines[:, 1::2]) / 4


def _refine(first: np.ndarray, second: np.ndarray, transform: np.ndarray) -> float:
    """Return the highest correlation of the gradients near an alignment (2, 3) from px of `second` to px of `first`.

    Gauss-Newton with the inverse compositional update of Baker and Matthews (2004): `second` is warped to `first`.
    """
    side, margin = 2 * round(SIDE_PX * _TEMPLATE / 2), 3
    matrix, offset = transform[:, :2], transform[:, 2]
    # The centre of the compared square in `second`, so that as much as possible is inside of `first`.
    centre = np.clip(np.linalg.solve(matrix, SIDE_PX / 2 - offset), side / 2, SIDE_PX - side / 2)
    to_first = np.column_stack([matrix, matrix @ centre + offset - 0.5])
    to_second = np.column_stack([np.eye(2), centre - 0.5])
    inside = _sample(np.pad(np.ones((SIDE_PX - 2,) * 2, np.float32), 1), side, to_first)[margin:-margin, margin:-margin]
    if inside.mean() < _MIN_INSIDE:
        return 0.0

    def fields(square: np.ndarray, transforms: np.ndarray) -> np.ndarray:
        values = inside * _gradient(_sample(square, side, transforms), 1.0, margin)
        flat = values.reshape(*values.shape[:-2], -1)
        flat = np.concatenate([flat.real, flat.imag], axis=-1)
        return flat / (np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-9)

    # Half a pixel at the edge of the square for each of the six numbers of an affine transform.
    steps = np.zeros((6, 3, 3))
    for k, (row, column) in enumerate(itertools.product(range(2), range(3))):
        steps[k, row, column] = 0.5 if column == 2 else 1 / side
    wanted = fields(first, to_first)
    # All at once: each takes less time than its calls.
    ahead, back = np.split(fields(first, to_first @ (np.eye(3) + np.concatenate([steps, -steps]))), 2)
    jacobian = ahead / 2 - back / 2
    solve = np.linalg.pinv(jacobian @ jacobian.T) @ jacobian
    best, since = 0.0, 0
    for iteration in range(_ITERATIONS):
        current = fields(second, to_second)
        correlation = float(current @ wanted)
        since = 0 if correlation > best + 1e-4 else since + 1
        best = max(best, correlation)
        if since == 2 or (iteration == 4 and best < _MIN_ROUGH):
            break
        step = np.eye(3) + np.tensordot(solve @ (current - wanted), steps, axes=1)
        if abs(np.linalg.det(step)) < 0.1:
            break
        to_second = to_second @ np.linalg.inv(step)
    return best
