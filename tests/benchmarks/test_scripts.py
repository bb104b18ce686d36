"""The benchmark scripts: their imports exist, and benchmarks/README.md lists each of them."""

import ast
import importlib
import json

import pytest

from tests.helpers.checkout import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_imported_names_exist(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("wbcstudy"):
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {missing}"


def test_the_readme_lists_every_script():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    # Parts of other scripts.
    parts = {"instances.py", "keras_side.py", "machine.py", "torch_side.py"}
    assert sorted(listed) == sorted({path.name for path in SCRIPTS} - parts)


def test_parts_of_a_run_are_headings_of_the_notebook():
    tree = ast.parse((ROOT / "benchmarks" / "study.py").read_text(encoding="utf-8"))
    names = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    notebook = json.loads((ROOT / "notebooks" / "2_train.ipynb").read_text(encoding="utf-8"))
    lines = [cell["source"][0] for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert set(ast.literal_eval(names["HEADINGS"])) <= {line.strip("# \n") for line in lines}
