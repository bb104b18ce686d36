"""The report printed to PDF: no table loses a column."""

import re
import shutil
import subprocess

import pytest

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.page import list_settings, write_report
from wbcstudy.reporting.text.glossary import GLOSSARY

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not printed")
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext on this machine: the PDF is not read")
def test_the_last_column_of_every_table_and_every_folded_part_are_printed(tmp_path):
    from playwright.sync_api import sync_playwright

    results = make_results(tmp_path, StudyConfig(name="all", encoders=tuple(ENCODERS)), cases=8)
    page = write_report(results)
    pdf = tmp_path / "report.pdf"
    # As by a reader whose computer has dark colours.
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(color_scheme="dark")
        tab.goto(page.as_uri())
        tab.pdf(path=pdf, prefer_css_page_size=True)
        browser.close()
    printed = subprocess.run(["pdftotext", pdf, "-"], check=True, capture_output=True, text=True).stdout
    # Cells may be broken into lines.
    text = re.sub(r"\s+", "", printed)
    assert len(results.tables) == 9
    for name, (_, layout) in results.tables.items():
        assert re.sub(r"\s+", "", layout.heads[-1][1]) in text, name
        for _, cells in layout.rows:
            assert re.sub(r"\s+", "", cells[-1].text) in text, (name, cells[-1].text)
    for run in results.runs:
        assert run.name in text
    for name, meaning in [*((name, meaning) for name, _, meaning in list_settings(results)), *GLOSSARY]:
        # A reader of PDF puts lines of the next column between lines of a cell.
        assert all(word in text for word in f"{name} {meaning}".split()), name
