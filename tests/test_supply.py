"""Dependencies are pinned with hashes and have licences that are compatible with MIT."""

import csv
import importlib.util
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch

import pytest

from tests.helpers.checkout import ROOT

spec = importlib.util.spec_from_file_location("list_licences", ROOT / "scripts" / "list_licences.py")
list_licences = importlib.util.module_from_spec(spec)
spec.loader.exec_module(list_licences)


def test_every_package_is_pinned_with_a_hash():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 100
    assert not [line for line in lines if not re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]


def test_every_import_is_declared_and_every_dependency_is_used():
    command = [sys.executable, "-m", "deptry", "--no-ansi", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_data_file_of_the_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["wbcstudy"]
    files = [path for path in (ROOT / "wbcstudy").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert len(files) > 5
    assert not [path for path in files if not any(fnmatch(path.name, pattern[3:]) for pattern in patterns)]


def test_the_list_of_licences_matches_the_lock_file():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {
        list_licences.normalise(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.M)
    }
    with (ROOT / "docs" / "licences.csv").open(newline="", encoding="utf-8") as file:
        listed = {list_licences.normalise(row["name"]): row for row in csv.DictReader(file)}
    assert {name: row["version"] for name, row in listed.items()} == {name: pins[name] for name in listed}
    # Some packages are for other systems or other versions of Python only.
    assert len(pins) - len(listed) < 15
    assert not [name for name, row in listed.items() if not list_licences.is_compatible(row["licence"])]


@pytest.mark.parametrize(
    ("licence", "compatible"),
    [
        ("MIT", True),
        ("BSD License; GNU General Public License (GPL); Public Domain", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("GNU General Public License v3 (GPLv3)", False),
        ("MIT AND AGPL-3.0-only", False),
        ("UNKNOWN", False),
    ],
)
def test_licences_compatible_with_mit(licence, compatible):
    assert list_licences.is_compatible(licence) == compatible
