"""The tables of docs/results.md are those of the files in outputs/reference/."""

import importlib.util
import json
import shutil

import pandas as pd
import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError

spec = importlib.util.spec_from_file_location("write_findings", ROOT / "scripts" / "write_findings.py")
write_findings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_findings)
REFERENCE = ROOT / "outputs" / "reference"


def test_the_page_says_what_the_files_say():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert write_findings.replace_section(text, write_findings.findings(REFERENCE)) == text, "run `make readme-tables`"


def test_another_score_is_another_section(tmp_path):
    study = tmp_path / "segmentation_wbc_2"
    shutil.copytree(REFERENCE / study.name, study)
    before = write_findings.findings(tmp_path)
    table = pd.read_csv(study / "tables" / "table1.csv")
    table.loc[0, "dice"] = 0.1234
    table.to_csv(study / "tables" / "table1.csv", index=False)
    assert "0.1234" in write_findings.findings(tmp_path)
    assert "0.1234" not in before


def test_a_single_run_is_told_without_a_rank(tmp_path):
    study = tmp_path / "segmentation_wbc_2"
    shutil.copytree(REFERENCE / study.name, study)
    (study / "tables" / "table4.csv").unlink()
    told = write_findings.findings(tmp_path)
    assert "ResNet-18 with Dice loss" in told and "anks" not in told.splitlines()[0]


def test_the_best_stand_beside_published_numbers_with_what_they_miss(tmp_path):
    study = tmp_path / "segmentation_wbc_1"
    shutil.copytree(REFERENCE / study.name, study)
    records = {path: json.loads(path.read_text()) for path in sorted(study.glob("runs/*/run.json"))}
    first = next(iter(records))
    for path, record in records.items():
        for region in record["scores"]:
            record["scores"][region]["dice_mean"] = 0.5
            # The first is chosen, whatever it reaches on the test images.
            record["validation"][region] |= {"tp": 90 if path == first else 80, "fp": 10, "fn": 10}
        path.write_text(json.dumps(record))
    config = records[first]["config"]
    told = write_findings.beside_others(tmp_path)
    chosen = write_findings.method_title(f"{config['encoder']}__{config['loss']}")
    assert f"| Dataset 1 | chosen on validation images: {chosen} | 0.500 | 0.500 | 0.500 |" in told
    assert "-0.464 (nucleus) and -0.490 (whole cell) on Dataset 1." in told
    assert "Dataset 2" not in told and "forest, cleaned" not in told


def test_networks_of_another_arithmetic_are_named(tmp_path):
    study = tmp_path / "segmentation_wbc_1"
    shutil.copytree(REFERENCE / study.name, study)
    paths = sorted(study.glob("runs/*/run.json"))
    for path in paths:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"arithmetic": "float32"}))
    assert "computed with" not in write_findings.findings(tmp_path)
    paths[0].write_text(json.dumps(json.loads(paths[0].read_text()) | {"arithmetic": "bfloat16"}))
    told = "with bfloat16 MobileNet with cross-entropy; with float32 the rest."
    assert told in write_findings.findings(tmp_path)


def test_networks_that_were_trained_again_are_told_with_how_far_they_moved(tmp_path):
    assert write_findings.trained_again(tmp_path) == ""
    rows = [
        ("unet__dice", "nucleus", 0.9, 0.91, 0.2),
        ("unet__dice", "cytoplasm", 0.9, 0.86, 0.01),
        ("vgg16__dice", "nucleus", 0.9, 0.87, 0.2),
        ("vgg16__dice", "cytoplasm", 0.9, 0.92, 0.2),
    ]
    table = pd.DataFrame(rows, columns=["method", "region", "first", "second", "p"]).assign(study="segmentation_wbc_1")
    (tmp_path / "segmentation_wbc_1_float32").mkdir()
    table.to_csv(tmp_path / "segmentation_wbc_1_float32" / "settings.csv", index=False)
    told = write_findings.trained_again(tmp_path)
    assert told.startswith("**Trained again**: 2 of the networks")
    assert "0.020 for the nucleus (with its sign -0.010, at most -0.030, VGG-16 with Dice loss)" in told
    assert "0.030 for the cytoplasm (with its sign -0.010, at most -0.040, U-Net with Dice loss)" in told
    assert "of the 4 pairs of scores 1 differ" in told


def test_pretrained_weights_are_told_with_the_epochs_that_they_save(tmp_path):
    for study in ("vgg16_scratch", "vgg16_hed_frozen"):
        shutil.copytree(REFERENCE / study, tmp_path / study)
    for study, reached in (("vgg16_scratch", (0.5, 0.6, 0.7)), ("vgg16_hed_frozen", (0.5, 0.9, 0.9))):
        path = tmp_path / study / "runs" / "all" / "history.csv"
        history = pd.read_csv(path).query("epoch <= 3")
        history["val_dice_nucleus"] = history["val_dice_cytoplasm"] = [*reached] * 3
        history.to_csv(path, index=False)
    told = write_findings.pretrained(tmp_path)
    assert told.startswith("**VGG-16 with and without weights") and "first reaches 0.700" in told
    scratch, frozen = (line.split(" | ") for line in told.splitlines() if "| 3 |" in line)
    assert scratch[5] == "3 (3 to 3)" and frozen[5] == "2 (2 to 2)"
    path = tmp_path / "vgg16_scratch" / "runs" / "all" / "history.csv"
    history = pd.read_csv(path)
    history.loc[history["run"] == history["run"].iloc[0], "val_dice_nucleus"] = 0.1
    history.to_csv(path, index=False)
    assert "first reaches 0.600" in write_findings.pretrained(tmp_path)
    assert "2 (2 to 2), 1 never" in write_findings.pretrained(tmp_path)
    shutil.rmtree(tmp_path / "vgg16_scratch")
    alone = write_findings.pretrained(tmp_path)
    assert alone.startswith("**VGG-16 with weights") and "first reaches" not in alone


def test_a_changed_setting_is_told_with_its_gain(tmp_path):
    for study in ("transfer_2to1", "transfer_2to1_colour"):
        shutil.copytree(REFERENCE / study, tmp_path / study)
    path = tmp_path / "transfer_2to1" / "settings.csv"
    table = pd.read_csv(path)
    table = table[table["study"] == "transfer_2to1_colour"]
    table.loc[table.index[0], "difference"] = 0.4321
    table.to_csv(path, index=False)
    told = write_findings.changed_settings(tmp_path)
    assert "`colour_augmentation: 0.2`" in told and "+0.432 [" in told


def test_without_files_there_is_nothing_to_say(tmp_path):
    assert write_findings.findings(tmp_path) == ""


@pytest.mark.parametrize("text", ["no marks", "<!-- findings: end -->\n<!-- findings: begin -->"])
def test_a_page_without_a_place_for_them_is_told(text):
    with pytest.raises(StudyError, match="no place"):
        write_findings.replace_section(text, "")
