from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from wbcstudy.data.check_masks import MaskChecks
from wbcstudy.data.masks import ReadMask
from wbcstudy.data.spec import DatasetSpec
from wbcstudy.labels import IGNORED


def make_checks(*, tolerance: int = 64, **strays_and_rims) -> MaskChecks:
    """Checks of one mask with 90 % background, 6 % cytoplasm and 4 % nucleus."""
    spec = DatasetSpec(
        name="test",
        images="images/{case}.png",
        masks="masks/{case}.png",
        labels={"background": 0, "cytoplasm": 128, "nucleus": 255},
        tolerance=tolerance,
    )
    labels = np.zeros((100, 100), np.uint8)
    labels[:6], labels[6:10] = 1, 2
    checks = MaskChecks(spec)
    checks.add(Path("a.png"), ReadMask(labels, **{"strays": Counter(), "rims": Counter()} | strays_and_rims))
    return checks


def test_clean_masks_have_no_findings():
    checks = make_checks()
    assert checks.errors() == checks.warnings() == []


def test_strays_name_share_values_and_the_tolerance_that_is_enough():
    (warning,) = make_checks(tolerance=100, strays=Counter({"125": 30})).warnings()
    assert "a.png: 30 stray pixels (0.3% of its pixels)" in warning.message and "125 (30 px)" in warning.message
    assert "blurred borders" in warning.fix and "`tolerance: 64` is enough" in warning.fix


def test_many_strays_are_more_than_borders():
    (warning,) = make_checks(strays=Counter({"125": 900})).warnings()
    assert warning.fix.startswith("These are more than blurred borders")


@pytest.mark.parametrize(("rim", "is_error"), [(3, False), (60, True)])
def test_a_false_rim_is_an_error_if_it_is_large(rim, is_error):
    checks = make_checks(strays=Counter({"200": 60}), rims=Counter({"cytoplasm": rim}))
    assert bool(checks.errors()) == is_error
    finding = checks.errors()[0] if is_error else checks.warnings()[0]
    assert f"a false rim of cytoplasm appears where only background and nucleus are: {rim} px" in finding.message
    assert "`ignore: [1-127, 129-254]`" in finding.fix


def test_masks_that_are_mostly_ignored_are_reported():
    checks = make_checks()
    checks.add(Path("b.png"), ReadMask(np.full((200, 100), IGNORED, np.uint8), Counter(), Counter()))
    (warning,) = checks.warnings()
    assert warning.message.startswith("67% of all mask pixels are ignored")
