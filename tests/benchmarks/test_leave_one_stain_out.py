"""`benchmarks/leave_one_stain_out.py`: the splits, the settings and the rule of the choice."""

import argparse
import json
import zipfile

import leave_one_stain_out
import numpy as np
import pandas as pd
import pytest
import write_results

from tests.helpers.made_scores import noisy_dice, scores_from_dice
from tests.helpers.untrained_run import write_network
from wbcstudy.config import RunConfig
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.splits import load_or_make_splits
from wbcstudy.data.synthetic.domains import DOMAINS
from wbcstudy.data.synthetic.varied import write_varied_dataset
from wbcstudy.errors import StudyError
from wbcstudy.inference.starter_file import SHIPPED
from wbcstudy.runs.folders import RunFolder, StudyFolder
from wbcstudy.runs.results import load_run
from wbcstudy.scoring.statistics import paired_differences

STAINS = list(DOMAINS)
IDS = [f"{STAINS[number % len(STAINS)]}{number:04d}" for number in range(80)]


def test_each_fold_tests_one_stain_and_trains_on_the_others():
    splits = leave_one_stain_out.split_by_stain(IDS, 0.1, 0)
    assert len(splits) == len(STAINS)
    for split in splits:
        (test,) = {leave_one_stain_out.stain_of(case_id) for case_id in split.test}
        assert len(split.test) == 20
        # The stains have equal parts of training and validation set.
        for part, each in ((split.train, 18), (split.validation, 2)):
            stains = [leave_one_stain_out.stain_of(case_id) for case_id in part]
            assert {stain: stains.count(stain) for stain in stains} == {s: each for s in STAINS if s != test}
        assert sorted(case_id for part in split.parts for case_id in part) == sorted(IDS)
    assert {split.test for split in splits} == {tuple(i for i in sorted(IDS) if i.startswith(s)) for s in STAINS}


def test_a_study_takes_the_split_by_stain(places):
    folder = write_varied_dataset(places / "smears", cases=40, seed=0, size_px=32)
    config = leave_one_stain_out.make_settings(32, ["mobilenet"], folder)
    study, dataset = StudyFolder.of(config.name), load_dataset(config.dataset)
    study.path.mkdir(parents=True)
    leave_one_stain_out.write_split(study, dataset, config)
    splits = load_or_make_splits(study.split, dataset, config)
    assert splits == leave_one_stain_out.split_by_stain([case.case_id for case in dataset.cases], 0.1, 0)
    before = study.split.read_bytes()
    leave_one_stain_out.write_split(study, dataset, config)
    assert study.split.read_bytes() == before


def test_the_settings_are_those_of_the_starter(tmp_path):
    with zipfile.ZipFile(SHIPPED) as archive:
        starter = json.loads(archive.read("starter.json"))["record"]["config"]
    (run, *_) = leave_one_stain_out.make_settings(96, ["resnet18"], tmp_path).runs()
    # With folds, test_fraction is not used.
    own = {"study", "dataset", "folds", "test_fraction", "epochs", "patience"}
    settings = run.model_dump(mode="json")
    assert {name: settings[name] for name in starter if name not in own} == {
        name: value for name, value in starter.items() if name not in own
    }


def test_without_trainings_collect_says_what_to_run(places):
    with pytest.raises(StudyError, match="no finished training"):
        leave_one_stain_out.collect(argparse.Namespace())


def test_the_packed_size_is_measured_also_above_the_limit(places, monkeypatch):
    monkeypatch.setattr("wbcstudy.nets.unet._WIDTHS", (4, 8))
    monkeypatch.setattr("wbcstudy.inference.starter_file.LARGEST_BYTES", 10)
    folder = write_varied_dataset(places / "smears", cases=12, seed=0, size_px=32)
    config = RunConfig(encoder="unet", image_size=32, loss="dice")
    run = load_run(RunFolder(write_network(places / "outputs" / "study", folder, config)))
    assert 0.001 < leave_one_stain_out.packed_mb(run, 10**6) < 1
    assert np.isinf(leave_one_stain_out.packed_mb(run))


def made_scores(offsets):
    """Scores of 80 smears: candidate -> its difference of Dice."""
    dice = noisy_dice(len(IDS), list(offsets.values()), noise=0.002)
    frames = []
    for column, name in enumerate(offsets):
        for region in leave_one_stain_out.REGIONS:
            values = dict(zip(IDS, dice[:, column], strict=True))
            frames.append(scores_from_dice({f"{name}__fold0__seed0": values}, region).assign(candidate=name))
    scores = pd.concat(frames, ignore_index=True)
    return scores.assign(stain=scores["case_id"].map(leave_one_stain_out.stain_of))


