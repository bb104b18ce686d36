import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from wbcstudy.errors import StudyError
from wbcstudy.labels import NUCLEUS
from wbcstudy.scoring.calibration import (
    ConfidenceCounts,
    _count_confidence,
    read_reliability,
    reliability,
)


def pixels(n, seed=0, calibrated=True):
    """Probabilities of three labels, and references drawn from them (or always the most probable label)."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([1, 1, 1], size=n)
    drawn = (generator.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, drawn if calibrated else probabilities.argmax(axis=1)


def test_by_hand():
    probabilities = np.array([[[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]], [[0.0, 0.1, 0.9], [0.3, 0.3, 0.4]]])
    references = np.array([[0, 1], [2, 2]])
    counts = _count_confidence(probabilities, references, bins=2)
    # 0.7, 0.8 and 0.9 above one half, of which two are right; 0.4 below, and right.
    np.testing.assert_allclose(counts, [[1, 0.4, 1], [3, 2.4, 2]])
    result = reliability(counts)
    assert result.ece == pytest.approx((1 * 0.6 + 3 * (0.8 - 2 / 3)) / 4)
    assert result.largest_gap == pytest.approx(0.6)
    assert result.curve["gap"].tolist() == pytest.approx([-0.6, 0.8 - 2 / 3])
    assert result.curve[["low", "high"]].to_numpy().tolist() == [[0, 0.5], [0.5, 1]]


def test_calibrated_probabilities_have_a_small_error_and_underconfident_ones_a_large_one():
    calibrated, underconfident = (reliability(_count_confidence(*pixels(20_000, 0, drawn))) for drawn in (True, False))
    assert calibrated.ece < 0.02 and underconfident.ece > 0.2
    assert (underconfident.curve["gap"].dropna() < 0).all()


def test_the_curve_of_one_region_agrees_with_scikit_learn():
    probabilities, references = pixels(5000)
    curve = reliability(_count_confidence(probabilities, references, 10, "nucleus")).curve.dropna()
    correct, confidence = calibration_curve(references == NUCLEUS, probabilities[:, NUCLEUS], n_bins=10)
    np.testing.assert_allclose(curve["correct"], correct)
    np.testing.assert_allclose(curve["confidence"], confidence)
    cell = reliability(_count_confidence(probabilities, references, 10, "cell"))
    assert cell.ece < 0.03


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(0, 60))
def test_counts_of_images_add_up(seed, bins, cut):
    probabilities, references = pixels(60, seed)
    whole = _count_confidence(probabilities, references, bins)
    parts = [_count_confidence(probabilities[part], references[part], bins) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_allclose(whole, sum(parts))
    assert whole[:, 0].sum() == 60 and 0 <= reliability(whole).ece <= reliability(whole).largest_gap + 1e-12 <= 1 + 1e-9


def test_borders_belong_to_the_lower_bin_and_sums_above_one_to_the_last():
    probabilities = np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]], dtype=np.float32)
    assert _count_confidence(probabilities, np.array([2, 0]), 2)[:, 0].tolist() == [1, 1]
    above = np.array([[0.0, 0.5000001, 0.5]], dtype=np.float32)
    assert _count_confidence(above, np.array([2]), 4, "cell")[:, 0].tolist() == [0, 0, 0, 1]


def test_no_pixels_and_invalid_input():
    empty = reliability(_count_confidence(np.zeros((0, 3)), np.zeros(0, dtype=int)))
    assert np.isnan(empty.ece) and len(empty.curve) == 15 and (empty.curve["n"] == 0).all()
    with pytest.raises(StudyError, match="shape"):
        _count_confidence(np.zeros((4, 4)), np.zeros((4, 4), dtype=int))
    with pytest.raises(StudyError, match="between -1 and 1"):
        _count_confidence(np.array([[-1.0, 1, 1]]), np.array([0]))
    with pytest.raises(StudyError, match="between nan"):
        _count_confidence(np.array([[np.nan, 0, 1]]), np.array([0]))


def test_chunks_add_up_and_are_read_back_from_files(tmp_path):
    generator = np.random.default_rng(3)
    references = generator.integers(0, 3, (5, 4, 4))
    probabilities = generator.dirichlet((1, 1, 1), (5, 4, 4)).astype(np.float32)
    files = []
    for index, chunks in enumerate(([slice(0, 5)], [slice(0, 2), slice(2, 5)])):
        counts = ConfidenceCounts()
        for chunk in chunks:
            counts.add(references[chunk], probabilities[chunk])
        files.append(tmp_path / f"{index}.csv")
        counts.write(files[-1])
    whole, chunked = (read_reliability([file]) for file in files)
    both = read_reliability([*files, tmp_path / "absent.csv"])
    expected = reliability(_count_confidence(probabilities, references, region="nucleus"))
    assert list(both) == ["all", "nucleus", "cytoplasm"]
    for curves in (whole, chunked, both):
        assert curves["nucleus"].ece == pytest.approx(expected.ece)
    assert both["all"].curve["n"].sum() == 2 * references.size
    assert read_reliability([tmp_path / "absent.csv"]) == {}
