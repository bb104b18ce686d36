"""Notebooks are executed by papermill in this process."""

import json

import nbformat
import pytest

from wbcstudy.study.execute import execute_notebook


@pytest.fixture
def notebook(tmp_path):
    """A function that writes a notebook with a parameter `n` and cells, and returns the arguments to execute it."""
    (tmp_path / "params.yaml").write_text("n: 3\n")

    def write(*cells):
        new = nbformat.v4.new_code_cell
        cells = [new("n = 1  # A number.", metadata={"tags": ["parameters"]}), *map(new, cells)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(content, tmp_path / "a.ipynb")
        return tmp_path / "a.ipynb", tmp_path / "b.ipynb", tmp_path / "params.yaml", tmp_path

    return write


def texts(notebook) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    return ["".join(output.get("text", output.get("evalue", "")) for output in cell.outputs) for cell in cells]


@pytest.mark.parametrize("save_cells", [True, False])
def test_parameters_and_folder_reach_the_notebook(notebook, save_cells):
    source, executed, parameters, folder = notebook(
        "from pathlib import Path\nprint(n, Path.cwd())\nPath('seen').write_text(str(Path('b.ipynb').exists()))"
    )
    execute_notebook(source, executed, parameters, folder, save_cells)
    assert f"3 {folder}\n" in texts(executed)
    # With `save_cells`, a killed notebook leaves what it has shown.
    assert (folder / "seen").read_text() == str(save_cells)


def test_an_error_is_raised_and_kept_in_the_notebook(notebook):
    from papermill.exceptions import PapermillExecutionError

    source, executed, parameters, folder = notebook("raise ValueError('no such image')")
    with pytest.raises(PapermillExecutionError, match="no such image"):
        execute_notebook(source, executed, parameters, folder, save_cells=False)
    assert "no such image" in json.dumps(nbformat.read(executed, as_version=4))
