import json
import shutil
import zipfile

import pytest

from tests.helpers.colour_run import write_colour_run
from wbcstudy.config import StudyConfig
from wbcstudy.config_io import seal_record, write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.files import write_json
from wbcstudy.inference.network import find_run, load_network
from wbcstudy.nets.backend import load_keras
from wbcstudy.runs.folders import RunFolder
from wbcstudy.runs.results import write_record


@pytest.fixture
def study(places):
    """A study of three runs, of which the second is the best on the validation images."""
    for seed, dice in enumerate((0.7, 0.9, 0.8)):
        write_colour_run(places / "outputs", "cells", seed=seed, dice=dice)
    return places / "outputs" / "cells"


def test_a_study_gives_its_best_run_by_validation(study, places):
    params = places / "cells.yaml"
    for source in (study, "cells", params):
        run, why = find_run(source)
        assert run.config.seed == 1
        assert why == "the best of 3 runs on the validation images (Dice 0.900)"


def test_of_the_networks_that_are_still_there_the_best_is_taken(study, monkeypatch):
    (study / "runs" / "resnet18__dice__fold0__seed1" / "model.keras").unlink()
    assert find_run(study)[0].config.seed == 2
    # As if the report compared none yet, since no seed has all folds.
    monkeypatch.setattr("wbcstudy.scoring.decision.decide", lambda runs, **settings: None)
    assert find_run(study)[0].config.seed == 2


def test_runs_that_were_removed_from_the_study_are_left_out_as_in_the_report(study):
    write_yaml(StudyConfig(losses=("dice",), seeds=(0, 2)), study / "cells.yaml")
    assert find_run(study)[0].config.seed == 2


def test_without_images_the_groups_are_as_recorded(study, monkeypatch):
    used = {}
    monkeypatch.setattr("wbcstudy.scoring.decision.decide", lambda runs, **settings: used.update(settings))
    groups = {"a": "slide1", "b": "slide1"}
    write_json(study / "groups.json", seal_record({"groups": groups}))
    for folder in (study / "runs").iterdir():
        record = json.loads((folder / "run.json").read_text())
        write_record(RunFolder(folder), record | {"config": record["config"] | {"dataset": "gone"}})
        (folder / "params.yaml").unlink()
    find_run(study)
    assert used["groups"] == groups


def test_a_run_is_found_by_folder_name_or_model_file(study):
    folder = study / "runs" / "resnet18__dice__fold0__seed2"
    for source in (folder, folder / "model.keras", "cells/resnet18__dice__fold0__seed2"):
        run, why = find_run(source)
        assert (run.folder.path, why) == (folder, "")


def test_a_folder_of_images_with_the_name_of_a_study_is_not_taken_for_it(study, places, monkeypatch):
    (places / "work" / "cells").mkdir(parents=True)
    monkeypatch.chdir(places / "work")
    assert find_run("cells")[0].config.seed == 1
    # A run's folder in the current folder still is.
    shutil.copytree(study / "runs" / "resnet18__dice__fold0__seed2", "mine")
    assert find_run("mine")[0].config.seed == 2


def test_a_network_is_loaded_once(study):
    assert load_network(study) is load_network(study)


@pytest.mark.parametrize("source", ["absent", "cells/absent", "cells/runs/absent"])
def test_an_unknown_run_or_study_is_refused_with_a_list_of_known_studies(study, source):
    with pytest.raises(StudyError, match=r"(?s)no run or study.*Known studies: cells"):
        find_run(source)


def test_an_unfinished_or_failed_run_is_refused(study):
    folder = study / "runs" / "resnet18__dice__fold0__seed0"
    record = json.loads((folder / "run.json").read_text())
    write_record(RunFolder(folder), record | {"status": "failed"})
    with pytest.raises(StudyError, match="failed"):
        load_network(folder)
    (folder / "run.json").unlink()
    with pytest.raises(StudyError, match="no finished run"):
        load_network(folder)


def test_a_run_without_its_network_and_a_study_without_runs_are_refused(study):
    for path in study.glob("runs/*/model.keras"):
        path.unlink()
    with pytest.raises(StudyError, match=r"has no model\.keras"):
        load_network(study / "runs" / "resnet18__dice__fold0__seed0")
    with pytest.raises(StudyError, match="were deleted: its 3 finished runs have none"):
        load_network(study)


def other_kind(path):
    keras = load_keras()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(path)


def with_lambda(path):
    keras = load_keras()
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x / 0, output_shape=(None, None, 3))(image)).save(path)


def change_config(path, change):
    """Rewrite the description inside a .keras file."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def with_import(path):
    def change(config):
        (layer,) = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D"]
        layer |= {"module": "os", "class_name": "system", "registered_name": None}

    change_config(path, change)


def with_function(path):
    def change(config):
        (layer,) = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D"]
        layer["config"]["activation"] = {"module": "builtins", "class_name": "function", "config": "exec"}

    change_config(path, change)


def with_a_file_to_read(path):
    def change(config):
        config["config"]["layers"].append(
            {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}
        )

    change_config(path, change)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def no_description(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no model")


@pytest.mark.parametrize(
    "spoil",
    [other_kind, with_lambda, with_import, with_function, with_a_file_to_read, cut_off, no_description],
    ids=lambda spoil: spoil.__name__,
)
def test_a_model_file_of_another_kind_or_with_code_in_it_is_refused_before_keras_reads_it(study, spoil, monkeypatch):
    folder = study / "runs" / "resnet18__dice__fold0__seed0"
    spoil(folder / "model.keras")
    # As if it were the network of this run.
    write_record(RunFolder(folder), json.loads((folder / "run.json").read_text()))
    if spoil is not other_kind:
        monkeypatch.setattr(load_keras().saving, "load_model", lambda *args, **options: pytest.fail("read by Keras"))
    with pytest.raises(StudyError, match=r"model\.keras is not a model of this project"):
        load_network(folder)


def test_a_moved_run_still_works(study, places):
    moved = shutil.move(study / "runs" / "resnet18__dice__fold0__seed0", places / "elsewhere")
    assert load_network(moved).training.image_size == 32
