import numpy as np
import pytest

from sop_keras.auditing import alike_classes as module
from sop_keras.auditing.alike_classes import alike_classes


@pytest.fixture(autouse=True)
def few_examples_are_enough(request, monkeypatch):
    if "by_hand" in request.node.name:
        monkeypatch.setattr(module, "_LEAST_EXAMPLES", 1)


def test_by_hand():
    of_classes_0_and_1 = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1]]
    of_classes_1_and_2 = [[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.1, 0.7]]
    probabilities = np.array([*of_classes_0_and_1, *of_classes_1_and_2])
    # p_0 / p_1 of those labelled 0 is 3.5 and 0.5, of those labelled 1 0.8 and 0.125:
    # 3 of 4 pairs are in order, 2 (1 - 3/4) = 0.5. For 0 and 2: p_0 / p_2 is 7 and 3
    # against 1/8 and 2/7: all. For 1 and 2: 5 and 8 against 1/8 and 1/7: all.
    found = alike_classes(probabilities, np.array([0, 0, 1, 1, 2, 2]))
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    np.testing.assert_allclose(found.shares, [0.5, 0, 0], atol=1e-12)
    assert found.is_alike.tolist() == [False, False, False]
    assert found.pairs.dtype == np.int64


def test_equal_ones_by_hand():
    # All ratios are the same, two of them 0 / 0: no order, A = 1/2.
    probabilities = np.array([[0.5, 0.5, 0], [0, 0, 1], [0, 0, 1], [0.2, 0.2, 0.6]])
    found = alike_classes(probabilities, np.array([0, 0, 1, 1]))
    assert found.shares.tolist() == [1]
    assert found.is_alike.tolist() == [True]


def slow_share(probabilities, labels, first, second):
    """By comparing each with each."""
    ratio = probabilities[:, first] / probabilities[:, second]
    wins = [
        (one > other) + 0.5 * (one == other)
        for one in ratio[labels == first]
        for other in ratio[labels == second]
    ]
    return min(1, 2 * (1 - np.mean(wins)))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def drawn(num_classes, examples, evidence, draw):
    labels = np.repeat(np.arange(num_classes), examples)
    logits = draw.normal(size=(len(labels), num_classes))
    logits[np.arange(len(labels)), labels] += evidence
    return softmax(logits), labels


def test_like_comparing_each_with_each():
    draw = np.random.default_rng(0)
    probabilities, labels = drawn(4, [40, 15, 30, 20], 1.0, draw)
    # Few values, many of them equal.
    probabilities = (probabilities.round(1) + 0.01) / 1.05
    found = alike_classes(probabilities, labels)
    expected = [slow_share(probabilities, labels, *pair) for pair in found.pairs]
    np.testing.assert_allclose(found.shares, expected, atol=1e-12)
    assert (np.diff(found.shares) <= 0).all()
    assert len(found.pairs) == 6


@pytest.mark.parametrize("fraction", [0.5, 0.1])
def test_a_class_that_was_split_at_random_is_alike_and_no_other(fraction):
    draw = np.random.default_rng(1)
    probabilities, labels = drawn(5, 1000, 3.0, draw)
    # What a calibrated classifier says of the halves of class 4.
    whole = probabilities[:, 4]
    half = np.clip(fraction + draw.normal(0, 0.03, len(whole)), 0.01, 0.99)
    probabilities = np.column_stack(
        [probabilities[:, :4], whole * (1 - half), whole * half]
    )
    labels[(labels == 4) & (draw.random(len(labels)) < fraction)] = 5
    found = alike_classes(probabilities, labels)
    assert found.pairs[found.is_alike].tolist() == [[4, 5]]
    # The deviation of A is sqrt((1 / 100 + 1 / 900) / 12) = 0.03.
    assert found.shares[0] > 0.9
    assert found.shares[1] < 0.2


