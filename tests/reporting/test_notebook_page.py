"""Executed notebooks as HTML pages."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.helpers.html_page import Elements, assert_loads_nothing
from wbcstudy.errors import StudyError
from wbcstudy.reporting.notebook_page import write_notebook_page


def test_a_notebook_becomes_one_page_that_loads_nothing(tmp_path):
    rich = {"text/html": "<b>kept</b><img src='https://a.example/x.png'><script src='https://a.example/x.js'></script>"}
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    outputs = [
        new_output("stream", text="epoch 1 of 3 <script>said</script>\n"),
        new_output("display_data", data={"image/png": png}),
        new_output("display_data", data=rich),
        new_output("display_data", data={"application/javascript": "alert(1)"}),
        new_output("error", ename="ValueError", evalue="bad", traceback=["\x1b[31mValueError: bad\x1b[0m"]),
    ]
    cells = [new_markdown_cell("# Train\n\nSee [there](https://b.example) ![x](https://b.example/y.png)")]
    notebook = new_notebook(cells=[*cells, new_code_cell("print('</script>')", outputs=outputs)])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    (tmp_path / "run").mkdir()
    nbformat.write(notebook, tmp_path / "run" / "train.ipynb")
    write_notebook_page(tmp_path / "run" / "train.ipynb", tmp_path / "run" / "train.html")
    page = (tmp_path / "run" / "train.html").read_text(encoding="utf-8")
    assert_loads_nothing(page)
    text = Elements(page).text
    assert all(words in text for words in ("Train", "epoch 1 of 3 <script>said</script>", "kept", "ValueError: bad"))
    assert "</script>" in text and f"data:image/png;base64,{png}" in page
    assert "<title>run</title>" in page and 'href="https://b.example"' in page


def test_what_is_no_notebook_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "half.ipynb").write_text('{"cells": [', encoding="utf-8")
    for name in ("half.ipynb", "absent.ipynb"):
        with pytest.raises(StudyError, match=name):
            write_notebook_page(tmp_path / name, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_missing_templates_are_an_error(tmp_path, monkeypatch):
    nbformat.write(new_notebook(), tmp_path / "train.ipynb")
    monkeypatch.setattr("nbconvert.exporters.templateexporter.jupyter_path", lambda *_: ["/nowhere"])
    with pytest.raises(StudyError, match="does not find its templates: No template sub-directory") as error:
        write_notebook_page(tmp_path / "train.ipynb", tmp_path / "train.html")
    assert "force-reinstall nbconvert" in error.value.fix and not (tmp_path / "train.html").exists()
