"""Which runs a call selects, resumes, repeats or leaves alone, and when the report is built again."""

import json
import os
import re
import shutil

import pytest
import yaml

from tests.helpers.fake_study import make_study
from wbcstudy.config import BaselineConfig, RunConfig, StudyConfig
from wbcstudy.config_io import write_yaml
from wbcstudy.errors import StudyError
from wbcstudy.runs.locks import lock_study
from wbcstudy.study.plan import plan_repetition, prepare, read_plan, remove_damaged
from wbcstudy.study.run import run_study
from wbcstudy.study.status import study_status


def test_the_precision_of_a_failed_run_without_epochs_can_change(write_study, finish):
    plan = read_plan(write_study(precision="bfloat16"))
    unet, _ = (run.name for run in plan.runs)
    finish(plan, unet, status="failed")
    plan = read_plan(write_study(precision="float32"))
    prepare(plan)
    assert {yaml.safe_load(plan.folder.run(run.name).params.read_text())["precision"] for run in plan.runs} == {
        "float32"
    }
    # It is run again.
    assert plan.folder.run(unet).read_status() == "waiting"


def test_every_pattern_must_match_a_run(write_study):
    with pytest.raises(StudyError, match=r"--only mobilnet\* matches none of the 2 runs"):
        read_plan(write_study(), ["unet*", "mobilnet*"])
    assert len(read_plan(write_study(), ["unet*", "mobilenet*"]).runs) == 2


def test_a_folder_with_the_name_of_a_dataset_does_not_hide_it(write_study, places, monkeypatch):
    monkeypatch.chdir(places)
    (places / "synthetic").mkdir()
    assert read_plan(write_study(dataset="synthetic")).study.dataset == "synthetic"


def test_advice_about_changed_settings_keeps_finished_runs(write_study, finish):
    plan = read_plan(write_study())
    finish(plan, plan.runs[0].name)
    with pytest.raises(StudyError) as caught:
        read_plan(write_study(batch_size=4))
    message = str(caught.value)
    assert "batch_size was 8, is now 4" in message and "under a new name" in message and "delete" not in message
    assert message.endswith("write into its YAML file: `batch_size: 8`.")


def test_the_line_that_continues_a_study_from_before_score_at_is_shown(write_study):
    plan = read_plan(write_study(baselines=["otsu_levels"]))
    prepare(plan)
    for folder, _ in plan.work.values():
        folder.params.write_text("".join(re.findall("(?m)^(?!score_at).*\n", folder.params.read_text())))
    with pytest.raises(StudyError) as caught:
        read_plan(write_study(baselines=["otsu_levels"], learning_rate=1e-5))
    assert "score_at was 'image_size', is now 'native'; learning_rate was 0.001, is now 1e-05" in caught.value.message
    assert caught.value.fix.endswith("`score_at: image_size` and `learning_rate: 0.001`.")
    continued = {"score_at": "image_size", "baselines": ["otsu_levels"]}
    assert read_plan(write_study(**continued)).runs[0].score_at == "image_size"
    with pytest.raises(StudyError, match=r"seeds was \[0, 1, 2, 3, 4\], is now \[7\]") as caught:
        read_plan(write_study(**continued, baseline_seeds=[7]))
    assert caught.value.fix.endswith("`baseline_seeds: [0, 1, 2, 3, 4]`.")


def test_a_second_call_names_the_first_process(write_study):
    folder = read_plan(write_study()).folder
    with (
        lock_study(folder),
        pytest.raises(StudyError, match=rf"already running \(started by process {os.getpid()} on "),
        lock_study(folder),
    ):
        pass


