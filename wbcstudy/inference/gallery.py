"""The gallery: pages of thumbnails, each an image next to its overlay, with everything inside the page."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from wbcstudy import __version__
from wbcstudy.files import POLICY, atomic_write, page_template
from wbcstudy.inference.network import Network
from wbcstudy.inference.results import Results
from wbcstudy.labels import REGION_COLOURS
from wbcstudy.wording import count

# About 5 MB per page, which a browser opens at once and a mail can carry.
_IMAGES_PER_PAGE = 100
_MAX_LISTED_FAILURES = 200
# Link text -> folder.
_LINKS = {"overlay": "overlays", "labels": "labels", "instances": "instances", "table": "cells"}


def write_gallery(
    results: Results,
    records: Sequence[Mapping[str, Any]],
    cells: int,
    network: Network,
    notes: Sequence[str],
    failed: Mapping[str, str],
) -> None:
    """Write `gallery.html` and, for many images, `gallery-2.html` and so on.

    Args:
        results: the output folder.
        records: records of the segmented images.
        cells: number of cells in all images.
        network: the network that segmented them.
        notes: sentences for the head of the first page.
        failed: name -> reason, of images that could not be segmented.
    """
    template = page_template("gallery.html")
    starts = range(0, max(1, len(records)), _IMAGES_PER_PAGE)
    pages = ["gallery.html", *(f"gallery-{number}.html" for number in range(2, len(starts) + 1))]
    for number, (page, start) in enumerate(zip(pages, starts, strict=True), start=1):
        text = template.render(
            policy=Markup(POLICY),
            version=__version__,
            count=count,
            colours=REGION_COLOURS,
            network=network,
            images=len(records),
            cells=cells,
            notes=notes,
            failed=dict(itertools.islice(failed.items(), _MAX_LISTED_FAILURES)),
            num_failed=len(failed),
            page=number,
            links=pages,
            entries=[_entry(results, record) for record in records[start : start + _IMAGES_PER_PAGE]],
        )
        with atomic_write(results.path / page) as part:
            part.write_text(text, encoding="utf-8")
    # Pages of an earlier command with more images.
    for old in results.path.glob("gallery-*.html"):
        if old.name not in pages:
            old.unlink()


def _entry(results: Results, record: Mapping[str, Any]) -> dict[str, Any]:
    name = record["image"]
    thumbnail = results.file("thumbnails", name).read_bytes()
    paths = {text: results.file(folder, name).relative_to(results.path) for text, folder in _LINKS.items()}
    return dict(record) | {
        "src": f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}",
        "files": {text: quote(path.as_posix()) for text, path in paths.items()},
    }
