"""The tables of docs/results.md come from the files in outputs/reference/."""

import importlib.util
import json
import shutil

import pandas as pd
import pytest
from reference import reference_folder

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError
from wbcstudy.registry import method_title

spec = importlib.util.spec_from_file_location("write_results", ROOT / "scripts" / "write_results.py")
write_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_results)


@pytest.fixture
def reference(tmp_path):
    """Return a function that copies kept studies to a folder and returns this folder."""

    def copy(*studies):
        for study in studies:
            shutil.copytree(reference_folder() / study, tmp_path / study)
        return tmp_path

    return copy


def change_records(study, change):
    for number, path in enumerate(sorted(study.glob("runs/*/run.json"))):
        record = json.loads(path.read_text())
        change(number, record)
        path.write_text(json.dumps(record))


def test_the_page_has_the_tables_of_the_files():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    sections = write_results.make_sections(reference_folder())
    assert write_results.replace_section(text, sections) == text, "run `make results`"
    # Every section names the commands that made it, and their study files and scripts exist.
    for section in sections.split("## ")[1:]:
        made_by = section.strip().splitlines()[-1]
        assert made_by.startswith("Made by `")
        files = [word.strip("`,.") for word in made_by.split() if word.startswith(("params/", "benchmarks/"))]
        assert files and all((ROOT / file).exists() for file in files)


def test_the_page_on_statistics_has_the_measured_rates():
    text = (ROOT / "docs" / "how_we_compare.md").read_text(encoding="utf-8")
    tables = write_results.make_statistics(reference_folder())
    assert write_results.replace_section(text, tables) == text, "run `make results`"


def test_the_table_is_computed_from_the_kept_runs(reference):
    study = reference("segmentation_wbc_2") / "segmentation_wbc_2"
    assert "All 18 pairs of encoder and loss" in write_results.network_section(study, "Dataset 2")
    shutil.rmtree(study / "runs" / "unet__dice__fold0__seed0")
    assert "17 of the 18 pairs of encoder and loss" in write_results.network_section(study, "Dataset 2")


def test_a_single_network_has_a_table_without_ranks(reference):
    study = reference("segmentation_wbc_2") / "segmentation_wbc_2"
    for path in study.glob("runs/*__fold*"):
        if path.name != "resnet18__dice__fold0__seed0":
            shutil.rmtree(path)
    section = write_results.network_section(study, "Dataset 2")
    assert "ResNet-18 with Dice loss" in section and "Ranks" not in section


def test_published_scores_are_compared_with_the_highest_of_each_region(reference):
    folder = reference("segmentation_wbc_1")

    def change(number, record):
        for region in record["scores"]:
            record["scores"][region]["dice_mean"] = 0.6 if (number, region) == (3, "cell") else 0.5
            # The first network is the best on the validation images.
            record["validation"][region] |= {"tp": 80 if number else 90, "fp": 10, "fn": 10}

    change_records(folder / "segmentation_wbc_1", change)
    section = write_results.published_section(folder)
    first = min(folder.glob("segmentation_wbc_1/runs/*/run.json")).parent.name
    name = method_title(first.partition("__fold")[0])
    assert f"| Dataset 1 | {name}, chosen on the validation images | 0.500 | 0.500 | 0.500 |" in section
    assert "| Dataset 1 | highest of any network in each region | 0.500 | 0.500 | 0.600 |" in section
    assert "-0.464 (nucleus) and -0.390 (whole cell) on Dataset 1." in section
    assert "Dataset 2" not in section and "forest" not in section


def test_networks_of_another_precision_are_named(reference):
    folder = reference("segmentation_wbc_1")
    study = folder / "segmentation_wbc_1"
    change_records(study, lambda number, record: record.update(arithmetic="float32"))
    assert "bfloat16" not in write_results.make_sections(folder)
    change_records(study, lambda number, record: record.update(arithmetic="float32" if number else "bfloat16"))
    assert "bfloat16" in write_results.make_sections(folder)


def test_networks_that_were_trained_twice_show_how_far_scores_move(tmp_path):
    assert write_results.retrained_section(tmp_path) == ""
    rows = [
        ("unet__dice", "nucleus", 0.9, 0.91, 0.2),
        ("unet__dice", "cytoplasm", 0.9, 0.86, 0.01),
        ("vgg16__dice", "nucleus", 0.9, 0.87, 0.2),
        ("vgg16__dice", "cytoplasm", 0.9, 0.92, 0.2),
    ]
    table = pd.DataFrame(rows, columns=["method", "region", "first", "second", "p"]).assign(study="segmentation_wbc_1")
    (tmp_path / "segmentation_wbc_1_float32").mkdir()
    table.to_csv(tmp_path / "segmentation_wbc_1_float32" / "settings.csv", index=False)
    section = write_results.retrained_section(tmp_path)
    assert "2 networks of Dataset 1 were trained twice" in section
    assert "0.020 for the nucleus (with sign -0.010; largest -0.030, VGG-16 with Dice loss)" in section
    assert "0.030 for the cytoplasm (with sign -0.010; largest -0.040, U-Net with Dice loss)" in section
    assert "The p value is below 0.05 for 1 of the 4 pairs of scores" in section


