"""Figure of the error of areas (Bland and Altman)."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from wbcstudy.reporting.figures.canvas import PAGE_IN, StudyFigure, make_axes, make_blank, styled
from wbcstudy.reporting.figures.colours import BLUE, INK
from wbcstudy.scoring.agreement import RATIO
from wbcstudy.wording import capitalise


@styled
def fig_areas(measured: pd.DataFrame, limits: pd.DataFrame, pixel_size_um: float | None = None) -> StudyFigure:
    """Draw prediction minus expert against their mean, with bias and limits of agreement; a panel per quantity.

    Args:
        measured: rows of `measure_areas` of one method.
        limits: rows of `limits_of_agreement` of that method.
        pixel_size_um: side of a pixel, if known; areas are then in square micrometres.
    """
    if limits.empty:
        return make_blank("No network has scores yet.")
    figure, axes = make_axes(1, len(limits), PAGE_IN, 2.4, squeeze=False)
    for axis, row in zip(axes[0], limits.itertuples(), strict=True):
        points = measured[measured["quantity"] == row.quantity]
        factor = 1.0 if row.quantity == RATIO else (pixel_size_um or 1.0) ** 2
        unit = "" if row.quantity == RATIO else ", µm²" if pixel_size_um else ", px"
        mean, difference = (points["predicted"] + points["reference"]) / 2, points["predicted"] - points["reference"]
        axis.scatter(factor * mean, factor * difference, s=10, color=BLUE, alpha=0.7, linewidth=0)
        axis.axhline(0, color="#999999", lw=0.8)
        axis.axhline(factor * row.bias, color=INK, lw=1.2)
        for limit in (row.limit_low, row.limit_high):
            if np.isfinite(limit):
                axis.axhline(factor * limit, color=INK, lw=1, ls="--")
        axis.set(title="\n".join(textwrap.wrap(capitalise(row.quantity), 20)), xlabel=f"mean of both{unit}")
    axes[0, 0].set_ylabel("prediction minus expert")
    return figure
