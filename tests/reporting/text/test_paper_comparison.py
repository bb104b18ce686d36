"""Comparison of a study's Table 1 with the paper's."""

import re

import pandas as pd
import pytest

from wbcstudy.reporting.tables.paper import load_paper_table
from wbcstudy.reporting.text.paper_comparison import paper_sentences


@pytest.fixture
def table():
    """A Table 1 with the paper's own numbers."""
    return load_paper_table(1).assign(whole=True)


def test_the_papers_own_numbers(table):
    order, losses, level = paper_sentences(table)
    assert "is first of 18 pairs both here and in the paper. Kendall's tau between the two orders is 1.00" in order
    assert "of 9 encoders here" in losses
    assert "+0.000 (nucleus) and +0.000 (cytoplasm)" in level


def test_reversed_scores(table):
    order, losses, level = paper_sentences(table.assign(dice=1 - table["dice"]))
    assert "here and 18th in the paper" in order and "tau between the two orders is -1.00" in order
    ahead = [int(number) for number in re.findall(r"for (\d+)", losses)]
    assert sum(ahead) == 9  # no ties in the paper
    gaps = (1 - 2 * table["dice"]).groupby(table["region"], sort=False).mean()
    assert f"{gaps['nucleus']:+.3f} (nucleus)" in level


def test_incomparable_pairs_and_those_not_in_the_paper_are_left_out(table):
    own = table.head(4).assign(encoder="my_own", dice=0.99)
    short = table["encoder"] == "vgg19"
    failed = table["encoder"] == "vgg16"
    changed = pd.concat([table.assign(whole=~short, dice=table["dice"].mask(failed)), own])
    order, losses, _ = paper_sentences(changed)
    assert "of 14 pairs" in order and "my_own" not in order
    assert "of 7 encoders here" in losses


def test_no_sentence_about_losses_if_no_encoder_has_both(table):
    assert len(paper_sentences(table[table["loss"] == "dice"])) == 2


def test_no_sentences_for_two_pairs(table):
    two = table[(table["encoder"] == "unet")]
    assert paper_sentences(two) == [] and paper_sentences(two.head(0)) == []
