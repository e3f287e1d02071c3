import numpy as np
import pytest

from sop_keras.auditing.transitions import (
    calibrated,
    class_posteriors,
    estimate_transitions,
    sharpened,
    sharpness_of,
)


def draws(num_examples, num_classes, seed=0):
    """Beliefs and labels at random, some classes rarer than others."""
    rng = np.random.default_rng(seed)
    beliefs = rng.dirichlet(np.linspace(0.2, 1.5, num_classes), num_examples)
    return beliefs, rng.integers(num_classes, size=num_examples)


def slow_transitions(beliefs, labels, decided=None):
    """The same estimate, an example and a class at a time."""
    num_classes = len(beliefs[0])
    classes = range(num_classes)
    rates = [
        [0.9 if right == given else 0.1 / (num_classes - 1) for given in classes]
        for right in classes
    ]
    for _ in range(20):
        counts = [[1 / num_classes] * num_classes for _ in classes]
        for right in classes:
            for given in classes:
                if decided is not None:
                    counts[right][given] += float(decided[right][given])
        for belief, given in zip(beliefs, labels, strict=True):
            joint = [float(belief[one]) * rates[one][given] for one in classes]
            for right in classes:
                counts[right][given] += joint[right] / sum(joint)
        rates = [[one / sum(row) for one in row] for row in counts]
    return rates


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("is_decided", [False, True])
def test_expectation_maximisation_is_the_slow_loop(num_classes, is_decided):
    beliefs, labels = draws(60, num_classes)
    decided = None
    if is_decided:
        decided = np.arange(num_classes**2).reshape(num_classes, num_classes)
    rates = estimate_transitions(beliefs, labels, decided)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(
        rates, slow_transitions(beliefs, labels, decided), rtol=1e-10
    )
    np.testing.assert_allclose(rates.sum(axis=1), 1, rtol=1e-12)


def test_classes_that_are_known_are_counted():
    # Where the class is certain, there is nothing to iterate: of the three of class 0,
    # one is given as 1; both of class 1 are right. With 1/2 of an example added to each
    # entry, (2 + 1/2) / 4 and (1 + 1/2) / 4; (0 + 1/2) / 3 and (2 + 1/2) / 3.
    beliefs = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    labels = np.array([0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        estimate_transitions(beliefs, labels),
        [[5 / 8, 3 / 8], [1 / 6, 5 / 6]],
        rtol=1e-12,
    )


def test_decided_labels_are_counted_too():
    # The same with four decisions: of class 0, three labels 1 and none 0, and one label
    # 0 of class 1: 2.5 / 7 and 4.5 / 7; 1.5 / 4 and 2.5 / 4.
    beliefs = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    labels = np.array([0, 0, 1, 1, 1])
    np.testing.assert_allclose(
        estimate_transitions(beliefs, labels, np.array([[0, 3], [1, 0]])),
        [[5 / 14, 9 / 14], [3 / 8, 5 / 8]],
        rtol=1e-12,
    )


def test_a_planted_noise_is_found_again():
    # 40,000 labels of classes drawn from the beliefs themselves, of which few are
    # certain; the standard error of a rate is some 0.01.
    planted = np.array([[0.7, 0.3, 0], [0.05, 0.9, 0.05], [0, 0.2, 0.8]])
    rng = np.random.default_rng(3)
    beliefs = rng.dirichlet([0.3, 0.3, 0.3], 40_000)

    def drawn(probs):
        below = probs.cumsum(axis=1) < rng.random(len(probs))[:, None]
        return np.minimum(below.sum(axis=1), 2)

    labels = drawn(planted[drawn(beliefs)])
    # 20 iterations from rates of 0.05 do not get to all of the way.
    np.testing.assert_allclose(
        estimate_transitions(beliefs, labels), planted, atol=0.03
    )


def test_a_label_that_nobody_gave():
    beliefs, _ = draws(50, 3)
    labels = np.zeros(50, np.int64)
    rates = estimate_transitions(beliefs, labels)
    np.testing.assert_allclose(rates, slow_transitions(beliefs, labels), rtol=1e-10)
    assert (rates > 0).all()


def test_posteriors_are_bayes_rule():
    # By hand: label 1 of an example that is of class 0 with 0.8: 0.8 x 0.3 = 0.24
    # against 0.2 x 0.9 = 0.18, so 4/7 and 3/7. Label 0: 0.8 x 0.7 = 0.56 against 0.02.
    rates = np.array([[0.7, 0.3], [0.1, 0.9]])
    beliefs = np.array([[0.8, 0.2], [0.8, 0.2]])
    np.testing.assert_allclose(
        class_posteriors(beliefs, np.array([1, 0]), rates),
        [[4 / 7, 3 / 7], [56 / 58, 2 / 58]],
        rtol=1e-12,
    )


def test_impossible_labels_give_no_nan():
    rates = np.array([[1.0, 0], [0.5, 0.5]])
    beliefs = np.array([[1.0, 0]])
    assert class_posteriors(beliefs, np.array([1]), rates).tolist() == [[0, 0]]


def test_sharpened_beliefs_are_a_power_of_the_softmax():
    # Odds of 2 are 8 to the power 3, and 4 to the power 2.
    logits = np.log(np.array([[2, 1]], np.float32))
    np.testing.assert_allclose(sharpened(logits, 3), [[8 / 9, 1 / 9]], rtol=1e-6)
    np.testing.assert_allclose(sharpened(logits, 2), [[4 / 5, 1 / 5]], rtol=1e-6)
    large = sharpened(np.array([[5_000, 0]], np.float32), 3)
    assert large.tolist() == [[1, 0]]


def test_a_head_of_few_examples_is_sharpened_more():
    # A 32nd of 50,000 has twice the power, 1.5^5 = 7.59375 times fewer 1.5 times it.
    found = [sharpness_of(n) for n in (20, 1_562, 6_584, 50_000, 1_000_000)]
    assert found == pytest.approx([4, 4, 3, 2, 2], rel=1e-3)


def test_calibrated_probabilities_by_hand():
    # Odds of 10^4 become 10^1.8 = 63.0957, of 10^-4 a 63.0957th; 0, 1/2 and 1 stay.
    odds = np.array([1e4, 1, 1e-4])
    expected = [63.0957 / 64.0957, 0.5, 1 / 64.0957]
    np.testing.assert_allclose(calibrated(odds / (1 + odds)), expected, rtol=1e-5)
    assert calibrated(np.array([0.0, 1.0])).tolist() == [0, 1]
