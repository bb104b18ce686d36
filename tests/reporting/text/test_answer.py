"""The first sentences of the report."""

from tests.helpers.fake_study import make_results, with_runs
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.answer import answer_sentences

TWO = StudyConfig(name="s", encoders=("resnet18", "unet"), losses=("dice",))


def test_the_recommended_pair_comes_first_with_its_scores(tmp_path):
    results = make_results(tmp_path, TWO, cases=6)
    first, *_, last = answer_sentences(results)
    assert first.startswith(f"Use {results.best.title}: the highest Dice on the validation images. On 6 test images, ")
    row = results.table1.set_index(["encoder", "region"]).loc[(results.best.encoder, "nucleus")]
    assert f"{row['dice']:.3f} for the nucleus" in first and f"{row['dice_mean']:.3f} for the nucleus" in last
    assert "Both pairs of encoder and loss reach a Dice of " in last


def test_one_pair_has_nothing_to_be_compared_with(tmp_path):
    config = TWO.model_copy(update={"encoders": ("vgg16",)})
    sentences = answer_sentences(make_results(tmp_path, config, cases=3))
    assert sentences[0].startswith("VGG-16 with Dice loss is the only pair of encoder and loss that was measured.")
    assert sentences[-1] == "There is nothing to compare it with."


def test_without_scores_there_is_no_answer(tmp_path):
    results = make_results(tmp_path, TWO, failed=[run.name for run in TWO.runs()])
    assert answer_sentences(results) == ["No answer yet: no run is complete with defined scores."]
    methods = results.config.model_copy(update={"encoders": (), "baselines": ("otsu_levels",)})
    (sentence,) = answer_sentences(with_runs(results, [], config=methods))
    assert "see Table 3" in sentence
