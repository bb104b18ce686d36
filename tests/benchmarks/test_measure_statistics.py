"""The benchmark of the statistics, with few samples."""

import sys

import pandas as pd
import pytest

from tests.helpers.checkout import ROOT


@pytest.mark.parametrize("part", ["coverage", "error_rates"])
def test_the_measured_rates_are_written(part, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure_statistics

    monkeypatch.setattr(sys, "argv", ["measure_statistics.py", part, "--quick", "--output", str(tmp_path)])
    measure_statistics.main()
    table = pd.read_csv(tmp_path / f"{part}.csv")
    if part == "coverage":
        means = table[table["interval"] == "mean Dice"].set_index("n")
        assert means.loc[8, "covered"].isna().all() and means.loc[20, "covered"].ge(0.8).all()
        kinds = {"difference of two networks", "drop to another dataset", "pooled Dice", "bias of areas"}
        assert kinds | {"rank of the mean", "mean NSD", "mean HD95", "mean ASSD"} < set(table["interval"])
    else:
        assert table["false_alarms"].between(0, 1).all() and (table["detectable"] > 0).all()
