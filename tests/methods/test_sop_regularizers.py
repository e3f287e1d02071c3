"""L_C, L_B and its prior, against numbers that are worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from sop_keras.methods import sop_regularizers


def divergence(outputs, strong_outputs, from_logits=True):
    """L_C and its gradients for both views."""
    views = [tf.Variable(np.float32(one)) for one in (outputs, strong_outputs)]
    with tf.GradientTape() as tape:
        loss = sop_regularizers.consistency_loss(*views, from_logits)
    return (loss.numpy(), *tape.gradient(loss, views))


def test_the_consistency_loss_of_logits_and_of_probabilities():
    # p = (1/4, 3/4), q = (1/2, 1/2): 1/4 log(1/2) + 3/4 log(3/2) = 3/4 log 3 - log 2.
    # The gradient for logits of q, which may have a constant added, is q - p; for q
    # itself -p/q.
    p, q = np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])
    expected = [0.75 * np.log(3) - np.log(2)]
    loss, of_target, of_strong = divergence(np.log(p) + 3, np.log(q) - 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(of_strong, q - p, rtol=1e-6)
    assert of_target is None  # a constant
    loss, of_target, of_strong = divergence(p, q, from_logits=False)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(of_strong, -p / q, rtol=1e-6)
    assert of_target is None


def test_the_consistency_loss_of_equal_views_is_0():
    logits = np.random.default_rng(0).normal(0, 5, (50, 10))
    loss, _, of_strong = divergence(logits, logits)
    np.testing.assert_array_equal(loss, np.zeros(50))
    np.testing.assert_allclose(of_strong, np.zeros((50, 10)), atol=1e-6)


def test_the_consistency_loss_of_extreme_logits_is_finite():
    up, down = [1e4, -1e4], [-1e4, 1e4]
    # p = (1, 0) to the last bit. Against itself 0; against (0, 1): 1 * 2e4 + 0 * -2e4.
    loss, _, of_strong = divergence([up, up, down], [up, down, down])
    np.testing.assert_allclose(loss, [0, 2e4, 0])
    np.testing.assert_allclose(of_strong, [[0, 0], [-1, 1], [0, 0]])


def test_the_consistency_loss_of_masked_classes():
    # Without the masked class, p = (1/4, 3/4) and q = (1/2, 1/2) as above. Masked in
    # the weak view alone, p = (1/4, 3/4, 0) and q = (1/4, 1/4, 1/2): 3/4 log 3.
    p, masked = np.log([0.25, 0.75, 1.0]), [0.0, 0.0, -np.inf]
    strong = [masked, np.log([0.25, 0.25, 0.5])]
    loss, _, of_strong = divergence([p + masked] * 2, strong)
    expected = [0.75 * np.log(3) - np.log(2), 0.75 * np.log(3)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    # q - p
    np.testing.assert_allclose(of_strong, [[0.25, -0.25, 0], [0, -0.5, 0.5]], atol=1e-6)


def test_the_consistency_loss_of_probabilities_of_0_is_finite():
    certain, other = [1.0, 0.0], [0.0, 1.0]
    loss, _, of_strong = divergence([certain] * 2, [certain, other], from_logits=False)
    # A probability of 0 counts as 1e-30: log 1 - log 1e-30.
    np.testing.assert_allclose(loss, [0, 30 * np.log(10)], rtol=1e-6)
    # -p/q where q is above the floor.
    np.testing.assert_allclose(of_strong, [[-1, 0], [0, 0]], atol=1e-29)


def test_the_balance_loss_of_the_paper_is_finite_when_a_class_underflows():
    probs = np.float32([[1.0, 0.0]])
    loss = sop_regularizers.balance_loss(probs, probs, np.float32([0.5, 0.5]), "paper")
    # -0.5 log 1 - 0.5 log 1e-30
    np.testing.assert_allclose(loss, 0.5 * 30 * np.log(10), rtol=1e-5)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([0.5, 0.5], r"one entry for each of the 3 classes. Received shape \(2,\)"),
        ([0.5, 0.6, -0.1], "finite and non-negative"),
        ([0.5, np.nan, 0.5], "finite and non-negative"),
        (
            [0.5, 0.5, 0.5],
            r"must sum to 1. Received a sum of 1.5; divide it by its sum",
        ),
        ("even", r'`class_prior` must be "uniform", "emp.* or one .* 3 .*: .even.$'),
        (
            ["a", "b", "c"],
            r"`class_prior` must be .* one number .*: \['a', 'b', 'c'\]$",
        ),
        ({0: 0.5, 1: 0.5}, r"`class_prior` must be .* one number .*: \{0: 0.5, 1: 0.5"),
        ([[0.5], [0.2, 0.3]], r"`class_prior` must be .* one number .*: \[\[0.5\], "),
    ],
)
def test_a_wrong_prior_is_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        sop_regularizers.check_class_prior(prior, 3)


def test_the_prior_is_uniform_by_default_and_float32():
    for uniform in (None, "uniform"):
        found = sop_regularizers.check_class_prior(uniform, 4)
        np.testing.assert_array_equal(found, np.float32([0.25] * 4))
        assert found.dtype == np.float32
    assert sop_regularizers.check_class_prior("empirical", 4) is None
    given = sop_regularizers.check_class_prior((0.25, 0.75), 2)
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, [0.25, 0.75])


@pytest.mark.parametrize(
    "labels",
    [[0, 2, 2, 0, 2], np.eye(4)[[0, 2, 2, 0, 2]], tf.constant([2, 2, 2, 0, 0])],
)
def test_the_empirical_prior_counts_labels(labels):
    found = sop_regularizers.empirical_class_prior(labels, 4)
    # Class 0 twice, class 2 three times out of 5; the others do not occur.
    np.testing.assert_array_equal(found, [2 / 5, 0, 3 / 5, 0])
    assert found.dtype == np.float64


def test_an_empirical_prior_needs_good_labels():
    with pytest.raises(ValueError, match=r"no labels to count. Pass all labels of the"):
        sop_regularizers.empirical_class_prior(np.zeros(0, np.int64), 3)
    with pytest.raises(ValueError, match=r"^Label 3 is not in \[0, 3\)"):
        sop_regularizers.empirical_class_prior([0, 3], 3)
