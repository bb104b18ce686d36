"""Table 12: see tests/scoring/test_questions.py for the answers."""

from wbcstudy.config import Question
from wbcstudy.reporting.tables.questions import layout_questions, make_questions
from wbcstudy.scoring.questions import Answer, Saved


def test_epochs_have_one_decimal_and_an_interval_only_for_several_seeds():
    question = Question(ask="Sooner?", factor="start", compare="frozen", against="random", measure="epochs")
    answers = [Answer(question, (("vgg16", "dice"),), 3, saved=Saved(2.25, 1.0, 3.5))]
    answers.append(Answer(question, (("vgg16", "dice"),), 1, saved=Saved(2.25, float("nan"), float("nan"))))
    rows = layout_questions(make_questions(answers)).rows
    assert [cells[2].text for _, cells in rows] == ["2.2 [1.0, 3.5]", "2.2"]
