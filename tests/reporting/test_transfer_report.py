"""Other datasets and test-time flips in the report."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from tests.helpers.fake_study import blurred, disc_mask, make_study
from wbcstudy.config import StudyConfig
from wbcstudy.files import write_json
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.scores import fig_transfer
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.tables.render import format_html, format_latex
from wbcstudy.reporting.transfer import (
    Transfer,
    layout_flips,
    layout_transfer,
    load_transfer,
    make_flips,
    make_transfer_tables,
    tell_transfer,
    tell_transfer_in_full,
    transfer_cautions,
)
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import write_record
from wbcstudy.scoring.evaluation import score_masks, write_scores
from wbcstudy.study.other_datasets import OtherDataset

AWAY = OtherDataset(
    "away", "away", "Cells <b>elsewhere</b> {{x <b>y}}", "ff", 12, {}, ("f0", "f1"), citation="Somebody & al."
)


def score_away(runs, blur, cases=12):
    """Scores of the runs on another dataset, of predictions this much worse than the reference."""
    for run in runs:
        draw = np.random.default_rng(5)
        masks = [disc_mask(draw) for _ in range(cases)]
        found = [blurred(mask, draw, blur[run.config.encoder]) for mask in masks]
        folder = run.folder.transfer("away")
        ids = [f"f{index}" for index in range(cases)]
        write_scores(score_masks(run.name, ids, [None] * cases, masks, found), folder.scores)
        write_record(folder, {"status": "complete", "seconds": 1.0})


@pytest.fixture
def study(tmp_path):
    config = StudyConfig(name="demo", encoders=("resnet18", "unet"), losses=("dice",), folds=2, also_score=("away",))
    runs = make_study(tmp_path, config, cases=8)
    write_json(
        StudyFolder(tmp_path / "demo").other_datasets, {"datasets": [vars(AWAY) | {"shared": list(AWAY.shared)}]}
    )
    return StudyFolder(tmp_path / "demo"), config, runs


def test_a_large_loss_is_said_in_words_and_shown_with_its_interval(study):
    folder, config, runs = study
    score_away(runs, {"resnet18": 0.25, "unet": 0.25})
    transfer = load_transfer(folder, runs)
    assert set(transfer.table["n"]) == {10} and set(transfer.table["networks"]) == {2}
    assert (transfer.table["drop_ci_low"] > 0.05).any()
    ((title, words),) = tell_transfer(transfer)
    assert title == AWAY.title and "It loses much there: do not use it" in words and "on its own test images" in words
    layout = layout_transfer(transfer)
    assert [cells[0].best for _, cells in layout.rows].count(True) == 2
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert layout.heads[2][0].endswith("10 images")
    assert "&lt;b&gt;elsewhere" in format_html(layout) and r"\textbf" in format_latex(layout)
    assert len(fig_transfer(transfer.table, {"away": "Away $x$"}).axes) == 2
    write_figure(fig_transfer(transfer.table, {}), folder.figures, "transfer")
    page = write_report(folder, config, runs, transfer=transfer).read_text(encoding="utf-8")
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "another laboratory" in page and "Cells &lt;b&gt;elsewhere" in page and "<b>elsewhere" not in page
    assert 'id="block-table8"' in page and "Somebody &amp; al." in page and "2 of the 12 images" in page


def test_no_loss_is_not_made_one(study):
    folder, _, runs = study
    score_away(runs, {"resnet18": 0.0, "unet": 0.0})
    ((_, words),) = tell_transfer(load_transfer(folder, runs))
    assert "loses little there" in words


def test_the_method_that_does_best_there_is_named(study):
    folder, _, runs = study
    score_away(runs, {"resnet18": 0.25, "unet": 0.25})
    transfer = load_transfer(folder, runs)
    other = next(encoder for encoder in ("resnet18", "unet") if encoder != transfer.best.encoder)
    score_away(runs, {transfer.best.encoder: 0.25, other: 0.02})
    ((_, words),) = tell_transfer_in_full(load_transfer(folder, runs))
    assert "has the highest mean there, and is better than it by more than chance for the nucleus" in words
    # Also where most images do not differ, so that the typical difference is 0.
    found = load_transfer(folder, runs)
    pairs = {"away": {region: pair.assign(difference=0.0) for region, pair in found.pairs["away"].items()}}
    ((_, words),) = tell_transfer_in_full(dataclasses.replace(found, pairs=pairs))
    assert "is better than it by more than chance for the nucleus" in words
    score_away(runs, {transfer.best.encoder: 0.02, other: 0.25})
    ((_, words),) = tell_transfer_in_full(load_transfer(folder, runs))
    assert "No other measured method has a higher mean there." in words


def test_what_failed_or_is_missing_is_said(study):
    folder, config, runs = study
    score_away(runs[:2], {"resnet18": 0.1, "unet": 0.1})
    write_record(runs[2].folder.transfer("away"), {"status": "failed", "error": "There is no model.\nExpected: one"})
    transfer = load_transfer(folder, runs)
    said = " ".join(transfer_cautions(transfer))
    assert f"{runs[2].name} could not be scored on away: There is no model." in said
    assert "Not all runs have been scored on away yet" in said
    assert "There is no model." in write_report(folder, config, runs, transfer=transfer).read_text(encoding="utf-8")


def test_a_study_without_other_datasets_says_nothing_of_them(study):
    folder, config, runs = study
    folder.other_datasets.unlink()
    transfer = load_transfer(folder, runs)
    assert transfer.table.empty and tell_transfer(transfer) == [] and transfer_cautions(transfer) == []
    assert make_transfer_tables(transfer, runs) == {} and make_transfer_tables(Transfer(), []) == {}
    assert "another laboratory" not in write_report(folder, config, runs, transfer=transfer).read_text(encoding="utf-8")


def test_the_effect_of_flips_is_that_on_the_same_images(study):
    _, _, runs = study
    for run in runs[:2]:
        worse = run.scores.assign(dice=run.scores["dice"] - 0.01)
        write_scores(worse, run.folder.scores_of("single"))
    table = make_flips(runs)
    assert set(table["method"]) == {f"{runs[0].config.encoder}__dice"} and set(table["n"]) == {16}
    assert table["difference"].tolist() == pytest.approx([0.01, 0.01])
    assert (table["flips"] - table["single"]).tolist() == pytest.approx([0.01, 0.01])
    layout = layout_flips(table)
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    assert isinstance(make_flips(runs[2:]), pd.DataFrame) and make_flips(runs[2:]).empty
