"""Planned questions: differences between groups of methods, and epochs until a validation Dice is reached."""

import pandas as pd
import pytest

from tests.helpers.fake_study import make_results
from wbcstudy.config import StudyConfig
from wbcstudy.reporting.tables.questions import layout_questions, make_questions, question_sentences
from wbcstudy.reporting.text.methods_paragraph import methods_paragraph, weights_sentence

STARTS = {
    "frozen": {"encoder_weights": "data/weights", "freeze_encoder": True},
    "fine-tuned": {"encoder_weights": "data/weights"},
    "random": {"encoder_weights": "none"},
}
QUESTIONS = (
    {"ask": "Does pretraining help?", "factor": "start", "compare": ["frozen", "fine-tuned"], "against": "random"},
    {"ask": "Sooner?", "factor": "start", "compare": "frozen", "against": "random", "measure": "epochs"},
    {"ask": "Which loss?", "factor": "loss", "compare": "dice", "against": "cross_entropy", "paper": "Cross-entropy."},
    {"ask": "Which encoder?", "factor": "encoder", "compare": "vgg16", "against": "mobilenet"},
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = StudyConfig(
        name="starts", encoders=("unet", "mobilenet", "vgg16"), starts=STARTS, questions=QUESTIONS, seeds=(0, 1)
    )
    return make_results(tmp_path_factory.mktemp("outputs"), config, blur={"vgg16": 0.1})


def test_a_difference_is_the_mean_of_paired_differences_over_the_other_factors(results):
    help_, _, loss, encoder = results.answers
    # The plain U-Net has one start only: it takes part in the question about the loss alone.
    assert [len(answer.strata) for answer in (help_, loss, encoder)] == [4, 7, 6]
    scores = results.scores[results.scores["region"] == "cytoplasm"]
    means = scores.groupby(["encoder", "loss", "start"])["dice"].mean().unstack("start")  # noqa: PD010
    part = means.loc[["mobilenet", "vgg16"]]
    expected = (part[["frozen", "fine-tuned"]].mean(axis=1) - part["random"]).mean()
    row = help_.differences["cytoplasm"]
    assert row["difference"] == pytest.approx(expected, abs=1e-9)
    assert row["ci_low"] < expected < row["ci_high"] and row["sources"] == "cases and seeds"
    assert encoder.differences["nucleus"]["difference"] < 0


def test_the_epochs_are_those_until_the_other_trainings_best_validation_dice(results):
    answer = results.answers[1]
    assert len(answer.epochs) == 2 * 2 * 2 and answer.seeds == 2
    row = answer.epochs.iloc[0]
    runs = {(run.config.method, run.config.seed): run.history for run in results.runs}
    own, other = (
        runs[row[name], row["seed"]].set_index("epoch")[["val_dice_nucleus", "val_dice_cytoplasm"]].mean(axis=1)
        for name in ("method", "against")
    )
    assert row["target"] == other.max() and row["best_epoch"] == other.idxmax()
    reached = own[own >= other.max()]
    assert (pd.isna(row["first_epoch"]) and reached.empty) or row["first_epoch"] == reached.index[0]


def test_table_and_sentences_show_every_question_with_its_interval_and_the_papers_claim(results):
    table = make_questions(results.answers)
    assert len(table) == 7 and table["ci_low"].notna().all()
    layout = layout_questions(table)
    assert all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    assert any("Cross-entropy." in note for note in layout.notes)
    sentences = dict(question_sentences(results.answers))
    assert "frozen and fine-tuned minus random" in sentences["Does pretraining help?"]
    assert "mean over 4 combinations of encoder and loss and 2 seeds" in sentences["Does pretraining help?"]
    assert "The paper: Cross-entropy." in sentences["Which loss?"]
    assert "Epochs saved:" in sentences["Sooner?"]


def test_starts_are_a_column_of_table_1_and_in_every_title(results):
    layout = results.tables["table1"][1]
    assert ("", "Start") in layout.heads and all(len(cells) == len(layout.heads) for _, cells in layout.rows)
    starts = {cells[2].text.removesuffix(" (recommended)") for _, cells in layout.rows} - {""}
    assert starts == {"frozen", "fine-tuned", "random"}
    assert "VGG-16 (frozen) with Dice loss" in results.table_html["ranks"]
    assert set(results.costs["start"]) == starts
    assert {run.method for run in results.config.runs()} == set(results.ranks["method"])


def test_the_starts_are_described_once_each(results):
    sentence = weights_sentence([run.config for run in results.runs])
    assert sentence.count("frozen") == 2 and "mobilenet.h5 and data/weights/vgg16.h5" in sentence
    paragraph = methods_paragraph(results)
    assert "combination of encoder, start and loss" in paragraph and "fine-tuned: encoders from" in paragraph


def test_a_question_without_runs_has_no_answer_yet(tmp_path):
    config = StudyConfig(name="none", encoders=("mobilenet",), starts=STARTS, questions=QUESTIONS[:3])
    failed = [run.name for run in config.runs() if run.start == "random" or run.loss == "dice"]
    answers = make_results(tmp_path, config, failed=failed).answers
    assert all("No answer yet" in text for _, text in question_sentences(answers))
    assert make_questions(answers)["difference"].isna().all()
