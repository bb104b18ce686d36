"""Region growing: what can be reached from seeds without leaving what is allowed."""

import numpy as np


def grow(seeds: np.ndarray, allowed: np.ndarray, connectivity: int = 1) -> np.ndarray:
    """Grow seeds through allowed neighbours until none is left.

    Equal to a breadth-first search from the seeds, but done by labelling connected pieces, in linear time.

    Args:
        seeds: boolean (H, W). A seed is part of the result whether or not it is allowed.
        allowed: boolean (H, W), pixels that may join.
        connectivity: 1 for the 4 neighbours that share an edge, 2 for all 8.

    Returns:
        Boolean (H, W); no pixel where there is no seed.
    """
    from skimage.measure import label

    pieces = label(seeds | allowed, connectivity=connectivity)
    reached = np.zeros(pieces.max() + 1, bool)
    reached[pieces[seeds]] = True
    reached[0] = False
    return reached[pieces]
