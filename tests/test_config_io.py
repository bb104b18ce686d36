"""Settings in files and notebooks: the messages about invalid ones."""

import pytest
import yaml

from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig
from wbcstudy.config_io import (
    changed_settings,
    config_from_parameters,
    make_config,
    read_run,
    read_study,
    write_yaml,
)
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
