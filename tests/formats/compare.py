"""Compare what a file is read as with what was written."""

from types import SimpleNamespace

import numpy as np

from tests.formats.files import Written
from wbcstudy.data.images import read_image
from wbcstudy.data.masks import read_mask
from wbcstudy.errors import StudyError

NAMES = ("background", "cytoplasm", "nucleus")


def compare(written: Written) -> tuple[str, str]:
    """Read a file; return "equal", "refused" or "different", and the reason."""
    try:
        if written.labels is not None:
            labels = dict(zip(NAMES, ((value,) for value in written.values), strict=True))
            spec = SimpleNamespace(labels=labels, tolerance=0, ignore=())
            read, expected = read_mask(written.path, spec)[0], written.labels
        else:
            read, expected = read_image(written.path), written.shown
    except StudyError as error:
        return "refused", error.message
    if read.shape != expected.shape:
        return "different", f"shape {read.shape}"
    difference = np.abs(read.astype(int) - expected.astype(int))
    return ("equal", "") if difference.max() <= written.tolerance else ("different", f"by up to {difference.max()}")
