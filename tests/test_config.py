"""Settings: the messages of invalid ones, and the runs of a study."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from wbcstudy.config import RunConfig, StudyConfig, split_run_name
from wbcstudy.config_io import (
    read_study,
)
from wbcstudy.registry import ENCODERS, LOSSES

PARAMS = Path(__file__).parents[1] / "params"


def test_the_runs_of_a_study_are_its_grid_and_have_distinct_names():
    study = StudyConfig(encoders=("unet", "vgg16"), losses=("dice", "cross_entropy"), folds=3, seeds=(0, 5))
    runs = study.runs()
    assert len({run.name for run in runs}) == len(runs) == 2 * 2 * 3 * 2
    assert runs[0].name == "unet__dice__fold0__seed0"
    assert all(run.folds == 3 and run.study == study.name for run in runs)


def test_a_run_name_is_split_into_its_parts():
    run = RunConfig(encoder="mobilenetv2", loss="binary_cross_entropy", fold=4, folds=5, seed=123)
    assert split_run_name(run.name) == ("mobilenetv2__binary_cross_entropy", 4, 123)
    assert split_run_name("otsu_levels__fold1__seed2") == ("otsu_levels", 1, 2)
    assert split_run_name("otsu") is None


def test_the_plain_unet_of_a_pretrained_study_starts_from_random_weights():
    study = StudyConfig(encoders=("unet", "vgg16"), encoder_weights="imagenet", freeze_encoder=True)
    weights = {run.encoder: (run.encoder_weights, run.freeze_encoder) for run in study.runs()}
    assert weights == {"unet": ("none", False), "vgg16": ("imagenet", True)}


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_in_params_can_be_read(path):
    assert read_study(path).name == path.stem


def test_the_paper_settings_are_the_papers():
    study = read_study(PARAMS / "tlemcen.yaml")
    assert set(study.encoders) == set(ENCODERS)
    assert study.losses == ("cross_entropy", "dice")
    assert (study.image_size, study.learning_rate, study.patience) == (256, 1e-3, 10)
    assert (study.encoder_weights, study.freeze_encoder, study.test_fraction) == ("imagenet", True, 0.2)


def test_every_loss_of_the_registry_can_be_chosen():
    assert {RunConfig(loss=name).loss for name in LOSSES} == set(LOSSES)


STARTS = {
    "frozen": {"encoder_weights": "w", "freeze_encoder": True},
    "fine-tuned": {"encoder_weights": {"vgg16": "w/mine.h5", "mobilenet": "imagenet"}},
    "random": {"encoder_weights": "none"},
}


def test_starts_are_a_factor_of_the_study_and_part_of_the_name():
    study = StudyConfig(encoders=("unet", "mobilenet", "vgg16"), losses=("dice",), starts=STARTS, seeds=(0, 1))
    runs = {run.name: (run.encoder_weights, run.freeze_encoder) for run in study.runs() if run.seed == 1}
    assert runs == {
        "unet__dice__random__fold0__seed1": ("none", False),
        "mobilenet__dice__frozen__fold0__seed1": ("w/mobilenet.h5", True),
        "mobilenet__dice__fine-tuned__fold0__seed1": ("imagenet", False),
        "mobilenet__dice__random__fold0__seed1": ("none", False),
        "vgg16__dice__frozen__fold0__seed1": ("w/vgg16.h5", True),
        "vgg16__dice__fine-tuned__fold0__seed1": ("w/mine.h5", False),
        "vgg16__dice__random__fold0__seed1": ("none", False),
    }
    assert split_run_name("vgg16__dice__fine-tuned__fold0__seed1") == ("vgg16__dice__fine-tuned", 0, 1)
    # Without starts, names are as they were.
    assert StudyConfig(encoders=("vgg16",), losses=("dice",)).runs()[0].name == "vgg16__dice__fold0__seed0"


def test_starts_from_a_whole_network_stand_next_to_others():
    starts = {"random": {}, "starter": {"start_from": "starter"}, "held": {"start_from": "a", "freeze_encoder": True}}
    study = StudyConfig(encoders=("unet", "mobilenet"), losses=("dice",), starts=starts)
    runs = {run.method: (run.start_from, run.freeze_encoder) for run in study.runs()}
    assert runs == {
        "unet__dice__random": ("none", False),
        "unet__dice__starter": ("starter", False),
        # The plain U-Net has no encoder to freeze.
        "unet__dice__held": ("a", False),
        "mobilenet__dice__random": ("none", False),
        "mobilenet__dice__starter": ("starter", False),
        "mobilenet__dice__held": ("a", True),
    }
    (plain,) = StudyConfig(encoders=("unet",), losses=("dice",), start_from="starter").runs()
    assert plain.start_from == "starter" and plain.name == "unet__dice__fold0__seed0"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_weights": "imagenet", "starts": STARTS}, "not both"),
        ({"start_from": "starter", "starts": STARTS}, "not both"),
        ({"start_from": "starter", "encoder_weights": "imagenet"}, "with start_from"),
        ({"starts": {"a": {"start_from": "starter", "encoder_weights": "imagenet"}}}, "with start_from"),
        ({"starts": {"random": {"start_from": "starter"}}}, "another name"),
        ({"starts": {"a__b": {}}}, "lower-case"),
        ({"starts": {"fold0": {}}}, "lower-case"),
        ({"starts": {"frozen": {"freeze_encoder": True}}}, "cannot learn"),
        ({"starts": {"given": {"encoder_weights": {"vgg16": "a.h5"}}}}, "resnet18 has none"),
        ({"encoder_weights": {"vgg61": "a.h5"}}, "vgg61"),
        ({"starts": {"random": {"encoder_weights": "imagenet"}}}, "another name"),
        ({"starts": STARTS, "compare_with": "resnet18__dice"}, "compare_with"),
        ({"questions": ({"ask": "?", "factor": "loss", "compare": "dice", "against": "nothing"},)}, "nothing"),
        ({"questions": ({"ask": "?", "factor": "loss", "compare": "dice", "against": "dice"},)}, "different"),
    ],
)
def test_starts_and_questions_that_cannot_be_used_are_refused(values, message):
    starts = values.get("starts")
    encoders = ("vgg16", "mobilenet") if starts is STARTS else ("resnet18",)
    with pytest.raises(ValidationError, match=message):
        StudyConfig(encoders=encoders, **values)
