"""Figure of the error of areas."""

import numpy as np
import pandas as pd

from wbcstudy.reporting.figures.areas import fig_areas
from wbcstudy.scoring.agreement import RATIO, limits_of_agreement, measure_areas


def test_each_quantity_has_a_panel_with_bias_and_limits():
    draw = np.random.default_rng(0)
    rows = [
        ("unet__dice__fold0__seed0", f"c{k}", region, 1000 + 10 * k, int(draw.integers(50)), int(draw.integers(30)))
        for k in range(15)
        for region in ("nucleus", "cytoplasm", "cell")
    ]
    scores = pd.DataFrame(rows, columns=["run", "case_id", "region", "tp", "fp", "fn"])
    measured = measure_areas(scores)
    limits = limits_of_agreement(measured)
    figure = fig_areas(measured, limits, pixel_size_um=0.1)
    assert len(figure.axes) == 4
    for axis, row in zip(figure.axes, limits.itertuples(), strict=True):
        factor = 1 if row.quantity == RATIO else 0.01
        heights = [line.get_ydata()[0] for line in axis.lines]
        np.testing.assert_allclose(heights, factor * np.array([0, row.bias, row.limit_low, row.limit_high]))
        assert len(axis.collections[0].get_offsets()) == 15
    assert figure.axes[0].get_xlabel() == "mean of both, µm²"


def test_without_scores_it_says_so():
    assert not fig_areas(measure_areas(pd.DataFrame()), limits_of_agreement(measure_areas(pd.DataFrame()))).axes
