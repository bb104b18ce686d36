"""The sentences about other datasets."""

import dataclasses

from tests.helpers.fake_study import score_away, with_runs
from wbcstudy.reporting.text.transfer import transfer_sentences


def test_a_small_drop_is_small(transfer_results):
    score_away(transfer_results.runs, {"resnet18": 0.0, "unet": 0.0})
    ((_, text),) = transfer_sentences(transfer_results)
    assert "The drop is small (below 0.05)." in text


def test_the_best_method_there_is_named(transfer_results):
    best = transfer_results.best.encoder
    other = next(encoder for encoder in ("resnet18", "unet") if encoder != best)
    score_away(transfer_results.runs, {best: 0.25, other: 0.02})
    better = with_runs(transfer_results)
    ((_, text),) = transfer_sentences(better, in_full=True)
    assert "has the highest mean there, and is significantly better for the nucleus" in text
    # Also where most images do not differ, so that the typical difference is 0.
    pairs = {"away": {region: pair.assign(difference=0.0) for region, pair in better.transfer.pairs["away"].items()}}
    better.transfer = dataclasses.replace(better.transfer, pairs=pairs)
    ((_, text),) = transfer_sentences(better, in_full=True)
    assert "is significantly better for the nucleus" in text
    score_away(transfer_results.runs, {best: 0.02, other: 0.25})
    ((_, text),) = transfer_sentences(with_runs(transfer_results), in_full=True)
    assert "No other pair has a higher mean there." in text
