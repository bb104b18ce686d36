"""The environment: one pinned set for pip and conda, a complete package, and the targets of make."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement

from tests.helpers.checkout import ROOT

LOCK = ROOT / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pinned() -> dict[str, str]:
    lines = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", LOCK.read_text(), flags=re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in lines}


@pytest.mark.parametrize("text", PROJECT["dependencies"] + EXTRAS["test"] + EXTRAS["docs"] + EXTRAS["export"])
def test_every_dependency_is_pinned_to_a_version_that_fits(text):
    requirement = Requirement(text)
    assert pinned()[requirement.name.lower()] in requirement.specifier


def test_every_pin_has_a_hash_and_names_no_host():
    entries = re.split(r"^(?=\S)", LOCK.read_text(), flags=re.MULTILINE)
    for entry in filter(str.strip, entries):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in LOCK.read_text()


def test_conda_installs_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-r requirements.lock"]
    # Anything else from conda would be a second, unpinned version of something.
    assert set(plain) - {"python=3.11"} == {"pip", "make", "git"}


def test_the_running_environment_is_the_pinned_one():
    from importlib.metadata import version

    for text in PROJECT["dependencies"]:
        name = Requirement(text).name
        assert version(name) == pinned()[name.lower()], f"{name}: run `make env`"


def test_the_built_package_holds_all_its_files(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        ROOT,
    ]
    # Built from a copy, since a build leaves folders behind.
    copy = tmp_path / "copy"
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout, so the package's files cannot be listed")
    for name in filter(None, tracked.stdout.split("\0")):
        if name.startswith(("wbcstudy/", "pyproject", "README", "LICENSE")) and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run([*command[:-1], copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(copy).as_posix() for path in (copy / "wbcstudy").rglob("*") if path.is_file()}
    assert expected <= shipped


def test_make_help_lists_the_targets():
    output = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert {"study", "test", "lab", "help"} <= {
        line.split()[1] for line in output.splitlines() if line.startswith("  make")
    }
