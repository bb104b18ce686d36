"""Settings in files and notebooks: the messages about invalid ones."""

import codecs
import re
import typing

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.checkout import ROOT
from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig
from wbcstudy.config_io import (
    changed_settings,
    config_from_parameters,
    make_config,
    read_run,
    read_study,
    read_yaml,
    write_yaml,
)
from wbcstudy.data.spec import DatasetSpec, read_spec
from wbcstudy.errors import StudyError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoderz": ["resnet18"]}, "Did you mean 'encoders'"),
        ({"encoders": ["resnet5"]}, "Did you mean 'resnet50'"),
        ({"losses": ["dise"]}, "Did you mean 'dice'"),
        ({"image_size": 300}, "288 and 320"),
        ({"image_size": 0}, "image_size"),
        ({"learning_rate": "1e-x"}, "learning_rate"),
        ({"learning_rate": -1}, "greater than 0"),
        ({"freeze_encoder": True}, "a frozen random encoder cannot learn"),
        ({"seeds": [0, 0]}, "without repetition"),
        ({"encoders": []}, "at least one"),
        ({"test_fraction": 1.0}, "less than 1"),
        ({"name": "../elsewhere"}, "letters, digits"),
        ({"encoders": "resnet18"}, "Expected: a list, for example [resnet18]"),
        ({"seeds": 3}, "Expected: a list, for example [3]"),
        ({"epochs": True}, "a number or text, not true or false"),
        ({"seeds": [0, True]}, "a number or text, not true or false"),
        ({"encoder_weights": ""}, "encoder_weights"),
        ({"compare_with": "resnet5__dice"}, "compare_with: none or a pair of this study (resnet18__cross_entropy"),
        ({"equivalence_margin": 0}, "greater than 0"),
        ({"losses": None}, "Expected: a list, for example [cross_entropy, dice]"),
    ],
)
def test_the_message_explains_an_invalid_setting(values, message):
    with pytest.raises(StudyError) as caught:
        make_config(StudyConfig, values, "params/x.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("params/x.yaml")


# Words of the libraries, which users do not know.
JARGON = re.compile(
    r"pydantic|Input should|valid (string|integer|number|boolean|tuple)|instance of|unable to parse|papermill|PyYAML|"
    r"token|scalar|mapping values|<block|constructor|Traceback|[a-z]Error\\b|NoneType|dict\\b"
)
SPEC = {"name": "a", "images": "i/{case}", "masks": "m/{case}"}
SPEC |= {"labels": {"background": 0, "cytoplasm": 1, "nucleus": 2}}
CLASSES = (StudyConfig, RunConfig, BaselineConfig, DatasetSpec)
FIELDS = [(config_class, name) for config_class in CLASSES for name in config_class.model_fields]
ODD = (None, [], {}, "", "x y", 1.5, -1, True, 10**400, {"case": None}, ["x"], 202405, "1e-4x", "0,5", "\u2018a\u2019")
ODD += ([[1]], "a\tb", float("nan"), "\u00a0")


@pytest.mark.parametrize(("config_class", "name"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_every_field_refuses_values_in_plain_words(config_class, name):
    values = SPEC if config_class is DatasetSpec else {}
    refused = 0
    for value in ODD:
        try:
            make_config(config_class, values | {name: value}, "params/x.yaml")
        except StudyError as error:
            refused += 1
            message = str(error)
            assert message.startswith("params/x.yaml: ") and not JARGON.search(message), message
            assert error.expected and error.fix and name[:4] in message
    assert refused >= 3
    with pytest.raises(StudyError, match=f"Did you mean '{name}'" if name != "name" else "Unknown parameter"):
        make_config(config_class, values | {f"{name}x": 1}, "params/x.yaml")
    field = config_class.model_fields[name]
    for choice in typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ():
        with pytest.raises(StudyError, match=f"Did you mean '{choice}'"):
            make_config(config_class, {name: f"{choice}x"}, "params/x.yaml")


@pytest.mark.parametrize(
    ("values", "expected", "advice"),
    [
        ({"image_size": 10}, "a whole number from 32 to 4096", "Change image_size"),
        ({"epochs": 2.5}, "a whole number from 1", ""),
        ({"dropout": "0,5"}, "a number of at least 0 and less than 1", "Write a point, not a comma: 0.5"),
        ({"learning_rate": "\u00a01e-3x"}, "a number", "an invisible character"),
        ({"precision": "float16"}, "auto, float32 or bfloat16. Did you mean 'bfloat16'?", ""),
        ({"dataset": 5}, "text", "YAML reads it as a number. Put text in quotes: dataset: '...'"),
        ({"dataset": {"case": None}}, "text", "dataset: '{case}'"),
        ({"dataset": ["a"]}, "text", "YAML reads it as a list"),
        ({"seeds": [0, "x"]}, "a whole number", ""),
        ({"test_time_flips": "maybe"}, "true or false", ""),
        ({"epochs": None}, "a whole number", "Delete the line for the default"),
        ({"starts": {"frozen": {"encoder_weigths": "a.h5"}}}, "encoder_weights", "Did you mean"),
        ({"starts": {"frozen": {"freeze_encoder": "maybe"}}}, "true or false", "Change starts"),
        ({"questions": [{"ask": "?", "compare": "a", "against": "b"}]}, "the field factor", ""),
        ({"questions": [{"ask": "?", "factor": "strat"}]}, "Did you mean 'start'?", ""),
        ({"epochs": True}, "not true or false", "YAML reads yes, no, on and off"),
    ],
)
def test_the_advice_fits_the_reason(values, expected, advice):
    with pytest.raises(StudyError) as caught:
        make_config(StudyConfig, values, "params/x.yaml")
    assert expected in caught.value.expected and advice in caught.value.fix


@pytest.mark.parametrize(
    ("text", "line", "reason", "advice"),
    [
        # A value that begins with a character of YAML.
        ("name: n\nimages: {case}_img.png\n", 2, "text that begins with {", "images: '{case}_img.png'"),
        ("a:\n  - {case}.png\n", 2, "text that begins with {", "- '{case}.png'"),
        ("masks: [x]y/{case}.png  # ours\n", 1, "text that begins with [", "masks: '[x]y/{case}.png'"),
        ("images: *.png\n", 1, "text that begins with a special", "images: '*.png'"),
        ("a: 1\ntitle: @lab's\n", 2, "text that begins with a special", "title: '@lab''s'"),
        ("title: %x\n", 1, "text that begins with a special", ""),
        ("title: !x y\n", 1, "text that begins with a special", ""),
        # Tabs.
        ("labels:\n\tbackground: 0\n", 2, "a tab", "spaces"),
        ("labels:\n  a: 0\n \tb: 0\n", 3, "a tab", "spaces"),
        ("name:\tn\nb: 1\n", 1, "a tab", "spaces"),
        # Backslashes and quotes.
        ('a: "C:\\Users\\x"\n', 1, "a backslash in double quotes", "'/mnt/c/Users/x'"),
        ('a: "img\\{case}.png"\n', 1, "a backslash in double quotes", "single quotes"),
        ('a: "\\d"\n', 1, "a backslash in double quotes", "single quotes"),
        ("title: 'Anna's smears'\nb: 1\n", 1, "text after the closing quote", "other kind of quotes"),
        ("a: 'x\nb: 1\n", 1, "a quote that is not closed", "Close"),
        ('a: "x\nb: "y"\n', 1, "a quote that is not closed", "Close"),
        ("a: \u201cx: y\u201d\n", 1, "a curly quote", "straight quotes"),
        # Colons.
        ("epochs:10\n", 1, "no space after the colon", "with a space"),
        ("a: 1\nepochs:10\nb: 2\n", 2, "no space after the colon", "with a space"),
        ("epochs:10\nb: 2\n", 1, "no space after the colon", "with a space"),
        ("title: Smears: lab 2\n", 1, "': ' within a value", "title: 'Smears: lab 2'"),
        ("name\uff1an\nb: 1\n", 1, "a colon of another script", "normal colon"),
        ("epochs = 10\n", 1, "'=' instead of ': '", "field: value"),
        ("a: 1\nepochs 10\nb: 2\n", 2, "no ': '", "field: value"),
        # Invisible characters.
        ("name:\u00a0n\n", 1, "an invisible character", "normal space"),
        ("a:\n\u00a0\u00a0b: 1\n", 2, "an invisible character", "normal space"),
        ("a: 1\n\u200bb: 2\nc\n", 2, "an invisible character", "normal space"),
        ("a: 1\nb: \x00\n", 2, "a character that is not text", "plain text"),
        # Structure.
        ("a: 1\n b: 2\n", 2, "an indentation", "same column"),
        ("a:\n   b: 1\n  c: 2\n", 3, "an indentation", "same column"),
        ("a: [1, 2\nb: 3\n", 1, "a bracket that is not closed", "Close"),
        ("a: {b: 1\nc: 2\n", 1, "a bracket that is not closed", "Close"),
        ("a: - b\n", 1, "a list on the line of its field", "[a, b]"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a' (also in line 1)", "Delete one"),
        ("a: 1\n---\nb: 2\n", 2, "a second document", "Delete"),
        ("a: 2024-13-45\n", 1, "a date that does not exist", "a: '2024-13-45'"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_a_fault_in_yaml_is_shown_with_line_text_and_cause(tmp_path, text, line, reason, advice, newline):
    path = tmp_path / "x.yaml"
    path.write_text(text.replace("\n", newline), encoding="utf-8", newline="")
    with pytest.raises(StudyError) as caught:
        read_yaml(path)
    message, *context, caret = caught.value.message.split("\n")
    assert message.startswith(f"{path} is not valid YAML: line {line} has {reason}")
    assert context[-1].startswith(f"{line:5} | ") and caret.strip("^ ") == "|"
    assert advice in caught.value.fix and not JARGON.search(str(caught.value))


def test_a_long_line_is_cut_around_the_fault(tmp_path):
    (tmp_path / "x.yaml").write_text(f"title: {'x' * 500}: y\n")
    with pytest.raises(StudyError) as caught:
        read_yaml(tmp_path / "x.yaml")
    _, shown, caret = caught.value.message.split("\n")
    assert len(shown) < 130 and shown[caret.index("^")] == ":"


@given(st.text("ab: -[]{}'\"\\#*&!\n\t,\u00a0\u201c|>%@0=", max_size=40))
def test_any_text_is_read_or_refused_in_plain_words(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        assert isinstance(read_yaml(path), dict)
    except StudyError as error:
        assert error.fix


@pytest.mark.parametrize("case", ["yaml-brace-first", "yaml-tabs"])
def test_the_shipped_cases(case):
    path = ROOT.parent / "shared" / "cases" / case / "dataset.yaml"
    if not path.is_file():
        pytest.skip(f"no cases at {path.parents[1]}")
    with pytest.raises(StudyError) as caught:
        read_spec(path)
    line, reason = {"yaml-brace-first": (2, "text that begins with {"), "yaml-tabs": (5, "a tab")}[case]
    assert f"line {line} has {reason}" in caught.value.message


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.replace("\n", "\r\n").encode("utf-16-be"),
    ],
    ids=["utf-8 with mark", "utf-16", "utf-16-be with mark", "utf-16-le", "utf-16-be"],
)
def test_files_of_windows_editors_are_read(tmp_path, encode):
    (tmp_path / "x.yaml").write_bytes(encode("dataset: Zöe\nepochs: 3\n"))
    assert read_yaml(tmp_path / "x.yaml") == {"dataset": "Zöe", "epochs": 3}


def test_the_advice_on_a_file_fits_the_reason(tmp_path, monkeypatch):
    def refusal(path):
        with pytest.raises(StudyError) as caught:
            read_yaml(path)
        return str(caught.value)

    (tmp_path / "mine.yaml").write_bytes("a: 1\ntitle: Zöe\n".encode("latin-1"))
    assert "line 2 holds a character that is not in UTF-8" in refusal(tmp_path / "mine.yaml")
    assert f"Did you mean {tmp_path / 'mine.yaml'}?" in refusal(tmp_path / "mien.yaml")
    assert "Pass the file in this folder" in refusal(tmp_path)
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04\xff\xfe")
    assert "Word document" in refusal(tmp_path / "a.docx")
    (tmp_path / "empty.yaml").touch()
    assert "is empty" in refusal(tmp_path / "empty.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    assert "holds a list, not fields" in refusal(tmp_path / "list.yaml")

    def deny(path, most):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wbcstudy.config_io.read_bytes", deny)
    assert "Ask its owner for permission" in refusal(tmp_path / "mine.yaml")


def test_yaml_text_for_a_number_in_scientific_notation_is_understood(tmp_path):
    # YAML 1.1 reads 1e-4 as text.
    path = tmp_path / "x.yaml"
    path.write_text("learning_rate: 1e-4\n")
    assert read_study(path).learning_rate == 1e-4


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "1: 2\n", "\x00", "dataset: !!python/object:os.system x"])
def test_a_file_that_is_not_a_study_is_an_error(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match="Expected"):
        read_study(path)


def test_a_duplicate_key_is_an_error(tmp_path):
    (tmp_path / "ours.yaml").write_text("epochs: 10\npatience: 3\nepochs: 50\n")
    with pytest.raises(StudyError, match="duplicate key 'epochs'"):
        read_study(tmp_path / "ours.yaml")


def test_the_name_of_a_study_is_the_name_of_its_file(tmp_path):
    (tmp_path / "my study.yaml").write_text("epochs: 3\n")
    with pytest.raises(StudyError, match="Rename the file"):
        read_study(tmp_path / "my study.yaml")
    (tmp_path / "ours.yaml").write_text("name: theirs\n")
    with pytest.raises(StudyError, match="name: 'theirs' is not the file's name"):
        read_study(tmp_path / "ours.yaml")
    (tmp_path / "ours.yaml").write_text("name: ours\n")
    assert read_study(tmp_path / "ours.yaml").name == "ours"


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="Cannot read"):
        read_study(tmp_path / "none.yaml")


@pytest.mark.parametrize("config", [RunConfig(), BaselineConfig()])
def test_settings_that_an_earlier_version_lacks_count_as_their_defaults(config):
    assert changed_settings({"score_at": "native"}, config) == []
    # The rule of earlier versions is not the default.
    assert changed_settings({}, config) == ["score_at was 'image_size', is now 'native'"]
    assert changed_settings({"score_at": "native", "fold": 1}, config) == ["fold was 1, is now 0"]
    assert changed_settings({"score_at": "native", "gone": 3}, config) == ["gone was 3, is now None"]


def test_a_configuration_reads_back_from_its_file(tmp_path):
    run = RunConfig(encoder="vgg16", learning_rate=3e-5, encoder_weights="a file: of #mine.h5")
    write_yaml(run, tmp_path / "params.yaml")
    assert read_run(tmp_path / "params.yaml") == run
    assert yaml.safe_load((tmp_path / "params.yaml").read_text()) == run.model_dump(mode="json")


class TestNotebookParameters:
    def variables(self, **changed):
        return {name: field.default for name, field in RunConfig.model_fields.items()} | changed

    def test_the_variables_of_the_parameters_cell_are_the_run(self):
        assert config_from_parameters(RunConfig, self.variables(encoder="vgg16", In=[])) == RunConfig(encoder="vgg16")

    def test_a_misspelt_papermill_parameter_is_refused(self):
        # papermill itself only warns, and would train the default.
        variables = self.variables(In=["", "# Parameters\nepoch = 5\n"], epoch=5)
        with pytest.raises(StudyError, match="Did you mean 'epochs'"):
            config_from_parameters(RunConfig, variables)

    @pytest.mark.parametrize(
        ("config_class", "changed", "advice"),
        [
            (RunConfig, {"study": 202405}, "write -r study TEXT"),
            (RunConfig, {"encoder_weights": 1.5}, "write -r encoder_weights TEXT"),
            (BaselineConfig, {"seeds": "[0, 1]"}, "write -y 'seeds: [...]'"),
            (BaselineConfig, {"method": 1}, "write -r method TEXT"),
        ],
    )
    def test_the_options_of_papermill_are_explained(self, config_class, changed, advice):
        variables = {name: field.default for name, field in config_class.model_fields.items()} | changed
        with pytest.raises(StudyError) as caught:
            config_from_parameters(config_class, variables)
        assert advice in caught.value.fix

    def test_a_misspelt_name_in_the_notebooks_own_cell_is_refused(self):
        cell = "\n".join(f"{name} = ..." for name in RunConfig.model_fields)
        # The right name is still there from an earlier run of the cell.
        variables = self.variables(In=["", cell, cell.replace("epochs =", "epoch ="), "%matplotlib inline"], epoch=5)
        with pytest.raises(StudyError, match="Did you mean 'epochs'"):
            config_from_parameters(RunConfig, variables)
        variables["In"].append(cell)
        assert config_from_parameters(RunConfig, variables) == RunConfig()

    def test_helpers_of_other_cells_are_no_parameters(self):
        variables = self.variables(In=["", "epochs = 3\nfolder = 5\n"], epochs=3, folder=5)
        assert config_from_parameters(RunConfig, variables).epochs == 3
