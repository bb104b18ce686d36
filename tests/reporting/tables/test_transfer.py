"""Tables 8 and 9 and the sentences about other datasets."""

import re

import pytest

from tests.helpers.fake_study import AWAY, score_away, with_runs
from wbcstudy.reporting.figures.canvas import write_figure
from wbcstudy.reporting.figures.scores import fig_transfer
from wbcstudy.reporting.page import write_report
from wbcstudy.reporting.tables.render import _format_latex, format_html
from wbcstudy.reporting.tables.transfer import layout_flips, layout_transfer
from wbcstudy.reporting.text.transfer import transfer_sentences
from wbcstudy.scoring.evaluation import write_scores


def test_a_large_drop_is_described_and_shown_with_its_interval(transfer_results):
    score_away(transfer_results.runs, {"resnet18": 0.25, "unet": 0.25})
    transfer = transfer_results.transfer
    assert set(transfer.table["n"]) == {10} and set(transfer.table["networks"]) == {2}
    assert (transfer.table["drop_ci_low"] > 0.05).any()
    ((title, text),) = transfer_sentences(transfer_results)
    assert title == AWAY.title and "This is a large drop. Before" in text and "own test images" in text
    layout = layout_transfer(transfer, transfer_results.best.method)
    assert [cells[0].best for _, cells in layout.rows].count(True) == 2
    assert all(len(cells) == len(layout.heads) == 4 for _, cells in layout.rows)
    assert layout.heads[2][0].endswith("10 images")
    assert "&lt;b&gt;elsewhere" in format_html(layout) and r"\textbf" in _format_latex(layout)
    figure = fig_transfer(transfer.table, {"away": "Away $x$"})
    assert len(figure.axes) == 2
    write_figure(figure, transfer_results.study.figures, "transfer")
    page = write_report(transfer_results).read_text(encoding="utf-8")
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "on other datasets?" in page and "Cells &lt;b&gt;elsewhere" in page and "<b>elsewhere" not in page
    assert 'id="table8"' in page and "Somebody &amp; al." in page and "2 of the 12 images" in page


def test_a_study_without_other_datasets(transfer_results):
    transfer_results.study.other_datasets.unlink()
    assert transfer_results.transfer.table.empty and transfer_sentences(transfer_results) == []
    assert not {"transfer", "flips"} & set(transfer_results.tables)
    assert "on other datasets?" not in write_report(transfer_results).read_text(encoding="utf-8")


def test_the_effect_of_flips_is_that_on_the_same_images(transfer_results):
    for run in transfer_results.runs[:2]:
        worse = run.scores.assign(dice=run.scores["dice"] - 0.01)
        write_scores(worse, run.folder.scores_of("single"))
    table = transfer_results.flips
    assert set(table["method"]) == {f"{transfer_results.runs[0].config.encoder}__dice"} and set(table["n"]) == {16}
    assert table["difference"].tolist() == pytest.approx([0.01, 0.01])
    assert (table["flips"] - table["single"]).tolist() == pytest.approx([0.01, 0.01])
    layout = layout_flips(table)
    assert layout.rows[0][0] == "Nucleus, 16 images"
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    assert with_runs(transfer_results, transfer_results.runs[2:]).flips.empty
