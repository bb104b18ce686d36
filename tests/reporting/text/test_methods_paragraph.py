"""The methods paragraph."""

import pytest

from tests.helpers.fake_study import DATASET, make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.data.duplicates import Duplicate
from wbcstudy.errors import StudyError
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph, weights_sentence
from wbcstudy.runs.results import load_runs, write_record


def test_it_states_what_a_reviewer_asks(tmp_path):
    config = StudyConfig(
        name="demo",
        encoders=("resnet50", "unet"),
        encoder_weights="imagenet",
        freeze_encoder=True,
        folds=3,
        seeds=(0, 4),
    )
    text = methods_paragraph(make_results(tmp_path, config))
    for phrase in (
        *("2 encoders (ResNet-50 and U-Net)", "2 losses (cross-entropy and Dice loss)", "32 x 32", "3 folds"),
        *("ImageNet weights (frozen; the plain U-Net started from random weights)", "learning rate 0.001"),
        *("tensorflow 2.21.0", "seeds 0 and 4", "wbcstudy 0.1.0 (commit abcdef0123456789)", "at most 100 epochs"),
        *("10 training, 4 validation and 8 test images", DATASET["citation"], "validation images"),
    ):
        assert phrase in text


def test_it_states_the_size_of_the_scores(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("unet",), losses=("dice",)))
    text = methods_paragraph(results)
    assert "mask at the size of each image (32 px)." in text and "share of each label" in text
    assert "The scores of this study were counted at the size of each image (32 px)." in results.table_html["table1"]


def test_scores_of_an_earlier_version_are_of_image_size(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("unet",), losses=("dice", "cross_entropy")))
    for run in results.runs:
        del run.record["config"]["score_at"]
        write_record(run.folder, run.record)
    results = with_runs(results, load_runs(results.study))
    text = methods_paragraph(results)
    assert "Predictions were compared with masks at 32 x 32 px" in text and "by nearest neighbour" in text
    assert "The scores of this study were counted at 32 x 32 px." in results.table_html["table1"]


def test_scores_of_different_sizes_share_no_table(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("unet",), losses=("dice", "cross_entropy")))
    del results.runs[0].record["config"]["score_at"]
    write_record(results.runs[0].folder, results.runs[0].record)
    with pytest.raises(StudyError, match="not all scored at the same size"):
        _ = with_runs(results, load_runs(results.study)).tables


def test_it_describes_what_was_trained(tmp_path):
    config = StudyConfig(name="demo", encoders=("resnet50", "unet", "vgg16"), losses=("dice", "cross_entropy"))
    trained = make_results(tmp_path, config.model_copy(update={"encoders": ("resnet50", "unet")}))
    trained.runs[1].record["commit"] = "fedcba"
    text = methods_paragraph(with_runs(trained, trained.runs[1:], config=config))
    assert "2 encoders (ResNet-50 and U-Net) were trained with 2 losses" in text and "3 of the 4 pairs" in text
    assert "(commit abcdef0123456789) and 0.1.0 (commit fedcba)" in text
    nothing = methods_paragraph(with_runs(trained, [], config=config))
    assert nothing.startswith("No network of this study is trained yet")


def test_training_images_that_were_drawn(tmp_path):
    text = methods_paragraph(make_results(tmp_path, StudyConfig(name="demo", max_training_cases=10)))
    assert "At most 10 training images per fold were drawn at random, the same for all networks" in text


def test_a_changing_learning_rate_and_a_fixed_length(tmp_path):
    config = StudyConfig(name="demo", learning_rate_schedule="cosine", epochs=20, patience=20)
    text = methods_paragraph(make_results(tmp_path, config))
    assert "learning rate rising to 0.001 in the first epoch, then falling to 0 along a cosine" in text
    assert "for 20 epochs; the weights of the best epoch were kept." in text


def test_the_average_of_the_weights(tmp_path):
    text = methods_paragraph(make_results(tmp_path, StudyConfig(name="demo", weight_average=0.99)))
    average = "the exponential moving average of the weights (decay 0.99 per step, shorter in the first steps)"
    assert f"{average} was validated after each epoch, and that of the best epoch was kept." in text


def test_hardware_of_all_runs(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("resnet18", "unet")), cases=2)
    devices = ("CPU of one kind", "CPU of another", "CPU of one kind", "CPU of one kind")
    for run, device in zip(results.runs, devices, strict=True):
        run.record.update(device=device, platform="Linux", packages={"tensorflow": "2"})
    assert "Hardware: CPU of one kind or CPU of another, Linux." in methods_paragraph(results)


def test_the_precision_and_the_kernels_that_were_used(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("unet",)))
    assert "the precision auto." in methods_paragraph(results)
    first, second = results.runs
    for run, kernels in ((first, "oneDNN"), (second, None)):
        run.record.update(arithmetic="bfloat16", kernels=kernels)
    why = "bfloat16 on processors and GPUs with units for it, otherwise float32"
    assert f"the precision bfloat16 ({why}; convolutions of oneDNN)." in methods_paragraph(results)
    second.record.update(arithmetic="float32", kernels="cuDNN")
    assert f"bfloat16 and float32 ({why}; convolutions of cuDNN and oneDNN)." in methods_paragraph(results)


def test_the_weights_that_encoders_started_from():
    scratch = StudyConfig(encoders=("resnet18", "unet"))
    paper = StudyConfig(encoders=("resnet18", "unet"), encoder_weights="imagenet", freeze_encoder=True)
    assert weights_sentence(scratch.runs()) == "Trained from scratch, without ImageNet weights."
    assert weights_sentence(paper.runs()) == "Encoders started from ImageNet weights and were frozen."
    assert "file /A/B.h5" in weights_sentence([StudyConfig(encoder_weights="/A/B.h5")])


def test_the_layers_that_an_encoder_took_from_a_file(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("resnet18",), encoder_weights="/A/B.keras"))
    assert "took the weights" not in methods_paragraph(results)
    start = {"file": "B.keras", "sha256": "ab" * 32, "layers": 40, "first": "bn_data", "last": "bn1"}
    for run in results.runs:
        run.record["encoder_start"] = start | {"matched_by": "name", "unused": ["decoder_stage0a_conv", "head"]}
    text = methods_paragraph(results)
    assert "ResNet-18 took the weights of all its 40 layers (bn_data to bn1, matched by name) from B.keras" in text
    assert text.count("took the weights") == 1 and "not used (decoder_stage0a_conv and head)" in text


def test_duplicates_are_stated_only_where_there_are_some(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("resnet18",)), cases=4)
    assert "same cell" not in methods_paragraph(results)
    results.duplicates = (Duplicate("a", "b", "near", 0.98),)
    assert "1 pair of images shows the same cell" in methods_paragraph(results)
    assert "stayed together in the split" in methods_paragraph(results)
    results.leaks = (("a",), ())
    assert "and 1 test image shows a training cell" in methods_paragraph(results)
