"""Which files of a finished study are kept in git."""

import importlib.util

import pytest

from tests.helpers.checkout import ROOT
from wbcstudy.errors import StudyError
from wbcstudy.files import write_json
from wbcstudy.runs.folders import StudyFolder

spec = importlib.util.spec_from_file_location("keep_reference", ROOT / "scripts" / "keep_reference.py")
keep_reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keep_reference)


def kept_figures(folder, dataset, others, figures):
    study = StudyFolder(folder / "s")
    study.tables.mkdir(parents=True)
    study.figures.mkdir()
    for stem in figures:
        (study.figures / f"{stem}.png").write_bytes(b"png")
    write_json(study.dataset, {"name": dataset})
    write_json(study.split, {})
    if others:
        write_json(study.others, {"datasets": [{"name": name} for name in others]})
    copies = keep_reference.keep(study, folder / "reference")
    return {path.stem for path in copies if path.suffix == ".png"}


def test_what_is_kept_is_not_replaced_by_less(tmp_path):
    study, kept = StudyFolder(tmp_path / "s"), tmp_path / "reference"
    study.tables.mkdir(parents=True)
    write_json(study.dataset, {"name": "theirs"})
    write_json(study.split, {})
    for folder in (study.run("a"), study.baseline("b")):
        write_json(folder.record, {})
    keep_reference.keep(study, kept)
    study.baseline("b").record.unlink()
    with pytest.raises(StudyError, match=r"1 kept results of s are not in .*baselines/b"):
        keep_reference.keep(study, kept)
    assert (kept / "baselines" / "b" / "run.json").exists()


FIGURES = ("figure2", "worst", "scores", "transfer", "transfer_theirs", "transfer_synthetic-b")


def test_no_picture_that_shows_others_images_is_kept_not_even_one_left_behind(tmp_path):
    plain = {"scores", "transfer"}
    assert kept_figures(tmp_path / "a", "segmentation_wbc_2", ["theirs"], FIGURES) == plain
    assert kept_figures(tmp_path / "b", "segmentation_wbc_2", [], FIGURES) == plain
    assert kept_figures(tmp_path / "c", "synthetic-v1", ["theirs"], FIGURES) == plain
    # The study scores on its own drawn images alone now; what it scored on before is unknown.
    ours = {"figure2", "worst", *plain}
    assert kept_figures(tmp_path / "d", "synthetic-v1", [], FIGURES) == ours
    assert kept_figures(tmp_path / "e", "synthetic-v1", ["synthetic-b"], FIGURES) == ours | {"transfer_synthetic-b"}
