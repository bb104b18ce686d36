"""The study's report: one HTML page that loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.files import atomic_write, page_policy, page_template, read_template, write_json
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.embedding import embed_image, embed_text
from wbcstudy.reporting.image_browser import make_browser
from wbcstudy.reporting.results import StudyResults
from wbcstudy.reporting.tables.questions import question_sentences
from wbcstudy.reporting.tables.render import format_files
from wbcstudy.reporting.tables.study_tables import explain_missing
from wbcstudy.reporting.text.alt_texts import describe_figures
from wbcstudy.reporting.text.answer import answer_sentences, answer_table
from wbcstudy.reporting.text.captions import make_captions
from wbcstudy.reporting.text.cautions import caution_sentences, leak_sentences
from wbcstudy.reporting.text.glossary import GLOSSARY
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph, scored_size, split_sizes, weight_origins
from wbcstudy.reporting.text.transfer import transfer_sentences
from wbcstudy.reporting.text.use import use_commands
from wbcstudy.runs.folders import StudyFolder, problem_status
from wbcstudy.runs.own_parts import PARTS
from wbcstudy.runs.results import run_seconds
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.wording import duration, join_words, megabytes, shorten

# Files in templates/ that run in the page.
_SCRIPTS = ("report.js", "image_browser.js")
# Width in px of figures in the page, and of the one next to the answer: sharp in print, small enough to send by mail.
_WIDTH_PX, _KEY_WIDTH_PX = 1400, 760
# Figures next to the answer: the first of these that exists.
_KEY_FIGURES = ("cost_quality", "scores", "figure2", "figure1")
# A table with more rows is not read.
_MOST_ROWS = 200

# Id of a section -> title, entry in the contents, tables (names of `make_tables`) and figures (file stems).
_SECTIONS = {
    "tables": ("Scores", "Scores", ("table1", "table2", "table3"), ()),
    "figures": ("Example images", "Images", (), ("figure1", "figure2", "figure3", "label_shares")),
    "difference": (
        "Are the differences significant?",
        "Significance",
        ("ranks",),
        ("ranks", "differences_nucleus", "differences_cytoplasm"),
    ),
    "hard": ("Which cells are difficult?", "Difficult cells", ("cell_types",), ("scores", "worst")),
    "cost": ("Cost", "Cost", ("costs",), ("cost_quality",)),
    "calibration": ("Calibration", "Calibration", ("calibration",), ("calibration",)),
    "elsewhere": ("Other datasets", "Other datasets", ("transfer",), ("transfer",)),
    "flips": ("Test-time flips", "Test-time flips", ("flips",), ()),
    "boundary": ("How far are the borders off?", "Borders", ("boundary",), ()),
    "areas": ("How wrong are areas and their ratio?", "Areas", ("areas",), ("areas",)),
    "questions": ("Planned questions", "Questions", ("questions",), ()),
    "training": ("Training", "Training", (), ("learning_curves",)),
}


def write_report(results: StudyResults) -> Path:
    """Write `report/index.html`: the answer, and everything needed to judge and repeat it.

    Links to run pages and figures are made for those that exist in the study's folder; tables are in the page as CSV.

    Returns:
        The page, one file without requests.
    """
    study, captions, alt_texts = results.study, make_captions(results), describe_figures(results)
    paths = {stem: study.figures / f"{stem}.png" for stem in captions}
    sections, figures = [], {}
    for name, (title, entry, tables, stems) in _SECTIONS.items():
        stems = [*stems, *(stem for stem in captions if name == "elsewhere" and stem.startswith("transfer_"))]
        shown = {"tables": [_table(results, table) for table in tables if table in results.tables]}
        for stem in stems:
            if paths[stem].is_file() and not _is_stale(results, stem):
                # Numbered in the order of the page.
                alt = alt_texts.get(stem, captions[stem][0])
                figures[stem] = _figure(study, paths[stem], len(figures) + 1, *captions[stem], alt)
        shown["figures"] = [figures[stem] for stem in stems if stem in figures]
        if any(shown.values()):
            sections.append({"id": name, "title": title, "entry": entry} | shown)
    rows, use = _list_runs(results), use_commands(results)
    shown_rows = _pick_rows(rows)
    browser = make_browser(results)
    scripts = [read_template(name) for name in _SCRIPTS]
    page = page_template("report.html").render(
        study=study.name,
        home=f"/{study.name}/{study.report.parent.name}/{study.report.name}",
        policy=Markup(page_policy(scripts)),
        browser=browser,
        scripts=[Markup(script) for script in scripts],
        version=__version__,
        answer=answer_sentences(results),
        answer_table=answer_table(results),
        questions=question_sentences(results.answers),
        certainty=results.certainty,
        leaks=leak_sentences(results),
        cautions=caution_sentences(results),
        transfer=transfer_sentences(results),
        transfer_in_full=transfer_sentences(results, in_full=True),
        data=_describe_data(results),
        key_figure=next((_key_figure(figures[stem], paths[stem]) for stem in _KEY_FIGURES if stem in figures), None),
        contents=_list_contents(sections, {"browser": bool(browser["data"]), "use": bool(use)}),
        numbered=_list_numbered(sections),
        sections=sections,
        missing_tables=explain_missing(results),
        use=use,
        credits=_list_credits(results),
        regions=TABLE_REGIONS,
        runs=shown_rows,
        hidden_runs=len(rows) - len(shown_rows),
        methods=methods_paragraph(results),
        settings=list_settings(results),
        glossary=GLOSSARY,
        written=max((str(run.record.get("written", "")) for run in results.runs), default=""),
    )
    with atomic_write(study.report) as part:
        part.write_text(page, encoding="utf-8")
    write_json(study.answer, {"sentences": answer_sentences(results)})
    return study.report


def _is_stale(results: StudyResults, stem: str) -> bool:
    """Return whether a figure can only be from an earlier report: with other settings, or when the images existed."""
    if results.missing_images and stem in ("figure2", "figure3", "worst"):
        return True
    if stem in (f"transfer_{other.name}" for other in results.missing_others):
        return True
    if stem == "transfer":
        return not results.transfer.datasets
    if stem == "figure3":
        return all(method.scores is None for method in results.measured)
    return stem in ("ranks", "cost_quality", *(f"differences_{region}" for region in TABLE_REGIONS)) and (
        not results.several
    )


def _list_contents(sections: list[dict[str, Any]], optional: Mapping[str, bool]) -> list[tuple[str, str]]:
    """Return (anchor, entry) of each section of the page.

    Args:
        sections: sections of tables and figures.
        optional: anchor of a section that the page may have -> whether it has it.
    """
    entries = [("answer", "Answer"), ("data", "Data"), *((section["id"], section["entry"]) for section in sections)]
    entries += [("browser", "All images"), ("use", "Use the network"), ("runs", "Runs"), ("methods", "Methods")]
    entries += [("settings", "Settings"), ("repeat", "Repeat"), ("words", "Glossary"), ("credits", "Credits")]
    return [entry for entry in entries if optional.get(entry[0], True)]


def _list_numbered(sections: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (anchor, entry) of each table and figure, in the order of the page."""
    rows = []
    for section in sections:
        rows += [(table["layout"].stem, table["layout"].caption) for table in section["tables"]]
        rows += [(figure["id"], f"Figure {figure['number']}. {figure['title']}") for figure in section["figures"]]
    return rows


