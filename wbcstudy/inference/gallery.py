"""The gallery: pages of small pictures, image beside overlay, that load nothing from anywhere."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.files import POLICY, atomic_write, page_template
from wbcstudy.labels import REGION_COLOURS

# A page of these takes some five megabytes: what a browser opens at once and a mail still takes.
IMAGES_PER_PAGE = 100
_MOST_FAILURES = 200


def write_gallery(
    results,
    records: Callable[[], Iterable[Mapping[str, Any]]],
    images: int,
    cells: int,
    network,
    notes: Iterable[str],
    failed: Mapping[str, str],
) -> None:
    """Write `gallery.html` and, for many images, `gallery-2.html` and so on, each with its pictures inside.

    Args:
        results: `results.Results`, the folder of results.
        records: gives the images' records, read one by one.
        images: how many there are.
        cells: how many were found.
        network: by which.
        notes: sentences for the head of the first page.
        failed: image -> why.
    """
    template = page_template("gallery.html")
    complete = (record for record in records() if record["status"] == "complete")
    pages = max(1, -(-(images - len(failed)) // IMAGES_PER_PAGE))
    links = [_page_name(page) for page in range(1, pages + 1)]
    for page in range(1, pages + 1):
        shown = [_entry(results, record) for record in itertools.islice(complete, IMAGES_PER_PAGE)]
        text = template.render(
            policy=Markup(POLICY),
            version=__version__,
            colours=REGION_COLOURS,
            network=network,
            images=images,
            cells=cells,
            notes=list(notes),
            failed=dict(itertools.islice(failed.items(), _MOST_FAILURES)) if page == 1 else {},
            num_failed=len(failed),
            page=page,
            links=links,
            entries=shown,
            first=(page - 1) * IMAGES_PER_PAGE + 1,
        )
        with atomic_write(results.path / _page_name(page)) as part:
            part.write_text(text, encoding="utf-8")
    # Pages of an earlier call with more images.
    for old in results.path.glob("gallery-*.html"):
        if old.name not in links:
            old.unlink()


def _page_name(page: int) -> str:
    return "gallery.html" if page == 1 else f"gallery-{page}.html"


def _entry(results, record: Mapping[str, Any]) -> dict[str, Any]:
    name = record["image"]
    picture = results.file("thumbnails", name, ".jpg").read_bytes()
    files = {"overlay": ("overlays", ".png"), "labels": ("labels", ".png"), "instances": ("instances", ".png")}
    files |= {"table": ("cells", ".csv")}
    return dict(record) | {
        "src": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}",
        "files": {word: _link(results.path, results.file(kind, name, end)) for word, (kind, end) in files.items()},
    }


def _link(folder: Path, path: Path) -> str:
    return quote(path.relative_to(folder).as_posix())
