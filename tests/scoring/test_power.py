import numpy as np
import pytest
from scipy.stats import wilcoxon

from wbcstudy.errors import StudyError
from wbcstudy.scoring.power import smallest_detectable_difference


def detected_share(draw, shift, studies=1500):
    """Share of simulated studies in which the test detects the shift."""
    return (wilcoxon(draw((studies, 60)) + shift, axis=1, method="asymptotic").pvalue < 0.05).mean()


DRAWS = {
    "normal": lambda generator: generator.standard_normal,
    "heavy tails": lambda generator: lambda size: generator.standard_t(3, size=size),
    "flat": lambda generator: lambda size: generator.uniform(-1, 1, size=size),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_difference_is_detected_in_four_of_five_studies(name):
    draw = DRAWS[name](np.random.default_rng(0))
    shift = np.mean([smallest_detectable_difference(differences) for differences in draw((60, 60))])
    assert detected_share(draw, shift) == pytest.approx(0.8, abs=0.05)
    assert detected_share(draw, 0) == pytest.approx(0.05, abs=0.02)


def test_the_spread_of_the_differences_matters_not_their_size():
    differences = np.random.default_rng(0).standard_normal(30)
    small = smallest_detectable_difference(differences)
    assert smallest_detectable_difference(differences + 5) == pytest.approx(small)
    assert smallest_detectable_difference(3 * differences) == pytest.approx(3 * small)
    assert smallest_detectable_difference([*differences, np.nan]) == small
    assert smallest_detectable_difference(differences, alpha=0.01) > small
    assert smallest_detectable_difference(differences, power=0.9) > small


def test_too_few_cases_have_no_power():
    assert smallest_detectable_difference([0.1, 0.2, 0.1, 0.2, 0.1]) == np.inf
    differences = [0.1, 0.2, 0.3] * 3
    assert smallest_detectable_difference(differences[:8], alpha=0.05 / 10) == np.inf
    assert np.isfinite(smallest_detectable_difference(differences, alpha=0.05 / 10))


def test_an_invalid_level_is_refused():
    with pytest.raises(StudyError, match=r"power = 80"):
        smallest_detectable_difference([0.1, 0.2], power=80)
