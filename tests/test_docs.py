"""README and documentation: commands, settings and paths exist, snippets are valid, the site builds."""

import ast
import importlib
import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from tests.helpers.checkout import ROOT
from tests.helpers.colour_run import paint, round_cells, write_colour_run
from tests.helpers.fake_study import SIZE, make_study, write_dataset
from tests.test_layers import MAY_USE
from wbcstudy.cli import app
from wbcstudy.config import RunConfig, StudyConfig
from wbcstudy.config_io import make_config, write_yaml
from wbcstudy.data.spec import DatasetSpec
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.inference.export import _missing_packages

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
TEXT = "\n".join(PAGES.values())
# Files that a reader makes while following a guide.
MADE = ("params/ours.yaml", "params/trial.yaml", "params/my_study.yaml", "profiles/ours")
# Commands that run here on a small folder, in seconds.
RUN = (
    "encoders",
    "methods",
    "data list",
    "data check",
    "status params/segmentation",
    "segment path/to/images --model",
    "export",
    "weights list",
    "report params/demo.yaml",
)
# Commands that are parsed, with the reason.
PARSED = {
    "run": "trains networks for minutes to hours; tests/study/test_study.py runs a small study",
    "repeat": "trains a network; tests/study/test_study.py repeats a run",
    "stop": "needs a running study; tests/study/test_running.py stops one",
    "plan": "tests/study/test_sample_size.py runs it",
    "init": "tests/data/test_propose.py runs it on common layouts",
    "data import": "tests/data/test_import_outlines.py runs it on each format",
    "data draw": "draws hundreds of images; tests/data/synthetic/test_varied.py writes a small dataset",
    "open": "tests/study/test_app.py runs it",
    "data fetch": "downloads images",
    "starter build": "trains a network for hours; tests/study/test_starter.py replaces the training",
    "segment path/to/images --out": "needs the starter; tests/inference/test_starter_file.py segments with a small one",
    "annotate-next": "needs the starter; tests/inference/test_annotate_next.py runs it with another network",
    "weights fetch": "downloads weights",
    "weights convert": "needs a downloaded file; tests/nets/test_convert_weights.py converts one of the same layout",
    "report outputs/": "needs the public images; tests/test_reference.py builds the tables of a restored study",
}
OTHER_PROGRAMS = {
    "bioimageio",
    "chroot",
    "conda",
    "cp",
    "debootstrap",
    "docker",
    "git",
    "mount",
    "pip",
    "pipx",
    "source",
    "unzip",
}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> list[str]:
    """Return the fenced code blocks of a language ('' for commands) of all pages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def command_lines() -> list[list[str]]:
    lines = dict.fromkeys(line for block in blocks("") for line in block.splitlines() if not line.startswith(" "))
    words = [shlex.split(line.replace("<", "_").replace(">", "_"), comments=True) for line in lines]
    words = [list_ for list_ in words if list_ and not list_[0].startswith("outputs/")]
    return [[word.removeprefix(".venv/bin/") for word in list_ if word not in ("nohup", "&")] for list_ in words]


COMMANDS = command_lines()
OURS = [words[1:] for words in COMMANDS if words[0] == "wbcstudy"]


def find_command(words: list[str]):
    """Return a subcommand, its name and the words after it."""
    command, words = typer.main.get_command(app), list(words)
    while hasattr(command, "commands"):
        if words[0].startswith("--"):
            assert words[0] in command.params[0].opts, words
            words.pop(0)
            continue
        assert words[0] in command.commands, f"no such command: {words}"
        command = command.commands[words.pop(0)]
    return command, words


def test_the_readme_is_one_page():
    assert len(PAGES["README.md"].splitlines()) <= 120


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_printed_command_is_valid(words):
    command, rest = find_command(words)
    command.make_context(" ".join(words), rest)


def test_a_command_within_a_sentence_is_valid():
    spans = re.findall(r"`(?:\.venv/bin/)?wbcstudy ([a-z][^`]*)`", TEXT)
    assert spans
    for span in spans:
        command, rest = find_command([word for word in span.split() if word != "..."])
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= options, span


def test_every_other_line_is_a_target_or_a_known_program():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)`", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    papermill = {"-p": RunConfig.model_fields}
    for program, *words in COMMANDS:
        if program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words
        elif program == "papermill":
            # It would run the names of parameters in a received file as code.
            assert "-f" not in words, words
            assert (ROOT / next(word for word in words if word.endswith(".ipynb") and "/" in word)).exists()
            named = [after for before, after in itertools.pairwise(words) if before in papermill]
            assert set(named) <= set(RunConfig.model_fields)
        elif program == "python":
            assert (ROOT / words[0]).exists(), words
        elif program == "cp":
            assert (ROOT / next(word for word in words if word != "-r")).exists(), words
        else:
            assert program in {"wbcstudy", "pre-commit", *OTHER_PROGRAMS}, (program, words)


def test_the_numbers_of_the_readme_are_those_of_the_kept_results():
    numbers = {2: "two", 9: "nine", 16: "sixteen", 17: "seventeen", 18: "eighteen"}
    reference = ROOT / "outputs" / "reference"
    pairs = [path.name.split("__") for path in reference.glob("segmentation_wbc_2/runs/*__fold0__seed0")]
    methods = {path.name.partition("__")[0] for path in reference.glob("earlier_methods_*/baselines/*")}
    encoders, losses, methods = (numbers[len(set(names))] for names in (*list(zip(*pairs, strict=True))[:2], methods))
    text = f"Two public datasets, {encoders} encoders, {losses} losses and {methods} earlier methods"
    assert text in " ".join(PAGES["README.md"].split())


def test_a_printed_command_is_run_or_has_a_reason():
    for words in OURS:
        known = [start for start in (*RUN, *PARSED) if " ".join(words).startswith(start)]
        assert len(known) == 1, (words, known)


@pytest.fixture
def guide_folder(places, monkeypatch):
    """Provide what the guides take for granted: a folder of images, one with masks, and the finished study `demo`."""
    mask = round_cells(32, 64, [(16, 20), (16, 45)])
    write_colour_run(places / "outputs", "demo", size=32)
    write_synthetic_dataset(places / "path" / "to" / "folder", cases=8, seed=3, size_px=32, instances=False)
    (places / "path" / "to" / "images").mkdir()
    Image.fromarray(paint(mask)).save(places / "path" / "to" / "images" / "field.png")
    shutil.copytree(ROOT / "params", places / "params")
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(places / "weights"))
    monkeypatch.chdir(places)
    return places


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [words for words in OURS if " ".join(words).startswith(RUN) and words[0] != "report"], ids=" ".join
)
def test_a_printed_command_runs(command, guide_folder, words):
    if words[0] == "export" and _missing_packages(words[words.index("--format") + 1]):
        pytest.skip("the extra `export` is not installed")
    code, printed, errors = command(*words)
    assert code == 0, printed + errors
    for option in ("--out", "--html"):
        assert option not in words or (guide_folder / words[words.index(option) + 1]).exists()


@pytest.mark.slow
def test_the_report_is_built_again_as_printed(command, places, monkeypatch):
    config = StudyConfig(name="demo", encoders=("resnet18", "mobilenet"), image_size=SIZE)
    dataset = write_dataset(places / "outputs", config, cases=12)
    config = config.model_copy(update={"dataset": str(dataset)})
    make_study(places / "outputs", config, cases=12)
    (places / "params").mkdir()
    write_yaml(config, places / "params" / "demo.yaml")
    monkeypatch.chdir(places)
    assert ["report", "params/demo.yaml"] in OURS
    code, printed, errors = command("report", "params/demo.yaml")
    assert code == 0, printed + errors
    assert (places / "outputs" / "demo" / "report" / "index.html").is_file() and "Report: " in printed


@pytest.mark.slow
def test_printed_lines_of_other_programs_run(places):
    restore = ["python", "scripts/reference.py", "restore", "segmentation_wbc_2"]
    for words in (restore, ["papermill", "--help-notebook", "notebooks/2_train.ipynb"]):
        assert words in COMMANDS
        program = [] if words[0] == "python" else ["-m", "papermill"]
        subprocess.run([sys.executable, *program, *words[1:]], cwd=ROOT, check=True, capture_output=True)
    assert len(list((places / "outputs" / "segmentation_wbc_2" / "runs").iterdir())) > 17


def test_yaml_snippets_are_valid():
    snippets = [yaml.safe_load(block) for block in blocks("yaml")]
    assert any("images" in snippet for snippet in snippets) and len(snippets) > 4
    patterns = {"name": "part", "images": "images/{case}.png", "masks": "masks/{case}.png"}
    for snippet in snippets:
        if snippet.keys() <= StudyConfig.model_fields.keys():
            make_config(StudyConfig, snippet, source="documentation")
        else:  # A dataset.yaml, or the lines of one that a paragraph is about.
            make_config(DatasetSpec, patterns | snippet, source="documentation")


def test_python_snippets_use_what_exists():
    import wbcstudy
    from wbcstudy.inference.image import Segmentation

    for block in blocks("python"):
        tree = ast.parse(block)
        known = {"wbcstudy": dir(wbcstudy), "result": {*dir(Segmentation), *Segmentation.__annotations__}}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                known |= {name.asname or name.name: dir(importlib.import_module(name.name)) for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                known |= {name.asname or name.name: dir(getattr(module, name.name)) for name in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                assert node.attr in known[node.value.id]


def test_paths_in_the_text_exist():
    folders = "wbcstudy|tests|scripts|benchmarks|notebooks|params|profiles|outputs/reference|docs"
    for name, text in PAGES.items():
        paths = re.findall(rf"`((?:{folders})/[\w./-]+)`", text)
        assert not [path for path in paths if not (ROOT / path).exists() and not path.startswith(MADE)], name
        links = [] if name.startswith("docs/") else re.findall(r"\]\((?!http)([^)#]+)", text)
        assert not [link for link in links if not (ROOT / link).exists()], name


def test_the_table_of_imports_is_that_of_the_rules():
    rows = re.findall(r"^\| `(\w+)` \| (-|`[\w`, ]+`) \|$", PAGES["docs/architecture.md"], re.MULTILINE)
    assert {folder: set(re.findall(r"\w+", used)) for folder, used in rows} == {
        folder: used for folder, used in MAY_USE.items() if folder != "cli"
    }


def test_every_setting_and_command_is_documented():
    pages = load(ROOT / "docs" / "generated_pages.py").pages()
    for model, page in ((StudyConfig, "settings"), (RunConfig, "settings"), (DatasetSpec, "dataset_yaml")):
        for name, field in model.model_fields.items():
            assert field.exclude or f"| `{name}` |" in pages[f"reference/{page}.md"], name
    shown = subprocess.run([sys.executable, "-m", "wbcstudy.cli", "--help"], capture_output=True, text=True, check=True)
    names = re.findall(r"^│ (\w+) ", shown.stdout, re.MULTILINE)
    assert len(names) > 7
    for name in names:
        assert f"## wbcstudy {name}" in pages["reference/command_line.md"]


def test_images_are_up_to_date():
    images = load(ROOT / "docs" / "make_images.py")
    assert (images.IMAGES / "rooms.svg").read_text(encoding="utf-8") == images.draw_rooms(), "run docs/make_images.py"
    assert np.array_equal(Image.open(images.IMAGES / "strip.png"), images.draw_strip()), "run docs/make_images.py"


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_the_net(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference" / "settings.html").exists()
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)", page.read_text()
        )
        assert not loaded, page
