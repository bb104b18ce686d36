"""Write tables as CSV, HTML (great_tables) and LaTeX (booktabs). All text is escaped here."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd

from wbcstudy.files import POLICY, atomic_write, escape_cells
from wbcstudy.reporting.tables.layout import Cell, Layout


def format_html(layout: Layout) -> str:
    """Format a table without its caption as an HTML fragment with a style of its own and no script."""
    import great_tables as gt

    names = [f"c{index}" for index in range(len(layout.heads))]
    frame = pd.DataFrame(
        [[_cell_html(cell) for cell in cells] for _, cells in layout.rows], columns=names, dtype=object
    )
    grouped = any(group for group, _ in layout.rows)
    if grouped:
        frame["group"] = [group for group, _ in layout.rows]
    table = gt.GT(frame, id=layout.stem, groupname_col="group" if grouped else None)
    # The cells are escaped already.
    table = table.fmt(lambda text: text, columns=names)
    # Escaped here, since great_tables reads {{...}} as a unit and does not escape it.
    labels = {name: gt.html(html.escape(label)) for name, (_, label) in zip(names, layout.heads, strict=True)}
    table = table.cols_label(labels)
    for index, (spanner, members) in enumerate(_spans(layout)):
        if spanner:
            label = gt.html(html.escape(spanner))
            table = table.tab_spanner(label, columns=[names[member] for member in members], id=f"s{index}")
    table = table.cols_align("right", columns=names[layout.text_columns :]).cols_align(
        "left", columns=names[: layout.text_columns]
    )
    for note in layout.notes:
        table = table.tab_source_note(gt.html(html.escape(note)))
    table = table.tab_options(
        table_font_names="inherit",
        table_font_size="14px",
        table_border_top_color="#333333",
        table_border_bottom_color="#333333",
        table_margin_left="0px",
        data_row_padding="4px",
        data_row_padding_horizontal="8px",
        column_labels_padding_horizontal="8px",
        row_group_font_weight="bold",
        container_padding_x="0px",
        container_padding_y="0px",
    )
    style = (
        f"#{layout.stem} .quoted {{color:#6b7280;font-size:85%;white-space:nowrap}} "
        f"#{layout.stem} .gt_row {{vertical-align:top;white-space:nowrap}} "
        f"#{layout.stem} .gt_col_heading, #{layout.stem} .gt_column_spanner {{font-weight:600}}"
    )
    # After great_tables' own style, to override it.
    return f"{table.as_raw_html()}<style>{style}</style>"


def _format_page(layout: Layout, fragment: str) -> str:
    """Format a table as a page.

    Args:
        layout: the table.
        fragment: result of `format_html`.
    """
    head = f'<meta charset="utf-8">{POLICY}<meta name="viewport" content="width=device-width">'
    head += f"<title>{html.escape(layout.caption)}</title>"
    body = '<body style="margin:1.5rem;font-family:system-ui,sans-serif">'
    body += f'<h1 style="font-size:1.1rem">{html.escape(layout.caption)}</h1>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}\n{fragment}\n</body></html>\n'


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
    texts = {
        ".csv": escape_cells(frame).to_csv(index=False, lineterminator="\n"),
        ".html": _format_page(layout, fragment),
        ".tex": _format_latex(layout),
    }
    paths = []
    for suffix, text in texts.items():
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


def _cell_html(cell: Cell) -> str:
    text = html.escape(cell.text)
    if cell.best:
        text = f"<strong>{text}</strong>"
    if cell.muted:
        text = f"<em>{text}</em>"
    return f'{text}<br><span class="quoted">paper {html.escape(cell.paper)}</span>' if cell.paper else text


def _cell_latex(cell: Cell) -> str:
    text = _escape_latex(cell.text)
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