def _table(results: StudyResults, name: str) -> dict[str, Any]:
    frame, layout = results.tables[name]
    files = [
        {
            "format": suffix[1:].upper(),
            "link": embed_text(text, {".csv": "text/csv", ".tex": "text/x-tex"}[suffix]),
            "name": f"{results.study.name}_{layout.stem}{suffix}",
        }
        for suffix, text in format_files(frame, layout).items()
    ]
    return {"layout": layout, "html": Markup(results.table_html[name]), "files": files}


def _figure(study: StudyFolder, path: Path, number: int, title: str, caption: str, alt: str) -> dict[str, Any]:
    source, width, height = embed_image(path, _WIDTH_PX)
    files = _list_files(study, path.parent, path.stem)
    shown = {"id": f"figure-{path.stem}", "number": number, "title": title, "caption": caption, "alt": alt}
    return shown | {"src": source, "width": width, "height": height, "files": files}


def _key_figure(figure: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a figure in small, for the first screen."""
    source, width, height = embed_image(path, _KEY_WIDTH_PX)
    return figure | {"src": source, "width": width, "height": height}


def _list_files(study: StudyFolder, folder: Path, stem: str) -> list[dict[str, str]]:
    """Return format and link of the files of a figure that exist."""
    paths = [folder / f"{stem}.{suffix}" for suffix in ("png", "pdf", "svg")]
    return [
        {"format": path.suffix[1:].upper(), "link": _relative_link(path, study), "name": ""}
        for path in paths
        if path.exists()
    ]


def _list_runs(results: StudyResults) -> list[dict[str, Any]]:
    """Return one row per run of the study, finished or not."""
    study, by_name = results.study, {run.name: run for run in results.runs}
    rows = []
    for name in dict.fromkeys([*(run.name for run in results.config.runs()), *by_name]):
        folder, record = study.run(name), by_name[name].record if name in by_name else {}
        if problem := results.problems.get(name):
            record = {"status": problem_status(problem), "error": problem.message, "advice": problem.fix}
        target = next((path for path in (folder.page, folder.notebook) if path.exists()), None)
        scores = record.get("scores") or {}
        dice = [scores.get(region, {}).get("dice") for region in TABLE_REGIONS]
        rows.append(
            {
                "name": name,
                "own": join_words(_own_work(record)),
                "status": record.get("status") or folder.read_status(),
                "link": _relative_link(target, study),
                "notebook": _relative_link(folder.notebook if folder.notebook.exists() else None, study),
                "epochs": f"{record['best_epoch']} of {record['epochs']}" if "best_epoch" in record else "",
                "dice": ["" if value is None else f"{value:.4f}" for value in dice],
                "time": duration(run_seconds(record)),
                "seconds": "" if run_seconds(record) is None else f"{run_seconds(record):.0f}",
                "memory": megabytes(record.get("peak_memory_mb")),
                "megabytes": str(record.get("peak_memory_mb") or ""),
                "error": shorten(str(record.get("error", ""))),
                "advice": str(record.get("advice", "")),
            }
        )
    return rows


def _own_work(record: Mapping[str, Any]) -> list[str]:
    """Return "own notebook", "own loss" etc. of a run that the shipped notebook alone did not make."""
    notebook = ["own notebook"] if (record.get("notebook") or {}).get("shipped") is False else []
    return notebook + [f"own {title}" for part, title in PARTS.items() if part in (record.get("own_parts") or {})]


def _pick_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `_list_runs` that the page shows.

    Of more than `_MOST_ROWS`, these are the runs that are not complete (as many as fit), and the first complete run of
    each encoder and loss.
    """
    if len(rows) <= _MOST_ROWS:
        return rows
    incomplete = sorted(row["name"] for row in rows if row["status"] != "complete")
    firsts: dict[str, str] = {}
    for row in rows:
        if row["status"] == "complete":
            firsts.setdefault(row["name"].partition("__fold")[0], row["name"])
    shown = {*incomplete[: _MOST_ROWS // 2], *firsts.values()}
    return [row for row in rows if row["name"] in shown]


def _describe_data(results: StudyResults) -> list[tuple[str, str]]:
    """Return name and value of each fact about the data."""
    config, dataset = results.config, results.dataset_record
    rows = [("Dataset", f"{dataset.get('title') or config.dataset} ({dataset.get('name') or config.dataset})")]
    if dataset.get("cases") is not None:
        rows.append(("Cases", f"{dataset['cases']} images with masks"))
    if shares := dataset.get("label_shares"):
        rows.append(("Label shares", ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())))
    if sizes := split_sizes(results.complete):
        rows.append(("Split", sizes + (f" in each of {config.folds} folds" if config.folds > 1 else "")))
    rows.append(("Input of the networks", f"{config.image_size} x {config.image_size} px"))
    rows.append(("Scored at", scored_size(results)))
    if dataset.get("fingerprint"):
        rows.append(("Fingerprint", str(dataset["fingerprint"])))
    return rows


def _list_credits(results: StudyResults) -> list[tuple[str, str]]:
    """Return the citations and acknowledgements."""
    rows = []
    for name, key in (("Cite", "citation"), ("Acknowledge", "acknowledgement"), ("Licence of the data", "licence")):
        rows.append((name, results.dataset_record.get(key)))
        rows += [(f"{name}, {other.title}", getattr(other, key)) for other in results.transfer.datasets]
    for encoder, origin in weight_origins(results.complete).items():
        rows.append((f"Cite, weights of {ENCODERS[encoder].title}", f"{origin['citation']} ({origin['licence']})"))
    return [(name, value) for name, value in rows if value]


def list_settings(results: StudyResults) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of every setting in the study's file."""
    fields = type(results.config).model_fields
    return [
        (
            name,
            ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value),
            fields[name].description,
        )
        for name, value in results.config.model_dump(mode="json").items()
    ]


def _relative_link(path: Path | None, study: StudyFolder) -> str:
    """Return the link from the report to a file; empty for None."""
    return quote(os.path.relpath(path, study.report.parent).replace(os.sep, "/")) if path else ""
