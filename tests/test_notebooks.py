"""Notebooks are short pages of prose and calls, stored without outputs; test_study.py tests their execution."""

import ast
import io
import itertools
import linecache
import tokenize
from pathlib import Path

import nbformat
import numpy as np
import pytest

from tests.helpers.arrays_in_memory import make_arrays
from wbcstudy.config import RunConfig
from wbcstudy.nets.training import train
from wbcstudy.nets.unet import build_unet
from wbcstudy.runs.folders import RunFolder

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MOST_CODE_LINES, MOST_LINES_IN_A_CELL = 63, 15


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


def test_the_examples_of_own_parts_run_once_they_are_uncommented(narrow_training):
    """The commented lines of the cell, all of them and the first three alone."""
    (cell,) = [
        cell for cell in read(NOTEBOOKS[0].with_name("2_train.ipynb")).cells if cell.source.startswith("own = {}")
    ]
    lines = [line.removeprefix("# ").removeprefix("#") for line in cell.source.splitlines()]
    last = [i for i, line in enumerate(lines) if line.startswith("own[")][2]
    for number, example in enumerate((lines[: last + 1], lines)):
        name = f"<cell {number}>"
        linecache.cache[name] = (0, None, [f"{line}\n" for line in example], name)
        scope = {"__name__": "__main__"}
        exec(compile("\n".join(example), name, "exec"), scope)
        result = narrow_training(**scope["own"])
        assert set(result.own_parts) == {"loss", "callbacks", "augmentation"}
    assert result.own_parts["loss"][0]["source"].startswith("def weighted_squares(")
    assert result.own_parts["callbacks"][0]["source"].startswith("class PrintDice(")


@pytest.fixture
def narrow_training(monkeypatch, tmp_path_factory):
    """Train a plain U-Net of a few weights for one epoch on noise; its arguments are the user's own parts."""
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
    config = RunConfig(encoder="unet", image_size=32, batch_size=4, augmented_copies=1, epochs=1)
    draw = np.random.default_rng(0)
    part = make_arrays(draw.integers(0, 255, (4, 32, 32, 3), np.uint8), draw.integers(0, 3, (4, 32, 32), np.uint8))

    def run(**own):
        folder = RunFolder(tmp_path_factory.mktemp("run"))
        return train(build_unet(config), part, part, config, folder, lambda line: None, **own)

    return run
