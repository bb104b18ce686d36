"""Notebook 4 on a finished study: everything is computed and read once."""

import collections

import nbformat
import pandas as pd
import pytest

import wbcstudy.reporting.results
from tests.helpers.checkout import ROOT
from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.registry import METHODS
from wbcstudy.runs.results import write_record
from wbcstudy.scoring.evaluation import write_scores

COUNTED = ("decide", "make_table1", "compare_regions", "load_transfer", "score_votes", "friedman_nemenyi")


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished study with an earlier method; returns its file and the results before the notebook is run."""
    monkeypatch.setenv("WBCSTUDY_OUTPUTS", str(tmp_path / "outputs"))
    config = StudyConfig(name="flow", encoders=("resnet18", "unet"), baselines=("otsu_levels",))
    results = make_results(tmp_path / "outputs", config, cases=7)
    for run in config.baseline_runs():
        folder = results.study.baseline(run.name)
        facts = METHODS[run.method].facts()
        for variant in ("raw", "cleaned", "central"):
            write_scores(results.runs[0].scores.assign(run=f"{run.name}__seed0"), folder.scores_of(variant))
        write_record(folder, {"status": "complete", "method": facts, "fit_seconds": 1.0, "seconds_per_image": 0.1})
    study_file = tmp_path / "flow.yaml"
    write_yaml(results.config, study_file)
    return study_file, results


def run_notebook(study_file) -> None:
    """Execute the code cells of notebook 4 in one namespace."""
    namespace = {}
    for cell in nbformat.read(ROOT / "notebooks" / "4_summary.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            is_parameters = "parameters" in cell.metadata.get("tags", [])
            exec(f"study_file = {str(study_file)!r}" if is_parameters else cell.source, namespace)


def test_notebook_4_computes_each_thing_once_and_reads_each_scores_file_once(finished, monkeypatch):
    study_file, results = finished
    calls, reads = collections.Counter(), collections.Counter()

    def count(name, function, key=lambda *arguments: ""):
        def counted(*arguments, **options):
            calls[name, key(*arguments)] += 1
            return function(*arguments, **options)

        return counted

    module = wbcstudy.reporting.results
    for name in COUNTED:
        key = (lambda *arguments: arguments[1]) if name == "friedman_nemenyi" else lambda *_: ""
        monkeypatch.setattr(module, name, count(name, getattr(module, name), key))
    read_csv = pd.read_csv

    def counted_read(path, *arguments, **options):
        if str(path).endswith(".csv") and "scores" in str(path):
            reads[path] += 1
        return read_csv(path, *arguments, **options)

    monkeypatch.setattr(pd, "read_csv", counted_read)
    run_notebook(study_file)

    once = {(name, "") for name in COUNTED[:-1]}
    regions = {(COUNTED[-1], region) for region in ("nucleus", "cytoplasm")}
    assert calls == dict.fromkeys(once | regions, 1)
    # The positions of points in a figure are not scores.
    points = results.study.figures / "scores_points.csv"
    reads.pop(points)
    files = set(results.study.path.rglob("scores*.csv")) - {points}
    assert len(files) == 2 * 4 + 3
    # Validation scores of networks that are not cheaper than the best are not needed.
    needed = {path for path in files if path.stem != "scores_validation"}
    assert set(reads.values()) == {1} and needed <= reads.keys() <= files
    assert results.study.report.is_file()
    assert {f"table{number}.csv" for number in range(1, 8)} - {"table5.csv"} <= {
        path.name for path in results.study.tables.glob("*.csv")
    }