@pytest.mark.parametrize(
    ("offsets", "best", "choice"),
    [
        # The largest file is the best and too large; the cheaper of two equivalent ones is chosen.
        ({"cheap": 0.0, "dear": 0.001, "large": 0.05}, "dear", "cheap"),
        ({"cheap": -0.03, "dear": 0.0, "large": 0.05}, "dear", "dear"),
        ({"cheap": 0.0, "dear": -0.001, "large": 0.05}, "cheap", "cheap"),
    ],
)
def test_the_cheapest_equivalent_candidate_of_20_mb_is_chosen(offsets, best, choice):
    scores = made_scores(offsets)
    costs = pd.DataFrame(
        {"candidate": list(offsets), "packed_mb": [15.0, 16.0, 28.0], "multiply_adds": [1.0, 2.0, 3.0]}
    )
    summary = leave_one_stain_out.summarise_candidates(scores)
    assert leave_one_stain_out.choose(summary, costs, scores)[:2] == (best, choice)


def test_every_stain_counts_the_same():
    scores = made_scores({"one": 0.0})
    cytoplasm = scores["region"] == "cytoplasm"
    scores.loc[cytoplasm, "dice"] = scores.loc[cytoplasm, "stain"].map(
        dict(zip(STAINS, (0.2, 0.4, 0.6, 0.8), strict=True))
    )
    # Fewer smears of one stain have a white cell.
    lost = scores[cytoplasm & (scores["stain"] == STAINS[0])].index[:15]
    scores.loc[lost, "dice"] = np.nan
    summary = leave_one_stain_out.summarise_candidates(scores).query("region == 'cytoplasm'").set_index("stain")
    assert summary.loc["all", "dice_mean"] == pytest.approx(0.5) and summary.loc[STAINS[0], "images"] == 5
    assert summary.loc[STAINS[-1], "dice_mean"] == pytest.approx(0.8)


def test_the_page_names_the_choice(tmp_path):
    folder = tmp_path / "leave_one_stain_out"
    assert write_results.stains_section(tmp_path) == ""
    folder.mkdir()
    scores = made_scores({"mobilenet-96": 0.0, "resnet18-96": 0.05, "mobilenet-128": 0.03})
    facts = {"train": 720, "batch_size": 8, "epochs": 8, "seeds": 1, "fit_seconds": 90.0, "processor": "CPU"}
    facts |= {"commit": "abc"}
    costs = pd.DataFrame(
        {
            "candidate": ["mobilenet-96", "resnet18-96", "mobilenet-128"],
            "encoder": ["mobilenet", "resnet18", "mobilenet"],
            "image_size": [96, 96, 128],
            "packed_mb": [15.3, 26.0, 15.3],
            "half_mb": [15.3, 26.0, 30.0],
            "multiply_adds": [6.4e8, 9e8, 1.1e9],
        }
    ).assign(**facts)
    summary = leave_one_stain_out.summarise_candidates(scores)
    best, choice, equivalent = leave_one_stain_out.choose(summary, costs, scores)
    costs = costs.assign(best=costs["candidate"] == best, chosen=costs["candidate"] == choice)
    costs = costs.assign(equivalent=costs["candidate"].isin(equivalent))
    pairs = paired_differences(scores, ("nucleus", "cytoplasm"))
    for name, frame in (("candidates", costs), ("scores", summary), ("differences", pairs)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    section = write_results.stains_section(tmp_path)
    assert "for 720 steps of 8 images" in section and "Best: **MobileNet, 128 px**. No other candidate is" in section
    assert "still ResNet-18, 96 px, which was chosen before this comparison; difference" in section
    assert "In half precision, its file would have 30 MB." in section
    first, *_, last = [line for line in section.splitlines() if line.startswith("| M") or line.startswith("| R")]
    assert first.startswith("| ResNet-18, 96 px | 26.0 | 900 | 90 |") and "| +0.0" in first
    assert last.startswith("| MobileNet, 96 px") and "| -0.03" in last
    assert "`python benchmarks/leave_one_stain_out.py train 96 mobilenet resnet18`" in section