class TestRepeatingARun:
    def write(self, folder, **changed):
        folder.mkdir(parents=True, exist_ok=True)
        config = RunConfig(study="theirs", encoder="unet", loss="dice", seed=3, fold=1, folds=2, **changed)
        write_yaml(config, folder / "params.yaml")
        return config

    def test_the_plan_is_that_run_under_a_new_name(self, places):
        config = self.write(places / "received", image_size=64)
        for source in (places / "received", places / "received" / "params.yaml"):
            plan = plan_repetition(source, "again")
            assert plan.runs == (config.model_copy(update={"study": "again"}),)
        assert plan.study.name == "again" and not plan.folder.path.exists()

    def test_a_run_from_before_score_at_is_scored_as_it_was(self, places):
        self.write(places)
        text = (places / "params.yaml").read_text()
        (places / "params.yaml").write_text("".join(re.findall("(?m)^(?!score_at).*\n", text)))
        plan = plan_repetition(places, "again")
        assert plan.study.score_at == plan.runs[0].score_at == "image_size"

    def test_so_is_that_of_an_earlier_method(self, places):
        config = BaselineConfig(study="theirs", method="otsu_levels", seeds=(7,))
        write_yaml(config, places / "params.yaml")
        plan = plan_repetition(places, "again")
        assert plan.baselines == (config.model_copy(update={"study": "again"}),) and not plan.runs

    @pytest.mark.parametrize("name", ["x = __import__('os').system('touch harm') #", "study\n!touch harm\n#"])
    def test_names_of_parameters_that_are_code_are_refused(self, places, name):
        self.write(places)
        with (places / "params.yaml").open("a") as file:
            file.write(yaml.safe_dump({name: 1}))
        with pytest.raises(StudyError, match=r"params\.yaml"):
            plan_repetition(places, "again")

    def test_a_study_with_other_runs_is_refused(self, places):
        self.write(places / "received")
        (plan_repetition(places / "received", "again").folder.runs / "another").mkdir(parents=True)
        with pytest.raises(StudyError, match="holds other runs: another"):
            plan_repetition(places / "received", "again")

    def test_a_run_that_is_not_there_is_named(self, places):
        with pytest.raises(StudyError, match="There is no run nowhere"):
            plan_repetition("nowhere", "again")


class TestADatasetThatIsGone:
    @pytest.fixture
    def finished(self, write_study, finish, places, monkeypatch):
        """A study with a relative path, all runs finished; its images are then deleted."""
        monkeypatch.chdir(places)
        file = write_study(dataset="cells")
        plan = read_plan(file)
        finish(plan, *(run.name for run in plan.runs))
        shutil.rmtree(places / "cells")
        return file

    def test_the_status_is_shown(self, finished):
        assert [row["status"] for row in study_status(finished)] == ["complete", "complete"]

    def test_the_report_is_prepared(self, finished):
        prepare(read_plan(finished))
        assert read_plan(finished).folder.groups.exists()

    def test_a_training_is_refused(self, finished):
        plan = read_plan(finished)
        plan.folder.run(plan.runs[0].name).record.unlink()
        with pytest.raises(StudyError, match="There is no dataset at"):
            prepare(plan)

    def test_a_dry_run_says_so(self, write_study, capsys):
        with pytest.raises(StudyError, match="There is no dataset at missing/cells"):
            run_study(write_study(dataset="missing/cells"), dry_run=True)
        assert "To run" not in capsys.readouterr().out


def test_damaged_runs_are_left_out_until_they_are_repeated(places, command):
    config = StudyConfig(name="s", encoders=("unet",))
    first, second = make_study(places / "outputs", config)
    first.folder.scores.write_text("cut")
    second.folder.record.write_text(json.dumps(second.record | {"format": 99}))
    write_yaml(config, places / "s.yaml")
    text = (places / "s.yaml").read_text()
    (places / "s.yaml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("name:")))
    code, output, _ = command("status", places / "s.yaml")
    assert code == 0 and "scores.csv has 3 bytes" in output and "--repeat-damaged" in output
    assert "made by a newer wbcstudy" in output
    assert command("status", places / "s.yaml", "--verify")[0] == 1
    assert "To run" not in command("run", places / "s.yaml", "--dry-run")[1]
    assert f"To run:\n  {first.name}\n" in command("run", places / "s.yaml", "--dry-run", "--repeat-damaged")[1]
    # A run of a newer version is not damaged, and kept.
    assert remove_damaged(read_plan(places / "s.yaml")) == [first.name]
    assert list(first.folder.path.iterdir()) == [] and first.folder.read_status() == "waiting"
    assert second.folder.scores.exists() and second.folder.read_status() == "unreadable"
