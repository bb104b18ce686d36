"""Tables as HTML and LaTeX."""

import re

import pandas as pd
import pytest

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.tables.layout import Cell, Layout
from wbcstudy.reporting.tables.render import _escape_latex, _format_latex, _format_page, format_html
from wbcstudy.reporting.tables.study_tables import write_tables
from wbcstudy.reporting.tables.table3 import MeasuredMethod

EVIL = "<script>alert('x')</script> 50 % & $a_b$ #1 {x} ~^\\"


@pytest.fixture
def results(tmp_path):
    config = StudyConfig(name="s", encoders=("resnet18", "unet"))
    results = make_results(tmp_path, config, failed=["unet__dice__fold0__seed0"], cases=3)
    results.measured = [MeasuredMethod("evil", EVIL, EVIL, results.runs[0].scores)]
    return results


@pytest.fixture
def layouts(results):
    return [layout for _, layout in results.tables.values()]


def test_names_from_data_are_escaped_in_html_and_latex(layouts):
    page, tex = _format_page(layouts[2], format_html(layouts[2])), _format_latex(layouts[2])
    assert "<script" not in page and "&lt;script&gt;" in page
    assert r"50 \% \& \$a\_b\$ \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}" in tex


def test_html_shows_the_papers_numbers_apart_and_loads_nothing(layouts):
    page = _format_page(layouts[0], format_html(layouts[0]))
    assert '<span class="quoted">paper 0.9547</span>' in page
    assert page.count("<strong>") >= 6 and "<em>failed</em>" in page
    assert "Trained from scratch, without ImageNet weights." in page
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import""", page)


def test_every_latex_row_has_every_column(layouts):
    for layout in layouts:
        tex = _format_latex(layout)
        columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", tex)[1])
        assert columns == len(layout.heads)
        body = tex[tex.index(r"\toprule") : tex.index(r"\bottomrule")]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) >= len(layout.rows) + 1
        for row in rows:
            spans = [int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans) == columns, row


def test_latex_is_balanced_and_its_caption_has_no_number(layouts):
    for layout in layouts:
        tex = _format_latex(layout)
        plain = re.sub(r"\\[{}\\]", "", tex)
        assert plain.count("{") == plain.count("}")
        assert re.findall(r"\\begin\{(\w+)\}", tex) == re.findall(r"\\end\{(\w+)\}", tex)[::-1]
        assert r"\caption{Table" not in tex
        assert tex.isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a & b", r"a \& b"), ("95 %", r"95 \%"), ("“x”", "``x''"), ("[1]", "{[}1{]}"), ("a\nb", "a b"), ("", "")],
)
def test_latex_escapes(text, expected):
    assert _escape_latex(text) == expected


def test_a_cell_of_every_kind():
    cells = [Cell("1", best=True), Cell("failed", muted=True, paper="0.5"), Cell("")]
    layout = Layout(9, "T", [("", "a"), ("", "b"), ("", "c")], [("", cells)])
    assert "<strong>1</strong>" in format_html(layout)
    assert r"\textbf{1} & \textit{failed} \textcolor{gray}{\scriptsize 0.5} &  \\" in _format_latex(layout)


def test_csv_files_have_integers_where_numbers_are_whole(results):
    path = write_tables(results)[0]
    table1 = pd.read_csv(path)
    assert table1.loc[table1["encoder"] == "resnet18", "dice"].between(0.8, 1).all()
    assert "13.0" not in path.read_text().split("\n")[1]
