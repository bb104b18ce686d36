"""The environment: one pinned set for pip and conda, a complete package, and the targets of make."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

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


def test_conda_brings_python_and_nothing_that_is_pinned():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    # Anything else from conda would be a second, unpinned version of something.
    assert environment["dependencies"] == [f"python{PROJECT['requires-python']}", "make", "git"]


def test_a_container_runs_the_same_set_without_root():
    instructions = [
        line.split(maxsplit=1) for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:1].isupper()
    ]
    by_name = dict(instructions)
    (version,) = re.findall(r"^python:(3\.\d+)-slim$", by_name["FROM"])
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    names = [name for name, _ in instructions]
    assert names.index("USER") < names.index("COPY") < names.index("CMD") and by_name["USER"] != "root"
    assert f"useradd --create-home --uid 1000 {by_name['USER']}" in (ROOT / "Dockerfile").read_text()
    assert by_name["RUN"].startswith("make env ") and (ROOT / by_name["ENV"].partition("=")[2]).is_file()
    shell, option, script = json.loads(by_name["CMD"])
    assert (shell, option) == ("sh", "-c")
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


@pytest.fixture
def bare_checkout(tmp_path):
    """A checkout in a folder with a space, whose lock holds nothing, so that `make env` needs no network."""
    root = tmp_path / "my studies"
    root.mkdir()
    (root / "Makefile").write_text((ROOT / "Makefile").read_text())
    (root / "requirements.lock").write_text("")
    (root / "pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = '1'\n")
    return root


def make_env(root, *options, path=None):
    environment = {"PATH": path or os.environ["PATH"], "HOME": str(root / "home"), "PIP_NO_INDEX": "1"}
    command = ["make", "env", *options]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_without_a_python_that_fits_the_message_has_the_line_that_installs_uv(bare_checkout):
    programs = bare_checkout / "bin"
    programs.mkdir()
    for name in ("make", "sh", "bash", "test", "awk"):
        (programs / name).symlink_to(shutil.which(name))
    (programs / "python3").write_text("#!/bin/sh\necho Python 3.9.2; exit 1\n")
    (programs / "python3").chmod(0o755)
    done = make_env(bare_checkout, path=str(programs))
    assert done.returncode == 2
    assert "Found: Python 3.9.2" in done.stdout and "curl -LsSf https://astral.sh/uv/install.sh | sh" in done.stdout


def test_without_a_python_that_fits_uv_brings_one(bare_checkout):
    programs = bare_checkout / "bin"
    programs.mkdir()
    for name in ("make", "sh", "bash", "test", "awk", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    # Makes an environment with this Python, as uv does with the one that it fetches.
    (programs / "uv").write_text(
        f'#!{shutil.which("bash")}\necho "$@" > uv.txt\n"{sys.executable}" -m venv --without-pip "${{@: -1}}"\n'
    )
    (programs / "uv").chmod(0o755)
    make_env(bare_checkout, path=str(programs))
    assert (bare_checkout / "uv.txt").read_text().split() == "venv --quiet --seed --clear --python 3.12 .venv".split()
    assert (bare_checkout / ".venv" / "bin" / "python").exists()


def test_paths_with_spaces_and_a_home_that_cannot_be_written(bare_checkout):
    # Not a link: an interpreter that was moved after it was built does not find its library under another name.
    wrapper = bare_checkout / "my python"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    done = make_env(bare_checkout, f"PYTHON={bare_checkout}/my python")
    # setuptools, which would build this package, is not in the empty lock.
    assert (bare_checkout / ".venv" / "bin" / "pip").exists(), done.stdout + done.stderr
    shown = subprocess.run(
        ["make", "--eval", "home:\n\t@echo $$HOME", "home"],
        cwd=bare_checkout,
        env={"PATH": os.environ["PATH"], "HOME": "/proc/none", "PYTHONPATH": "elsewhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.stdout.strip() == f"{bare_checkout}/build/home", shown.stderr


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
    if not shutil.which("git"):
        pytest.skip("no git here, so the package's files cannot be listed")
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
