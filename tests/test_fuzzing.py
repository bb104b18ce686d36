"""Any input is used or refused with a message; `python -m tests.fuzz` feeds thousands, these tests some hundreds."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.checkout import ROOT
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import make_config, read_study
from wbcstudy.data.case_files import read_facts
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.images import read_image
from wbcstudy.data.spec import DatasetSpec, read_spec
from wbcstudy.errors import StudyError, printable, show_value
from wbcstudy.runs.folders import RunFolder, StudyFolder

# Nested aliases: some hundred bytes that expand to 10^9 words.
LAUGHS = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]\n" for k in range(1, 10)
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=9)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))


def fields_of(config_class):
    """Return a strategy for some fields of a configuration, with any values."""
    return st.dictionaries(st.sampled_from([*config_class.model_fields, "image_sise"]), VALUES, max_size=4)


def test_damaged_files_are_used_or_refused_and_change_nothing_else():
    command = [sys.executable, "-m", "tests.fuzz", "--quick", "--keep", "/nonexistent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 did harm" in done.stdout


@given(fields_of(StudyConfig))
@example({"epochs": 16**5000})
@example({"seeds": [float("nan")]})
def test_any_settings_make_a_study_or_are_refused_with_a_message(values):
    try:
        study = make_config(StudyConfig, values, source="here")
    except StudyError as error:
        assert "here" in error.message and len(str(error)) < 10_000
    else:
        assert len({run.name for run in study.runs()}) == len(study.runs())


@given(values=fields_of(DatasetSpec), text=st.text(max_size=40))
def test_any_dataset_yaml_is_read_or_refused_with_a_message(tmp_path_factory, values, text):
    path = tmp_path_factory.mktemp("set") / "dataset.yaml"
    good = {"name": "a", "images": "{case}.bmp", "masks": "{case}.png"}
    good["labels"] = {"background": 0, "cytoplasm": 1, "nucleus": 2}
    for content in (yaml.safe_dump(good | values), yaml.safe_dump(good) + text, text):
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        try:
            assert set(read_spec(path).labels) == set(good["labels"])
        except StudyError as error:
            assert str(path) in error.message


@given(st.text() | st.lists(st.lists(st.text(max_size=8), max_size=5)).map(lambda rows: "\n".join(map(",".join, rows))))
@example("case_id\n" + "x" * 200_000)
@example("x" * 200_000)
def test_any_case_table_gives_facts_or_problems(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("facts") / "cases.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    facts, problems = read_facts(path, ["a"])
    assert problems or set(facts) == {"a"}


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"\xff\xd8\xff\xe0"]))
def test_any_bytes_are_read_as_an_image_or_refused_with_a_message(tmp_path_factory, data, start):
    path = tmp_path_factory.mktemp("image") / "a.png"
    path.write_bytes(start + data)
    try:
        assert read_image(path).shape[2] == 3
    except StudyError as error:
        assert str(path) in error.message


@pytest.mark.parametrize("config_class", [StudyConfig, DatasetSpec])
def test_a_small_file_with_nested_aliases_is_refused_at_once(tmp_path, config_class):
    path = tmp_path / "study.yaml"
    is_spec = config_class is DatasetSpec
    fields = {"name": "a", "images": "{case}.a", "masks": "{case}.b", "labels": {}} if is_spec else {}
    head = yaml.safe_dump(fields) if fields else ""
    text = LAUGHS.replace("l9:", "labels:" if fields else "encoders:")
    path.write_text(head.replace("labels: {}\n", "") + text)
    before = time.process_time()
    with pytest.raises(StudyError):
        (read_spec if fields else read_study)(path)
    # Expanding the aliases would take all memory.
    assert time.process_time() - before < 60


def test_values_in_messages_are_short_and_have_no_control_characters():
    assert show_value(16**5000) == "<a whole number of 20001 bits>"
    assert len(show_value([["x" * 10_000] * 1000] * 1000)) < 10_000
    assert printable("a\x1b[2Jb\udcff\u2028 ä\n") == "a\\x1b[2Jb\\udcff\\u2028 ä\n"
    assert len(str(StudyError("x" * 10**6, expected="y" * 10**6, fix="z"))) < 5000


def write_case(folder: Path, name: str) -> None:
    Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save(folder / f"{name}.bmp")
    Image.fromarray(np.array([[0, 1, 2, 2]] * 4, np.uint8)).save(folder / f"{name}.png")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "caf\udce9", "a\u2028b"])
def test_a_file_name_that_is_not_text_is_refused(tmp_path, command, name):
    spec = {"name": "a", "images": "{case}.bmp", "masks": "{case}.png"}
    spec["labels"] = {"background": 0, "cytoplasm": 1, "nucleus": 2}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(spec))
    for case_id in ("good", "better", "best", name):
        write_case(tmp_path, case_id)
    with pytest.raises(StudyError, match="cannot be printed"):
        load_dataset(tmp_path)
    code, output, _ = command("data", "check", tmp_path, "--html", tmp_path / "check.html")
    assert code == 1 and "cannot be printed" in output and name not in output
    assert "cannot be printed" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_unusual_names_that_are_text_are_accepted(tmp_path):
    spec = {"name": "a", "images": "{case}.bmp", "masks": "{case}.png"}
    spec["labels"] = {"background": 0, "cytoplasm": 1, "nucleus": 2}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(spec))
    names = ["<img src=x onerror=alert(1)>", "a, b", "-rf", "NA", "Zelle Ü 7", "e\u0301", "x" * 240, "\u202fPM"]
    for name in names:
        write_case(tmp_path, name)
    assert sorted(case.case_id for case in load_dataset(tmp_path).cases) == sorted(names)


@pytest.mark.parametrize("path", ["~nobody_there/set", "a" * 5000, "a/" * 3000, "a\0b"])
def test_an_impossible_path_is_refused_with_a_message(tmp_path, places, command, path):
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"dataset": path, "encoder_weights": path}))
    code, _, errors = command("run", study)
    assert code == 2 and ("There is no" in errors or "Unknown dataset" in errors)


@pytest.mark.parametrize("pattern", ["*" * 40 + "{case}.bmp", "*a" * 30 + "{case}.bmp"])
def test_a_pattern_that_would_take_forever_is_refused(tmp_path, pattern):
    spec = {"name": "a", "images": pattern, "masks": "{case}.png"}
    spec["labels"] = {"background": 0, "cytoplasm": 1, "nucleus": 2}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(StudyError, match="at most 3"):
        read_spec(tmp_path / "dataset.yaml")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[" * 100_000, b'{"status": "complete", "scores": [1]}', b"epoch\n\n1"]
)
def test_status_works_with_damaged_records(tmp_path, places, command, data):
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"encoders": ["unet"], "losses": ["dice"]}))
    run: RunFolder = StudyFolder(tmp_path / "outputs" / "study").run("unet__dice__fold0__seed0")
    run.path.mkdir(parents=True)
    for path in (run.record, run.history):
        path.write_bytes(data)
    code, output, _ = command("status", study)
    assert code == 0 and "unet__dice" in output
