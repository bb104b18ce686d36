"""Tables written down: HTML by great_tables, LaTeX with booktabs, CSV. All names are escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from wbcstudy.files import POLICY, atomic_write
from wbcstudy.reporting.tables.layout import Cell, Layout, layout_table1, layout_table2, weights_note
from wbcstudy.reporting.tables.paper import make_table1, make_table2
from wbcstudy.reporting.tables.table3 import MeasuredMethod, layout_table3, make_table3
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run
from wbcstudy.scoring.methods import Groups
from wbcstudy.scoring.selection import pick_best


def format_html(layout: Layout, title: bool = True) -> str:
    """The table as an HTML fragment with its own style, which applies to it alone; no script.

    Args:
        layout: what to print.
        title: whether to print the caption.
    """
    import great_tables as gt

    names = [f"c{index}" for index in range(len(layout.heads))]
    frame = pd.DataFrame(
        [[_cell_html(cell) for cell in cells] for _, cells in layout.rows], columns=names, dtype=object
    )
    grouped = any(group for group, _ in layout.rows)
    if grouped:
        frame["group"] = [group for group, _ in layout.rows]
    table = gt.GT(frame, id=layout.stem, groupname_col="group" if grouped else None)
    # The cells are escaped already; `fmt` passes them on as they are.
    table = table.fmt(lambda text: text, columns=names)
    # Escaped here, since great_tables takes what stands in {{...}} for a unit and leaves it as it is.
    labels = {name: gt.html(html.escape(label)) for name, (_, label) in zip(names, layout.heads, strict=True)}
    table = table.cols_label(labels)
    for index, (spanner, members) in enumerate(_spans(layout)):
        if spanner:
            label = gt.html(html.escape(spanner))
            table = table.tab_spanner(label, columns=[names[member] for member in members], id=f"s{index}")
    table = table.cols_align("right", columns=names[layout.words :]).cols_align("left", columns=names[: layout.words])
    for note in layout.notes:
        table = table.tab_source_note(gt.html(html.escape(note)))
    if title:
        table = table.tab_header(layout.caption)
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
        heading_align="left",
    )
    style = (
        f"#{layout.stem} .quoted {{color:#6b7280;font-size:85%;white-space:nowrap}} "
        f"#{layout.stem} .gt_row {{vertical-align:top;white-space:nowrap}} "
        f"#{layout.stem} .gt_col_heading, #{layout.stem} .gt_column_spanner {{font-weight:600}}"
    )
    # After great_tables' own style, so that this one wins.
    return f"{table.as_raw_html()}<style>{style}</style>"


def format_page(layout: Layout) -> str:
    """The table as a page of its own."""
    head = f'<meta charset="utf-8">{POLICY}<meta name="viewport" content="width=device-width">'
    head += f"<title>{html.escape(layout.caption)}</title>"
    body = '<body style="margin:1.5rem;font-family:system-ui,sans-serif">'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>{body}\n{format_html(layout)}\n</body></html>\n'


def format_latex(layout: Layout) -> str:
    """The table as LaTeX; needs the packages booktabs and xcolor."""
    spans = _spans(layout)
    top, rules, column = [], [], 1
    for spanner, members in spans:
        width = len(members)
        top.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(spanner)}}}" if spanner else " & ".join([""] * width))
        if spanner:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    width = len(layout.heads)
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(layout.title)}}}",
        rf"\label{{tab:{layout.stem}}}",
        rf"\begin{{tabular}}{{{'l' * layout.words}{'r' * (width - layout.words)}}}",
        r"\toprule",
    ]
    if rules:
        lines += [" & ".join(top) + r" \\", " ".join(rules)]
    lines += [" & ".join(escape_latex(label) for _, label in layout.heads) + r" \\", r"\midrule"]
    previous = ""
    for group, cells in layout.rows:
        if group != previous:
            lines += [r"\addlinespace"] if previous else []
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape_latex(group)}}}}} \\")
            previous = group
        lines.append(" & ".join(_cell_latex(cell) for cell in cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {' '.join(escape_latex(note) for note in layout.notes)}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def write_table(frame: pd.DataFrame, layout: Layout, folder: Path) -> list[Path]:
    """Write `<stem>.csv` (the tidy frame), `.html` (a page) and `.tex`, each in one step.

    Returns:
        The three paths.
    """
    texts = {
        ".csv": frame.to_csv(index=False, lineterminator="\n"),
        ".html": format_page(layout),
        ".tex": format_latex(layout),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(Path(folder) / f"{layout.stem}{suffix}")
        with atomic_write(paths[-1]) as part:
            part.write_text(text, encoding="utf-8")
    return paths


def make_layouts(
    runs: Iterable[Run],
    measured: Iterable[MeasuredMethod] = (),
    ensemble: pd.DataFrame | None = None,
    groups: Groups | None = None,
) -> list[tuple[pd.DataFrame, Layout]]:
    """Tables 1 to 3 of a study, each as its tidy frame and its layout.

    Args:
        runs: finished and failed runs of one study.
        measured: other methods for Table 3.
        ensemble: from `tables.make_ensemble`: a last row of Table 1 as it is printed. The tidy frame is without it,
            since it is no encoder.
        groups: case id -> slide, patient or laboratory, for the intervals.
    """
    runs = list(runs)
    best = pick_best(runs)
    notes = [weights_note(run.config for run in runs)] if runs else []
    table1 = make_table1(runs, groups)
    table2 = make_table2(runs, best.encoder if best else None)
    table3 = make_table3(runs, measured, groups)
    chosen = ["The encoder was chosen on the validation images, not on the test images."] if best else []
    return [
        (table1, layout_table1(table1, notes, ensemble)),
        (table2, layout_table2(table2, [*notes, *chosen])),
        (table3, layout_table3(table3, notes)),
    ]


def write_tables(
    study: StudyFolder,
    runs: Iterable[Run],
    measured: Iterable[MeasuredMethod] = (),
    ensemble: pd.DataFrame | None = None,
    groups: Groups | None = None,
) -> list[Path]:
    """Write Tables 1 to 3 of a study into its folder, each as .csv, .html and .tex.

    Args:
        study: where.
        runs: finished and failed runs.
        measured: other methods for Table 3.
        ensemble: from `tables.make_ensemble`; its numbers are written to ensemble.csv.
        groups: case id -> slide, patient or laboratory, for the intervals.

    Returns:
        The nine paths, and that of ensemble.csv where there is an ensemble.
    """
    made = make_layouts(runs, measured, ensemble, groups)
    paths = [path for frame, layout in made for path in write_table(frame, layout, study.tables)]
    if ensemble is not None and len(ensemble):
        paths.append(study.tables / "ensemble.csv")
        with atomic_write(paths[-1]) as part:
            ensemble.to_csv(part, index=False, lineterminator="\n")
    return paths


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "\N{EN DASH}": "--", "“": "``", "”": "''", "[": "{[}", "]": "{]}"},
    **{"\N{MULTIPLICATION SIGN}": r"$\times$", "±": r"$\pm$"},
}


def escape_latex(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in re.sub(r"\s+", " ", text))


def _cell_html(cell: Cell) -> str:
    text = html.escape(cell.text)
    if cell.best:
        text = f"<strong>{text}</strong>"
    if cell.muted:
        text = f"<em>{text}</em>"
    return f'{text}<br><span class="quoted">paper {html.escape(cell.paper)}</span>' if cell.paper else text


def _cell_latex(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.muted and text:
        text = rf"\textit{{{text}}}"
    return rf"{text} \textcolor{{gray}}{{\scriptsize {escape_latex(cell.paper)}}}" if cell.paper else text


def _spans(layout: Layout) -> list[tuple[str, list[int]]]:
    spans: list[tuple[str, list[int]]] = []
    for index, (spanner, _) in enumerate(layout.heads):
        if spans and spans[-1][0] == spanner:
            spans[-1][1].append(index)
        else:
            spans.append((spanner, [index]))
    return spans
