"""Text in place of the figures."""

import re

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.alt_texts import describe_figures


def test_texts_hold_the_numbers_of_the_figures(tmp_path):
    results = make_results(tmp_path, StudyConfig(name="demo", encoders=("resnet18", "unet")), cases=6)
    texts = describe_figures(results)
    assert {"figure2", "worst", "scores", "ranks", "differences_nucleus", "areas"} <= set(texts)
    for stem, text in texts.items():
        assert text.endswith(".") and "nan" not in text.split() and "\n" not in text, stem
    scores = results.scores_of(results.best_runs).groupby(["case_id", "region"])["dice"].mean()
    lowest = scores.unstack()["nucleus"].min()
    assert f"the Dice of an image is {lowest:.2f} to" in texts["figure2"]
    assert re.search(r"\d of 6 differences in nucleus Dice are significant", texts["differences_nucleus"])
    assert "scores" not in describe_figures(with_runs(results, []))
