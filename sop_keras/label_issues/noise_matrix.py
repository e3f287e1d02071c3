"""Which classes are given for which: the noise, class to class."""

from __future__ import annotations

import numpy as np


def noise_matrix(
    true_labels: np.ndarray, given_labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """How often each class was given for each true one.

    With suggested labels in place of true ones (those of label issues; the given ones
    of the rest), it is the estimated noise.

    Args:
        true_labels: integers `(n,)` in `[0, num_classes)`.
        given_labels: likewise.
        num_classes: K.

    Returns:
        int64 array `(K, K)`: row i, column j: how many examples of class i are labelled
        j.
    """
    places = true_labels.astype(np.int64) * num_classes + given_labels
    counts = np.bincount(places, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def transition_rates(matrix: np.ndarray) -> np.ndarray:
    """P(given label | true label), of counts: rows that sum to 1; 0 for an empty row.

    Args:
        matrix: as of `noise_matrix`.

    Returns:
        float64 array `(K, K)`.
    """
    totals = matrix.sum(axis=1, keepdims=True)
    return matrix / np.maximum(totals, 1)
