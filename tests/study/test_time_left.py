"""The time that a study still needs."""

import itertools

import pytest

from wbcstudy.config import RunConfig
from wbcstudy.study.time_left import Pace, study_time_left

# Seconds per epoch of a training on a machine with other load; the first epoch builds the graph.
LOADED = [279, 79, 1166, 73, 62, 79, 70, 75, 72, 71]


def a_run(encoder="unet", **settings):
    return RunConfig(study="s", encoder=encoder, loss="dice", epochs=10, **settings)


def test_one_slow_epoch_does_not_change_the_estimate_much():
    pace, run, left = Pace(), a_run(), []
    for number in range(1, len(LOADED)):
        pace.add_epochs(run, LOADED[number - 1 : number])
        left.append(pace.seconds_left(run, LOADED[:number]))
    # The seconds of the last epoch alone would jump by a factor of 13 and of 19.
    assert max(max(a, b) / min(a, b) for a, b in itertools.pairwise(left)) < 3
    assert left[5] == pytest.approx(sum(LOADED[6:]), rel=0.2)


def test_runs_that_wait_count_with_the_pace_of_their_encoder():
    pace, vgg = Pace(), a_run("vgg16")
    pace.add_epochs(a_run(), [10] * 5)
    pace.add_epochs(vgg, [30] * 5)
    work = {"0": (a_run(), [10] * 5), "1": (vgg, []), "2": (a_run(seed=1), [])}
    left = study_time_left(pace, work, jobs=1)
    assert left.seconds == 5 * 10 + 10 * 30 + 10 * 10
    # Two at a time: no shorter than the longest.
    assert study_time_left(pace, work, jobs=2).seconds == 300
    assert left.describe() == "about 7 min 30 s left"


def test_encoders_without_a_measured_epoch_are_named_unless_their_step_was_timed():
    work = {"0": (a_run(), [10]), "1": (a_run("vgg16"), [])}
    pace = Pace()
    pace.add_epochs(a_run(), [10])
    assert study_time_left(pace, work, 1).describe() == "more than 1 min 30 s left, without VGG-16 (not measured yet)"
    timed = Pace({("vgg16", False): 30.0})
    timed.add_epochs(a_run(), [10])
    assert study_time_left(timed, work, 1).seconds == 390
    assert study_time_left(Pace(), {"1": work["1"]}, 1).describe() == "time left not measured yet"


def test_a_training_after_its_last_epoch_needs_no_more_epochs():
    pace = Pace()
    pace.add_epochs(a_run(), [10] * 10)
    assert study_time_left(pace, {"0": (a_run(), [10] * 10)}, 1).describe() == "about 0 s left"


def test_trainings_that_stopped_early_shorten_the_estimate():
    pace, run = Pace(), a_run(patience=2)
    pace.add_epochs(run, [10] * 5)
    work = {"0": (run, [])}
    assert study_time_left(pace, work, 1).describe() == "about 1 min 40 s left, less if trainings stop early"
    pace.add_run(run, epochs=6, overhead_s=5)
    assert study_time_left(pace, work, 1).describe() == "about 1 min 05 s left"
