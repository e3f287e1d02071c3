import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from sop_keras.auditing import judgement
from sop_keras.auditing.feature_rows import sample
from sop_keras.auditing.judgement import judge
from sop_keras.auditing.transitions import estimate_transitions, sharpened


@dataclasses.dataclass
class Rows:
    """Features that are the logits themselves; remembers how many were asked for."""

    values: np.ndarray

    def __post_init__(self):
        self.num_features = self.values.shape[1]
        self.asked = []

    def __len__(self):
        return len(self.values)

    def take(self, positions):
        self.asked.append(len(positions))
        return self.values[positions]


def head(num_classes):
    return SimpleNamespace(
        model=SimpleNamespace(num_classes=num_classes),
        logits=lambda features: features,
    )


def judged(rows, labels, **options):
    return judge(head(rows.num_features), rows, labels, **options)


def draws(num_examples=300, num_classes=4):
    """Logits that mostly know the class, and labels of which a quarter is drawn anew.

    All of class 0 that are drawn anew are given as 1.
    """
    rng = np.random.default_rng(1)
    classes = rng.integers(num_classes, size=num_examples)
    logits = rng.normal(size=(num_examples, num_classes))
    logits[np.arange(num_examples), classes] += 1.5
    other = np.where(
        classes == 0, 1, (classes + rng.integers(1, num_classes)) % num_classes
    )
    labels = np.where(rng.random(num_examples) < 0.25, other, classes)
    return Rows(logits.astype(np.float32)), labels


def slow(logits, label, rates, power):
    """Quality, suggestion and the two beliefs of one label, in Python's floats."""
    raised = [np.exp(power * float(one - max(logits))) for one in logits]
    beliefs = [one / sum(raised) for one in raised]
    joint = [beliefs[j] * rates[j][label] for j in range(len(logits))]
    others = [j for j in range(len(logits)) if j != label]
    suggested = max(others, key=lambda j: joint[j])
    odds = (joint[label] / (sum(joint) - joint[label])) ** 0.45
    return odds / (1 + odds), suggested, beliefs[label], beliefs[suggested]


def test_judgement_is_the_slow_loop():
    rows, labels = draws()
    said = judged(rows, labels)
    rates = {
        power: estimate_transitions(sharpened(rows.values, power), labels)
        for power in (3, 4, 8)  # of 300 examples
    }
    np.testing.assert_array_equal(said.rates, rates[4])
    expected = [
        slow(logits, label, rates[4], 4)
        for logits, label in zip(rows.values, labels, strict=True)
    ]
    quality, suggested, given_prob, suggested_prob = zip(*expected, strict=True)
    np.testing.assert_allclose(said.quality, quality, rtol=1e-6)
    np.testing.assert_array_equal(said.suggested, suggested)
    np.testing.assert_allclose(said.given_prob, given_prob, rtol=1e-6)
    np.testing.assert_allclose(said.suggested_prob, suggested_prob, rtol=1e-6)
    wrong = {
        power: sum(
            1 - slow(logits, label, rates[power], power)[0]
            for logits, label in zip(rows.values, labels, strict=True)
        )
        for power in (3, 4, 8)  # of 300 examples
    }
    assert said.num_wrong == pytest.approx(wrong[4], rel=1e-6)
    assert said.num_wrong_interval == pytest.approx(
        (min(wrong.values()), max(wrong.values())), rel=1e-6
    )


def test_the_given_label_is_never_suggested():
    # Of all ones the network is sure that they are right, to the last bit.
    labels = np.repeat([0, 1, 2], 50)
    rows = Rows(np.where(labels[:, None] == np.arange(3), 900, 0).astype(np.float32))
    said = judged(rows, labels)
    assert (said.suggested != labels).all()
    assert (said.quality > 1 - 1e-12).all()
    assert said.num_wrong == pytest.approx(0, abs=1e-9)


def test_the_interval_contains_the_number():
    for size in (10, 100, 400):
        rows, labels = draws(size)
        # Of labels that are what the network says, a head that is trusted more finds
        # fewer wrong; of others, more.
        for given in (labels, rows.values.argmax(axis=1)):
            said = judged(rows, given)
            least, most = said.num_wrong_interval
            assert 0 <= least <= said.num_wrong <= most <= size
            assert least < most


def test_a_wrong_label_is_found_by_hand():
    # All certain but for the last, which has odds of e^(4 x 0.375) = 4.48 for class 0
    # against its label 1. One example is added to each class: T is 20.5 / 21 at 0, 0
    # and about as much at 1, 1; so it is right with about 1 / (1 + 4.48 x T_01 / T_11).
    labels = np.array([0] * 20 + [1] * 20 + [1])
    logits = np.where(labels[:, None] == np.arange(2), 100.0, 0)
    logits[-1] = [0.375, 0]
    said = judged(Rows(logits.astype(np.float32)), labels)
    # T_01 = (0.5 + w) / 21 (+ w) where w is the last one's chance to be of class 0,
    # whose fixed point w = 4.48 T_01 / (4.48 T_01 + T_11) is found here by hand:
    odds, w = np.exp(1.5), 0.5
    for _ in range(200):
        t_01, t_11 = (0.5 + w) / (21 + w), (21.5 - w) / (22 - w)
        w = odds * t_01 / (odds * t_01 + t_11)
    # The odds of quality are those to the power 0.45.
    quality = 1 / (1 + (w / (1 - w)) ** 0.45)
    assert said.quality[-1] == pytest.approx(quality, abs=1e-6)
    assert said.suggested[-1] == 0
    assert said.num_wrong == pytest.approx(1 - quality, abs=1e-6)


def test_decided_labels_change_the_rates():
    rows, labels = draws()
    decided = np.zeros((4, 4))
    decided[2, 3] = 1_000
    said = judged(rows, labels, decided=decided)
    np.testing.assert_array_equal(
        said.rates, estimate_transitions(sharpened(rows.values, 4), labels, decided)
    )
    assert said.rates[2, 3] > 0.8 > judged(rows, labels).rates[2, 3]


def test_the_noise_is_estimated_of_some_where_there_are_many(monkeypatch):
    # 40 beliefs of 4 classes are 10 examples.
    monkeypatch.setattr(judgement, "_MAX_BELIEFS", 40)
    rows, labels = draws()
    said = judged(rows, labels)
    some = sample(range(300), 10)
    assert rows.asked == [10, 300]
    rates = estimate_transitions(sharpened(rows.values[some], 4), labels[some])
    np.testing.assert_array_equal(said.rates, rates)
    # All are judged by it.
    assert said.quality[7] == pytest.approx(
        slow(rows.values[7], labels[7], rates, 4)[0], rel=1e-6
    )
    assert np.isfinite(said.quality).all()


def test_some_of_classes_that_take_turns_are_enough(monkeypatch):
    # Of 400 examples 100 are looked at; every fourth one is of class 0. All labels are
    # right, and known. T_jj is (m + 1/2) / (m + 1) of m examples: of the 25 or so of a
    # class it is 0.98, and of none it would be a half.
    monkeypatch.setattr(judgement, "_MAX_BELIEFS", 400)
    labels = np.arange(400) % 4
    said = judged(Rows(50 * np.eye(4, dtype=np.float32)[labels]), labels)
    assert said.rates.diagonal().min() > 0.95


def test_at_least_as_many_as_classes_are_looked_at(monkeypatch):
    monkeypatch.setattr(judgement, "_MAX_BELIEFS", 4)
    rows, labels = draws()
    judged(rows, labels)
    assert rows.asked == [4, 300]
