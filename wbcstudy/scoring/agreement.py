"""Agreement of predicted and expert's areas: bias and limits of agreement (Bland and Altman).

Cytologists use the areas of nucleus and cytoplasm and their ratio. An overlap does not show whether a network draws
them too large or too small. Areas are those of the whole image, from the pixel counts of scores.csv.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from wbcstudy.scoring.case_tables import Groups, add_methods, average_groups
from wbcstudy.scoring.intervals import MIN_UNITS
from wbcstudy.scoring.statistics import combine_variances

# Quantity -> regions whose areas it needs.
QUANTITIES = {
    "nucleus area": ("nucleus",),
    "cytoplasm area": ("cytoplasm",),
    "cell area": ("cell",),
    "nucleus-to-cytoplasm ratio": ("nucleus", "cytoplasm"),
}
RATIO = "nucleus-to-cytoplasm ratio"


def measure_areas(scores: pd.DataFrame) -> pd.DataFrame:
    """Compute reference and predicted areas of each case and run.

    Args:
        scores: rows as `score_masks` returns them, of any number of runs.

    Returns:
        One row per run, case and quantity: run, case_id, quantity, reference, predicted. Areas are in px. A ratio is
        NaN without cytoplasm in either mask. Quantities of regions without scores are left out.
    """
    columns = ["run", "case_id", "quantity", "reference", "predicted"]
    if scores.empty:
        return pd.DataFrame(columns=columns)
    areas = scores.assign(reference=scores["tp"] + scores["fn"], predicted=scores["tp"] + scores["fp"])
    by_region = areas.pivot(index=["run", "case_id"], columns="region", values=["reference", "predicted"])  # noqa: PD010
    parts = []
    for quantity, regions in QUANTITIES.items():
        if not set(regions) <= set(scores["region"]):
            continue
        values = {name: by_region[name][regions[0]].astype(float) for name in ("reference", "predicted")}
        if len(regions) == 2:
            values = {name: top / by_region[name][regions[1]].replace(0, np.nan) for name, top in values.items()}
        parts.append(pd.DataFrame(values).reset_index().assign(quantity=quantity))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def limits_of_agreement(measured: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Compute bias and limits of agreement of each method.

    The bias is the mean of predicted minus reference, with a 95 % interval over cases, or over groups of cases, that
    includes one imagined case as in `statistics.paired_differences`. The limits are bias +- 1.96 standard deviations of
    the differences of single predictions. The standard deviation includes the variation between trainings.

    Args:
        measured: rows as `measure_areas` returns them.
        groups: case id -> group, whose cases are one unit of the interval.

    Returns:
        One row per method and quantity: method, quantity, n (cases where both are defined), reference (mean), bias,
        bias_low, bias_high, limit_low, limit_high. NaN ends with fewer than `MIN_UNITS` units, NaN limits with fewer
        than two predictions.

    Source:
        Bland, Altman (1986), The Lancet 327, 307-310, https://doi.org/10.1016/S0140-6736(86)90837-8.
    """
    columns = ["method", "quantity", "n", "reference", "bias", "bias_low", "bias_high", "limit_low", "limit_high"]
    if measured.empty:
        return pd.DataFrame(columns=columns)
    rows = add_methods(measured.assign(region=measured["quantity"])).dropna(subset=["reference", "predicted"])
    rows["difference"] = rows["predicted"] - rows["reference"]
    results = []
    for (method, quantity), part in rows.groupby(["method", "quantity"], sort=False):
        by_case = part.groupby("case_id")[["reference", "difference"]].mean()
        bias, spread = by_case["difference"].mean(), part["difference"].std()
        units = average_groups(by_case[["difference"]], groups)["difference"]
        half = agreement_factor(len(units)) * units.std() if len(units) >= MIN_UNITS else np.nan
        row = (method, quantity, len(by_case), by_case["reference"].mean())
        results.append((*row, bias, bias - half, bias + half, bias - 1.96 * spread, bias + 1.96 * spread))
    return pd.DataFrame(results, columns=columns)


def agreement_factor(units: int) -> float:
    """Return half the width of the interval of a bias, in standard deviations of the differences of the units."""
    from scipy.stats import t

    variance, df = combine_variances(1 / units, units)
    return float(t.isf(0.025, df) * np.sqrt(variance))
