"""Bias and limits of agreement of areas."""

import numpy as np
import pandas as pd
import pytest

from wbcstudy.scoring.agreement import QUANTITIES, RATIO, limits_of_agreement, measure_areas


def counts(areas) -> pd.DataFrame:
    """Return scores of {(run, case, region): (expert's area, predicted area)}, which overlap as much as they can."""
    rows = [(*key, min(pair), max(0, pair[1] - pair[0]), max(0, pair[0] - pair[1])) for key, pair in areas.items()]
    return pd.DataFrame(rows, columns=["run", "case_id", "region", "tp", "fp", "fn"])


def test_areas_and_ratio_of_one_case():
    measured = measure_areas(
        counts({("a", "c", "nucleus"): (40, 44), ("a", "c", "cytoplasm"): (80, 55), ("a", "c", "cell"): (120, 99)})
    ).set_index("quantity")
    assert list(measured.index) == list(QUANTITIES)
    assert measured.loc["nucleus area", ["reference", "predicted"]].tolist() == [40, 44]
    assert measured.loc[RATIO, ["reference", "predicted"]].tolist() == [0.5, 0.8]


def test_without_cytoplasm_there_is_no_ratio():
    measured = measure_areas(counts({("a", "c", "nucleus"): (40, 44), ("a", "c", "cytoplasm"): (80, 0)}))
    assert limits_of_agreement(measured)["quantity"].tolist() == ["nucleus area", "cytoplasm area"]


def test_bias_and_limits_are_those_of_bland_and_altman():
    differences = np.array([3, -1, 2, 0, 4, 1, -2, 5, 2, 1, 0, 3])
    areas = {("a", f"c{k}", "nucleus"): (50, 50 + int(d)) for k, d in enumerate(differences)}
    row = limits_of_agreement(measure_areas(counts(areas))).iloc[0]
    spread = differences.std(ddof=1)
    assert (row["n"], row["reference"]) == (12, 50) and row["bias"] == pytest.approx(1.5)
    assert [row["limit_low"], row["limit_high"]] == pytest.approx([1.5 - 1.96 * spread, 1.5 + 1.96 * spread])
    # 2.201 is the 97.5 % quantile of t with 11 degrees of freedom; the last factor is that of the imagined image.
    half = 2.201 * spread / np.sqrt(12) * np.sqrt(1 + 36 / 12)
    assert row["bias_high"] - row["bias"] == pytest.approx(half, rel=1e-4)


def test_trainings_are_averaged_by_case_and_few_groups_have_no_interval():
    runs = ("unet__dice__fold0__seed0", "unet__dice__fold0__seed1")
    areas = {(run, f"c{k}", "nucleus"): (50, 50 + 2 * s) for s, run in enumerate(runs) for k in range(12)}
    row = limits_of_agreement(measure_areas(counts(areas))).iloc[0]
    assert row["n"] == 12 and row["bias"] == row["bias_low"] == 1 and row["limit_high"] > 2
    grouped = limits_of_agreement(measure_areas(counts(areas)), {f"c{k}": k % 3 for k in range(12)}).iloc[0]
    assert np.isnan(grouped["bias_low"]) and grouped["bias"] == 1


def test_no_scores_give_no_rows():
    assert limits_of_agreement(measure_areas(pd.DataFrame())).empty
