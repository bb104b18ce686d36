"""Labels, regions and their colours; no other module defines these numbers.

A *label* is the integer of a mask pixel; labels are disjoint. A *region* is a named union of labels, and scores are per
region: the cell is the union of nucleus and cytoplasm.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BACKGROUND, CYTOPLASM, NUCLEUS = 0, 1, 2

LABELS = MappingProxyType({"background": BACKGROUND, "cytoplasm": CYTOPLASM, "nucleus": NUCLEUS})
NUM_LABELS = len(LABELS)
# Mask pixels without label: void borders, unlabelled areas. They neither train nor score; no prediction has them.
IGNORED = 255

REGIONS = MappingProxyType(
    {"nucleus": (NUCLEUS,), "cytoplasm": (CYTOPLASM,), "cell": (CYTOPLASM, NUCLEUS)},
)

# Palette of Okabe and Ito (2008): distinguishable with the common colour-vision deficiencies, and different from the
# violet, pink and grey of a stained smear.
REGION_COLOURS = MappingProxyType({"nucleus": "#F0E442", "cytoplasm": "#009E73", "cell": "#0072B2"})
DIFFERENCE_COLOURS = MappingProxyType({"missed": "#D55E00", "added": "#56B4E9", "confused": "#000000"})


def region_mask(mask: np.ndarray, region: str) -> np.ndarray:
    """Return where a region is.

    Args:
        mask: integer labels, any shape.
        region: a key of `REGIONS`.

    Returns:
        Boolean array of the same shape.
    """
    import numpy as np

    return np.isin(mask, REGIONS[region])
