import numpy as np
import pytest
from scipy.stats import wilcoxon
from statsmodels.stats.power import TTestPower

from wbcstudy.errors import StudyError
from wbcstudy.scoring.power import smallest_detectable_difference


def found_share(draw, shift, studies=1500):
    """Share of simulated studies in which the test finds the shift."""
    return (wilcoxon(draw((studies, 60)) + shift, axis=1, method="asymptotic").pvalue < 0.05).mean()


DRAWS = {
    "normal": lambda generator: generator.standard_normal,
    "heavy tails": lambda generator: lambda size: generator.standard_t(3, size=size),
    "flat": lambda generator: lambda size: generator.uniform(-1, 1, size=size),
}


@pytest.mark.parametrize("name", DRAWS)
def test_such_a_difference_is_found_in_four_studies_of_five(name):
    draw = DRAWS[name](np.random.default_rng(0))
    shift = np.mean([smallest_detectable_difference(differences) for differences in draw((60, 60))])
    assert found_share(draw, shift) == pytest.approx(0.8, abs=0.05)
    assert found_share(draw, 0) == pytest.approx(0.05, abs=0.02)


def test_planned_from_a_number_of_cases_and_a_spread():
    planned = smallest_detectable_difference(n=60, sd=1.0)
    draw = DRAWS["normal"](np.random.default_rng(1))
    assert found_share(draw, planned) == pytest.approx(0.8, abs=0.04)
    # The t test's effect for 3/pi as many cases, by another program.
    effect = TTestPower().solve_power(nobs=60 * 3 / np.pi, alpha=0.05, power=0.8, alternative="two-sided")
    assert planned == pytest.approx(effect, rel=1e-3)
    assert smallest_detectable_difference(n=60, sd=0.02) == pytest.approx(0.02 * planned)
    assert smallest_detectable_difference(n=240, sd=1.0) == pytest.approx(planned / 2, rel=0.03)


def test_it_is_about_the_spread_not_the_size_of_the_differences():
    differences = np.random.default_rng(0).standard_normal(30)
    small = smallest_detectable_difference(differences)
    assert smallest_detectable_difference(differences + 5) == pytest.approx(small)
    assert smallest_detectable_difference(3 * differences) == pytest.approx(3 * small)
    assert smallest_detectable_difference([*differences, np.nan]) == small
    assert smallest_detectable_difference(differences, alpha=0.01) > small
    assert smallest_detectable_difference(differences, power=0.9) > small


def test_too_few_cases_can_show_nothing():
    assert smallest_detectable_difference([0.1, 0.2, 0.1, 0.2, 0.1]) == np.inf
    assert smallest_detectable_difference(n=5, sd=0.1) == np.inf
    assert smallest_detectable_difference(n=8, sd=0.1, alpha=0.05 / 10) == np.inf
    assert np.isfinite(smallest_detectable_difference(n=9, sd=0.1, alpha=0.05 / 10))


def test_what_to_pass_is_said():
    for wrong in ({}, {"n": 5}, {"differences": [1], "n": 5, "sd": 1}):
        with pytest.raises(StudyError, match="neither differences nor"):
            smallest_detectable_difference(**wrong)
    with pytest.raises(StudyError, match=r"power = 80"):
        smallest_detectable_difference(n=50, sd=1, power=80)
