"""Studies that cannot be used are refused with a short message, a non-zero exit code, and no half-written files."""

import pytest

from tests.helpers.refused import change, check_refused


@pytest.mark.parametrize(
    ("old", "new", "texts"),
    [
        ("epochs:", "epoch:", ["Unknown parameter 'epoch'", "Did you mean 'epochs'"]),
        ("mobilenet", "mobilnet", ["Unknown encoder 'mobilnet'", "Did you mean 'mobilenet'"]),
        ("image_size: 32", "image_size: 50", ["32 and 64"]),
        ("epochs: 1", "epochs: 1\nencoder_weights: nothere.h5", ["nothere.h5"]),
        ("epochs: 1", "epochs: 1\nencoder_weights: none\nfreeze_encoder: true", ["cannot learn"]),
    ],
)
def test_settings_that_cannot_be_used(command, cells, places, old, new, texts):
    change(cells, old, new)
    check_refused(command("run", cells), places, *texts)


def test_a_misspelt_dataset(command, cells, places):
    cells.write_text("dataset: synthetik\n")
    check_refused(command("run", cells), places, "Unknown dataset 'synthetik'", "'synthetic'")


def test_a_dataset_that_was_not_fetched(command, cells, places):
    cells.write_text("dataset: segmentation_wbc_2\n")
    check_refused(command("run", cells), places, "wbcstudy data fetch segmentation_wbc")


def test_missing_imagenet_weights(command, cells, places, monkeypatch):
    monkeypatch.setenv("WBCSTUDY_WEIGHTS", str(places / "weights"))
    # A proxy that refuses connections simulates a machine without a network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(places))
    change(cells, "epochs: 1", "epochs: 1\nencoder_weights: imagenet")
    check_refused(
        command("run", cells),
        places,
        "mobilenet_1_0_224_tf_no_top.h5",
        "725ccbd03d61d7ced5b5c4cd17e7d527",
        str(places / "weights"),
        "wbcstudy weights fetch",
    )


def test_an_image_without_mask(command, cells, places):
    mask = next((places / "cells" / "masks").glob("*.png"))
    mask.unlink()
    check_refused(command("run", cells), places, mask.stem)


def test_an_empty_folder(command, cells, places):
    for path in (places / "cells" / "images").iterdir():
        path.unlink()
    check_refused(command("run", cells), places, "images")


def test_a_dataset_relative_to_the_study_file_is_found_from_any_folder(command, cells, places, monkeypatch, tmp_path):
    from wbcstudy.study.plan import read_plan

    change(cells, str(places / "cells"), "cells")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_plan(cells).study.dataset == str(places / "cells")


def test_the_precision_of_a_run_that_has_not_started_can_change(command, cells, places):
    from wbcstudy.study.plan import prepare, read_plan

    prepare(read_plan(cells))
    cells.write_text(cells.read_text() + "precision: float32\n")
    plan = read_plan(cells)
    prepare(plan)
    ((folder, _),) = plan.work.values()
    assert "precision: float32" in folder.params.read_text()
    folder.history.write_text("epoch,loss\n1,0.5\n")
    change(cells, "precision: float32", "precision: auto")
    code, _, message = command("run", cells)
    assert code == 2 and "precision was 'float32', is now 'auto'" in message


def test_an_output_folder_that_cannot_be_written(command, cells, places):
    (places / "outputs").write_text("a file is in the way")
    code, _, message = command("run", cells)
    assert code == 2
    assert "Cannot write" in message and "WBCSTUDY_OUTPUTS" in message


def test_a_pattern_that_selects_no_run(command, cells, places):
    check_refused(command("run", cells, "--only", "vgg*"), places, "mobilenet__dice__fold0__seed0")


def test_a_dry_run_lists_and_writes_nothing(command, cells, places):
    code, output, _ = command("run", cells, "--dry-run")
    assert code == 0
    assert "mobilenet__dice__fold0__seed0" in output
    assert not (places / "outputs").exists()


@pytest.mark.parametrize("part", ["dataset.yaml", "images", "masks", "."])
def test_a_dry_run_names_a_dataset_that_is_not_there(command, cells, places, part):
    (places / "cells" / part).rename(places / "moved")
    code, output, errors = command("run", cells, "--dry-run")
    assert code == 2 and "To run" not in output
    assert "cells" in errors and "To fix:" in errors


def test_the_status_of_a_study_that_never_ran(command, cells, places):
    code, output, _ = command("status", cells)
    assert code == 0
    assert "waiting" in output
    assert not (places / "outputs").exists()


def test_a_study_is_named_by_its_name_file_or_folder(command, cells, places, monkeypatch):
    from wbcstudy.study.plan import prepare, read_plan

    prepare(read_plan(cells))
    monkeypatch.chdir(places)
    cells.unlink()
    for study in ("small", places / "outputs" / "small", places / "outputs" / "small" / "small.yaml"):
        for action in (["status"], ["run", "--dry-run"], ["stop"]):
            code, printed, errors = command(action[0], study, *action[1:])
            assert code == 0 and "small" in printed + str(study), errors
        assert "nothing to report" in command("report", study)[2]


@pytest.mark.parametrize("action", ["run", "status", "report", "stop", "plan"])
def test_an_unknown_study_is_refused_with_those_there_are(command, places, action):
    check_refused(command(action, "segmentation_wcb_2"), places, "segmentation_wcb_2", "demo", "'segmentation_wbc_2'")


def test_a_report_of_nothing_is_refused(command, cells, places):
    check_refused(command("report", cells), places, "nothing to report")


@pytest.mark.parametrize(
    ("others", "texts"),
    [
        ("[nowhere.yaml]", ["no dataset at nowhere.yaml"]),
        ("[segmentation_wbc_1]", ["wbcstudy data fetch segmentation_wbc"]),
        ("[syntetic]", ["Unknown dataset 'syntetic'", "'synthetic'"]),
        ("[synthetic, synthetic]", ["without repetition"]),
    ],
)
def test_other_datasets_that_cannot_be_used_stop_a_study_before_its_first_training(
    command, cells, places, others, texts
):
    change(cells, "epochs: 1", f"epochs: 1\nalso_score: {others}")
    check_refused(command("run", cells), places, *texts)


def test_the_training_dataset_cannot_be_an_other_dataset(command, cells, places):
    change(cells, "epochs: 1", f"epochs: 1\nalso_score: [{places / 'cells'}]")
    check_refused(command("run", cells), places, "also_score")