def test_pretrained_weights_are_shown_with_the_epochs_they_save(reference):
    folder = reference("vgg16_scratch", "vgg16_hed_frozen")
    for study, dice in (("vgg16_scratch", (0.5, 0.6, 0.7)), ("vgg16_hed_frozen", (0.5, 0.9, 0.9))):
        path = folder / study / "runs" / "all" / "history.csv"
        history = pd.read_csv(path).query("epoch <= 3")
        history["val_dice_nucleus"] = history["val_dice_cytoplasm"] = [*dice] * 3
        history["val_loss"], history["seconds"] = [3.0, 2.0, 1.0] * 3, 1.0
        history.to_csv(path, index=False)
        # The record of a run has to agree with its history.
        facts = {"epochs": 3, "best_epoch": 3, "fit_seconds": 3.0, "seconds_per_epoch": 1.0}
        change_records(folder / study, lambda _, record, facts=facts: record.update(facts))
    section = write_results.pretrained_section(folder)
    assert "first reaches 0.700" in section and "save epochs" not in section
    scratch, frozen = (line.split(" | ") for line in section.splitlines() if "| 3 |" in line)
    assert scratch[5] == "3 (3 to 3)" and frozen[5] == "2 (2 to 2)"
    path = folder / "vgg16_scratch" / "runs" / "all" / "history.csv"
    history = pd.read_csv(path)
    history.loc[history["run"] == history["run"].iloc[0], "val_dice_nucleus"] = 0.1
    history.to_csv(path, index=False)
    section = write_results.pretrained_section(folder)
    assert "first reaches 0.600" in section and "2 (2 to 2), 1 never" in section
    shutil.rmtree(folder / "vgg16_scratch")
    assert "first reaches" not in write_results.pretrained_section(folder)


def test_a_longer_training_from_random_weights_is_named_as_the_control(reference):
    section = write_results.pretrained_section(reference("vgg16_scratch", "vgg16_hed", "segmentation_wbc_2"))
    assert "with at most 60 epochs of 4 passes VGG-16 reaches 0.971 / 0.935 from random weights" in section


def test_a_changed_setting_is_shown_with_its_gain(reference):
    folder = reference("transfer_2to1", "transfer_2to1_colour")
    path = folder / "transfer_2to1" / "settings.csv"
    table = pd.read_csv(path).query("study == 'transfer_2to1_colour'")
    table.loc[table.index[0], "difference"] = 0.4321
    table.to_csv(path, index=False)
    section = write_results.settings_section(folder)
    assert "`colour_augmentation: 0.2`" in section and "+0.432 [" in section


def test_without_results_there_are_no_sections(tmp_path):
    assert write_results.make_sections(tmp_path) == ""


@pytest.mark.parametrize("text", ["no marks", "<!-- tables: end -->\n<!-- tables: begin -->"])
def test_a_page_without_marks_is_refused(text):
    with pytest.raises(StudyError, match="no marks"):
        write_results.replace_section(text, "")


def test_networks_of_one_laboratory_are_in_the_table_of_the_starter(tmp_path):
    rows = [
        ("starter", "segmentation_wbc_2", 0.8),
        ("starter_2", "segmentation_wbc_2", 0.85),
        (write_results.PRESENT_STARTER, "segmentation_wbc_2", 0.84),
        ("one_laboratory_1-mobilenet", "segmentation_wbc_2", 0.5),
        ("one_laboratory_1-mobilenet", "bcisc", 0.4),
        ("otsu_levels", "segmentation_wbc_2", 0.3),
    ]
    columns = {"part": "all", "stain": "auto", "region": "cytoplasm", "images": 100, "dice_low": 0.1, "dice_high": 0.9}
    table = pd.DataFrame(rows, columns=["network", "dataset", "dice_mean"]).assign(**columns, scale=1.5)
    run = tmp_path / "one_laboratory_1" / "runs" / "mobilenet__dice__fold0__seed0"
    for folder in (tmp_path / "starter", run):
        folder.mkdir(parents=True)
    table.assign(dice=table["dice_mean"]).to_csv(tmp_path / "starter" / "scores.csv", index=False)
    config = {"encoder": "mobilenet", "epochs": 10, "augmented_copies": 2, "batch_size": 8}
    scores = {region: {"dice_mean": 0.9} for region in ("nucleus", "cytoplasm", "cell")}
    (run / "run.json").write_text(json.dumps({"config": config, "scores": scores, "split": {"train": 192}}))
    section = write_results.starter_section(tmp_path)
    titles = [line.split(" | ")[2] for line in section.splitlines() if line.startswith("| Dataset 2")]
    starters = ["starter, candidate 1", "starter, candidate 2", write_results.STARTERS[write_results.PRESENT_STARTER]]
    assert titles == [*starters, "MobileNet trained on Dataset 1", "Three-level Otsu"]
    command = f"scores starter segmentation_wbc_1 segmentation_wbc_2 --name {write_results.PRESENT_STARTER}`"
    assert command in section
    assert "--name starter_2`" not in section
    assert "and 480 steps" in section and "MobileNet of Dataset 1 0.900 / 0.900 / 0.900" in section
    assert "Made by `wbcstudy run params/one_laboratory_1.yaml`, " in section
    run_folder = "outputs/one_laboratory_1/runs/mobilenet__dice__fold0__seed0"
    assert f"scores {run_folder} segmentation_wbc_2 --name one_laboratory_1-mobilenet`" in section
