import numpy as np
import pytest
from array_rows import ArrayRows

from sop_keras.auditing import class_pairs as module
from sop_keras.auditing.class_pairs import alike_pairs, cross_validated
from sop_keras.randomness.keyed import random_bits


def drawn(counts, draw, num_features=6):
    """Examples of classes a unit vector each, with noise."""
    labels = np.repeat(np.arange(len(counts)), counts)
    features = draw.normal(0, 0.5, (len(labels), num_features))
    features[np.arange(len(labels)), labels] += 3
    return features.astype(np.float32), labels


def slowly(features, labels, num_classes):
    """A regression for each third of the examples, of the others."""
    draws = random_bits(0, "class pairs: parts", np.arange(len(labels)))
    part = np.empty(len(labels), int)
    for label in range(num_classes):  # a third of each class, the first one in turn
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(draws[members])]
        part[order] = (np.arange(len(order)) + label) % 3
    x = features.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    found = np.empty((len(labels), num_classes))
    for one in range(3):
        rest = part != one
        columns = np.column_stack([x[rest], np.ones(rest.sum())])
        indicators = np.eye(num_classes)[labels[rest]]
        ridge = 0.1 * rest.sum() * np.eye(columns.shape[1])
        ridge[-1, -1] = 0
        weights = np.linalg.lstsq(
            columns.T @ columns + ridge, columns.T @ indicators, rcond=None
        )[0]
        here = np.column_stack([x[~rest], np.ones((~rest).sum())]) @ weights
        exponentials = np.exp(10 * here)
        found[~rest] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def test_probabilities_are_those_of_regressions_that_did_not_see_the_example():
    features, labels = drawn([30, 20, 40], np.random.default_rng(0))
    found = cross_validated(ArrayRows(features), labels, 3)
    np.testing.assert_allclose(found, slowly(features, labels, 3), atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_a_class_under_two_names_is_found_and_no_other():
    draw = np.random.default_rng(1)
    features, labels = drawn([200, 200, 200], draw)
    labels[(labels == 1) & (draw.random(600) < 0.5)] = 3
    ((first, second, share),) = alike_pairs(ArrayRows(features), labels, 5)
    assert (first, second) == (1, 3)
    assert 0.9 <= share <= 1


def test_labels_that_are_known_by_heart_do_not_hide_it():
    # More features than examples: a regression that saw them tells all labels.
    draw = np.random.default_rng(2)
    features = draw.normal(size=(80, 200)).astype(np.float32)
    features[40:, :100] += 3
    labels = np.repeat([0, 2], 40)
    labels[:40][draw.random(40) < 0.5] = 1
    ((first, second, _),) = alike_pairs(ArrayRows(features), labels, 3)
    assert (first, second) == (0, 1)


def test_some_of_many_are_enough(monkeypatch):
    monkeypatch.setattr(module, "_MOST_EXAMPLES", 100)
    monkeypatch.setattr(module, "_ENOUGH_OF_A_CLASS", 0)
    draw = np.random.default_rng(3)
    features, labels = drawn([200, 200], draw)
    labels[(labels == 1) & (draw.random(400) < 0.5)] = 2
    seen = []

    class Rows(ArrayRows):
        def take(self, positions):
            seen.extend(positions.tolist())
            return super().take(positions)

    ((first, second, _),) = alike_pairs(Rows(features), labels, 3)
    assert (first, second) == (1, 2)
    assert len(set(seen)) == 100


def test_some_of_classes_that_take_turns_are_enough(monkeypatch):
    # Every fourth example is of one class alone.
    monkeypatch.setattr(module, "_MOST_EXAMPLES", 100)
    monkeypatch.setattr(module, "_ENOUGH_OF_A_CLASS", 0)
    features, labels = drawn([100, 100, 200], np.random.default_rng(3))
    order = np.arange(400).reshape(4, 100).T.ravel()
    labels = np.repeat(range(4), 100)  # two names of the third class
    ((first, second, _),) = alike_pairs(ArrayRows(features[order]), labels[order], 4)
    assert (first, second) == (2, 3)


def test_of_many_small_classes_those_under_two_names_are_found_and_no_others():
    # 1,500 clouds of deviation 1, 30 examples each, centres some 24 apart (3 x sqrt(2 x
    # 32)); 0 and 1 are one cloud, and so on up to 18 and 19. Of 30 examples each the
    # share of such two is 1 with a standard deviation of 0.15, so that three of four
    # are above 0.9: of ten, four at least but in one case of 250.
    draw = np.random.default_rng(5)
    centres = 3 * draw.normal(size=(1_500, 32))
    centres[1:20:2] = centres[0:20:2]
    labels = np.arange(45_000) % 1_500
    features = (centres[labels] + draw.normal(size=(45_000, 32))).astype(np.float32)
    found = {pair[:2] for pair in alike_pairs(ArrayRows(features), labels, 1_500)}
    assert found <= {(one, one + 1) for one in range(0, 20, 2)}
    assert len(found) >= 4


def test_of_each_class_as_many_as_it_has_up_to_twenty_are_looked_at(monkeypatch):
    monkeypatch.setattr(module, "_MOST_EXAMPLES", 10)
    labels = np.repeat([0, 1, 2], [500, 7, 30])
    chosen = module._chosen(labels)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    first, second, third = np.bincount(labels[chosen])
    assert 20 <= first <= 30  # ten at most come beside these
    assert second == 7
    assert 20 <= third <= 30


def test_features_that_are_none():
    features, labels = drawn([20, 20], np.random.default_rng(4))
    features[7, 2] = np.nan
    with pytest.raises(ValueError, match="place 7"):
        alike_pairs(ArrayRows(features), labels, 2)
