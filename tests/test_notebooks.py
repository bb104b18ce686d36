"""Notebooks are short pages of prose and calls, stored without outputs; test_study.py tests their execution."""

import ast
import io
import itertools
import tokenize
from pathlib import Path

import nbformat
import pytest

from wbcstudy.config import RunConfig

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST_CODE_LINES, MOST_LINES_IN_A_CELL = 60, 15


def read(path):
    return nbformat.read(path, as_version=4)


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def code_cells(notebook):
    """Code cells without the parameters cell, which has one line per setting."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and not is_parameters(cell)]


def code_lines(source):
    return [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_notebooks_exist():
    assert {"1_dataset", "2_train", "4_summary"} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_is_thin(self, path):
        lengths = [len(code_lines(cell.source)) for cell in code_cells(read(path))]
        assert max(lengths) <= MOST_LINES_IN_A_CELL
        assert sum(lengths) <= MOST_CODE_LINES

    def test_defines_nothing(self, path):
        for cell in code_cells(read(path)):
            kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
            assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}

    def test_is_stored_without_outputs(self, path):
        for cell in read(path).cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None

    def test_has_prose_before_each_cell(self, path):
        cells = read(path).cells
        assert cells[0].cell_type == "markdown"
        for before, cell in itertools.pairwise(cells):
            assert cell.cell_type == "markdown" or before.cell_type == "markdown"

    def test_has_one_parameters_cell_with_help_on_each_line(self, path):
        (cell,) = [cell for cell in read(path).cells if is_parameters(cell)]
        for line in cell.source.splitlines():
            assert "  # " in line, f"{line!r} has no comment"


def test_the_training_parameters_are_the_run_configuration():
    (cell,) = [cell for cell in read(NOTEBOOKS[0].with_name("2_train.ipynb")).cells if is_parameters(cell)]
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    assert values == {name: field.default for name, field in RunConfig.model_fields.items()}
    tokens = tokenize.generate_tokens(io.StringIO(cell.source).readline)
    comments = [token.string.removeprefix("# ") for token in tokens if token.type == tokenize.COMMENT]
    assert comments == [RunConfig.model_fields[name].description for name in values]
