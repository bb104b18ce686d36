"""The report printed to PDF: no table loses a column."""

import re
import shutil
import subprocess

import pytest

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.registry import ENCODERS
from wbcstudy.reporting.page import write_report

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the report is not printed")
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext on this machine: the PDF is not read")
def test_the_last_column_of_every_table_is_printed(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="all", encoders=tuple(ENCODERS)), cases=8)
    page = write_report(results)
    pdf = tmp_path / "report.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    subprocess.run([CHROMIUM, *options, f"--print-to-pdf={pdf}", page.as_uri()], check=True, capture_output=True)
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
