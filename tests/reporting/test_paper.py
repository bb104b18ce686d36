"""What is said of a study's Table 1 beside the paper's."""

import pandas as pd
import pytest

from wbcstudy.reporting.tables.paper import load_paper_table
from wbcstudy.reporting.text.paper import tell_beside_paper


@pytest.fixture
def table():
    """A Table 1 with the paper's own numbers."""
    return load_paper_table(1).assign(whole=True)


def test_the_papers_own_numbers_are_in_its_order(table):
    order, losses, level = tell_beside_paper(table)
    assert "is first of 18 both here and in the paper. Kendall's tau of the two orders is 1.00" in order
    assert losses.startswith("Of 9 encoders with both losses")
    assert "+0.000 (nucleus) and +0.000 (cytoplasm)" in level


def test_reversed_scores_are_reversed_and_their_level_is_told(table):
    order, losses, level = tell_beside_paper(table.assign(dice=1 - table["dice"]))
    assert "which is 18th in the paper" in order and "tau of the two orders is -1.00" in order
    ahead = [int(words.split()[0]) for words in losses.split(" with ")[2:]]
    assert sum(ahead) == 9  # no ties in the paper
    gaps = (1 - 2 * table["dice"]).groupby(table["region"], sort=False).mean()
    assert f"{gaps['nucleus']:+.3f} (nucleus)" in level


def test_what_does_not_compete_or_is_not_in_the_paper_is_left_out(table):
    own = table.head(4).assign(encoder="my_own", dice=0.99)
    short = table["encoder"] == "vgg19"
    failed = table["encoder"] == "vgg16"
    changed = pd.concat([table.assign(whole=~short, dice=table["dice"].mask(failed)), own])
    order, losses, _ = tell_beside_paper(changed)
    assert "of 14 " in order and "my_own" not in order
    assert losses.startswith("Of 7 encoders")


def test_losses_are_not_told_where_no_encoder_has_both(table):
    assert len(tell_beside_paper(table[table["loss"] == "dice"])) == 2


def test_nothing_is_told_of_two(table):
    two = table[(table["encoder"] == "unet")]
    assert tell_beside_paper(two) == [] and tell_beside_paper(two.head(0)) == []
