"""Imports go one way, and what needs no TensorFlow does not wait for it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wbcstudy"

BOTTOM = {"errors", "regions", "registry", "config", "config_files", "storage"}
MAY_USE = {
    "errors": set(),
    "regions": {"errors"},
    "registry": {"errors"},
    "backend": {"errors"},
    "config": {"errors", "registry"},
    "config_files": {"errors", "registry", "config", "storage"},
    "storage": {"errors"},
    "claim": {"errors"},
    "runs": BOTTOM | {"claim"},
    "slurm": {"errors", "storage", "runs"},
    "data": BOTTOM | {"backend", "runs", "data"},
    "nets": BOTTOM | {"backend", "runs", "data", "nets"},
    "baselines": {"errors", "regions", "registry", "data", "baselines"},
    "scoring": BOTTOM | {"runs", "data", "scoring"},
    "reporting": BOTTOM | {"runs", "data", "scoring", "reporting"},
    "records": BOTTOM | {"runs", "data", "scoring"},
    "progress": BOTTOM | {"runs"},
    "machine": BOTTOM,
    "cells": {"errors", "regions", "scoring"},
    "transfer": BOTTOM | {"claim", "runs", "data", "nets", "scoring", "records"},
    "plan": BOTTOM | {"runs", "data", "nets", "baselines", "progress"},
    "scheduler": BOTTOM | {"claim", "runs", "plan", "progress", "machine", "slurm"},
    "batch": BOTTOM | {"runs", "baselines", "plan", "records", "scheduler"},
    "segmentation": BOTTOM | {"backend", "runs", "data", "nets", "scoring", "reporting", "cells", "segmentation"},
    "bioimageio_package": BOTTOM | {"segmentation"},
    "export": BOTTOM | {"backend", "data", "nets", "segmentation", "bioimageio_package"},
    "explore": BOTTOM | {"runs", "data", "segmentation"},
    "cli": BOTTOM
    | {"runs", "data", "nets", "baselines", "scoring", "reporting", "records", "plan", "batch"}
    | {"transfer", "segmentation", "export"},
}


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
    assert imported_rooms(path) <= MAY_USE[room(path)], f"see MAY_USE for what {room(path)} may import"


def test_there_is_no_drawer_for_everything():
    assert not list(PACKAGE.rglob("utils.py"))


@pytest.mark.parametrize(
    "module",
    [
        "wbcstudy.config",
        "wbcstudy.config_files",
        "wbcstudy.regions",
        "wbcstudy.runs",
        "wbcstudy.cli",
        "wbcstudy.plan",
        "wbcstudy.batch",
        "wbcstudy.records",
        "wbcstudy.transfer",
        "wbcstudy.data.datasets",
        "wbcstudy.data.synthetic",
        "wbcstudy.data.splits",
        "wbcstudy.data.check",
        "wbcstudy.nets.weights",
        "wbcstudy.scoring.evaluation",
        "wbcstudy.scoring.clumps",
        "wbcstudy.scoring.instances",
        "wbcstudy.cells",
        "wbcstudy.reporting.tables",
        "wbcstudy.reporting.figures",
        "wbcstudy.reporting.html",
        "wbcstudy.segmentation.folder",
        "wbcstudy.export",
    ],
)
def test_imports_without_tensorflow(module):
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_state_of_a_study_is_told_without_loading_numpy():
    code = "import sys, wbcstudy.plan; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["wbcstudy.cli", "wbcstudy.runs", "wbcstudy.config_files"])
def test_the_command_line_answers_without_loading_the_scientific_stack(module):
    heavy = ("pandas", "matplotlib", "scipy", "skimage", "sklearn")
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
