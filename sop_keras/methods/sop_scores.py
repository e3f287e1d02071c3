"""How likely a label is wrong by SOP, as functions of arrays.

With p the network's prediction, y the given label and s the estimated noise, the
probability that the label is right is taken to be

    label_quality = p_y / (p_y + a (1 - p_y)),    a = sqrt(||s||_1).

That is Bayes' rule: p says which class is the true one before the label is looked at;
a true class is given as y with probability 1 if it is y, and a if it is another. a is
the length of the example's row, ||(u_y, v_j for j != y)||_2: near 0 as it starts, near
1 where noise explains the label. Below 1/2, another class with noise is the likelier
story. Either part alone ranks worse: docs/label_issues.md.

All is computed in logarithms: u and v start at 1e-8, so that s starts at 1e-16 and says
something long before it is large enough to change a loss. No network is trusted beyond
odds of e^10: those above are compressed, in their order, since a network that is much
too sure would call labels wrong by itself, whose rows say nothing.
"""

from __future__ import annotations

import numpy as np

from sop_keras.log_softmax import log_softmax

_LARGEST_LOG_ODDS = 10.0

LEAST_NOISE = 1e-300
"""The floor of what logarithms are taken of: s is 0 where u and v are."""


def noise_norm(noise: np.ndarray) -> np.ndarray:
    """||s||_1, float64 of shape `(n,)`, of s, shape `(n, num_classes)`."""
    return np.abs(noise.astype(np.float64)).sum(axis=-1)


def noise_score(norms: np.ndarray) -> np.ndarray:
    """log10 of ||s||_1, of the same shape."""
    return np.log10(np.maximum(norms, LEAST_NOISE))


def label_quality(
    log_given: np.ndarray, log_others: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """The probability that a label is right.

    Args:
        log_given: log p_y, shape `(n,)`.
        log_others: log(1 - p_y), likewise.
        noise: ||s||_1, likewise, not negative.

    Returns:
        float64, shape `(n,)`, in [0, 1]: the higher, the cleaner.
    """
    log_length = np.log(np.maximum(noise, LEAST_NOISE)) / 2
    against = log_others - log_given
    beyond = np.maximum(against - _LARGEST_LOG_ODDS, 0.0)
    against = np.minimum(against, _LARGEST_LOG_ODDS) + np.log1p(beyond)
    odds = np.clip(log_length + against, -700, 700)
    return 1.0 / (1.0 + np.exp(odds))


def score_labels(
    log_probs: np.ndarray, noise: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """What is said of some labels, by column of the table of label issues.

    The suggested label is the class other than the given one with the largest
    p_j sqrt|v_j|: |v_j| grows by a factor each time the network predicts j, so that it
    remembers all of the training where p_j is its last word.

    Args:
        log_probs: log p, shape `(n, num_classes)`, at least 2 classes.
        noise: s of the same examples, shape `(n, num_classes)`.
        labels: the given labels, integers `(n,)`.

    Returns:
        Arrays `(n,)`: `suggested_label`, `label_quality` and `noise_score` (log10 of
        ||s||_1).
    """
    log_probs = np.maximum(log_probs.astype(np.float64), np.log(LEAST_NOISE))
    rows = np.arange(len(labels))
    log_given = log_probs[rows, labels]
    others = log_probs.copy()
    others[rows, labels] = -np.inf
    # log sum_j exp(l_j) is, for any j, l_j less its log softmax.
    log_others = others.max(axis=-1) - log_softmax(others).max(axis=-1)
    norm = noise_norm(noise)
    log_v = np.log(np.maximum(np.abs(noise.astype(np.float64)), LEAST_NOISE)) / 2
    suggested = (others + log_v / 2).argmax(axis=-1)
    return {
        "suggested_label": suggested,
        "label_quality": label_quality(log_given, log_others, norm),
        "noise_score": noise_score(norm),
    }
