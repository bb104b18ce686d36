"""The style of code, text and commits."""

import ast
import functools
import json
import re
import subprocess
import sys

import pytest
import yaml

from tests.helpers.checkout import ROOT

CHECKED = ("wbcstudy", "README.md", "CONTRIBUTING.md", "docs", "notebooks")


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_accepts_the_code(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def word_list() -> list[list[str]]:
    """Rows of CONTRIBUTING.md's table: word, replacement, limit in text, limit as a name."""
    rows = [line.strip("| ").split("|") for line in read("CONTRIBUTING.md").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in (*row, "", "")[:4]] for row in rows[1:]]


@functools.cache
def read(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    return text if not name.endswith(".ipynb") else "\n".join("".join(c["source"]) for c in json.loads(text)["cells"])


def files(*endings: str) -> list[str]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", *CHECKED], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so its files cannot be listed")
    return [name for name in listed.stdout.splitlines() if name.endswith(endings) and (ROOT / name).exists()]


@pytest.mark.parametrize(("word", "instead", "limit"), [(row[0], row[1], row[2]) for row in word_list() if row[2]])
def test_text_is_plain_english(word, instead, limit):
    lines = [
        f"{name}: {line.strip()[:100]}"
        for name in files(".py", ".md", ".ipynb", ".html", ".j2", ".css")
        for line in read(name).splitlines()
        for _ in re.findall(rf"\b{word}\b", line, re.IGNORECASE)
        if not (name == "CONTRIBUTING.md" and line.startswith("| "))
    ]
    assert len(lines) <= int(limit), f"instead of {word!r} write {instead}:\n" + "\n".join(lines)


@pytest.mark.parametrize(("word", "instead", "limit"), [(row[0], row[1], row[3]) for row in word_list() if row[3]])
def test_names_say_what_a_thing_is(word, instead, limit):
    bound = [
        f"{name}:{node.lineno}"
        for name in files(".py")
        for node in ast.walk(ast.parse(read(name)))
        if getattr(node, "name", None) == word
        or (isinstance(node, ast.arg) and node.arg == word)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == word)
    ]
    assert len(bound) <= int(limit), f"instead of {word!r} write {instead}:\n" + "\n".join(bound)


HOOK = next(
    hook
    for repository in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    for hook in repository["hooks"]
    if hook["id"] == "commit-subject"
)


@pytest.mark.parametrize(
    ("subject", "accepted"),
    [
        ("Choose the segmentation network with pick_best", True),
        ("Pass one object to notebook 4", True),
        ("Embed the figures in the page", True),
        ("fixup! Choose the segmentation network", True),
        ("Merge branch 'main'", True),
        ("A" + "b" * 71, True),
        ("A" + "b" * 72, False),
        ("choose the segmentation network", False),
        ("Chose the network.", False),
        ("Added a test", False),
        ("Adds a test", False),
        ("Adding a test", False),
        ("After reading once more: the choice is the report's own", False),
        ("README: how to see a kept study as a report", False),
    ],
)
def test_the_commit_hook_wants_a_short_imperative_subject(subject, accepted):
    # As pygrep searches: the hook fails where its pattern is found.
    assert HOOK["language"] == "pygrep" and HOOK["args"] == ["--multiline"] and HOOK["stages"] == ["commit-msg"]
    refused = re.search(HOOK["entry"], f"{subject}\n\nA body that says why.\n", re.MULTILINE | re.DOTALL)
    assert not refused == accepted
