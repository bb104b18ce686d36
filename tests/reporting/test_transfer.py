"""Tables 8 and 9 and the sentences about other datasets."""

import dataclasses
import re

import numpy as np
import pytest

from tests.helpers.fake_study import blurred, disc_mask, make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.files import write_json
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.scores import fig_transfer
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.tables.render import _format_latex, format_html
from wbcstudy.reporting.tables.transfer import layout_flips, layout_transfer
from wbcstudy.reporting.text.cautions import caution_sentences
from wbcstudy.reporting.text.transfer import transfer_sentences
from wbcstudy.runs.results import write_record
from wbcstudy.scoring.evaluation import score_masks, write_scores
from wbcstudy.study.other_datasets import OtherDataset

AWAY = OtherDataset(
    "away", "away", "Cells <b>elsewhere</b> {{x <b>y}}", "ff", 12, {}, ("f0", "f1"), citation="Somebody & al."
)


def score_away(runs, blur, cases=12):
    """Write scores of the runs on another dataset, for predictions of this quality."""
    for run in runs:
        draw = np.random.default_rng(5)
        masks = [disc_mask(draw) for _ in range(cases)]
        predictions = [blurred(mask, draw, blur[run.config.encoder]) for mask in masks]
        folder = run.folder.transfer("away")
        ids = [f"f{index}" for index in range(cases)]
        write_scores(score_masks(run.name, ids, [None] * cases, masks, predictions), folder.scores)
        write_record(folder, {"status": "complete", "seconds": 1.0})


@pytest.fixture
def results(tmp_path):
    config = StudyConfig(name="demo", encoders=("resnet18", "unet"), losses=("dice",), folds=2, also_score=("away",))
    results = make_results(tmp_path, config, cases=8)
    facts = vars(AWAY) | {"shared": list(AWAY.shared)}
    write_json(results.study.other_datasets, {"datasets": [facts]})
    return results


def test_a_large_drop_is_described_and_shown_with_its_interval(results):
    score_away(results.runs, {"resnet18": 0.25, "unet": 0.25})
    transfer = results.transfer
    assert set(transfer.table["n"]) == {10} and set(transfer.table["networks"]) == {2}
    assert (transfer.table["drop_ci_low"] > 0.05).any()
    ((title, text),) = transfer_sentences(results)
    assert title == AWAY.title and "This is a large drop. Before" in text and "own test images" in text
    layout = layout_transfer(transfer, results.best.method)
    assert [cells[0].best for _, cells in layout.rows].count(True) == 2
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert layout.heads[2][0].endswith("10 images")
    assert "&lt;b&gt;elsewhere" in format_html(layout) and r"\textbf" in _format_latex(layout)
    figure = fig_transfer(transfer.table, {"away": "Away $x$"})
    assert len(figure.axes) == 2
    write_figure(figure, results.study.figures, "transfer")
    page = write_report(results).read_text(encoding="utf-8")
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "on other datasets?" in page and "Cells &lt;b&gt;elsewhere" in page and "<b>elsewhere" not in page
    assert 'id="block-table8"' in page and "Somebody &amp; al." in page and "2 of the 12 images" in page


def test_a_small_drop_is_small(results):
    score_away(results.runs, {"resnet18": 0.0, "unet": 0.0})
    ((_, text),) = transfer_sentences(results)
    assert "The drop is small (below 0.05)." in text


def test_the_best_method_there_is_named(results):
    best = results.best.encoder
    other = next(encoder for encoder in ("resnet18", "unet") if encoder != best)
    score_away(results.runs, {best: 0.25, other: 0.02})
    better = with_runs(results)
    ((_, text),) = transfer_sentences(better, in_full=True)
    assert "has the highest mean there, and is significantly better for the nucleus" in text
    # Also where most images do not differ, so that the typical difference is 0.
    pairs = {"away": {region: pair.assign(difference=0.0) for region, pair in better.transfer.pairs["away"].items()}}
    better.transfer = dataclasses.replace(better.transfer, pairs=pairs)
    ((_, text),) = transfer_sentences(better, in_full=True)
    assert "is significantly better for the nucleus" in text
    score_away(results.runs, {best: 0.02, other: 0.25})
    ((_, text),) = transfer_sentences(with_runs(results), in_full=True)
    assert "No other pair has a higher mean there." in text


def test_failed_and_missing_scores_are_cautions(results):
    score_away(results.runs[:2], {"resnet18": 0.1, "unet": 0.1})
    record = {"status": "failed", "error": "There is no model.\nExpected: one"}
    write_record(results.runs[2].folder.transfer("away"), record)
    cautions = " ".join(caution_sentences(results))
    assert f"{results.runs[2].name} could not be scored on away: There is no model." in cautions
    assert "Some runs have not been scored on away yet" in cautions
    assert "There is no model." in write_report(results).read_text(encoding="utf-8")


def test_a_study_without_other_datasets(results):
    results.study.other_datasets.unlink()
    assert results.transfer.table.empty and transfer_sentences(results) == []
    assert not {"transfer", "flips"} & set(results.tables)
    assert "on other datasets?" not in write_report(results).read_text(encoding="utf-8")


def test_the_effect_of_flips_is_that_on_the_same_images(results):
    for run in results.runs[:2]:
        worse = run.scores.assign(dice=run.scores["dice"] - 0.01)
        write_scores(worse, run.folder.scores_of("single"))
    table = results.flips
    assert set(table["method"]) == {f"{results.runs[0].config.encoder}__dice"} and set(table["n"]) == {16}
    assert table["difference"].tolist() == pytest.approx([0.01, 0.01])
    assert (table["flips"] - table["single"]).tolist() == pytest.approx([0.01, 0.01])
    layout = layout_flips(table)
    assert layout.rows[0][0] == "Nucleus, 16 images"
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    assert with_runs(results, results.runs[2:]).flips.empty
