import math
from fractions import Fraction

import numpy as np
import pytest

from sop_keras.methods.sop_scores import (
    label_quality,
    noise_norm,
    score_labels,
)


def test_noise_norm_by_hand():
    noise = np.array([[0.25, -0.09, -0.16], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(noise_norm(noise), [0.5, 0.0], rtol=1e-6)


def test_quality_is_the_posterior_of_a_right_label():
    # p_y = 0.2, ||s||_1 = 0.25: 0.2 / (0.2 + 0.5 * 0.8) = 1/3. Without noise the label
    # is right, with full noise as likely as the network says; p_y = 1 leaves no other.
    quality = label_quality(
        np.log([0.2, 0.2, 0.2, 1.0]),
        np.log([0.8, 0.8, 0.8, 1e-300]),
        np.array([0.25, 0.0, 1.0, 1.0]),
    )
    np.testing.assert_allclose(quality, [1 / 3, 1.0, 0.2, 1.0], rtol=1e-12)


def test_quality_in_exact_fractions():
    rng = np.random.default_rng(0)
    for p, s in zip(rng.integers(1, 999, 50), rng.integers(0, 2000, 50), strict=True):
        given, length = Fraction(int(p), 1000), Fraction(int(s), 1000)
        exact = given / (given + length * (1 - given))
        found = label_quality(
            np.array([math.log(p / 1000)]),
            np.array([math.log(1 - p / 1000)]),
            np.array([(s / 1000) ** 2]),
        )
        assert found[0] == pytest.approx(float(exact), rel=1e-9)


def test_quality_is_usable_from_first_values_on():
    # u starts at 1e-8. Rows that have grown tenfold are told from those that have not,
    # with ranks that float32's 1 - 1e-16 = 1 would have lost in 1 - quality.
    quality = label_quality(
        np.log(np.full(2, 0.1)), np.log(np.full(2, 0.9)), np.array([1e-16, 1e-14])
    )
    assert (1 - quality)[1] > 0
    scores = score_labels(
        np.log(np.full((2, 2), 0.5)),
        np.array([[1e-16, 0.0], [1e-14, 0.0]], np.float32),
        np.array([0, 0]),
    )
    np.testing.assert_allclose(scores["noise_score"], [-16, -14], rtol=1e-6)


def test_quality_of_hopeless_and_certain_labels_stays_in_range():
    quality = label_quality(
        np.array([-1e4, 0.0]), np.array([0.0, -1e4]), np.array([1.0, 0.0])
    )
    # Odds of e^10000 count as e^(10 + ln(1 + 10000 - 10)) = 9991 e^10.
    assert quality[0] == pytest.approx(1 / (1 + 9991 * np.exp(10)), rel=1e-12)
    assert quality[1] == 1.0


def test_no_network_is_so_sure_that_a_row_of_first_values_is_an_issue():
    # ||s||_1 of 10 classes is 1e-15 as u and v start; a network that is far too sure
    # gives a label the probability e^-50, next to none. sqrt(1e-15) 41 e^10 = 0.029.
    sure = label_quality(np.array([-50.0]), np.array([0.0]), np.array([1e-15]))
    assert sure[0] == pytest.approx(1 / (1 + 10**-7.5 * 41 * np.exp(10)), rel=1e-12)
    # The order stays, and what is less sure is as it was: p_y / (p_y + a (1 - p_y)).
    ordered = label_quality(np.linspace(-60, -1, 60), np.zeros(60), np.ones(60))
    assert (np.diff(ordered) > 0).all()
    assert ordered[-9] == pytest.approx(1 / (1 + np.exp(9)), rel=1e-12)


def test_columns_by_hand():
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    noise = np.array([[0.4, -0.01, -0.09], [-0.1, 0.0, -0.1]], np.float32)
    scores = score_labels(np.log(probs), noise, np.array([0, 2]))
    # p_j sqrt|v_j| with v_j^2 = -s_j: 0.3 * 0.01^(1/4) = 0.0949 for class 1, 0.2 *
    # 0.09^(1/4) = 0.1095 for class 2; then 0.1 * 0.1^(1/4) for class 0, 0 for class 1.
    assert scores["suggested_label"].tolist() == [2, 0]
    # ||s||_1 = 0.5 and 0.2: 0.5 / (0.5 + 0.5 sqrt 0.5), 0.8 / (0.8 + 0.2 sqrt 0.2).
    expected = [1 / (1 + 0.5**0.5), 4 / (4 + 0.2**0.5)]
    np.testing.assert_allclose(scores["label_quality"], expected, rtol=1e-6)
    np.testing.assert_allclose(scores["noise_score"], np.log10([0.5, 0.2]), rtol=1e-6)


def test_classes_of_probability_0_are_no_error():
    log_probs = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    noise = np.array([[0.5, -0.5], [0.5, -0.5]], np.float32)
    scores = score_labels(log_probs, noise, np.array([0, 0]))
    # log 1e-300 = -690.8; the odds are a (1 + 680.8) e^10, with a = 1.
    assert scores["label_quality"].tolist() == pytest.approx([1.0, 6.659e-8], rel=1e-4)
    assert scores["suggested_label"].tolist() == [1, 1]
