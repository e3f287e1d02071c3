"""Which class is given for which, and what that says of a label.

A label y of an example whose class is j is given with probability T_jy. With the head's
p for what is believed of the class before the label is looked at, Bayes' rule says that
the label is right with probability

    r = p_y T_yy / sum_j p_j T_jy.

T is estimated from the same p and labels by expectation maximisation. Where one class
is often given for another (asymmetric noise, and people), its labels count as wrong
sooner; where noise is alike between all, the ranking is that of p_y alone.

The head is held back by its L2 term and hence less sure than it should be, the more so
the fewer examples there are: p is its softmax to a power, normalised (`sharpness_of`).
Then nearly all labels seem right or wrong for certain, which some of them are not: in
`label_quality` the odds of r are raised to the power 0.45, which keeps the order and is
nearer to the share of right labels (`calibrated`). docs/label_issues.md has the
figures.
"""

from __future__ import annotations

import numpy as np

from sop_keras.log_softmax import log_softmax

LESS_SHARP, SHARPER = 0.75, 2.0
"""Times the power: the number of wrong labels is told for both."""

# Chosen on CIFAR-10's images, with all five kinds of noise of docs/label_issues.md.
_SHARPNESS, _OF_EXAMPLES, _FALLS_BY = (2.0, 4.0), 50_000, 0.2
_ODDS = 0.45
_RIGHT_AT_FIRST = 0.9
_ITERATIONS = 20
_TINY = 1e-300


def sharpness_of(num_examples: int) -> float:
    """The power of the probabilities of a head that was trained on n examples.

    2 (50,000 / n)^(1/5), in [2, 4].
    """
    least, most = _SHARPNESS
    power = least * (_OF_EXAMPLES / num_examples) ** _FALLS_BY
    return min(max(power, least), most)


def calibrated(right: np.ndarray) -> np.ndarray:
    """Probabilities with their odds to the power 0.45, float64 in [0, 1].

    Args:
        right: the probabilities, in [0, 1], of any shape.
    """
    one, other = right**_ODDS, (1 - right) ** _ODDS
    return one / (one + other)


def sharpened(logits: np.ndarray, sharpness: float) -> np.ndarray:
    """What is believed of the class, float64 `(n, K)`, rows that sum to 1.

    Args:
        logits: the head's outputs, `(n, K)`.
        sharpness: the power.
    """
    return np.exp(log_softmax(sharpness * logits.astype(np.float64)))


def estimate_transitions(
    beliefs: np.ndarray, labels: np.ndarray, decided: np.ndarray | None = None
) -> np.ndarray:
    """T_jy = P(given label y | class j), float64 `(K, K)`, rows that sum to 1.

    Expectation maximisation from 90% of right labels in each class. One example is
    added to each class, spread over all labels, so that no rate is exactly 0.

    Args:
        beliefs: `(n, K)`, of `sharpened`.
        labels: the given labels, integers `(n,)`.
        decided: counts of labels that a person has decided on, `(K, K)`: rows are the
            right class, columns the given label. Defaults to `None`: none.
    """
    num_classes = beliefs.shape[1]
    known = np.full((num_classes, num_classes), 1 / num_classes)
    if decided is not None:
        known += decided
    rates = np.full(known.shape, (1 - _RIGHT_AT_FIRST) / (num_classes - 1))
    np.fill_diagonal(rates, _RIGHT_AT_FIRST)
    by_label = np.argsort(labels, kind="stable")
    ordered = beliefs[by_label]
    ends = np.searchsorted(labels[by_label], np.arange(num_classes + 1))
    for _ in range(_ITERATIONS):
        counts = known.copy()
        for label in range(num_classes):
            part = ordered[ends[label] : ends[label + 1]] * rates[:, label]
            counts[:, label] += (
                part / np.maximum(part.sum(axis=1, keepdims=True), _TINY)
            ).sum(axis=0)
        rates = counts / counts.sum(axis=1, keepdims=True)
    return rates


def class_posteriors(
    beliefs: np.ndarray, labels: np.ndarray, rates: np.ndarray
) -> np.ndarray:
    """P(class | features and given label), float64 `(n, K)`.

    Args:
        beliefs: `(n, K)`, of `sharpened`.
        labels: the given labels, integers `(n,)`.
        rates: T, `(K, K)`.
    """
    joint = beliefs * rates[:, labels].T
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), _TINY)
