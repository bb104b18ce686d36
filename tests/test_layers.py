"""Imports go one way, what needs no TensorFlow does not wait for it, and tests are named after modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wbcstudy"
TESTS = Path(__file__).parent

# Top-level modules, lowest first: each may import those before it.
SETTINGS = ("errors", "wording", "labels", "registry", "files", "config", "config_io")
# Folder -> the folders whose modules it may import, besides the settings and itself.
MAY_USE = {
    "data": set(),
    "runs": {"data"},
    "nets": {"data", "runs"},
    "baselines": {"data"},
    "scoring": {"data", "runs"},
    "study": {"data", "runs", "nets", "baselines", "scoring", "inference"},
    "reporting": {"data", "runs", "scoring", "study"},
    "inference": {"data", "runs", "nets", "scoring"},
    # The command line is a folder since it has more commands than fit into one module.
    "cli": {"data", "runs", "nets", "baselines", "scoring", "study", "reporting", "inference"},
}

# Modules of constants only.
WITHOUT_TEST = {"reporting/figures/colours.py", "reporting/text/glossary.py"}
# Tests in a room's folder that are about several of its modules.
OF_SEVERAL_MODULES = {"reporting/test_flow.py", "reporting/test_print.py", "study/test_study.py"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("wbcstudy.")} - {"__version__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    if path == PACKAGE / "__init__.py":
        return
    here = room(path)
    if here in SETTINGS:
        allowed = set(SETTINGS[: SETTINGS.index(here)])
    else:
        allowed = {*SETTINGS, here, *MAY_USE[here]}
    assert imported_rooms(path) <= allowed, f"see SETTINGS and MAY_USE for what {here} may import"


def test_the_package_has_few_top_level_modules_and_folders():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert modules <= {*SETTINGS}
    assert folders <= {*MAY_USE}


def test_a_test_is_named_after_its_module():
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")}
    expected = {module.with_name(f"test_{module.name}").as_posix(): module.as_posix() for module in modules}
    files = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert {module for file, module in expected.items() if file not in files} == WITHOUT_TEST
    in_rooms = {file for file in files if file.partition("/")[0] in MAY_USE}
    assert in_rooms - set(expected) == OF_SEVERAL_MODULES


def test_there_is_no_drawer_for_everything():
    assert not list(PACKAGE.rglob("utils.py"))


@pytest.mark.parametrize(
    "module",
    [
        "wbcstudy.config",
        "wbcstudy.config_io",
        "wbcstudy.labels",
        "wbcstudy.runs.results",
        "wbcstudy.cli",
        "wbcstudy.study.plan",
        "wbcstudy.study.run",
        "wbcstudy.study.record",
        "wbcstudy.study.other_datasets",
        "wbcstudy.data.datasets",
        "wbcstudy.data.synthetic.dataset",
        "wbcstudy.data.splits",
        "wbcstudy.data.check",
        "wbcstudy.nets.weights",
        "wbcstudy.scoring.evaluation",
        "wbcstudy.inference.split_cells",
        "wbcstudy.inference.measure_cells",
        "wbcstudy.reporting.tables.paper",
        "wbcstudy.reporting.figures.images",
        "wbcstudy.reporting.page",
        "wbcstudy.inference.folder",
        "wbcstudy.inference.export",
    ],
)
def test_imports_without_tensorflow(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_state_of_a_study_is_told_without_loading_numpy():
    code = "import sys, wbcstudy.study.plan; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["wbcstudy.cli", "wbcstudy.runs.results", "wbcstudy.config_io"])
def test_the_command_line_answers_without_loading_the_scientific_stack(module):
    heavy = ("pandas", "matplotlib", "scipy", "skimage", "sklearn")
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
