"""Draw the images of the documentation.

    python docs/make_images.py
    python docs/make_images.py outputs/demo/report/index.html     # also the screenshot of the report

`images/strip.png` is the header, one row and the legend of Figure 2 of the demo (synthetic images), as kept in
outputs/reference/. `images/domains.jpg` shows synthetic smears of version 2, one row per stain. `images/rooms.svg`
shows the folders of the package and the path of an image through them. `images/report.png` is the first screen of a
report; it needs Chromium. `benchmarks/starter_curve.py collect` draws `images/starter_curve.svg`.
"""

from __future__ import annotations

import io
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from shutil import which

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
FIGURE = ROOT / "outputs" / "reference" / "demo" / "figures" / "figure2.png"
STRIP_ROW = 1
WHITE = 250
_DOMAIN_SAMPLES = 10

# Title, lines of text, x, y, width, height, fill.
_BOXES = (
    ("cli", ("run, status, report, segment, export, data, weights",), 20, 20, 1040, 56, "#e8eaf6"),
    ("study", ("plan the runs, let Snakemake execute the notebooks, record results",), 20, 100, 780, 56, "#fff3e0"),
    ("data", ("dataset.yaml to uint8 arrays", "check, split, resize"), 20, 200, 220, 80, "#e0f2f1"),
    ("nets", ("augment, build, train, predict", "the only TensorFlow code"), 300, 200, 220, 80, "#fce4ec"),
    ("scoring", ("count pixels, metrics, tests", "choose and compare networks"), 580, 200, 220, 80, "#f3e5f5"),
    ("reporting", ("tables, figures, sentences", "report/index.html"), 860, 200, 200, 80, "#e3f2fd"),
    ("baselines", ("one module per earlier method",), 300, 310, 220, 60, "#fce4ec"),
    ("inference", ("segment new images,", "measure cells, export"), 860, 310, 200, 80, "#e3f2fd"),
    ("runs", ("outputs/<study>/: folders, results, locks",), 20, 410, 1040, 56, "#f1f8e9"),
    (
        "config, config_io, registry, labels, files, wording, errors",
        ("settings and helpers that every folder may import",),
        20,
        490,
        1040,
        56,
        "#eceff1",
    ),
)
# Corner points of each arrow.
_ARROWS = (
    ((240, 240), (296, 240)),
    ((520, 240), (576, 240)),
    ((800, 240), (856, 240)),
    ((130, 280), (130, 340), (296, 340)),
    ((520, 340), (690, 340), (690, 284)),
    ((520, 262), (550, 262), (550, 360), (856, 360)),
)


def draw_strip() -> Image.Image:
    """Return header, one row and legend of Figure 2, cut at its white gaps."""
    figure = Image.open(FIGURE).convert("RGB")
    filled = (np.asarray(figure) < WHITE).any(axis=(1, 2))
    bands, top = [], 0
    for has_ink, rows in groupby(filled):
        height = len(list(rows))
        if has_ink:
            bands.append((top, top + height))
        top += height
    header, *images, legend = bands
    parts = [figure.crop((0, top, figure.width, bottom)) for top, bottom in (header, images[STRIP_ROW], legend)]
    strip = Image.new("RGB", (figure.width, sum(part.height + 16 for part in parts)), "white")
    top = 8
    for part in parts:
        strip.paste(part, (0, top))
        top += part.height + 16
    return strip


def draw_domains() -> Image.Image:
    """Return synthetic smears of many laboratories, one row per stain."""
    from wbcstudy.data.synthetic.varied import DOMAINS, make_varied_smear

    rows = [
        np.concatenate([make_varied_smear(seed, domain).image for seed in range(_DOMAIN_SAMPLES)], axis=1)
        for domain in DOMAINS
    ]
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)


def draw_rooms() -> str:
    """Return the image of the package's folders as SVG."""
    text = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1080 566" font-family="sans-serif" role="img">',
        "<title>The folders of the package and the path of an image through them</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#37474f"/></marker></defs>',
        '<rect width="1080" height="566" rx="8" fill="#ffffff"/>',
    ]
    for title, lines, x, y, width, height, fill in _BOXES:
        text.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#90a4ae"/>')
        middle = x + width / 2
        text.append(
            f'<text x="{middle}" y="{y + 24}" text-anchor="middle" font-size="16" font-weight="bold" '
            f'fill="#212121">{escape(title)}</text>'
        )
        for number, line in enumerate(lines):
            text.append(
                f'<text x="{middle}" y="{y + 44 + 18 * number}" text-anchor="middle" font-size="13" '
                f'fill="#37474f">{escape(line)}</text>'
            )
    for points in _ARROWS:
        path = " ".join(f"{x},{y}" for x, y in points)
        text.append(
            f'<polyline points="{path}" fill="none" stroke="#37474f" stroke-width="1.5" marker-end="url(#tip)"/>'
        )
    return "\n".join([*text, "</svg>"]) + "\n"


def photograph_report(page: Path) -> Image.Image:
    """Return the first screen of a report in few colours, since it is mostly text."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1010, "height": 690}, device_scale_factor=1.3)
        tab.goto(page.resolve().as_uri())
        screen = tab.screenshot()
        browser.close()
    # Of 256 colours, since fewer lose those of small points.
    return Image.open(io.BytesIO(screen)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)


if __name__ == "__main__":
    draw_strip().save(IMAGES / "strip.png", optimize=True)
    draw_domains().save(IMAGES / "domains.jpg", quality=82)
    (IMAGES / "rooms.svg").write_text(draw_rooms(), encoding="utf-8")
    for page in sys.argv[1:]:
        photograph_report(Path(page)).save(IMAGES / "report.png", optimize=True)
