"""Pages: a run's notebook as HTML, and the study's report. Each is one file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.config import StudyConfig
from wbcstudy.errors import StudyError
from wbcstudy.files import POLICY, atomic_write, page_template, read_json
from wbcstudy.reporting.comparison import StudyComparison, compare_runs, make_comparison_tables
from wbcstudy.reporting.tables.layout import Layout
from wbcstudy.reporting.tables.render import format_html, make_layouts
from wbcstudy.reporting.tables.table3 import MeasuredMethod
from wbcstudy.reporting.text import facts
from wbcstudy.reporting.text.certainty import tell_certainty
from wbcstudy.reporting.text.methods_paragraph import tell_methods
from wbcstudy.reporting.transfer import (
    Transfer,
    make_transfer_tables,
    tell_transfer,
    tell_transfer_in_full,
    transfer_cautions,
)
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run
from wbcstudy.scoring.selection import TABLE_REGIONS

# Wide enough for a sharp print of a page's width, small enough to send by mail.
EMBEDDED_WIDTH_PX = 1300

# Section of the page -> its tables (by the names of `make_comparison_tables`) and figures; the page's order.
SECTIONS = {
    "difference": ("Is the difference real?", ("ranks",), ("ranks", "differences_nucleus", "differences_cytoplasm")),
    "elsewhere": ("Does it work on another laboratory's images?", ("transfer",), ("transfer",)),
    "flips": ("Do test-time flips help?", ("flips",), ()),
    "hard": ("Which cells are hard?", ("cell_types",), ("scores", "worst")),
    "trust": ("Can its probabilities be believed?", ("calibration",), ("calibration",)),
    "cost": ("What does it cost?", ("costs",), ("cost_quality",)),
    "training": ("How did the trainings go?", (), ("learning_curves",)),
}

ELSEWHERE = (
    "Five of them, drawn by seed, as the first network of the chosen encoder and loss sees them. It has never learnt "
    "from such an image."
)

# File stem in figures/ -> heading, caption.
FIGURES = {
    "figure1": (
        "Figure 1. Images and the expert's masks",
        "Some images of the dataset above the regions that the expert marked.",
    ),
    "figure2": (
        "Figure 2. Test images, expert and prediction",
        "Five test images, drawn by seed. Missed: cell of the expert that the model calls background; added: the "
        "reverse; confused: nucleus called cytoplasm, or the reverse.",
    ),
    "figure3": (
        "Figure 3. The same images, one column per method",
        "Test images drawn by seed, and what each method makes of them before any clean-up.",
    ),
    "ranks": (
        "Who ranks where",
        "Within each image the methods are ranked by Dice; a point is a method's mean rank. A bar joins methods that "
        "Nemenyi's test cannot tell apart. The verdict on top of this page goes by another test, Wilcoxon's "
        "of every pair with Holm's correction, so a bar may join methods that the verdict tells apart.",
    ),
    "differences_nucleus": (
        "Pairwise differences, nucleus",
        "Typical difference of one image's Dice, row minus column, in thousandths. Only what is more than chance "
        "(Wilcoxon's test, Holm's correction) has a colour; what is white has not been shown.",
    ),
    "differences_cytoplasm": ("Pairwise differences, cytoplasm", "As above."),
    "transfer": (
        "At home and elsewhere",
        "Mean Dice over the images with its 95 % interval. What lies far to the left of the square of its row was lost "
        "on the way to the other laboratory.",
    ),
    "worst": (
        "The ten worst test images",
        "Of the chosen encoder and loss, the worst first, by the mean Dice of nucleus and cytoplasm, of which both are "
        "given. Look for what they share: a rare cell type, a torn cell, an expert's mask that is debatable.",
    ),
    "calibration": (
        "Reliability of the chosen network's probabilities",
        "All test pixels, sorted by the probability they were given: on the dashed line, of those given 70 % seven in "
        "ten are right; below it the network is too sure. For a region the probability is that of being in it; small "
        "points hold few pixels.",
    ),
    "cost_quality": (
        "Cost and quality",
        "On the orange line no other method is both cheaper and better. A point near it may lie above or below it by "
        "chance: see the tests above.",
    ),
    "scores": (
        "Every test image's Dice",
        "A point is an image (its mean over the seeds); the box holds the middle half of the images, its line is the "
        "median.",
    ),
    "learning_curves": (
        "Learning curves",
        "A panel per run; of very many, the first run of each encoder and loss. A validation curve that still falls at "
        "its end would have gained from more epochs; one that rises while the training curve falls shows overfitting.",
    ),
    "label_shares": ("How much of each image is cell", "A bar per case, the fullest on the left."),
}


def write_notebook_page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as one page with its images in it, that asks no server for anything.

    Formulas in `$...$` stay as typed, since the program that sets them would have to be loaded.

    Args:
        notebook: .ipynb, executed or not.
        page: .html to write, in one step.

    Raises:
        StudyError: the notebook is absent or not a notebook.
    """
    import nbformat
    from nbconvert import HTMLExporter

    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.validator.NotebookValidationError) as error:
        raise StudyError(
            f"Cannot read {notebook}: {error}",
            expected="a Jupyter notebook (.ipynb)",
            fix="Run it again; an interrupted run may have left half a file.",
        ) from None
    content.metadata["title"] = Path(notebook).resolve().parent.name
    # Progress bars leave live widgets behind, and showing those takes a script from a server.
    content.metadata.pop("widgets", None)
    exporter = HTMLExporter(template_name="lab", embed_images=True, exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(content)
    with atomic_write(Path(page)) as part:
        part.write_text(_without_requests(body), encoding="utf-8")


def write_report(
    study: StudyFolder,
    config: StudyConfig,
    runs: Iterable[Run],
    dataset: Mapping[str, Any] | None = None,
    figures: Mapping[str, Path] | None = None,
    measured: Iterable[MeasuredMethod] = (),
    comparison: StudyComparison | None = None,
    ensemble: pd.DataFrame | None = None,
    transfer: Transfer | None = None,
) -> Path:
    """Write `report/index.html`: what was asked, the answer, and everything needed to judge and repeat it.

    Args:
        study: where; links to run pages, tables and figures are made for what exists there.
        config: the study's settings.
        runs: finished and failed runs.
        dataset: name, title, fingerprint, cases, citation, licence, acknowledgement, and if at hand label_shares
            (label -> mean share, 0-1). By default what the study's dataset.json or the first complete run says.
        figures: stem (a key of `FIGURES`) -> PNG file; by default those that exist in the study's folder.
        measured: other methods for Table 3.
        comparison: of the runs; made here, without groups of cases, if None.
        ensemble: from `tables.make_ensemble`, for Table 1.
        transfer: from `transfer.load_transfer`; none if None.

    Returns:
        The page, one file without scripts or requests.
    """
    runs = list(runs)
    recorded = next((run.record.get("dataset") for run in runs if run.complete), None)
    dataset = dict(dataset or read_json(study.dataset) or recorded or {"name": config.dataset})
    transfer = transfer or Transfer()
    elsewhere = [f"transfer_{other.name}" for other in transfer.others]
    measured = list(measured)
    if figures is None:
        # What an earlier report with other settings left behind is no part of this one.
        stale = {"transfer": not transfer.others, "figure3": all(method.scores is None for method in measured)}
        stems = [stem for stem in (*FIGURES, *elsewhere) if not stale.get(stem)]
        figures = {stem: study.figures / f"{stem}.png" for stem in stems}
    shown = {stem: Path(path) for stem, path in figures.items() if Path(path).is_file()}
    comparison = comparison or compare_runs(runs)
    certainty = tell_certainty(comparison)
    every = facts.list_runs(study, config, runs)
    listed = facts.pick_rows(every)
    compared = make_comparison_tables(runs, comparison) | make_transfer_tables(transfer, runs, comparison.groups)
    sections = {name: (title, tables, list(stems)) for name, (title, tables, stems) in SECTIONS.items()}
    sections["elsewhere"][2].extend(elsewhere)
    placed = {stem for _, _, stems in sections.values() for stem in stems}
    headings = {
        f"transfer_{other.name}": (f"Images of {transfer.title(other)}", ELSEWHERE) for other in transfer.others
    }
    page = page_template("report.html").render(
        study=study.name,
        policy=Markup(POLICY),
        version=__version__,
        answer=facts.tell_answer(runs, comparison.groups) if config.encoders else facts.ONLY_METHODS,
        certainty=certainty,
        elsewhere=tell_transfer(transfer),
        elsewhere_in_full=tell_transfer_in_full(transfer),
        cautions=[*facts.tell_cautions(study, config, runs), *transfer_cautions(transfer)],
        data=facts.describe_data(config, dataset, runs),
        dataset=dataset,
        tables=[_table(study, layout) for _, layout in make_layouts(runs, measured, ensemble, comparison.groups)],
        sections=[
            {
                "id": name,
                "title": title,
                "tables": [_table(study, compared[table][1]) for table in tables if table in compared],
                "figures": [stem for stem in stems if stem in shown],
            }
            for name, (title, tables, stems) in sections.items()
        ],
        others=transfer.others,
        samples=[stem for stem in shown if stem != "label_shares" and stem not in placed],
        figures={
            stem: _figure(study, path, *headings.get(stem, FIGURES.get(stem, (stem, ""))))
            for stem, path in shown.items()
        },
        regions=TABLE_REGIONS,
        runs=listed,
        runs_left=len(every) - len(listed),
        methods=tell_methods(config, dataset, runs),
        settings=facts.list_settings(config),
        glossary=facts.GLOSSARY,
        written=max((str(run.record.get("written", "")) for run in runs), default=""),
    )
    with atomic_write(study.report) as part:
        part.write_text(page, encoding="utf-8")
    return study.report


def _table(study: StudyFolder, layout: Layout) -> dict[str, Any]:
    files = _files(study, study.tables, layout.stem)
    return {"layout": layout, "html": Markup(format_html(layout, title=False)), "files": files}


def _figure(study: StudyFolder, path: Path, title: str, caption: str) -> dict[str, Any]:
    source, width, height = _embed(path)
    files = _files(study, path.parent, path.stem)
    return {"title": title, "caption": caption, "src": source, "width": width, "height": height, "files": files}


def _embed(path: Path) -> tuple[str, int, int]:
    """A PNG as a data URI, no wider than a page, and the width and height in px at which it is read well."""
    from PIL import Image

    with Image.open(path) as image:
        # A tenth above the size in inches that the file gives (a CSS inch has 96 px).
        scale = 105 / (image.info.get("dpi") or (150, 150))[0]
        shown = round(image.width * scale), round(image.height * scale)
        picture = image.convert("RGB")
    if picture.width > EMBEDDED_WIDTH_PX:
        height = round(picture.height * EMBEDDED_WIDTH_PX / picture.width)
        picture = picture.resize((EMBEDDED_WIDTH_PX, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    # Trying for the smallest file takes five times as long, and saves a thirtieth.
    picture.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", *shown


def _files(study: StudyFolder, folder: Path, stem: str) -> list[tuple[str, str]]:
    """(kind, link) of the files of a table or figure that exist."""
    kinds = ("csv", "tex", "html", "png", "svg")
    there = [(kind, folder / f"{stem}.{kind}") for kind in kinds]
    return [(kind.upper(), facts.relative_link(path, study)) for kind, path in there if path.exists()]


def _without_requests(body: str) -> str:
    """Drop the scripts of a page that nbconvert made, and forbid what is left to load anything.

    Text, images and tables need no script. The policy holds for whatever a cell may have printed.
    """
    body = re.sub(r"<script\b[^>]*>.*?</script\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r"<link\b[^>]*>", "", body, flags=re.IGNORECASE)
    # What is left of elements that would ask a server; the policy below would refuse them, with an error each.
    remote = r"""(<(?:img|iframe|video|audio|source|embed)\b[^>]*?)\s(?:src|srcset)\s*=\s*(["'])(?:https?:)?//.*?\2"""
    body = re.sub(remote, r"\1", body, flags=re.IGNORECASE)
    return body.replace("<head>", f"<head>{POLICY}", 1)
