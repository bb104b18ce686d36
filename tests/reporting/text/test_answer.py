"""The first sentences of the report."""

from tests.helpers.fake_study import make_results, with_runs
from tests.helpers.simulated_study import simulate_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.text.answer import answer_sentences, answer_table

TWO = StudyConfig(name="s", encoders=("resnet18", "unet"), losses=("dice",))
PAIR = StudyConfig(name="s", encoders=("mobilenet", "resnet50"), losses=("dice",))


def test_the_recommended_pair_comes_first_with_its_scores(tmp_path):
    results = make_results(tmp_path, TWO, cases=6)
    first, second = answer_sentences(results)
    assert first.startswith(f"Use {results.best.title}: ")
    size = "their own size" if results.score_px is None else "32 x 32 px"
    assert second.startswith(f"On 6 test images, scored at {size}, its mean Dice is ")
    row = results.table1.set_index(["encoder", "region"]).loc[(results.best.encoder, "nucleus")]
    assert f"{row['dice_mean']:.3f} for the nucleus" in second
    heads, rows, note = answer_table(results)
    assert "too few images for an interval" in note
    assert heads[2:4] == ["Mean Dice, nucleus", "Mean Dice, cytoplasm"]
    assert rows[0][0] == results.best.title and rows[0][1].startswith("recommended")
    assert rows[0][2] == f"{row['dice_mean']:.3f}" and f"its mean Dice is {rows[0][2]} for" in second
    assert "Both pairs of encoder and loss reach a mean Dice of " in second


def test_the_reason_for_the_recommendation():
    def first(**options):
        return answer_sentences(simulate_results(PAIR, **({"images": (30, 8)} | options)))[0]

    better = {"effects": {"resnet50": 0.003}}
    assert first(**better) == (
        "Use MobileNet with Dice loss: the cheapest pair that is equivalent to the best on the validation images, "
        "ResNet-50 with Dice loss (their mean Dice differs by less than 0.01 in each region). It needs 50 % of the "
        "multiply-adds."
    )
    highest = "Use ResNet-50 with Dice loss: the highest Dice on the validation images."
    cheaper = f"{highest} One pair is cheaper (fewer multiply-adds), but"
    assert first(effects={"resnet50": 0.03}) == (
        f"{cheaper} 30 validation images do not show that it is equivalent (mean Dice within 0.01 in each region)."
    )
    assert first(**better, validation=False) == (
        f"{cheaper} it is not known whether any is equivalent: these runs kept no scores of single validation images."
    )
    assert first(**better, costs={"mobilenet": 5e9}) == f"{highest} No other pair needs fewer multiply-adds."


def test_the_small_table_has_the_recommended_the_best_and_the_highest_pair():
    effects = {"resnet50": 0.003}
    _, rows, note = answer_table(simulate_results(PAIR, effects=effects, images=(30, 12)))
    assert "with its 95 % interval" in note and " [" in rows[0][2]
    assert [row[0] for row in rows] == ["MobileNet with Dice loss", "ResNet-50 with Dice loss"]
    assert rows[0][1] == "recommended" and rows[1][1].startswith("best on the validation images")
    assert [row[-1] for row in rows] == ["1", "2"]
    (row,) = answer_table(simulate_results(PAIR, effects={"mobilenet": 0.05}))[1]
    assert row[1] == "recommended; best on the validation images; highest on the test images"


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
