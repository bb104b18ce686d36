"""Kept studies: which files git tracks, and that a restored study is the same."""

import shutil

import pytest
import yaml
from reference import keep_study, main, reference_folder, restore_study, settings_file

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError
from wbcstudy.files import read_json, write_json
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.study.plan import read_plan

KEPT = sorted(path.parent.name for path in (ROOT / "outputs" / "reference").glob("*/runs"))


def make_study(folder, runs=("a", "b")):
    study = StudyFolder(folder / "s")
    study.tables.mkdir(parents=True)
    (study.tables / "table1.csv").write_text("encoder\n")
    (study.tables / "table1.html").write_text("<p>")
    write_json(study.dataset, {"name": "ours"})
    write_json(study.split, {})
    for name in runs:
        write_record(study.run(name))
        study.run(name).history.write_text("epoch,loss\n1,0.5\n2,0.25\n")
        study.run(name).scores.write_text(f"run,case_id,dice\n{name},001,0.9\n")
    return study


def write_record(folder):
    folder.path.mkdir(parents=True)
    write_json(folder.record, {"status": "complete", "config": {"study": "s", "encoder": "unet", "loss": "dice"}})


def read_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def restored_files(study, kept, folder):
    restore_study(StudyFolder(folder / study.name), kept)
    return {name: content for name, content in read_files(folder / study.name).items() if "params.yaml" not in name}


def test_csv_files_of_all_runs_are_joined_and_split_again(tmp_path):
    study, kept = make_study(tmp_path), tmp_path / "reference"
    transfer = study.run("b").transfer("theirs")
    write_record(transfer)
    transfer.scores.write_text("run,case_id,dice\nb,002,0.5\n")
    keep_study(study, kept)
    assert (kept / "runs/all/history.csv").read_text() == "run,epoch,loss\na,1,0.5\na,2,0.25\nb,1,0.5\nb,2,0.25\n"
    assert (kept / "runs/all/scores.csv").read_text() == "run,case_id,dice\na,001,0.9\nb,001,0.9\n"
    before = {name: content for name, content in read_files(study.path).items() if not name.startswith("tables/")}
    assert restored_files(study, kept, tmp_path / "again") == before


@pytest.mark.parametrize(
    "content", ["epoch,loss,seconds\n1,2,3\n", "epoch,loss\r\n1,2\r\n", "epoch,loss\n1,2", "epoch,loss\n", ""]
)
def test_a_csv_file_that_cannot_be_joined_is_kept_as_it_is(tmp_path, content):
    study, kept = make_study(tmp_path), tmp_path / "reference"
    study.run("b").history.write_bytes(content.encode())
    keep_study(study, kept)
    assert restored_files(study, kept, tmp_path / "again")["runs/b/history.csv"] == content.encode()


def test_neither_pages_nor_new_figures_are_kept(tmp_path):
    study, kept = make_study(tmp_path), tmp_path / "reference"
    study.figures.mkdir()
    for name in ("figure2.png", "worst.png"):
        (study.figures / name).write_bytes(b"new")
    (kept / "figures").mkdir(parents=True)
    (kept / "figures" / "figure2.png").write_bytes(b"old")
    files = keep_study(study, kept)
    assert {path.name for path in files if path.suffix in (".html", ".png")} == {"figure2.png"}
    assert (kept / "figures" / "figure2.png").read_bytes() == b"new"


def test_a_kept_study_is_not_replaced_by_one_with_fewer_results(tmp_path):
    study, kept = make_study(tmp_path), tmp_path / "reference"
    write_record(study.baseline("otsu"))
    keep_study(study, kept)
    study.baseline("otsu").record.unlink()
    with pytest.raises(StudyError, match=r"1 kept results of s are not in .*baselines/otsu"):
        keep_study(study, kept)
    assert (kept / "baselines" / "otsu" / "run.json").exists()


def test_existing_runs_are_not_changed_by_restoring(tmp_path):
    study, kept = make_study(tmp_path), tmp_path / "reference"
    keep_study(study, kept)
    study.run("a").history.write_text("mine")
    shutil.rmtree(study.run("b").path)
    assert restore_study(study, kept) == ["b"]
    assert study.run("a").history.read_text() == "mine" and study.run("b").scores.exists()
    assert yaml.safe_load(study.run("b").params.read_text())["encoder"] == "unet"


def test_an_unknown_study_is_refused_with_the_names_of_the_kept_ones(places, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["restore", "nothing"])
    assert stopped.value.code == 2 and "demo, earlier_methods_1" in capsys.readouterr().err


def test_the_reference_folder_is_small():
    files = [path for path in reference_folder().rglob("*") if path.is_file()]
    assert len(files) <= 600
    assert not [path for path in files if path.suffix in (".html", ".tex")]


@pytest.mark.parametrize("name", KEPT)
def test_every_kept_study_comes_back_the_same(places, tmp_path, name):
    kept = reference_folder() / name
    study = StudyFolder(tmp_path / name)
    runs = restore_study(study, kept)
    assert runs == sorted(path.parent.name for path in kept.glob("runs/*/run.json"))
    for run in map(study.run, runs):
        assert run.history.exists() and read_json(run.record)["status"] == "complete"
    # The kept runs have the settings of the restored file, those that were added later at their defaults.
    expected = {run.name for run in read_plan(settings_file(study)).runs}
    assert set(runs) <= expected
    # Tables, figures and earlier methods are kept, not restored.
    for part in ("tables", "figures", "baselines"):
        if (kept / part).exists():
            shutil.copytree(kept / part, study.path / part)
    keep_study(study, tmp_path / "again")
    ignored = ("figures/", "settings.")
    expected = {file: content for file, content in read_files(kept).items() if not file.startswith(ignored)}
    assert read_files(tmp_path / "again") == expected


@pytest.mark.slow
def test_the_report_of_a_restored_study_has_the_kept_tables(places, command):
    main(["restore", "demo"])
    assert command("report", settings_file(StudyFolder.of("demo")))[0] == 0
    kept = reference_folder() / "demo" / "tables"
    # Predicted masks are not kept, and the vote of the networks needs them.
    names = sorted(path.name for path in kept.glob("*.csv") if path.stem != "ensemble")
    assert len(names) == 8
    for name in names:
        assert (StudyFolder.of("demo").tables / name).read_bytes() == (kept / name).read_bytes(), name