def test_evenly_wrong_labels_raise_shares_as_written():
    draw = np.random.default_rng(2)
    probabilities, labels = drawn(10, 1000, 50.0, draw)
    wrong = draw.random(len(labels)) < 0.4
    labels[wrong] = (labels[wrong] + draw.integers(1, 10, wrong.sum())) % 10
    found = alike_classes(probabilities, labels)
    # Labelled a are 0.6 of a, 0.0444 of b and 0.3556 of others, whose ratio is between.
    # A = 0.6 (0.6 + 0.3556 + 0.0444 / 2) + 0.3556 (0.6 + 0.3556 / 2) + 0.0444 0.6 / 2
    #   = 0.8766, and 2 (1 - A) = 0.247. The deviation of A is below
    # sqrt((1 / 1000 + 1 / 1000) / 12) = 0.013, that of shares below 0.026.
    np.testing.assert_allclose(found.shares.mean(), 0.247, atol=0.01)
    assert np.abs(found.shares - 0.247).max() < 3 * 0.026
    assert not found.is_alike.any()


def test_exchanged_labels_raise_the_share_as_written():
    draw = np.random.default_rng(5)
    probabilities, labels = drawn(2, 5000, 50.0, draw)
    labels = np.where(draw.random(10_000) < 0.4, 1 - labels, labels)
    # A = 0.6**2 + 2 * 0.6 * 0.4 / 2 = 0.6, with a deviation below 0.006.
    found = alike_classes(probabilities, labels)
    np.testing.assert_allclose(found.shares, [0.8], atol=3 * 0.012)
    assert not found.is_alike.any()


def test_many_classes_are_compared_with_those_that_they_are_confused_with():
    draw = np.random.default_rng(3)
    probabilities, labels = drawn(60, 12, 6.0, draw)
    # Classes 7 and 59 are one.
    swap = (labels == 59) | (labels == 7)
    probabilities[swap, 59] = probabilities[swap, 7] = 0.4
    found = alike_classes(probabilities, labels)
    assert found.pairs[0].tolist() == [7, 59]
    assert found.pairs[found.is_alike].tolist() == [[7, 59]]
    assert 60 * 5 <= len(found.pairs) <= 60 * 10
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()


@pytest.mark.parametrize("num_classes", [3, 60])
def test_small_classes_are_left_out(num_classes):
    draw = np.random.default_rng(4)
    examples = [10] * num_classes
    examples[1] = 9
    found = alike_classes(*drawn(num_classes, examples, 3.0, draw))
    assert 1 not in found.pairs
    assert 0 in found.pairs


def test_one_class_two_examples_and_none():
    for probabilities, labels in (
        (np.ones((20, 1)), np.zeros(20, int)),
        (np.full((2, 2), 0.5), np.array([0, 1])),
        (np.empty((0, 3)), np.empty(0, int)),
    ):
        found = alike_classes(probabilities, labels)
        assert found.pairs.shape == (0, 2)
        assert found.shares.shape == found.is_alike.shape == (0,)


@pytest.mark.parametrize(
    ("probabilities", "labels", "match"),
    [
        (np.array([[0.5, 0.5], [np.nan, 1]]), [0, 1], "the example at place 1"),
        (np.array([[3.0, -2], [0, 1]]), [0, 1], "place 0. Put logits through softmax"),
        (np.eye(2), [0, 2], r"must be in \[0, 2\), .* Received: 0 to 2"),
        (np.eye(2), [-1, 0], "Received: -1 to 0"),
        (np.eye(2), [0, 1, 1], r"must be 2 integers, .* shape \(3,\)"),
        (np.eye(2), [0.0, 1], "Received: float64"),
        (np.eye(2, dtype=int), [0, 1], "must be floats of shape"),
        (np.ones(2), [0, 1], "must be floats of shape"),
    ],
)
def test_arguments_are_checked(probabilities, labels, match):
    with pytest.raises(ValueError, match=match):
        alike_classes(probabilities, np.array(labels))
