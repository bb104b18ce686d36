"""Write tables as CSV, HTML and LaTeX (booktabs). All text is escaped here and in the templates."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from wbcstudy.files import POLICY, atomic_write, escape_cells, page_template
from wbcstudy.reporting.tables.layout import Cell, Layout


def format_html(layout: Layout) -> str:
    """Format a table without its caption as HTML: a region that scrolls sideways, and its notes."""
    spans = [(spanner, len(members)) for spanner, members in _spans(layout)]
    groups = [
        (group, [cells for _, cells in rows]) for group, rows in itertools.groupby(layout.rows, lambda row: row[0])
    ]
    return page_template("table.html").render(layout=layout, spans=spans, groups=groups)


def _format_page(layout: Layout, fragment: str) -> str:
    """Format a table as a page.

    Args:
        layout: the table.
        fragment: result of `format_html`.
    """
    policy, table = Markup(POLICY), Markup(fragment)
    return page_template("table_page.html").render(policy=policy, caption=layout.caption, table=table)


def _format_latex(layout: Layout) -> str:
    """Format a table as LaTeX; it needs the packages booktabs and xcolor."""
    spans = _spans(layout)
    top, rules, column = [], [], 1
    for spanner, members in spans:
        width = len(members)
        top.append(
            rf"\multicolumn{{{width}}}{{c}}{{{_escape_latex(spanner)}}}" if spanner else " & ".join([""] * width)
        )
        if spanner:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    width = len(layout.heads)
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape_latex(layout.title)}}}",
        rf"\label{{tab:{layout.stem}}}",
        rf"\begin{{tabular}}{{{'l' * layout.text_columns}{'r' * (width - layout.text_columns)}}}",
        r"\toprule",
    ]
    if rules:
        lines += [" & ".join(top) + r" \\", " ".join(rules)]
    lines += [" & ".join(_escape_latex(label) for _, label in layout.heads) + r" \\", r"\midrule"]
    previous = ""
    for group, cells in layout.rows:
        if group != previous:
            lines += [r"\addlinespace"] if previous else []
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escape_latex(group)}}}}} \\")
            previous = group
        lines.append(" & ".join(_cell_latex(cell) for cell in cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {' '.join(_escape_latex(note) for note in layout.notes)}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def format_files(frame: pd.DataFrame, layout: Layout) -> dict[str, str]:
    """Return the text of the files of a table that other programs read: suffix -> text.

    Args:
        frame: tidy frame, for the CSV file.
        layout: the table, for the LaTeX file.
    """
    if "start" in frame and not frame["start"].any():
        frame = frame.drop(columns="start")
    return {
        ".csv": escape_cells(frame).to_csv(index=False, lineterminator="\n"),
        ".tex": _format_latex(layout),
    }


def write_table(frame: pd.DataFrame, layout: Layout, fragment: str, folder: Path) -> list[Path]:
    """Write `<stem>.csv` (the tidy frame), `.html` (a page) and `.tex`, each in one step.

    Args:
        frame: tidy frame.
        layout: the table.
        fragment: result of `format_html`.
        folder: folder to write to.

    Returns:
        The three paths.
    """
    texts = format_files(frame, layout) | {".html": _format_page(layout, fragment)}
    paths = []
    for suffix, text in sorted(texts.items()):
        paths.append(Path(folder) / f"{layout.stem}{suffix}")
        with atomic_write(paths[-1]) as part:
            part.write_text(text, encoding="utf-8")
    return paths


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "\N{EN DASH}": "--", "“": "``", "”": "''", "[": "{[}", "]": "{]}"},
    **{"\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$"},
}


def _escape_latex(text: str) -> str:
    """Escape plain text for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in re.sub(r"\s+", " ", text))


def _cell_latex(cell: Cell) -> str:
    text = "" if cell.repeated else _escape_latex(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.muted and text:
        text = rf"\textit{{{text}}}"
    return rf"{text} \textcolor{{gray}}{{\scriptsize {_escape_latex(cell.paper)}}}" if cell.paper else text


def _spans(layout: Layout) -> list[tuple[str, list[int]]]:
    spans: list[tuple[str, list[int]]] = []
    for index, (spanner, _) in enumerate(layout.heads):
        if spans and spans[-1][0] == spanner:
            spans[-1][1].append(index)
        else:
            spans.append((spanner, [index]))
    return spans
