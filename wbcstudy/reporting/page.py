"""The study's report: one HTML page that loads nothing."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.files import atomic_write, page_policy, page_template, read_template, write_json
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.image_browser import make_browser
from wbcstudy.reporting.results import StudyResults
from wbcstudy.reporting.tables.questions import question_sentences
from wbcstudy.reporting.text.answer import answer_sentences, answer_table
from wbcstudy.reporting.text.captions import make_captions
from wbcstudy.reporting.text.cautions import caution_sentences, leak_sentences
from wbcstudy.reporting.text.glossary import GLOSSARY
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph, scored_size, split_sizes, weight_origins
from wbcstudy.reporting.text.transfer import transfer_sentences
from wbcstudy.runs.folders import StudyFolder, problem_status
from wbcstudy.runs.own_parts import PARTS
from wbcstudy.runs.results import run_seconds
from wbcstudy.scoring.selection import TABLE_REGIONS
from wbcstudy.wording import duration, join_words, megabytes, shorten

# Files in templates/ that run in the page.
_SCRIPTS = ("image_browser.js",)
# Wide enough for a sharp print at the width of a page, small enough to send by mail.
_EMBEDDED_WIDTH_PX = 1400
# A table with more rows is not read.
_MOST_ROWS = 200

# Id of a section -> title, entry in the contents, tables (names of `make_tables`) and figures (file stems).
_SECTIONS = {
    "questions": ("Planned questions", "Questions", ("questions",), ()),
    "tables": ("Scores", "Scores", ("table1", "table2", "table3"), ()),
    "figures": ("Example images", "Images", (), ("figure1", "figure2", "figure3")),
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
    "training": ("Training", "Training", (), ("learning_curves",)),
}


def write_report(results: StudyResults) -> Path:
    """Write `report/index.html`: the answer, and everything needed to judge and repeat it.

    Links to run pages, tables and figures are made for those that exist in the study's folder.

    Returns:
        The page, one file without requests.
    """
    study, captions = results.study, make_captions(results)
    figures = {
        stem: _figure(study, path, *caption)
        for stem, caption in captions.items()
        if (path := study.figures / f"{stem}.png").is_file() and not _is_stale(results, stem)
    }
    sections = []
    for name, (title, entry, tables, stems) in _SECTIONS.items():
        stems = [*stems, *(stem for stem in captions if name == "elsewhere" and stem.startswith("transfer_"))]
        shown = {"tables": [_table(results, table) for table in tables if table in results.tables]}
        shown["figures"] = [figures[stem] for stem in stems if stem in figures]
        if any(shown.values()):
            sections.append({"id": name, "title": title, "entry": entry} | shown)
    rows = _list_runs(results)
    shown_rows = _pick_rows(rows)
    browser = make_browser(results)
    scripts = [read_template(name) for name in _SCRIPTS]
    page = page_template("report.html").render(
        study=study.name,
        policy=Markup(page_policy(scripts)),
        scripts=[Markup(script) for script in scripts],
        browser=browser,
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
        label_shares=figures.get("label_shares"),
        sections=sections,
        credits=_list_credits(results),
        regions=TABLE_REGIONS,
        runs=shown_rows,
        hidden_runs=len(rows) - len(shown_rows),
        methods=methods_paragraph(results),
        settings=_list_settings(results),
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


def _table(results: StudyResults, name: str) -> dict[str, Any]:
    _, layout = results.tables[name]
    files = _list_files(results.study, results.study.tables, layout.stem)
    # Wide tables are printed on landscape pages.
    wide = len(layout.heads) > 7
    return {"layout": layout, "html": Markup(results.table_html[name]), "files": files, "wide": wide}


def _figure(study: StudyFolder, path: Path, title: str, caption: str) -> dict[str, Any]:
    source, width, height = _embed(path)
    files = _list_files(study, path.parent, path.stem)
    shown = {"id": f"figure-{path.stem}", "title": title, "caption": caption, "files": files}
    return shown | {"src": source, "width": width, "height": height}


def _embed(path: Path) -> tuple[str, int, int]:
    """Return a PNG file as a data URI no wider than a page, and the width and height in CSS px to show it at."""
    from PIL import Image

    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        # A tenth larger than the size in inches that the file gives (a CSS inch has 96 px).
        scale = 105 / (image.info.get("dpi") or (150, 150))[0]
        width, height = round(image.width * scale), round(image.height * scale)
        if image.width > _EMBEDDED_WIDTH_PX:
            file = io.BytesIO()
            smaller = image.convert("RGB")
            smaller.thumbnail((_EMBEDDED_WIDTH_PX, image.height), Image.Resampling.LANCZOS, reducing_gap=2)
            smaller.save(file, format="PNG")
            content = file.getvalue()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}", width, height


def _list_files(study: StudyFolder, folder: Path, stem: str) -> list[tuple[str, str]]:
    """Return (format, link) of the files of a table or figure that exist."""
    paths = [folder / f"{stem}.{suffix}" for suffix in ("csv", "tex", "html", "png", "pdf", "svg")]
    return [(path.suffix[1:].upper(), _relative_link(path, study)) for path in paths if path.exists()]


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
                "memory": megabytes(record.get("peak_memory_mb")),
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


def _list_settings(results: StudyResults) -> list[tuple[str, str, str]]:
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
