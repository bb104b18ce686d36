import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wbcstudy.config import RunConfig
from wbcstudy.data.datasets import load_dataset
from wbcstudy.data.synthetic.dataset import write_synthetic_dataset
from wbcstudy.runs.folders import StudyFolder
from wbcstudy.runs.results import Run, write_predictions
from wbcstudy.scoring.ensemble import score_votes, vote


def row(*labels):
    return np.array([labels], dtype=np.uint8)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([row(0, 1, 2)], row(0, 1, 2)),
        ([row(0, 1, 2), row(1, 1, 0), row(1, 0, 0)], row(1, 1, 0)),
        ([row(2), row(1), row(0)], row(2)),  # all differ: the best network's
        ([row(1), row(2)], row(1)),
        ([row(0), row(1), row(1), row(2), row(2)], row(1)),  # the best has none of the tied labels: the next one's
        ([row(0), row(2), row(1), row(1), row(2)], row(2)),
    ],
)
def test_the_majority_of_small_masks(masks, expected):
    np.testing.assert_array_equal(vote(masks), expected)


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.just(3), st.just(4)), elements=st.integers(0, 2)))
def test_no_label_has_more_votes_than_the_result(masks):
    voted = vote(list(masks))
    votes = [(masks == label).sum(axis=0) for label in range(3)]
    np.testing.assert_array_equal(np.choose(voted, votes), np.max(votes, axis=0))
    # The order of the masks matters only for ties.
    clear = np.sort(votes, axis=0)[-1] > np.sort(votes, axis=0)[-2]
    np.testing.assert_array_equal(vote(list(masks[::-1]))[clear], voted[clear])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    write_synthetic_dataset(folder, cases=4, seed=1, size_px=64, slides=2)
    return load_dataset(str(folder / "dataset.yaml"))


def make_run(study, dataset, loss, fold, wrong, dice):
    """A run whose masks equal the reference, except for the cases in `wrong`, which are empty."""
    from wbcstudy.data.arrays import read_cases

    config = RunConfig(study="s", encoder="unet", loss=loss, fold=fold, folds=2, image_size=64)
    folder = study.run(config.name)
    cases = [case.case_id for case in dataset.cases][2 * fold : 2 * fold + 2]
    masks = read_cases(dataset, cases, 64).masks
    masks[[index for index, case in enumerate(cases) if case in wrong]] = 0
    write_predictions(folder, cases, masks)
    counts = {"tp": int(100 * dice), "fp": 100 - int(100 * dice), "fn": 0, "tn": 0}
    return Run(folder, config, {"status": "complete", "validation": {"nucleus": counts, "cytoplasm": counts}})


def test_the_majority_outvotes_one_wrong_mask_in_every_fold(tmp_path, dataset):
    study, names = StudyFolder(tmp_path / "s"), [case.case_id for case in dataset.cases]
    losses = {"dice": [names[0]], "cross_entropy": [names[1], names[3]], "binary_cross_entropy": []}
    runs = [make_run(study, dataset, loss, fold, wrong, 0.9) for loss, wrong in losses.items() for fold in (0, 1)]
    scores, voters = score_votes(runs, dataset, 64)
    assert voters == 3 and sorted(scores["run"].unique()) == [f"ensemble__vote__fold{fold}__seed0" for fold in (0, 1)]
    assert sorted(scores["case_id"].unique()) == sorted(names)
    assert (scores["fp"] + scores["fn"] == 0).all()


def test_two_voters_or_missing_masks_make_no_ensemble(tmp_path, dataset):
    study = StudyFolder(tmp_path / "s")
    runs = [
        make_run(study, dataset, loss, fold, [], 0.9)
        for loss in ("dice", "cross_entropy", "binary_cross_entropy")
        for fold in (0, 1)
    ]
    # One of the three networks is missing in one fold.
    scores, voters = score_votes(runs[:-1], dataset, 64)
    assert voters == 2 and scores.empty
    runs[-1].folder.predictions.unlink()
    assert score_votes(runs, dataset, 64)[0].empty and score_votes([], dataset, 64)[1] == 0


def test_a_tie_goes_to_the_better_network_on_validation(tmp_path, dataset):
    study, first = StudyFolder(tmp_path / "s"), dataset.cases[0].case_id
    wrong = {"dice": ([first], 0.95), "cross_entropy": ([], 0.9), "binary_cross_entropy": ([first], 0.8)}
    runs = [make_run(study, dataset, loss, 0, cases, dice) for loss, (cases, dice) in wrong.items()]
    extra = make_run(study, dataset, "dice", 0, [], 0.5)
    fourth = Run(extra.folder, runs[1].config.model_copy(update={"encoder": "vgg16"}), extra.record)
    runs[0] = make_run(study, dataset, "dice", 0, [first], 0.95)
    write_predictions(study.run("other"), *_masks(runs[1]))
    fourth = Run(study.run("other"), fourth.config, extra.record)
    scores, voters = score_votes([*runs, fourth], dataset, 64)
    scores = scores.set_index(["case_id", "region"])
    # Two against two: the empty mask of the best on validation wins.
    assert voters == 4 and scores.loc[(first, "nucleus"), "tp"] == 0
    for run, value in zip((*runs, fourth), (0.5, 0.95, 0.4, 0.9), strict=True):
        for counts in run.record["validation"].values():
            counts.update(tp=int(100 * value), fp=100 - int(100 * value))
    assert score_votes([*runs, fourth], dataset, 64)[0].set_index(["case_id", "region"]).loc[(first, "cell"), "fn"] == 0


def _masks(run):
    from wbcstudy.runs.results import read_predictions

    predictions = read_predictions(run.folder)
    return list(predictions), np.stack(list(predictions.values()))
