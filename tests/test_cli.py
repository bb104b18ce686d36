"""Bad input on the command line: a short message, a non-zero exit code, and no half-written files."""

import re
import subprocess
import sys

import pytest
from PIL import Image

from wbcstudy.data.synthetic.dataset import write_synthetic_dataset

SCREEN_LINES = 24


@pytest.fixture
def cells(places):
    """A small folder of images with a dataset.yaml, and a study on it."""
    folder = write_synthetic_dataset(places / "cells", cases=10, seed=3, size_px=32, slides=5, instances=False)
    study = places / "small.yaml"
    study.write_text(f"dataset: {folder}\nencoders: [mobilenet]\nlosses: [dice]\nimage_size: 32\nepochs: 1\n")
    return study


def change(study, old, new):
    study.write_text(study.read_text().replace(old, new))


def check_refused(result, places, *texts):
    code, _, message = result
    assert code == 2
    for text in texts:
        assert text in message
    assert "Expected:" in message and "To fix:" in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= SCREEN_LINES
    assert not (places / "outputs").exists() or not any((places / "outputs").rglob("params.yaml"))


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


@pytest.mark.parametrize("jobs", ["0", "many", "2.5", "5000"])
def test_a_number_of_jobs_that_cannot_be_used(command, cells, places, jobs):
    check_refused(command("run", cells, "--jobs", jobs), places, f"--jobs {jobs}", "auto")


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


@pytest.mark.parametrize("problem", ["truncated image", "unlisted colour", "another size"])
def test_the_check_names_files_that_cannot_be_used(command, cells, places, problem):
    image = sorted((places / "cells" / "images").glob("*.png"))[4]
    mask = places / "cells" / "masks" / image.name
    if problem == "truncated image":
        image.write_bytes(image.read_bytes()[:200])
    elif problem == "unlisted colour":
        Image.new("L", (32, 32), 77).save(mask)
    else:
        Image.new("L", (32, 31), 0).save(mask)
    code, output, _ = command("data", "check", places / "cells")
    assert code == 1
    assert image.name in output
    detail = {"truncated image": "trunc", "unlisted colour": "77", "another size": "32x31"}[problem]
    assert detail in output
    # A study stops too, before it writes a split of files that must be fixed.
    check_refused(command("run", cells), places, image.name, detail)
    assert not list((places / "outputs").rglob("split.json"))


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


def test_a_check_page_that_cannot_be_written(command, cells, places):
    code, _, message = command("data", "check", places / "cells", "--html", places / "small.yaml" / "check.html")
    assert code == 2
    assert "Cannot write" in message and "--html" in message


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


def test_a_report_of_nothing_is_refused(command, cells, places):
    check_refused(command("report", cells), places, "nothing to report")


def test_the_lists(command, places):
    assert "resnet152" in command("encoders")[1]
    assert "segmentation_wbc_2" in command("data", "list")[1]
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5" in command("weights", "list")[1]


def test_an_unknown_set_to_fetch(command, places):
    check_refused(command("data", "fetch", "segmentation_wcb"), places, "'segmentation_wbc'")


def test_a_bug_is_reported_without_a_traceback(command, cells, monkeypatch):
    monkeypatch.setattr("wbcstudy.study.plan.read_plan", lambda *args: 1 / 0)
    code, _, message = command("status", cells)
    assert code == 1
    assert "ZeroDivisionError" in message and "Traceback" not in message and "--debug" in message


def test_debug_shows_the_traceback(places):
    done = subprocess.run(
        [sys.executable, "-m", "wbcstudy.cli", "--debug", "run", "none.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr and done.returncode == 1


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


def test_control_and_direction_characters_do_not_reach_the_terminal(command, places):
    evil = "a\x1b[2J\u202egnp.exe\u2066\r"
    code, output, errors = command("run", places / f"{evil}.yaml")
    assert code == 2 and "\\x1b[2J\\u202egnp.exe\\u2066\\r" in errors
    assert not set("\x1b\u202e\u2066\r") & set(output + errors)


@pytest.mark.parametrize(
    "name", ["bad.yaml", "binary.yaml", "text.png", "weights.h5", "folder", "absent", "", "C:\\a\\b"]
)
def test_no_command_shows_the_words_of_its_libraries(command, places, monkeypatch, name):
    monkeypatch.chdir(places)
    (places / "bad.yaml").write_text("epochs: [\n")
    for binary in ("binary.yaml", "text.png", "weights.h5"):
        (places / binary).write_bytes(b"\x89\0\xff" * 9)
    (places / "folder").mkdir()
    out = ("--out", "out.onnx")
    for words in (
        *(((action, name)) for action in ("run", "status", "report", "plan", "stop", "init")),
        ("repeat", name, "--study", "again"),
        ("repeat", "folder", "--study", name or "a/b"),
        ("segment", "text.png", "--model", name, *out),
        ("segment", name, "--model", "absent", *out),
        ("segment", "text.png", "--model", "absent", *out, "--pixel-um", name),
        ("export", name, "--format", "onnx", *out),
        ("export", "absent", "--format", name, *out),
        ("data", "check", name),
        ("data", "fetch", name),
        ("data", "fetch", "segmentation_wbc", "--archive", name),
        ("weights", "fetch", name),
        ("weights", "convert", "vgg16", name, *out),
        (name,),
    ):
        code, output, errors = command(*words)
        text = (output + errors).replace("keras, savedmodel", "")
        assert code in (1, 2) and text, words
        assert not re.search(
            r"pydantic|\bPIL\b|[Nn]umpy|[Ss]nakemake|Input should|[a-z]Error\b|h5py|keras|bug", text
        ), text
        assert "/mnt/c/a/b" in text or "\\" not in name or name not in text, text
