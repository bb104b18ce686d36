"""A small study from images to the report, run from the command line as a user runs it."""

import contextlib
import csv
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from tests.helpers.checkout import ROOT, find_chromium
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.files import read_template
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import SCORE_COLUMNS, read_predictions

pytestmark = pytest.mark.slow

ODD_TITLE = "Cells <script>alert('x')</script> & more"
# Names of a case, a cell type and a slide that a page must escape.
ODD_CASE, ODD_TYPE = "<img src=x onerror=alert(1)>", "</td><script>alert(2)</script>"
ODD_GROUP = "'\"><svg onload=alert(3)>"
# Scripts of the report; any other script on a page came from a name.
OWN_SCRIPTS = {read_template("report.js"), read_template("image_browser.js")}
PATIENCE_S = 600


class Study:
    """A study of three short trainings and an earlier method. One training fails at first."""

    def __init__(self, path: Path) -> None:
        self.path, self.second_call = path, None
        self.file = path / "small_study.yaml"
        cells = write_synthetic_dataset(path / "cells", cases=15, seed=3, size_px=64, slides=5)
        described = yaml.safe_load((cells / "dataset.yaml").read_text())
        (cells / "dataset.yaml").write_text(yaml.safe_dump(described | {"title": ODD_TITLE}))
        give_odd_names(cells)
        self.settings = {
            "dataset": str(cells),
            "encoders": ["mobilenet"],
            "losses": ["cross_entropy", "dice", "binary_cross_entropy"],
            "image_size": 32,
            "batch_size": 4,
            "augmented_copies": 1,
            "epochs": 2,
            # Mask R-CNN needs a package that is not in the pinned set.
            "baselines": ["settouti2020_tree", "khouani2020"],
            "baseline_seeds": [0, 1],
        }
        self.write()
        self.folder = StudyFolder(path / "outputs" / self.file.stem)

    def write(self, **changed) -> None:
        self.file.write_text(yaml.safe_dump(self.settings | changed))

    def run_folder(self, loss: str) -> RunFolder:
        return self.folder.run(f"mobilenet__{loss}__fold0__seed0")

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "WBCSTUDY_ROOT": str(ROOT),
            "WBCSTUDY_OUTPUTS": str(self.path / "outputs"),
            "WBCSTUDY_DATA": str(self.path / "data"),
            # Equal results need an equal number of threads.
            "WBCSTUDY_THREADS": "1",
        }

    def call(self, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.path,
            env=self.environment,
            check=False,
        )

    def interrupt(self, loss: str) -> None:
        """Start one run, call the study again meanwhile, then kill all processes but the notebook during training."""
        command = [sys.executable, "-m", "wbcstudy.cli", "run", self.file, "--only", f"*__{loss}__*"]
        child = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, cwd=self.path, env=self.environment
        )
        until = time.monotonic() + PATIENCE_S
        while not self.run_folder(loss).history.exists():
            assert child.poll() is None and time.monotonic() < until
            if not self.second_call and (self.folder.logs / "dataset.log").exists():
                self.second_call = self.wbcstudy("run", self.file)
            time.sleep(0.02)
        self.interrupted_after = len(pd.read_csv(self.run_folder(loss).history))
        for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
            with contextlib.suppress(psutil.Error):
                if "ipykernel" not in process.cmdline():
                    process.kill()
        child.wait()

    def left_running(self) -> list[psutil.Process]:
        """Processes of this study that are still running."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("WBCSTUDY_OUTPUTS") == self.environment["WBCSTUDY_OUTPUTS"]:
                    processes.append(process)
        return processes

    def wbcstudy(self, *arguments) -> subprocess.CompletedProcess:
        return self.call("-m", "wbcstudy.cli", *arguments)

    def written(self, loss: str) -> int:
        return self.run_folder(loss).record.stat().st_mtime_ns


def give_odd_names(cells: Path) -> None:
    """Give a case, the lymphocytes and a slide names that look like HTML."""
    table = pd.read_csv(cells / "cases.csv", dtype=str)
    odd, slide = table["case_id"][0], table["group"][0]
    for path in [*(cells / "images").glob(f"{odd}.*"), *(cells / "masks").glob(f"{odd}.*")]:
        path.rename(path.with_stem(ODD_CASE))
    for path in (cells / "instances").glob(f"{odd}.*"):
        path.rename(path.with_stem(ODD_CASE))
    changed = {"case_id": {odd: ODD_CASE}, "cell_type": {"lymphocyte": ODD_TYPE}, "group": {slide: ODD_GROUP}}
    table.replace(changed).to_csv(cells / "cases.csv", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("study"))
    study.interrupt("cross_entropy")
    # The checkpoint of another training makes the third run fail, as if a user had mixed up files.
    foreign = study.run_folder("binary_cross_entropy").checkpoint
    foreign.mkdir(parents=True)
    np.savez(foreign / "state.npz", about=np.array(json.dumps({"settings": {}, "images": "others", "rows": []})))
    study.first = study.wbcstudy("run", study.file, "--verbose")
    study.first_report = study.folder.report.read_text(encoding="utf-8") if study.folder.report.exists() else ""
    study.first_written = {loss: study.written(loss) for loss in ("cross_entropy", "dice")}
    (foreign / "state.npz").unlink()
    study.second = study.wbcstudy("run", study.file)
    return study


class TestAGridThatWasKilled:
    def test_a_second_call_meanwhile_is_refused(self, study):
        assert study.second_call.returncode == 2
        assert "is already running" in study.second_call.stderr

    def test_resumes_after_its_last_epoch(self, study):
        assert study.interrupted_after in (1, 2)
        # The notebook may have finished another epoch before it noticed that the grid was killed.
        assert re.search(r"MobileNet, cross-entropy: starting, resuming at epoch [23]", study.first.stdout)
        assert study.run_folder("cross_entropy").read_status() == "complete"

    def test_is_finished_before_new_runs_start(self, study):
        # Dice comes between these two in the study, but had not started.
        starts = [line for line in study.first.stdout.splitlines() if "MobileNet" in line and "starting" in line]
        assert "Dice" in starts[2], starts

    def test_leaves_no_process_running(self, study):
        _, alive = psutil.wait_procs(study.left_running(), timeout=20)
        assert not alive


class TestAGridWithAFailure:
    def test_ends_with_an_error_but_builds_the_report(self, study):
        assert study.first.returncode == 1, study.first.stdout + study.first.stderr
        assert "FAILED" in study.first.stdout
        assert "Report: file:///" in study.first.stdout and "small_study/report/index.html" in study.first.stdout
        assert "wbcstudy segment path/to/images --model small_study --out results" in study.first.stdout

    def test_shows_its_progress(self, study):
        lines = study.first.stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("[2/4] MobileNet, Dice loss: epoch 2 of at most 2, loss ")]
        assert "validation loss" in line and "left" in line

    def test_the_report_shows_what_failed_and_why(self, study):
        assert "holds a checkpoint of another training" in study.first_report
        assert "mobilenet__binary_cross_entropy__fold0__seed0/train.html" in study.first_report

    def test_a_name_from_the_data_is_shown_and_never_executed(self, study):
        assert "<script>alert" not in study.first_report
        assert "Cells &lt;script&gt;alert" in study.first_report

    def test_running_again_does_only_the_missing_run(self, study):
        assert study.second.returncode == 0, study.second.stdout + study.second.stderr
        assert "4 runs, 3 already finished" in study.second.stdout
        assert {loss: study.written(loss) for loss in study.first_written} == study.first_written
        assert study.run_folder("binary_cross_entropy").read_status() == "complete"


class TestTheResultFiles:
    def test_a_run_folder_is_complete(self, study):
        folder = study.run_folder("dice")
        files = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
        expected = {"params.yaml", "train.ipynb", "train.html", "history.csv", "scores.csv", "run.json", "model.keras"}
        expected |= {f"figures/{stem}.png" for stem in ("augmentation", "history", "predictions")}
        assert expected <= files
        assert not folder.checkpoint.exists()
        assert not [name for name in files if ".part-" in name]

    def test_the_record_has_all_keys(self, study):
        record = study.run_folder("dice").read_record()
        assert record["status"] == "complete"
        assert set(record) >= {
            *(
                "study",
                "run",
                "config",
                "code_version",
                "notebook",
                "dataset",
                "split_hash",
                "packages",
                "device",
                "seed",
            ),
            *("best_epoch", "epochs", "fit_seconds", "wall_seconds", "peak_memory_mb", "scores", "validation"),
        }
        assert record["split"] == {"train": 9, "validation": 3, "test": 3}

    def test_the_record_names_the_shipped_notebook(self, study):
        notebooks = [study.run_folder("dice").read_record()["notebook"]]
        notebooks += [study.folder.baseline("settouti2020_tree__fold0").read_record()["notebook"]]
        assert [notebook["shipped"] for notebook in notebooks] == [True, True]
        assert [notebook["name"] for notebook in notebooks] == ["notebooks/2_train.ipynb", "notebooks/3_baseline.ipynb"]

    def test_the_history_has_one_row_per_epoch(self, study):
        with study.run_folder("dice").history.open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]

    def test_the_scores_are_those_of_the_stored_predictions(self, study):
        folder = study.run_folder("dice")
        scores = pd.read_csv(folder.scores)
        assert tuple(scores.columns[: len(SCORE_COLUMNS)]) == SCORE_COLUMNS
        split = json.loads(study.folder.split.read_text())["folds"][0]
        assert set(scores["case_id"]) == set(split["test"]) == set(read_predictions(folder))
        nucleus = scores[scores["region"] == "nucleus"].set_index("case_id")
        for case, mask in read_predictions(folder).items():
            assert (mask == 2).sum() == nucleus.loc[case, "tp"] + nucleus.loc[case, "fp"]
            assert mask.size == nucleus.loc[case, ["tp", "fp", "fn", "tn"]].sum()

    def test_the_split_has_no_group_on_two_sides(self, study):
        group = pd.read_csv(study.path / "cells" / "cases.csv").set_index("case_id")["group"]
        fold = json.loads(study.folder.split.read_text())["folds"][0]
        parts = [set(group[fold[part]]) for part in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts))

    def test_tables_and_figures_exist(self, study):
        for stem in ("table1", "table2", "table3"):
            for suffix in ("csv", "html", "tex"):
                assert (study.folder.tables / f"{stem}.{suffix}").stat().st_size
        for stem in ("figure1", "figure2", "learning_curves", "scores"):
            for suffix in ("png", "svg"):
                assert (study.folder.figures / f"{stem}.{suffix}").stat().st_size

    def test_table_1_is_the_pooled_scores(self, study):
        table = pd.read_csv(study.folder.tables / "table1.csv").set_index(["loss", "region"])
        scores = pd.read_csv(study.run_folder("dice").scores)
        sums = scores[scores["region"] == "cytoplasm"][["tp", "fp", "fn"]].sum()
        dice = 2 * sums["tp"] / (2 * sums["tp"] + sums["fp"] + sums["fn"])
        assert table.loc[("dice", "cytoplasm"), "dice"] == pytest.approx(dice)


class TestTheEarlierMethods:
    def test_a_method_is_scored_on_the_same_cases_for_every_seed_and_variant(self, study):
        folder = study.folder.baseline("settouti2020_tree__fold0")
        assert folder.read_status() == "complete"
        test = json.loads(study.folder.split.read_text())["folds"][0]["test"]
        for variant in ("raw", "cleaned", "central"):
            scores = pd.read_csv(folder.scores_of(variant))
            assert set(scores["run"]) == {f"settouti2020_tree__fold0__seed{seed}" for seed in (0, 1)}
            assert sorted(set(scores["case_id"])) == sorted(test)
        assert not pd.read_csv(folder.path / "search.csv").empty

    def test_table_3_separates_quoted_and_measured_numbers(self, study):
        table = pd.read_csv(study.folder.tables / "table3.csv")
        assert set(table["kind"]) == {"quoted", "measured"}
        measured = table[table["kind"] == "measured"]
        for method in ("settouti2020_tree", "mobilenet__"):
            rows = measured[measured["method"].str.startswith(method)]
            assert set(rows["variant"]) == {"raw", "cleaned", "central"}
            assert rows["dice"].notna().any() and rows["seconds_per_image"].notna().all()

    def test_a_method_without_its_package_is_skipped_with_a_message(self, study):
        assert "Skipping khouani2020: the package torchvision is not installed" in study.first.stdout
        assert "not run" in (study.folder.tables / "table3.html").read_text()
        assert (study.folder.figures / "figure3.png").exists()


class TestASecondStart:
    def test_a_finished_study_does_nothing(self, study):
        before = {loss: study.written(loss) for loss in study.settings["losses"]}
        done = study.wbcstudy("run", study.file)
        assert done.returncode == 0
        assert "4 runs, 4 already finished" in done.stdout and "starting" not in done.stdout
        assert {loss: study.written(loss) for loss in study.settings["losses"]} == before

    def test_other_settings_are_refused_and_nothing_is_changed(self, study):
        study.write(epochs=3)
        done = study.wbcstudy("run", study.file)
        study.write()
        assert done.returncode == 2
        assert "epochs was 2, is now 3" in done.stderr and "new name" in done.stderr
        assert "epochs: 2" in study.run_folder("dice").params.read_text()

    def test_changed_images_are_refused(self, study):
        mask = sorted((study.path / "cells" / "masks").glob("*.png"))[0]
        before = mask.read_bytes()
        mask.write_bytes(sorted((study.path / "cells" / "masks").glob("*.png"))[1].read_bytes())
        done = study.wbcstudy("run", study.file)
        mask.write_bytes(before)
        assert done.returncode == 2
        assert "split.json" in done.stderr and "Traceback" not in done.stderr

    def test_a_second_call_is_refused(self, study):
        with (study.folder.path / ".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            done = study.wbcstudy("run", study.file)
        assert done.returncode == 2
        assert "is already running" in done.stderr

    def test_status_shows_each_run(self, study):
        assert study.wbcstudy("status", study.file).stdout.count(" complete ") == 4


class TestAnotherDataset:
    def test_added_later_is_scored_without_training_again(self, study):
        away = write_synthetic_dataset(study.path / "away", cases=4, seed=9, size_px=48, slides=4, name="away")
        before = {loss: study.written(loss) for loss in study.settings["losses"]}
        study.write(also_score=[str(away)])
        done = study.wbcstudy("run", study.file, "--only", "*__dice__*")
        study.write()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 run, 1 already finished" in done.stdout
        assert "mobilenet__dice__fold0__seed0 on away: Dice nucleus" in done.stdout
        assert {loss: study.written(loss) for loss in study.settings["losses"]} == before
        scores = pd.read_csv(study.run_folder("dice").transfer("away").scores)
        assert scores["case_id"].nunique() == 4
        table = pd.read_csv(study.folder.tables / "table8.csv").set_index("region")
        nucleus = scores.loc[scores["region"] == "nucleus", "dice"]
        assert table.loc["nucleus", "dice_mean"] == pytest.approx(nucleus.mean(), nan_ok=True)
        report = study.folder.report.read_text(encoding="utf-8")
        assert "Other datasets" in report and "Images of" in report
        assert "Some runs have not been scored on away yet" in report


def test_a_repeated_run_gives_equal_scores(study):
    # The run that was killed during training: its result must not depend on the interruption.
    run = study.run_folder("cross_entropy")
    done = study.wbcstudy("repeat", run.path, "--study", "again")
    assert done.returncode == 0, done.stdout + done.stderr
    again = RunFolder(study.path / "outputs" / "again" / "runs" / run.name)
    assert again.scores.read_bytes() == study.run_folder("cross_entropy").scores.read_bytes()
    losses = ["epoch", "loss", "val_loss"]
    pd.testing.assert_frame_equal(
        pd.read_csv(again.history)[losses],
        pd.read_csv(study.run_folder("cross_entropy").history)[losses],
        check_exact=True,
    )


def test_a_misspelt_parameter_by_hand_stops_before_training(study):
    notebook = ROOT / "notebooks" / "2_train.ipynb"
    done = study.call("-m", "papermill", notebook, "typo.ipynb", "-p", "epoch", "1", "-k", "python3")
    assert done.returncode != 0
    assert "Did you mean 'epochs'" in done.stderr
    assert not (study.path / "outputs" / "by_hand").exists()


def test_the_report_opens_in_a_browser_without_a_request_or_an_error(study):
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium found; on Debian: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        requests, complaints, dialogs = [], [], []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        study.wbcstudy("data", "check", study.path / "cells", "--html", study.path / "check.html")
        pages = [study.folder.report, study.run_folder("dice").page, study.path / "check.html"]
        pages += [study.folder.path / "dataset.html", study.folder.path / "summary.html"]
        for target in pages:
            page.goto(target.as_uri())
            assert page.locator("img[src=x], svg[onload], [onerror]").count() == 0, target
            scripts = page.locator("script:not([type='application/json'])").all_text_contents()
            assert set(scripts) <= OWN_SCRIPTS, target
            # Thumbnails of the image browser get their source when they come into view.
            broken = "[...document.images].filter(image => image.hasAttribute('src') && !image.naturalWidth).length"
            assert page.evaluate(broken) == 0
        for target, names in (
            (pages[0], (ODD_TITLE, ODD_TYPE)),
            (pages[2], (ODD_TITLE, ODD_CASE, ODD_TYPE, ODD_GROUP)),
        ):
            page.goto(target.as_uri())
            text = page.locator("body").inner_text()
            assert [name for name in names if name not in text] == []
        page.goto(study.folder.report.as_uri())
        assert page.locator("h1").count() == 1
        page.get_by_role("link", name="mobilenet__dice__fold0__seed0").first.click()
        assert page.url.endswith("train.html")
        browser.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    assert dialogs == []
