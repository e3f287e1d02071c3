"""Transition matrices read off anchors: the authors' two rules, and no anchor."""

import golden
import numpy as np
import pytest

from sop_keras.methods.anchor_points import (
    anchor_points,
    estimate_transition,
    suitable_percentile,
)

FILE = golden.arrays("forward_estimate_k10")

RULES = {
    100: ("anchor_max", "transition_max"),
    97: ("anchor_percentile97", "transition_percentile97_no_inplace"),
}


@pytest.mark.parametrize("percentile", RULES)
def test_the_authors_rules(percentile):
    anchors, transition = RULES[percentile]
    before = FILE["probs"].copy()
    found = estimate_transition(FILE["probs"], percentile)
    assert golden.error(found, FILE[transition]) < 1e-5
    np.testing.assert_array_equal(
        anchor_points(FILE["probs"], percentile), FILE[anchors]
    )
    np.testing.assert_array_equal(FILE["probs"], before)  # zeroed by the authors' code
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


def test_by_hand():
    # Of class 0: 0.9, 0.8, 0.1, 0.1; the median, the higher one, is 0.8.
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.1, 0.9]])
    np.testing.assert_array_equal(anchor_points(probs, 100), [0, 2])
    np.testing.assert_array_equal(anchor_points(probs, 50), [2, 1])
    found = estimate_transition(probs, 50)
    np.testing.assert_allclose(found, [[0.1, 0.9], [0.8, 0.2]])


@pytest.mark.parametrize(
    ("smallest", "percentile", "expected"),
    [(10, 97, 97), (5, 97, 97), (4, 97, 100), (1, 97, 100), (1, 100, 100), (4, 98, 98)],
)
def test_small_classes_have_the_surest_example(smallest, percentile, expected):
    # Of 100 labels; 3% times 1.5 is 4.5, 2% times 1.5 is 3.
    labels = np.repeat([0, 1], [100 - smallest, smallest])
    assert suitable_percentile(percentile, labels, 2) == expected


@pytest.mark.parametrize(
    ("probs", "percentile", "message"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], 100, "Class 1 has no anchor: of 2 examples"),
        ([[0.5, 0.5], [0.5, 0.5]], 97, "Class 0 has no anchor.*anchor_percentile=100"),
        (np.zeros((0, 2)), 97, "Class 0 has no anchor: of 0 examples"),
        ([[0.5, np.nan]], 97, r"`probs` must be probabilities"),
        ([[2.0, 3.0]], 97, r"Received: an array of shape \(1, 2\)"),
        ([[0.5, 0.5]], 0, "`anchor_percentile` must be above 0 and at most 100"),
        ([[0.5, 0.5]], 101, "`anchor_percentile` must be above 0 and at most 100"),
    ],
)
def test_no_anchors(probs, percentile, message):
    with pytest.raises(ValueError, match=message):
        estimate_transition(np.array(probs), percentile)
